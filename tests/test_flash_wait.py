"""Waits for flash: the cache model by hand, what reaches the user, and that the fast kernels' loops stay in an accelerator of 1 KiB."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from op_cases import OpCase, conv2d, dense, depthwise

from edgecompress.bench import bench
from edgecompress.bench.flash_wait import FlashWaits
from edgecompress.bench.measurement import CYCLES_AND_WAITS_OVER_CLOCK, Measurement
from edgecompress.errors import ConfigError
from edgecompress.hw.target import FlashTiming, load_target
from edgecompress.lower import lower

SMALL = FlashTiming(wait_cycles=5, read_bytes=8, code_cache_bytes=32, constant_cache_bytes=16, source="made up")
L4R5 = load_target("stm32l4r5")


def test_a_loop_that_fits_waits_once() -> None:
    waits = FlashWaits(SMALL)
    assert [waits.code(64, 32) for _ in range(3)] == [20, 0, 0]
    assert waits.code(64, 8) == 0 and waits.code(96, 8) == 5  # the unit at 72 has not been used for longest
    assert waits.code(64, 8) == 0 and waits.code(72, 8) == 5


def test_a_loop_that_is_one_read_too_long_always_waits() -> None:
    waits = FlashWaits(SMALL)
    assert [waits.code(64, 40) for _ in range(3)] == [25, 25, 25]


def test_blocks_and_loads_that_straddle_two_reads_wait_for_both() -> None:
    waits = FlashWaits(SMALL)
    assert waits.code(70, 4) == 10
    assert waits.constant(1006, 4) == 10 and waits.constant(1008, 8) == 0
    assert waits.constant(2000, 4) == 5 and waits.constant(1000, 4) == 5  # two reads are kept


def test_without_caches_every_read_waits() -> None:
    waits = FlashWaits(dataclasses.replace(SMALL, code_cache_bytes=0, constant_cache_bytes=0))
    assert [waits.constant(8, 4), waits.constant(8, 4), waits.code(0, 16), waits.code(0, 16)] == [5, 5, 10, 10]


def _bench(case: OpCase, folder: Path) -> Measurement:
    lower(case.graph, L4R5, {"x": case.inputs["x"][:1]}).write(folder)
    return bench(folder, cc="zig")


@pytest.mark.parametrize("case", [
    conv2d("pointwise", (25, 5, 64), 64, (1, 1)), conv2d("int4", (25, 5, 64), 64, (1, 1), bits=4), conv2d("ternary", (25, 5, 64), 64, (1, 1), bits=2),
    conv2d("winograd", (16, 32, 16), 16), conv2d("strided", (24, 24, 16), 32, stride=(2, 2)), conv2d("first", (49, 10, 1), 64, (10, 4), (2, 2)),
    conv2d("rgb", (96, 96, 3), 16, (3, 3), (2, 2)), depthwise("depthwise", (24, 24, 32)), depthwise("wide", (24, 24, 32), kernel=(5, 5)),
], ids=lambda case: case.name)
def test_the_inner_loops_of_fast_kernels_stay_in_the_cache(case: OpCase, tmp_path: Path) -> None:
    """An STM32L4 keeps 1 KiB of code. A loop beyond that waits longer than it computes; what is left here are mostly weights."""
    seen = _bench(case, tmp_path)
    assert seen.estimated_cycles is not None and seen.flash_wait_cycles is not None
    assert seen.layers[0].kernel.endswith("_dsp") and seen.flash_wait_cycles < 0.5 * seen.estimated_cycles


def test_waits_are_part_of_the_latency(tmp_path: Path) -> None:
    seen = _bench(dense("dense", 256, 32), tmp_path)
    assert seen.estimated_cycles is not None and seen.flash_wait_cycles is not None
    assert seen.latency_basis == CYCLES_AND_WAITS_OVER_CLOCK
    assert seen.latency_s == pytest.approx((seen.estimated_cycles + seen.flash_wait_cycles) / 120e6)
    assert seen.flash_wait_cycles >= 5 * 256 * 32 / 8  # every weight comes from flash
    assert seen.layers[0].cost == seen.layers[0].estimated_cycles + seen.layers[0].flash_wait_cycles  # type: ignore[operator]
    plain = bench(tmp_path, cc="zig", target=load_target("cortex-m4"))
    assert plain.flash_wait_cycles is None and plain.estimated_cycles == pytest.approx(seen.estimated_cycles, rel=0.01)


@pytest.mark.parametrize("timing", ["5", '{ wait_cycles = 5 }',
                                    '{ wait_cycles = 5, read_bytes = 12, code_cache_bytes = 0, constant_cache_bytes = 0, source = "x" }'])
def test_wrong_timings_are_refused(timing: str, tmp_path: Path) -> None:
    (tmp_path / "chip.toml").write_text(f'base = "cortex-m4"\ndescription = "x"\nsource = "x"\n[memory]\nflash_timing = {timing}\n')
    with pytest.raises(ConfigError, match=r"chip\.toml.*'flash_timing' in \[memory\] must"):
        load_target(str(tmp_path / "chip.toml"))
