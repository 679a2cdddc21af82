"""Exact search of the arena planner: which of two buffers that meet lies below, as in a shop where jobs share machines.

"Does everything fit into `limit` bytes?" is answered by branch and bound over the pairs. Each buffer has a window of offsets; a pair that
fits only one way round tightens both windows (J. Carlier and E. Pinson, An algorithm for solving the job-shop problem, 1989, call that
immediate selection), and the buffers of a moment must fit between the lowest and the highest place that their windows leave.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgecompress.hw.memory_problem import Problem, complete, round_up, split, top

SHARE = 4  # no single question may take more than one part in so many of the steps left
State = tuple[list[int], list[int], list[int]]  # windows' low ends, high ends, and the order of each pair
OPEN, FORWARD, BACKWARD, JOINED, IMPOSSIBLE = range(5)  # orders of a pair (i, j): not decided, i below j, j below i, at their one distance, none


def improve(problem: Problem, offsets: list[int], bound: int, steps: int) -> tuple[list[int], int]:
    """Better offsets and a greater proved bound, as far as `steps` looks at a pair go: first the bound itself, then by halves."""
    best, best_top, proved, limit = offsets, top(problem, offsets), bound, bound
    cliques = _hard_cliques(problem)
    unanswered = bound  # limits below are known or given up
    while unanswered < best_top and steps > 0:
        search = _Search(problem, cliques, limit, max(steps // SHARE, 1))
        found = search.run()
        steps -= search.steps
        if found is not None:
            best, best_top = found, top(problem, found)
        else:
            unanswered = limit + problem.unit
            if search.is_complete:
                proved = unanswered
        limit = (unanswered + best_top - problem.unit) // (2 * problem.unit) * problem.unit
    return best, min(proved, best_top)


def _hard_cliques(problem: Problem) -> list[tuple[int, ...]]:
    """Per moment, buffers no two of which may overlap; where some may, twice: with and without the largest of those."""
    partners: dict[int, set[int]] = {}
    for i, j in problem.soft:
        partners.setdefault(i, set()).add(j)
        partners.setdefault(j, set()).add(i)
    none: set[int] = set()
    result = set()
    for clique in problem.cliques:
        alive = sorted(clique, key=lambda i: (-problem.sizes[i], i))
        soft = [i for i in alive if not partners.get(i, none).isdisjoint(alive)]
        for skipped in (None, *soft[:1]):
            chosen: list[int] = []
            for i in alive:
                if i != skipped and partners.get(i, none).isdisjoint(chosen):
                    chosen.append(i)
            result.add(tuple(chosen))
    return sorted(result)


class _Search:
    """One question. `is_complete` is False when the steps ran out before the answer."""

    def __init__(self, problem: Problem, cliques: Sequence[Sequence[int]], limit: int, max_steps: int) -> None:
        self.problem, self.limit, self.max_steps = problem, limit, max_steps
        self.steps, self.is_complete = 0, True
        self.core, self.easy = split(problem, limit)
        members = set(self.core)
        self.pairs = [(i, j, below, above) for i in self.core for j, below, above in problem.neighbours[i] if i < j and j in members]
        self.joins = [problem.joins.get((i, j)) for i, j, _, _ in self.pairs]
        self.incident: list[list[int]] = [[] for _ in problem.sizes]
        for number, (i, j, _, _) in enumerate(self.pairs):
            self.incident[i].append(number)
            self.incident[j].append(number)
        kept = {tuple(i for i in clique if i in members) for clique in cliques}
        self.cliques = [clique for clique in sorted(kept) if len(clique) > 2]  # pairs are looked at one by one
        self.is_symmetric = not problem.soft and len(set(problem.alignments)) == 1

    def run(self) -> list[int] | None:
        """Offsets below the limit, or None."""
        problem = self.problem
        low = [0] * len(problem.sizes)
        high = [(self.limit - size) // alignment * alignment for size, alignment in zip(problem.sizes, problem.alignments, strict=True)]
        if any(high[i] < 0 for i in range(len(high))):
            return None
        start: State = (low, high, [OPEN] * len(self.pairs))
        if not self._tighten(start, self.core):
            return None
        stack, is_root = [start], True
        while stack:
            state = stack.pop()
            branch = self._branch(state)
            if branch is None:
                return complete(problem, self.core, [state[0][i] for i in self.core], self.easy)
            if self.steps > self.max_steps:
                self.is_complete = False
                return None
            pair, orders = branch
            if is_root and self.is_symmetric:
                orders = orders[:1]  # upside down is the same question
            is_root = False
            for order in reversed(orders):
                child: State = (state[0].copy(), state[1].copy(), state[2].copy())
                child[2][pair] = order
                if self._tighten(child, self.pairs[pair][:2]):
                    stack.append(child)
        return None

    def _branch(self, state: State) -> tuple[int, list[int]] | None:
        """The pair that the lowest offsets violate and that has the least room left, with its orders, roomiest first; None when all is well."""
        low, high, order = state
        best, least = None, 0
        for number, (i, j, below, above) in enumerate(self.pairs):
            if order[number] == OPEN and low[i] + below > low[j] and low[j] + above > low[i]:
                join = self.joins[number]
                if join is not None and low[j] == low[i] + join:
                    continue
                forward, backward = high[j] - low[i] - below, high[i] - low[j] - above
                if best is None or forward + backward < least:
                    orders = [FORWARD, BACKWARD] if forward >= backward else [BACKWARD, FORWARD]
                    best, least = (number, orders if join is None else [JOINED, *orders]), forward + backward
        self.steps += len(self.pairs)
        return best

    def _tighten(self, state: State, changed: Sequence[int]) -> bool:
        """Draws all conclusions from the decided pairs; False when somebody has no place left."""
        low, high, order = state
        queue = list(changed)
        while queue:
            moved = queue.pop()
            self.steps += len(self.incident[moved])
            for number in self.incident[moved]:
                i, j, below, above = self.pairs[number]
                if order[number] == OPEN:
                    order[number] = decided = self._only_order(number, low, high)
                    if decided == OPEN:
                        continue
                    if decided == IMPOSSIBLE:
                        return False
                if order[number] == FORWARD:
                    tightened = self._keep(state, i, j, below, queue)
                elif order[number] == BACKWARD:
                    tightened = self._keep(state, j, i, above, queue)
                else:
                    join = self.joins[number]
                    assert join is not None
                    tightened = self._keep(state, i, j, join, queue) and self._keep(state, j, i, -join, queue)
                if not tightened:
                    return False
        return all(self._has_room(clique, low, high) for clique in self.cliques)

    def _only_order(self, number: int, low: list[int], high: list[int]) -> int:
        """The one order that the windows of an undecided pair leave, OPEN if there are more."""
        i, j, below, above = self.pairs[number]
        forward, backward, join = low[i] + below <= high[j], low[j] + above <= high[i], self.joins[number]
        if forward and backward:
            return OPEN
        if join is not None and low[i] + join <= high[j] and low[j] <= high[i] + join:
            return OPEN if forward or backward else JOINED
        return FORWARD if forward else BACKWARD if backward else IMPOSSIBLE

    def _keep(self, state: State, lower: int, upper: int, distance: int, queue: list[int]) -> bool:
        """Narrows two windows to `offset[lower] + distance <= offset[upper]`; False when one of them closes."""
        low, high, _ = state
        if low[lower] + distance > low[upper]:
            low[upper] = round_up(low[lower] + distance, self.problem.alignments[upper])
            queue.append(upper)
        if high[upper] - distance < high[lower]:
            high[lower] = (high[upper] - distance) // self.problem.alignments[lower] * self.problem.alignments[lower]
            queue.append(lower)
        return low[upper] <= high[upper] and low[lower] <= high[lower]

    def _has_room(self, clique: tuple[int, ...], low: list[int], high: list[int]) -> bool:
        """Whether those that cannot lie below some place or above some other fit between the two."""
        sizes = self.problem.sizes
        self.steps += len(clique)
        for floor in {low[i] for i in clique}:
            total, ceiling = 0, 0
            for i in sorted((i for i in clique if low[i] >= floor), key=lambda i: high[i] + sizes[i]):
                total += sizes[i]
                ceiling = high[i] + sizes[i]
                if floor + total > ceiling:
                    return False
        return True
