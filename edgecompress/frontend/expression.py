"""Functions of one number as a list of steps, so that chains and diamonds of element-wise operations become one 256-entry table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.ops.table import UNARY, Unary, round_half_away

# (operation, operands...): an int operand is a value, 0 the argument and i the result of step i; a float is a constant
Step = tuple[Any, ...]
Steps = tuple[Step, ...]
MAX_STEPS = 64
FUNCTIONS: dict[str, Unary] = {  # what a step may call: the named functions and the elementary ones that models write them with
    **UNARY,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "reciprocal": np.reciprocal,
    "erf": lambda x: np.array([math.erf(value) for value in x.ravel()]).reshape(x.shape),
    "sin": np.sin,
    "cos": np.cos,
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "mul": np.multiply,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "power": np.power,
}


def check_steps(steps: Sequence[Any]) -> None:
    """Raises ModelError unless every step is a known operation on earlier values and constants."""
    if not 1 <= len(steps) <= MAX_STEPS:
        raise ModelError(f"an expression has 1 to {MAX_STEPS} steps, got {len(steps)}")
    for index, (operation, *operands) in enumerate(steps):
        count = 2 if operation in BINARY else 1 if operation in FUNCTIONS else 0
        if count == 0 or len(operands) != count or not all(isinstance(o, float) or 0 <= o <= index for o in operands):
            raise ModelError(f"step {index + 1} of an expression, {(operation, *operands)}, is not an operation on earlier values")


def evaluate(steps: Sequence[Any], x: Any, unary: Mapping[str, Callable[[Any], Any]] = FUNCTIONS,
             binary: Mapping[str, Callable[[Any, Any], Any]] = BINARY) -> Any:
    """Value of the last step for argument x: numpy float64 by default, any other kind of array with its own functions."""
    values = [x]
    for operation, *operands in steps:
        arguments = [operand if isinstance(operand, float) else values[operand] for operand in operands]
        values.append((binary if operation in BINARY else unary)[operation](*arguments))
    return values[-1]


def evaluate_float64(steps: Sequence[Any], x: np.ndarray) -> np.ndarray:
    """`evaluate` in float64 without warnings; outside the function's domain the result is NaN or infinite."""
    with np.errstate(all="ignore"):
        result: np.ndarray = np.broadcast_to(np.asarray(evaluate(steps, x.astype(np.float64)), dtype=np.float64), x.shape)
    return result


def expression_table(steps: Sequence[Any], source: tuple[float, int], output: tuple[float, int]) -> np.ndarray:
    """int8 [256] entries of ir.ops.table.Table between two (scale, zero point); codes outside the function's domain give real 0."""
    (scale, zero_point), (output_scale, output_zero_point) = source, output
    real = (np.arange(-128, 128, dtype=np.float64) - zero_point) * scale
    with np.errstate(over="ignore"):
        codes = round_half_away(evaluate_float64(steps, real) / output_scale) + output_zero_point
    return np.clip(np.where(np.isnan(codes), output_zero_point, codes), -128, 127).astype(np.int8)


def describe(steps: Sequence[Any]) -> str:
    """A short name for people: the operations in order."""
    return "-".join(str(operation) for operation, *_ in steps)[:60]


def joined(inner: Sequence[Any], outer: Sequence[Any]) -> Steps:
    """Steps of outer(inner(x))."""
    last = len(inner)
    moved = tuple((operation, *(o if isinstance(o, float) else o + last for o in operands)) for operation, *operands in outer)
    return (*(tuple(step) for step in inner), *moved)


def clamp_steps(low: float, high: float, source: int = 0, first: int = 1) -> Steps:
    """Steps for clamp(value `source`), numbered from `first`; none when both bounds are infinite."""
    steps: list[Step] = []
    for operation, bound in (("maximum", low), ("minimum", high)):
        if np.isfinite(bound):
            steps.append((operation, source, float(bound)))
            source = first + len(steps) - 1
    return tuple(steps)


_PROBE = np.concatenate([np.linspace(-12.0, 12.0, 97), [-60.0, -30.0, 30.0, 60.0]])


@lru_cache(maxsize=1)
def _probed() -> tuple[tuple[str, ...], np.ndarray]:
    """Names in UNARY and [names, probes] values."""
    with np.errstate(all="ignore"):
        return tuple(UNARY), np.array([function(_PROBE) for function in UNARY.values()])


def known_name(steps: Sequence[Any]) -> str | None:
    """The name in UNARY of the function that the steps compute, found by comparing values; None if there is none.

    Names matter because some have a prescribed output scale (sigmoid), and people read them in reports.
    """
    if len(steps) == 1 and steps[0][0] in UNARY and steps[0][1:] == (0,):
        return str(steps[0][0])
    values, (names, table) = evaluate_float64(steps, _PROBE), _probed()
    with np.errstate(invalid="ignore"):  # NaN compares as different
        same = (np.abs(table - values) <= 1e-6 * (1.0 + np.abs(table))).all(axis=1)
    return names[int(same.argmax())] if same.any() else None
