"""Arena planner: buffers with lifetimes to offsets, so that buffers that are alive together share no byte that they may not share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgecompress.hw.memory_problem import Problem, build_problem, complete, first_place, least_union, lower_bound, restrict, round_up, split, top
from edgecompress.hw.memory_search import improve
from edgecompress.hw.plan import Buffer, MemoryPlan, Overlap, Placement

FAST, THOROUGH = 40_000, 1_000_000  # steps of the exact search: at most 20 ms for the architecture search, half a second for code that is kept
LOCAL_ORDERS = 16  # orders tried after the greedy ones; the greedy ones reach the bound on nearly every chain-like graph

Way = Callable[[Problem, Sequence[int]], list[int]]  # an order of the buffers to their offsets


def plan_memory(buffers: Sequence[Buffer], overlaps: Sequence[Overlap] = (), steps: int = FAST) -> MemoryPlan:
    """Offsets for all buffers, multiples of their alignments; deterministic.

    Only buffers that could be in one another's way are planned, the others take what is left. Greedy orders are placed by best and first
    fit, from the bottom and from the top; then a local search moves buffers that touch the top to the front of the order. What is left
    between arena and lower bound is searched exactly, for at most `steps` looks at a pair of buffers: that finds a better plan, or raises
    `lower_bound_bytes` by proving that there is none.
    """
    if not buffers:
        return MemoryPlan((), 0, 0)
    problem = build_problem(buffers, overlaps)
    bound = lower_bound(problem)
    core, easy = split(problem, bound)
    offsets: list[int] = []
    if core:
        hard = restrict(problem, core)
        offsets = _heuristic(hard, [buffers[i] for i in core], bound)
        if top(hard, offsets) > bound:
            offsets, bound = improve(hard, offsets, bound, steps)
    offsets = complete(problem, core, offsets, easy)
    placements = tuple(Placement(buffer, offset) for buffer, offset in zip(buffers, offsets, strict=True))
    return MemoryPlan(placements, top(problem, offsets), bound)


def step_bounds(buffers: Sequence[Buffer], overlaps: Sequence[Overlap] = ()) -> dict[int, int]:
    """Bytes that must be there at each step at which a buffer begins; steps between need no more than the one before."""
    if not buffers:
        return {}
    problem = build_problem(buffers, overlaps)
    return {step: least_union(problem, [i for i, buffer in enumerate(buffers) if buffer.first <= step <= buffer.last])
            for step in sorted({buffer.first for buffer in buffers})}


def _heuristic(problem: Problem, buffers: Sequence[Buffer], bound: int) -> list[int]:
    best: list[int] = []
    best_order: list[int] = []
    for order, place in _attempts(problem, buffers):
        offsets = place(problem, order)
        if not best or top(problem, offsets) < top(problem, best):
            best, best_order = offsets, order
            if top(problem, best) <= bound:
                return best
    return _local_search(problem, best_order, best, bound)


def _attempts(problem: Problem, buffers: Sequence[Buffer]) -> list[tuple[list[int], Way]]:
    """Orders and ways to place them. Late first from the bottom suits chains that work in place: outputs lie below their inputs."""
    indices, sizes = range(len(buffers)), problem.sizes
    spans = [buffer.last - buffer.first + 1 for buffer in buffers]
    keys: tuple[Callable[[int], tuple[int, ...]], ...] = (
        lambda i: (-sizes[i], buffers[i].first, i),
        lambda i: (-sizes[i] * spans[i], buffers[i].first, i),
        lambda i: (-spans[i], -sizes[i], i),
        lambda i: (-buffers[i].first, -sizes[i], i),
        lambda i: (-buffers[i].last, -sizes[i], i),
        lambda i: (buffers[i].first, -sizes[i], i),
    )
    orders = [sorted(indices, key=key) for key in keys]
    ways: tuple[Way, ...] = (_best_fit, *((_join_fit,) if problem.joins else ()), *((_first_fit, _from_top) if problem.soft else ()))
    return [(order, way) for way in ways for order in orders]


def _first_fit(problem: Problem, order: Sequence[int]) -> list[int]:
    """Each buffer in turn goes to the least offset that its placed neighbours leave."""
    offsets = [-1] * len(order)
    for index in order:
        offsets[index] = first_place(problem, index, offsets)
    return offsets


def _best_fit(problem: Problem, order: Sequence[int]) -> list[int]:
    """Each buffer in turn goes into the tightest gap between its placed neighbours, else above them."""
    offsets = [-1] * len(order)
    for index in order:
        offsets[index] = _tightest_place(problem, index, offsets)
    return offsets


def _tightest_place(problem: Problem, index: int, offsets: Sequence[int]) -> int:
    taken = sorted((offsets[j] - below, offsets[j] + above) for j, below, above in problem.neighbours[index] if offsets[j] >= 0)
    place, best, best_room = 0, -1, 0
    for start, end in taken:
        room = start - place
        if room >= 0 and (best < 0 or room < best_room):
            best, best_room = place, room
        if end > place:
            place = round_up(end, problem.alignments[index])
    return place if best < 0 else best


def _join_fit(problem: Problem, order: Sequence[int]) -> list[int]:
    """Best fit that prefers to put a buffer where it may share the bytes of a placed one, if the others leave that place."""
    offsets = [-1] * len(order)
    for index in order:
        shared = (offsets[j] - problem.joins[index, j] for j, _, _ in problem.neighbours[index] if offsets[j] >= 0 and (index, j) in problem.joins)
        free = (place for place in shared if place >= 0 and _is_free(problem, index, place, offsets))
        place = next(free, None)
        offsets[index] = _tightest_place(problem, index, offsets) if place is None else place
    return offsets


def _is_free(problem: Problem, index: int, place: int, offsets: Sequence[int]) -> bool:
    return place % problem.alignments[index] == 0 and all(
        offsets[j] < 0 or place + below <= offsets[j] or offsets[j] + above <= place or offsets[j] - place == problem.joins.get((index, j))
        for j, below, above in problem.neighbours[index])


def _from_top(problem: Problem, order: Sequence[int]) -> list[int]:
    """First fit with the arena upside down, then everything pushed down as far as that order allows."""
    sizes, neighbours = problem.sizes, problem.neighbours
    depths = [-1] * len(order)  # of a buffer's end below the ceiling
    for index in order:
        taken = sorted((depths[j] - above + sizes[j] - sizes[index], depths[j] + below + sizes[j] - sizes[index])
                       for j, below, above in neighbours[index] if depths[j] >= 0)
        place = 0
        for start, end in taken:
            if start >= place:
                break
            place = max(place, end)
        depths[index] = place
    offsets = [-1] * len(order)
    for index in sorted(range(len(order)), key=lambda i: (-depths[i] - sizes[i], i)):
        lowest = max((offsets[j] + above for j, _, above in neighbours[index] if offsets[j] >= 0), default=0)
        offsets[index] = round_up(max(lowest, 0), problem.alignments[index])
    return offsets


def _local_search(problem: Problem, order: list[int], offsets: list[int], bound: int) -> list[int]:
    """Moves buffers that reach the top to the front; keeps what does not get worse, each order tried once."""
    seen, height = {tuple(order)}, top(problem, offsets)
    best, best_height = offsets, height
    for step in range(LOCAL_ORDERS):
        highest = [i for i in order if offsets[i] + problem.sizes[i] == height]
        moved = highest[step % len(highest)]
        candidate = [moved, *(i for i in order if i != moved)]
        if tuple(candidate) in seen:  # swap a pair near the front instead, walking through the order
            first = step % max(len(order) - 1, 1)
            candidate = list(order)
            candidate[first:first + 2] = reversed(candidate[first:first + 2])
            if tuple(candidate) in seen:
                continue
        seen.add(tuple(candidate))
        placed = _best_fit(problem, candidate)
        placed_height = top(problem, placed)
        if placed_height <= height:
            order, offsets, height = candidate, placed, placed_height
        if height < best_height:
            best, best_height = offsets, height
            if best_height <= bound:
                break
    return best
