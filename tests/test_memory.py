"""The arena planner: no overlap, aligned, deterministic, close to the bound."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecompress.hw.memory import plan_memory
from edgecompress.hw.plan import Buffer, MemoryPlan

_lifetimes = st.tuples(st.integers(0, 12), st.integers(0, 6))
_buffers = st.lists(st.tuples(st.integers(1, 5000), _lifetimes), max_size=18).map(
    lambda items: [Buffer(f"b{index}", size, first, first + span) for index, (size, (first, span)) in enumerate(items)])


def _alive_together(a: Buffer, b: Buffer) -> bool:
    return a.first <= b.last and b.first <= a.last


def _check(plan: MemoryPlan, buffers: list[Buffer], alignment: int) -> None:
    assert [placement.buffer for placement in plan.placements] == buffers
    for index, one in enumerate(plan.placements):
        assert one.offset >= 0 and one.offset % alignment == 0
        assert one.offset + one.buffer.size <= plan.arena_bytes
        for other in plan.placements[index + 1:]:
            if _alive_together(one.buffer, other.buffer):
                assert one.offset + one.buffer.size <= other.offset or other.offset + other.buffer.size <= one.offset
    live = [sum(-(-b.size // alignment) * alignment for b in buffers if b.first <= time <= b.last) for time in range(20)]
    assert plan.lower_bound_bytes == max(live) <= plan.arena_bytes


@settings(max_examples=150, deadline=None)
@given(_buffers, st.sampled_from([1, 4, 16]))
def test_live_buffers_never_overlap(buffers: list[Buffer], alignment: int) -> None:
    plan = plan_memory(buffers, alignment)
    _check(plan, buffers, alignment)
    assert plan_memory(buffers, alignment) == plan


def test_nothing_needs_nothing() -> None:
    assert plan_memory([]) == MemoryPlan((), 0, 0)


def test_a_chain_reaches_the_bound() -> None:
    sizes = [3072, 8192, 8192, 4096, 16384, 1024, 10]
    buffers = [Buffer(f"t{index}", size, index, index + 1) for index, size in enumerate(sizes)]
    plan = plan_memory(buffers)
    assert plan.arena_bytes == plan.lower_bound_bytes == 4096 + 16384


def test_an_order_by_size_alone_would_waste() -> None:
    # largest first puts b above a and leaves c, which outlives a, no gap below; another order fits all into the bound
    buffers = [Buffer("a", 60, 0, 1), Buffer("b", 50, 1, 2), Buffer("c", 40, 2, 3), Buffer("d", 70, 3, 4), Buffer("e", 30, 0, 0)]
    plan = plan_memory(buffers, alignment=2)
    assert plan.arena_bytes == plan.lower_bound_bytes == 110


def test_random_networks_stay_near_the_bound() -> None:
    generator = np.random.default_rng(5)
    ratios = []
    for _ in range(40):
        firsts = np.sort(generator.integers(0, 15, 16))
        buffers = [Buffer(f"t{i}", int(generator.integers(1, 200)) * 64, int(first), int(first + generator.integers(0, 4)))
                   for i, first in enumerate(firsts)]
        plan = plan_memory(buffers)
        _check(plan, buffers, 4)
        ratios.append(plan.arena_bytes / plan.lower_bound_bytes)
    assert np.mean(ratios) < 1.03
    assert max(ratios) < 1.25
