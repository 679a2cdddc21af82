"""The arena planner's problem in numbers: sizes, alignments, and how far apart two buffers must begin when they meet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from edgecompress.hw.plan import Buffer, Overlap

Neighbour = tuple[int, int, int]  # other buffer, least distance when this one is below it, least distance when it is below this one


@dataclass(frozen=True)
class Problem:
    """Offsets wanted: multiples of each alignment, and for each pair that meets `offset[i] + below <= offset[j]`, or
    `offset[j] + above <= offset[i]`, or for those in `joins` also `offset[i] + distance == offset[j]`.

    All numbers are multiples of `unit`, the smallest alignment. `below` is a buffer's size unless an overlap allows less.
    """

    unit: int
    sizes: tuple[int, ...]
    alignments: tuple[int, ...]
    neighbours: tuple[tuple[Neighbour, ...], ...]
    cliques: tuple[tuple[int, ...], ...]  # the buffers alive at each moment that matters
    joins: Mapping[tuple[int, int], int]  # (i, j) with their one distance; (j, i) has the opposite one
    soft: Mapping[tuple[int, int], int]  # (lower, upper) that may share bytes, with the least distance that any rule allows


def round_up(value: int, unit: int) -> int:
    """The least multiple of `unit` that is at least `value`."""
    return -(-value // unit) * unit


def build_problem(buffers: Sequence[Buffer], overlaps: Sequence[Overlap]) -> Problem:
    """Sizes are rounded up: every buffer begins at a multiple of `unit`, so the rest of a unit is of no use to anyone."""
    unit = math.gcd(*(buffer.alignment for buffer in buffers)) or 1
    sizes = tuple(round_up(buffer.size, unit) for buffer in buffers)
    allowed, joins = _permissions(buffers, overlaps, unit)
    neighbours: list[list[Neighbour]] = [[] for _ in buffers]
    soft = {}
    for pair in _meeting(buffers):
        i, j = pair
        below, above = min(allowed.get(pair, sizes[i]), sizes[i]), min(allowed.get((j, i), sizes[j]), sizes[j])
        if below < sizes[i]:
            soft[pair] = below
        if above < sizes[j]:
            soft[j, i] = above
        if below + above > 0:
            neighbours[i].append((j, below, above))
            neighbours[j].append((i, above, below))
    for (i, j), distance in joins.items():
        if distance < min(soft.get((i, j), sizes[i]), sizes[i]) and (distance > 0 or (distance == 0 and (j, i) not in soft)):
            soft[i, j] = distance
    return Problem(unit, sizes, tuple(buffer.alignment for buffer in buffers), tuple(map(tuple, neighbours)), _cliques(buffers), joins, soft)


def _permissions(buffers: Sequence[Buffer], overlaps: Sequence[Overlap], unit: int) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]]:
    """(least distance a pair, exact distance a pair); exact ones that the alignments can never give are left out."""
    allowed, joins = {}, {}
    for overlap in overlaps:
        pair = overlap.lower, overlap.upper
        if not overlap.exact:
            allowed[pair] = round_up(overlap.distance, unit)
        elif overlap.distance % min(buffers[i].alignment for i in pair) == 0:
            joins[pair], joins[pair[1], pair[0]] = overlap.distance, -overlap.distance
    return allowed, joins


def _meeting(buffers: Sequence[Buffer]) -> list[tuple[int, int]]:
    """Pairs of buffers that are alive at the same time, found by walking along the births."""
    pairs: list[tuple[int, int]] = []
    alive: list[int] = []
    for i in sorted(range(len(buffers)), key=lambda i: buffers[i].first):
        alive = [j for j in alive if buffers[j].last >= buffers[i].first]
        pairs += [(j, i) for j in alive]
        alive.append(i)
    return pairs


def _cliques(buffers: Sequence[Buffer]) -> tuple[tuple[int, ...], ...]:
    """Who is alive at each birth that some death follows before the next one: all other moments see a part of these."""
    starts = sorted({buffer.first for buffer in buffers})
    result = []
    for time, following in zip(starts, [*starts[1:], None], strict=True):
        alive = tuple(i for i, buffer in enumerate(buffers) if buffer.first <= time <= buffer.last)
        if following is None or any(buffers[i].last < following for i in alive):
            result.append(alive)
    return tuple(result)


def lower_bound(problem: Problem) -> int:
    """Bytes that no plan can do without: the most that is alive at once, where buffers that may overlap count as the least union."""
    best = 0
    for clique in problem.cliques:
        if sum(problem.sizes[i] for i in clique) > best:
            best = max(best, least_union(problem, clique))
    return best


def least_union(problem: Problem, clique: Sequence[int]) -> int:
    """Buffers without permission to overlap add up; each group tied by permissions needs at least what `_group_union` says."""
    groups = {i: {i} for i in clique}
    for i, j in combinations(clique, 2):
        if groups[i] is not groups[j] and not _disjoint(problem, i, j):
            merged = groups[i] | groups[j]
            groups.update(dict.fromkeys(merged, merged))
    distinct = {id(group): group for group in groups.values()}.values()
    return sum(_group_union(problem, sorted(group)) for group in distinct)


def _group_union(problem: Problem, group: Sequence[int]) -> int:
    """A bound from three sides: any members that may not share bytes at all add up, twice tried greedily; and around each
    member, the others that lie at given distances above it are jobs with release times on one machine."""
    if len(group) == 1:
        return problem.sizes[group[0]]
    by_size = sorted(group, key=lambda i: (-problem.sizes[i], i))
    best = 0
    for skipped in (None, by_size[0]):
        chosen: list[int] = []
        for i in by_size:
            if i != skipped and all(_disjoint(problem, i, j) for j in chosen):
                chosen.append(i)
        best = max(best, sum(problem.sizes[i] for i in chosen))
    return max(best, *(_star_union(problem, lower, group) for lower in group))


def _star_union(problem: Problem, lower: int, group: Sequence[int]) -> int:
    """Bytes of `lower` and of those buffers that may share bytes with it only by beginning a distance above its start."""
    end, size = 0, problem.sizes[lower]
    chosen: list[int] = []
    distances = {j: max(problem.soft.get((lower, j), size), 0) for j in group if j != lower and (j, lower) not in problem.soft}
    for j in sorted(distances, key=lambda j: (distances[j], -problem.sizes[j], j)):  # earliest release first is the shortest schedule
        if all(_disjoint(problem, j, k) for k in chosen):
            chosen.append(j)
            end = max(end, distances[j]) + problem.sizes[j]
    return max(size, end)


def _disjoint(problem: Problem, i: int, j: int) -> bool:
    return (i, j) not in problem.soft and (j, i) not in problem.soft


def split(problem: Problem, limit: int) -> tuple[list[int], list[int]]:
    """(buffers that matter, buffers that find a place below `limit` wherever the others lie, in the order in which they were set aside).

    A neighbour blocks an open interval of offsets, so a buffer with more offsets than its neighbours can block may wait for the end.
    """
    blocked = [sum(_blocked(problem, i, below + above) for _, below, above in neighbours) for i, neighbours in enumerate(problem.neighbours)]
    easy: list[int] = []
    waiting, aside = list(range(len(problem.sizes))), set[int]()
    while waiting:
        i = waiting.pop()
        if i in aside or blocked[i] > (limit - problem.sizes[i]) // problem.alignments[i]:
            continue
        easy.append(i)
        aside.add(i)
        for j, below, above in problem.neighbours[i]:
            blocked[j] -= _blocked(problem, j, below + above)
            waiting.append(j)
    return [i for i in range(len(problem.sizes)) if i not in aside], easy


def _blocked(problem: Problem, i: int, length: int) -> int:
    """Most offsets of buffer `i` strictly inside an interval of this length whose ends are multiples of the unit."""
    step = problem.alignments[i]
    return length // step - 1 if step == problem.unit else -(-length // step)


def restrict(problem: Problem, members: Sequence[int]) -> Problem:
    """The problem of some buffers alone, numbered in the order of `members`."""
    number = {i: position for position, i in enumerate(members)}
    return Problem(
        problem.unit, tuple(problem.sizes[i] for i in members), tuple(problem.alignments[i] for i in members),
        tuple(tuple((number[j], below, above) for j, below, above in problem.neighbours[i] if j in number) for i in members),
        tuple(sorted({tuple(number[i] for i in clique if i in number) for clique in problem.cliques})),
        *({(number[i], number[j]): distance for (i, j), distance in table.items() if i in number and j in number}
          for table in (problem.joins, problem.soft)))


def first_place(problem: Problem, index: int, offsets: Sequence[int]) -> int:
    """The least offset for a buffer among those that have one; -1 says that a buffer has none yet."""
    place = 0
    for start, end in sorted((offsets[j] - below, offsets[j] + above) for j, below, above in problem.neighbours[index] if offsets[j] >= 0):
        if place <= start:  # the buffer must not begin strictly between the two
            break
        if end > place:
            place = round_up(end, problem.alignments[index])
    return place


def complete(problem: Problem, core: Sequence[int], core_offsets: Sequence[int], easy: Sequence[int]) -> list[int]:
    """Offsets of all buffers: those of the core, and the ones that `split` set aside, the last one first."""
    offsets = [-1] * len(problem.sizes)
    for i, offset in zip(core, core_offsets, strict=True):
        offsets[i] = offset
    for i in reversed(easy):
        offsets[i] = first_place(problem, i, offsets)
    return offsets


def top(problem: Problem, offsets: Sequence[int]) -> int:
    """End of the highest buffer."""
    return max((offset + size for offset, size in zip(offsets, problem.sizes, strict=True)), default=0)
