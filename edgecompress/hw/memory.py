"""Arena planner: buffers with lifetimes to offsets, so that buffers that are alive together never overlap."""

from __future__ import annotations

from collections.abc import Sequence

from edgecompress.hw.plan import Buffer, MemoryPlan, Placement

DEFAULT_ALIGNMENT = 4
SEARCH_STEPS = 40  # orders tried after the greedy ones; the greedy ones reach the bound on nearly every chain-like graph


def plan_memory(buffers: Sequence[Buffer], alignment: int = DEFAULT_ALIGNMENT) -> MemoryPlan:
    """Offsets (multiples of `alignment`) for all buffers; deterministic.

    Several greedy orders are placed by best fit; while the arena is above the bound, a local search moves one buffer
    that touches the top to the front of the order. `lower_bound_bytes` is the largest sum of aligned sizes alive at once.
    """
    sizes = [-(-buffer.size // alignment) * alignment for buffer in buffers]
    neighbours = _neighbours(buffers)
    bound = _lower_bound(buffers, sizes)
    best_order, best_offsets, best_top = list(range(len(buffers))), [0] * len(buffers), 0 if not buffers else None
    for order in _greedy_orders(buffers, sizes):
        offsets, top = _place(order, sizes, neighbours)
        if best_top is None or top < best_top:
            best_order, best_offsets, best_top = order, offsets, top
        if best_top == bound:
            break
    if best_top is not None and best_top > bound:
        best_offsets, best_top = _local_search(best_order, best_offsets, best_top, bound, sizes, neighbours)
    placements = tuple(Placement(buffer, offset) for buffer, offset in zip(buffers, best_offsets, strict=True))
    return MemoryPlan(placements, best_top or 0, bound)


def _neighbours(buffers: Sequence[Buffer]) -> list[list[int]]:
    """For each buffer the indices of those alive at the same time."""
    return [[j for j, b in enumerate(buffers) if i != j and a.first <= b.last and b.first <= a.last] for i, a in enumerate(buffers)]


def _lower_bound(buffers: Sequence[Buffer], sizes: list[int]) -> int:
    """The live sum can only grow where a buffer begins, so only those moments are looked at."""
    starts = {buffer.first for buffer in buffers}
    return max((sum(size for buffer, size in zip(buffers, sizes, strict=True) if buffer.first <= time <= buffer.last) for time in starts), default=0)


def _greedy_orders(buffers: Sequence[Buffer], sizes: list[int]) -> list[list[int]]:
    indices = range(len(buffers))
    spans = [buffer.last - buffer.first + 1 for buffer in buffers]
    keys = (
        lambda i: (-sizes[i], buffers[i].first, i),
        lambda i: (-sizes[i] * spans[i], buffers[i].first, i),
        lambda i: (-spans[i], -sizes[i], i),
        lambda i: (buffers[i].first, -sizes[i], i),
        lambda i: (-buffers[i].last, -sizes[i], i),
    )
    return [sorted(indices, key=key) for key in keys]


def _place(order: Sequence[int], sizes: list[int], neighbours: list[list[int]]) -> tuple[list[int], int]:
    """Each buffer in turn goes into the tightest gap between its placed neighbours, else above them."""
    offsets = [-1] * len(sizes)
    top = 0
    for index in order:
        taken = sorted((offsets[j], offsets[j] + sizes[j]) for j in neighbours[index] if offsets[j] >= 0)
        size, end, best, best_room = sizes[index], 0, -1, 0
        for start, stop in taken:
            room = start - end
            if room >= size and (best < 0 or room < best_room):
                best, best_room = end, room
            end = max(end, stop)
        offsets[index] = end if best < 0 else best
        top = max(top, offsets[index] + size)
    return offsets, top


def _local_search(order: list[int], offsets: list[int], top: int, bound: int, sizes: list[int],
                  neighbours: list[list[int]]) -> tuple[list[int], int]:
    """Moves buffers that reach the top to the front; keeps what does not get worse, each order tried once."""
    seen = {tuple(order)}
    best_offsets, best_top = offsets, top
    for step in range(SEARCH_STEPS):
        highest = [i for i in order if offsets[i] + sizes[i] == top]
        moved = highest[step % len(highest)]
        position = order.index(moved)
        candidate = [moved, *order[:position], *order[position + 1:]]
        if tuple(candidate) in seen:  # swap a pair near the front instead, walking through the order
            first = step % max(len(order) - 1, 1)
            candidate = list(order)
            candidate[first:first + 2] = reversed(candidate[first:first + 2])
            if tuple(candidate) in seen:
                continue
        seen.add(tuple(candidate))
        candidate_offsets, candidate_top = _place(candidate, sizes, neighbours)
        if candidate_top <= top:
            order, offsets, top = candidate, candidate_offsets, candidate_top
        if top < best_top:
            best_offsets, best_top = offsets, top
        if best_top == bound:
            break
    return best_offsets, best_top
