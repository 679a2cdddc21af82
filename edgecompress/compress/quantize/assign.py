"""Bits for every layer: the assignment of least damage within flash and latency, by an integer programme that is solved exactly (HiGHS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgecompress.compress.quantize.sensitivity import Sensitivity
from edgecompress.errors import BudgetError, ConfigError
from edgecompress.units import format_bytes, format_duration

TIE_BREAK = 1e-9  # of the largest damage, per share of the flash: of equals the smaller one


@dataclass(frozen=True)
class LayerCost:
    """One layer at one width: bytes of constants, seconds a run, the kernel that computes it."""

    constant_bytes: int
    seconds: float
    kernel: str


@dataclass(frozen=True)
class BitCosts:
    """What weight bits cost on a device. `layers`: layer -> bits it can have -> cost. Code counts once a model: `kernel_bytes` of each kernel itself,
    `functions` (kernel -> function -> bytes) shared between kernels. `fixed_*` is everything that no choice changes, code of other layers included."""

    layers: Mapping[str, Mapping[int, LayerCost]]
    kernel_bytes: Mapping[str, float]
    functions: Mapping[str, Mapping[str, float]]
    fixed_bytes: float
    fixed_seconds: float

    def flash_bytes(self, bits: Mapping[str, int]) -> float:
        """Of the whole model with these bits."""
        chosen = [row[bits[name]] for name, row in self.layers.items()]
        kernels = {cost.kernel for cost in chosen}
        functions = {name: size for kernel in kernels for name, size in self.functions.get(kernel, {}).items()}
        return (self.fixed_bytes + sum(cost.constant_bytes for cost in chosen) + sum(self.kernel_bytes.get(kernel, 0.0) for kernel in kernels)
                + sum(functions.values()))

    def seconds(self, bits: Mapping[str, int]) -> float:
        """Of one run with these bits."""
        return self.fixed_seconds + sum(row[bits[name]].seconds for name, row in self.layers.items())


@dataclass(frozen=True)
class BitLimits:
    """What the whole model may cost; None: no limit."""

    flash_bytes: float | None = None
    latency_s: float | None = None


def assign_bits(sensitivity: Sensitivity, costs: BitCosts, limits: BitLimits, excluded: Sequence[Mapping[str, int]] = ()) -> dict[str, int]:
    """Layer -> bits with the least summed damage of all assignments within the limits that are not `excluded`; of equals the smaller one.

    Raises BudgetError saying the least flash and latency possible when there is none; ConfigError if the tables name different layers.
    """
    if sensitivity.layers.keys() != costs.layers.keys():
        different = sorted(sensitivity.layers.keys() ^ costs.layers.keys())
        raise ConfigError(f"sensitivities and costs are of different models: only one of them has layer '{different[0]}'")
    programme = _Programme(sensitivity, costs)
    found = programme.solve(programme.damage, limits, excluded)
    if found is None:
        raise _infeasible(programme, limits, bool(excluded))
    return found


def least_flash(costs: BitCosts) -> float:
    """Bytes below which no assignment gets."""
    indifferent = Sensitivity({name: dict.fromkeys(row, 0.0) for name, row in costs.layers.items()}, "")
    programme = _Programme(indifferent, costs)
    smallest = programme.solve(programme.flash / max(float(programme.flash.max()), 1.0), BitLimits())
    assert smallest is not None, "without limits every assignment is allowed"
    return costs.flash_bytes(smallest)


class _Programme:
    """Variables: one 0/1 a layer and width, then one a kernel and one a function of code, which the rows below force to 1 where they are used."""

    def __init__(self, sensitivity: Sensitivity, costs: BitCosts) -> None:
        self.costs = costs
        self.options = [(name, bits) for name, row in costs.layers.items() for bits in row if bits in sensitivity.layers[name]]
        missing = costs.layers.keys() - {name for name, _ in self.options}
        if missing:
            raise ConfigError(f"layer '{sorted(missing)[0]}' has no width that both the sensitivities and the costs know")
        chosen = [costs.layers[name][bits] for name, bits in self.options]
        self.kernels = sorted({cost.kernel for cost in chosen})
        self.functions = sorted({function for kernel in self.kernels for function in costs.functions.get(kernel, {})})
        sizes = {name: size for kernel in self.kernels for name, size in costs.functions.get(kernel, {}).items()}
        self.flash = np.array([*(cost.constant_bytes for cost in chosen), *(costs.kernel_bytes.get(kernel, 0.0) for kernel in self.kernels),
                               *(sizes[name] for name in self.functions)], dtype=np.float64)
        none = [0.0] * (len(self.kernels) + len(self.functions))
        self.latency = np.array([*(cost.seconds for cost in chosen), *none])
        damage = np.array([*(sensitivity.layers[name][bits] for name, bits in self.options), *none])
        largest = float(damage.max(initial=0.0)) or 1.0
        self.damage = damage / largest + TIE_BREAK * self.flash / max(float(self.flash.sum()), 1.0)

    def solve(self, objective: np.ndarray, limits: BitLimits, excluded: Sequence[Mapping[str, int]] = ()) -> dict[str, int] | None:
        """The best assignment, None if there is none."""
        from scipy.optimize import Bounds, LinearConstraint, milp

        rows, lows, highs = self._structure()
        for assignment in excluded:
            rows.append(np.array([*(float(assignment.get(name) == bits) for name, bits in self.options), *self._zeros()]))
            lows.append(-np.inf)
            highs.append(len(self.costs.layers) - 1)
        for values, fixed, limit in ((self.flash, self.costs.fixed_bytes, limits.flash_bytes), (self.latency, self.costs.fixed_seconds, limits.latency_s)):
            if limit is not None:
                unit = max(abs(limit), 1e-30)  # rows of size about 1: the solver's tolerances are absolute
                rows.append(values / unit)
                lows.append(-np.inf)
                highs.append((limit - fixed) / unit)
        whole = np.array([*np.ones(len(self.options)), *self._zeros()])
        result = milp(objective, constraints=LinearConstraint(np.array(rows), np.array(lows), np.array(highs)), integrality=whole,
                      bounds=Bounds(0, 1), options={"mip_rel_gap": 0.0})
        if result.x is None:
            return None
        return {name: bits for (name, bits), value in zip(self.options, result.x, strict=False) if value > 0.5}

    def _zeros(self) -> np.ndarray:
        return np.zeros(len(self.kernels) + len(self.functions))

    def _structure(self) -> tuple[list[np.ndarray], list[float], list[float]]:
        """One width a layer; a layer's kernel and the kernel's functions are in the model."""
        size, rows, lows, highs = len(self.flash), list[np.ndarray](), list[float](), list[float]()
        for layer in self.costs.layers:
            rows.append(np.array([*(float(name == layer) for name, _ in self.options), *self._zeros()]))
            lows.append(1.0)
            highs.append(1.0)
        for option, (name, bits) in enumerate(self.options):
            kernel = self.costs.layers[name][bits].kernel
            needed = [len(self.options) + self.kernels.index(kernel)]
            needed += [len(self.options) + len(self.kernels) + self.functions.index(function) for function in self.costs.functions.get(kernel, {})]
            for code in needed:
                row = np.zeros(size)
                row[option], row[code] = 1.0, -1.0
                rows.append(row)
                lows.append(-np.inf)
                highs.append(0.0)
        return rows, lows, highs


def _infeasible(programme: _Programme, limits: BitLimits, excluded: bool) -> BudgetError:
    if excluded:
        return BudgetError("no other assignment of bits keeps the limits")
    costs = programme.costs
    fastest = {name: min(row, key=lambda bits: row[bits].seconds) for name, row in costs.layers.items()}
    flash, seconds = least_flash(costs), costs.seconds(fastest)
    details = [f"least flash of any assignment: {format_bytes(int(np.ceil(flash)))}, least latency: {format_duration(seconds)}"]
    asked = [text for text, limit in ((f"{format_bytes(int(limits.flash_bytes or 0))} of flash", limits.flash_bytes),
                                      (f"{format_duration(limits.latency_s or 0.0)}", limits.latency_s)) if limit is not None]
    within = programme.solve(programme.flash, BitLimits(latency_s=limits.latency_s)) if limits.latency_s is not None else None
    if within is not None and limits.flash_bytes is not None:
        details.append(f"least flash within that latency: {format_bytes(int(np.ceil(costs.flash_bytes(within))))}")
    return BudgetError(f"no assignment of weight bits keeps {' and '.join(asked)}", *details, "try: larger limits, or a smaller model")
