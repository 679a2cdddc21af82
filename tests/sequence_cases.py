"""Cases of the ops that remember and of those that re-order: arguments of op_cases.case, by kind.

The samples of a case with a state are consecutive steps.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from edgecompress.ir.op import Op
from edgecompress.ir.ops.delay_line import DelayLine
from edgecompress.ir.ops.lstm import Lstm
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.ops.svdf import Svdf
from edgecompress.ir.ops.transpose import Transpose
from edgecompress.ir.requant import Requant

Spec = tuple[str, Op, list[Any], tuple[float, int]]
PLAIN = (0.05, 3)


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def moved(name: str, op: Op, shape: tuple[int, ...]) -> Spec:
    """An op that keeps scale and zero point."""
    return name, op, [(shape, PLAIN)], PLAIN


def delay_line(name: str, kept: int, shape: tuple[int, ...], first: int | None = None) -> Spec:
    """`first`: what the state begins with, None for random values."""
    size = (kept, *shape[1:])
    initial = np.full(size, first) if first is not None else _generator(name).integers(-128, 128, size)
    return moved(name, DelayLine(initial), shape)


def lstm(name: str, steps: int, inputs: int, units: int, source: tuple[float, int] = (0.02, -7), hidden: tuple[float, int] = (1 / 128, 0),
         cell_power: int = -12, cell_clip: int = 0, weight_scale: float = 0.01) -> Spec:
    """Gates spread over what sigmoid and tanh do not saturate."""
    generator = _generator(name)
    scales = weight_scale * generator.uniform(0.5, 1.5, (2, 4))
    op = Lstm(generator.integers(-127, 128, (4, units, inputs)), generator.integers(-127, 128, (4, units, units)),
              generator.integers(-8000, 8001, (4, units)), Requant.from_real(source[0] * scales[0] * 4096 / inputs**0.5),
              Requant.from_real(hidden[0] * scales[1] * 4096 / units**0.5), Requant.from_real(2.0**-30 / hidden[0]), source[1], hidden[1],
              cell_power, cell_clip)
    return name, op, [((steps, inputs), source)], hidden


def svdf(name: str, inputs: int, units: int, rank: int, memory: int, source: tuple[float, int] = (0.05, 3), output: tuple[float, int] = (0.1, -5),
         state_bits: int = 16, time_limit: int = 127, factor: float = 1.0) -> Spec:
    """`factor` scales both rescaling factors."""
    generator = _generator(name)
    filters, limit = units * rank, 2 ** (state_bits - 1)
    feature = factor * limit / (127 * 127 * inputs**0.5)
    out = factor * 200 / (limit * time_limit * (rank * memory) ** 0.5)
    op = Svdf(generator.integers(-127, 128, (filters, inputs)), generator.integers(-time_limit, time_limit + 1, (filters, memory)),
              generator.integers(-3000, 3001, units), Requant.from_real(feature), Requant.from_real(out), source[1], output[1],
              rank, state_bits)
    return name, op, [((inputs,), source)], output


SEQUENCE_CASES: dict[str, list[Spec]] = {
    "slice": [
        moved("channels", Slice((0, 0, 2), (4, 5, 3), (1, 1, 1)), (4, 5, 8)),
        moved("rows", Slice((1, 0, 0), (2, 5, 3), (1, 1, 1)), (4, 5, 3)),
        moved("window", Slice((1, 2, 1), (2, 3, 2), (1, 1, 1)), (4, 7, 4)),
        moved("strided", Slice((0, 1, 0), (3, 3, 2), (2, 2, 3)), (6, 7, 5)),
        moved("backwards", Slice((5, 0, 3), (3, 4, 4), (-2, 1, -1)), (6, 4, 4)),
        moved("one_element", Slice((2, 3), (1, 1), (1, -1)), (4, 4)),
        moved("whole", Slice((0, 0), (3, 4), (1, 1)), (3, 4)),
        moved("rank6", Slice((0, 1, 0, 1, 0, 1), (2, 1, 2, 1, 2, 1), (1, 1, 2, 1, 1, 1)), (2, 2, 3, 2, 3, 2)),
        moved("rank6_all_strided", Slice((0, 0, 0, 0, 0, 0), (2, 2, 2, 2, 2, 2), (2, 2, 2, 2, 2, 2)), (3, 3, 3, 3, 3, 3)),
        moved("flat", Slice((5,), (7,), (1,)), (16,)),
    ],
    "transpose": [
        moved("matrix", Transpose((1, 0)), (5, 7)),
        moved("planes", Transpose((2, 0, 1)), (4, 5, 3)),
        moved("pixels", Transpose((1, 2, 0)), (3, 4, 5)),
        moved("swap_rows", Transpose((1, 0, 2)), (4, 3, 6)),
        moved("rank4", Transpose((3, 1, 0, 2)), (2, 3, 4, 5)),
        moved("rank6", Transpose((5, 4, 3, 2, 1, 0)), (2, 3, 2, 3, 2, 3)),
        moved("identity", Transpose((0, 1, 2)), (2, 3, 4)),
        moved("ones", Transpose((2, 1, 0)), (1, 6, 1)),
    ],
    "delay_line": [
        delay_line("more_kept_than_new", 5, (1, 1, 6), 3),
        delay_line("more_new_than_kept", 2, (3, 1, 5), -128),
        delay_line("equal", 3, (3, 4), 0),
        delay_line("random_start", 4, (2, 3, 3)),
        delay_line("numbers", 7, (3, 1), 127),
        delay_line("one", 1, (1, 1)),
    ],
    "lstm": [
        lstm("plain", 4, 8, 8),
        lstm("one_step", 1, 13, 12),
        lstm("odd", 3, 5, 7, hidden=(0.0074, -4)),
        lstm("one_unit", 2, 3, 1),
        lstm("one_input", 2, 1, 4),
        lstm("wide_cell", 3, 8, 6, cell_power=-9, cell_clip=5120),
        lstm("fine_cell", 3, 8, 6, cell_power=-15),
        lstm("whole_cell", 3, 6, 5, cell_power=0, cell_clip=3),
        lstm("clipped", 4, 6, 9, cell_clip=300),
        lstm("saturated", 3, 20, 10, weight_scale=2.0),
        lstm("quiet", 3, 8, 8, weight_scale=0.0005),
        lstm("lowest_zero_points", 3, 8, 8, source=(0.02, -128), hidden=(1 / 256, -128)),
        lstm("highest_zero_points", 3, 8, 8, source=(0.02, 127), hidden=(1 / 256, 127)),
    ],
    "svdf": [
        svdf("plain", 16, 8, 1, 4),
        svdf("rank2", 10, 6, 2, 5),
        svdf("rank3_odd", 7, 3, 3, 3),
        svdf("one_of_all", 1, 1, 1, 1),
        svdf("long_memory", 9, 5, 1, 8),
        svdf("wide_time_weights", 12, 4, 2, 3, time_limit=32767),
        svdf("int8_state", 16, 8, 2, 4, state_bits=8),
        svdf("int8_state_odd", 11, 5, 1, 3, state_bits=8),
        svdf("int8_state_saturated", 11, 6, 1, 3, state_bits=8, factor=3.0),
        svdf("extreme_zero_points", 8, 4, 1, 3, source=(0.05, -128), output=(0.1, 127)),
    ],
}
