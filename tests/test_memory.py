"""The arena planner: nothing shares bytes that may not, aligned, deterministic, and as small as a plan can be."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecompress.hw.memory import FAST, THOROUGH, plan_memory, step_bounds
from edgecompress.hw.plan import Buffer, MemoryPlan, Overlap

_lifetimes = st.tuples(st.integers(0, 12), st.integers(0, 6))
_buffers = st.lists(st.tuples(st.integers(1, 5000), _lifetimes, st.sampled_from([4, 4, 4, 16])), max_size=18).map(
    lambda items: [Buffer(f"b{index}", size, first, first + span, alignment) for index, (size, (first, span), alignment) in enumerate(items)])
_small_buffers = st.lists(st.tuples(st.integers(1, 28), st.tuples(st.integers(0, 4), st.integers(0, 3)), st.sampled_from([4, 4, 8])),
                          min_size=1, max_size=5).map(
    lambda items: [Buffer(f"b{index}", size, first, first + span, alignment) for index, (size, (first, span), alignment) in enumerate(items)])


@st.composite
def _with_overlaps(draw: st.DrawFn, buffers: st.SearchStrategy[list[Buffer]]) -> tuple[list[Buffer], list[Overlap]]:
    """Buffers and permissions between some of those that meet, at most one a pair."""
    made = draw(buffers)
    pairs = [pair for pair in itertools.combinations(range(len(made)), 2) if _alive_together(made[pair[0]], made[pair[1]])]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=8)) if pairs else []
    overlaps = []
    for pair in chosen:
        lower, upper = draw(st.permutations(pair))
        overlaps.append(Overlap(lower, upper, draw(st.integers(-8, 24)), exact=draw(st.booleans())))
    return made, overlaps


def _alive_together(a: Buffer, b: Buffer) -> bool:
    return a.first <= b.last and b.first <= a.last


def _may_lie(buffers: list[Buffer], overlaps: list[Overlap], offsets: list[int], i: int, j: int) -> bool:
    """Whether two buffers may be where they are, from the definitions."""
    a, b = buffers[i], buffers[j]
    if not _alive_together(a, b) or offsets[i] + a.size <= offsets[j] or offsets[j] + b.size <= offsets[i]:
        return True
    for overlap in overlaps:
        if {overlap.lower, overlap.upper} == {i, j}:
            apart = offsets[overlap.upper] - offsets[overlap.lower]
            if apart == overlap.distance if overlap.exact else apart >= overlap.distance:
                return True
    return False


def _check(plan: MemoryPlan, buffers: list[Buffer], overlaps: list[Overlap]) -> None:
    assert [placement.buffer for placement in plan.placements] == buffers
    offsets = [placement.offset for placement in plan.placements]
    for i, buffer in enumerate(buffers):
        assert offsets[i] >= 0 and offsets[i] % buffer.alignment == 0 and offsets[i] + buffer.size <= plan.arena_bytes
        for j in range(i):
            assert _may_lie(buffers, overlaps, offsets, i, j), (i, j)
    assert plan.lower_bound_bytes <= plan.arena_bytes


def _least(buffers: list[Buffer], overlaps: list[Overlap]) -> int:
    """The smallest arena of all there are, by trying every offset of every buffer."""
    unit = math.gcd(*(buffer.alignment for buffer in buffers))
    best = sum(-(-buffer.size // 8) * 8 for buffer in buffers)
    offsets = [0] * len(buffers)

    def place(index: int, top: int) -> None:
        nonlocal best
        if index == len(buffers):
            best = min(best, top)
            return
        for offset in range(0, best, buffers[index].alignment):
            end = max(top, -(-(offset + buffers[index].size) // unit) * unit)
            if end > best or (end == best and index < len(buffers) - 1):
                break
            offsets[index] = offset
            if all(_may_lie(buffers, overlaps, offsets, index, other) for other in range(index)):
                place(index + 1, end)

    place(0, 0)
    return best


@settings(max_examples=150, deadline=None)
@given(_with_overlaps(_buffers), st.sampled_from([0, FAST]))
def test_buffers_share_bytes_only_as_permitted(problem: tuple[list[Buffer], list[Overlap]], steps: int) -> None:
    buffers, overlaps = problem
    plan = plan_memory(buffers, overlaps, steps)
    _check(plan, buffers, overlaps)
    assert plan_memory(buffers, overlaps, steps) == plan
    if not overlaps and all(buffer.alignment == 4 for buffer in buffers):
        live = [sum(-(-b.size // 4) * 4 for b in buffers if b.first <= time <= b.last) for time in range(20)]
        assert plan.lower_bound_bytes >= max(live)


@settings(max_examples=250, deadline=None)
@given(_with_overlaps(_small_buffers))
def test_small_problems_are_solved_exactly(problem: tuple[list[Buffer], list[Overlap]]) -> None:
    buffers, overlaps = problem
    least = _least(buffers, overlaps)
    plan = plan_memory(buffers, overlaps, THOROUGH)
    _check(plan, buffers, overlaps)
    assert (plan.arena_bytes, plan.lower_bound_bytes, plan.is_optimal) == (least, least, True)
    assert max(step_bounds(buffers, overlaps).values()) <= least
    assert plan_memory(buffers, overlaps, 0).lower_bound_bytes <= least


def test_nothing_needs_nothing() -> None:
    assert plan_memory([]) == MemoryPlan((), 0, 0)
    assert step_bounds([]) == {}


def test_a_chain_reaches_the_bound() -> None:
    sizes = [3072, 8192, 8192, 4096, 16384, 1024, 10]
    buffers = [Buffer(f"t{index}", size, index, index + 1) for index, size in enumerate(sizes)]
    plan = plan_memory(buffers)
    assert plan.arena_bytes == plan.lower_bound_bytes == 4096 + 16384


def test_an_order_by_size_alone_would_waste() -> None:
    # largest first puts b above a and leaves c, which outlives a, no gap below; another order fits all into the bound
    sizes = {"a": (60, 0, 1), "b": (50, 1, 2), "c": (40, 2, 3), "d": (70, 3, 4), "e": (30, 0, 0)}
    plan = plan_memory([Buffer(name, *values, alignment=2) for name, values in sizes.items()])
    assert plan.arena_bytes == plan.lower_bound_bytes == 110


@pytest.mark.parametrize(("distance", "arena"), [(0, 1000), (100, 1100), (2000, 2000)])
def test_an_output_moves_into_its_dying_input(distance: int, arena: int) -> None:
    plan = plan_memory([Buffer("in", 1000, 0, 1), Buffer("out", 1000, 1, 2)], [Overlap(1, 0, distance)])
    assert plan.arena_bytes == plan.lower_bound_bytes == arena


def test_a_long_chain_in_place_slides_down() -> None:
    """Each output begins 16 bytes below its input: no moment alone needs more than two of them, the whole chain does."""
    buffers = [Buffer(f"t{index}", 1600, index, index + 1) for index in range(12)]
    plan = plan_memory(buffers, [Overlap(index + 1, index, 16) for index in range(11)], THOROUGH)
    assert plan.arena_bytes == plan.lower_bound_bytes == 1600 + 11 * 16
    in_place = plan_memory(buffers, [Overlap(index + 1, index, 0, exact=True) for index in range(11)])
    assert in_place.arena_bytes == 1600 and {p.offset for p in in_place.placements} == {0}


def test_both_operands_of_an_addition_may_be_overwritten() -> None:
    buffers = [Buffer("left", 500, 0, 2), Buffer("right", 500, 1, 2), Buffer("sum", 500, 2, 3)]
    plan = plan_memory(buffers, [Overlap(2, 0, 0), Overlap(2, 1, 0)])
    assert plan.arena_bytes == plan.lower_bound_bytes == 1000


def test_an_input_that_lives_on_is_not_overwritten() -> None:
    plan = plan_memory([Buffer("in", 500, 0, 3), Buffer("out", 500, 1, 2)])
    assert plan.arena_bytes == 1000


def _network(generator: np.random.Generator, nodes: int) -> tuple[list[Buffer], list[Overlap]]:
    """A chain with skips, scratch memory and kernels that work in place."""
    sizes = 512 * generator.integers(1, 33, nodes)
    buffers = [Buffer(f"t{i}", int(size), i, i + (1 if generator.random() < 0.75 else int(generator.integers(1, 7)))) for i, size in enumerate(sizes)]
    overlaps = [Overlap(i, i - 1, int(generator.choice([0, 0, 128])) + max(buffers[i].size - buffers[i - 1].size, 0), bool(generator.random() < 0.3))
                for i in range(1, nodes) if buffers[i - 1].last == i and generator.random() < 0.7]
    scratch = [Buffer(f"s{i}", int(generator.integers(20, 3000)), i, i, 16) for i in range(nodes) if generator.random() < 0.6]
    return [*buffers, *scratch], overlaps


@pytest.mark.parametrize(("steps", "within"), [(FAST, 1.13), (THOROUGH, 1.02)])
def test_networks_are_planned_near_the_bound(steps: int, within: float) -> None:
    generator = np.random.default_rng(5)
    plans = []
    for nodes in [12, 36] * 10:
        buffers, overlaps = _network(generator, nodes)
        plans.append(plan_memory(buffers, overlaps, steps))
        _check(plans[-1], buffers, overlaps)
    assert max(plan.arena_bytes / plan.lower_bound_bytes for plan in plans) < within
    assert sum(plan.is_optimal for plan in plans) >= 18
