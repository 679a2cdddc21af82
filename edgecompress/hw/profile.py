"""HardwareProfile: what was seen on a device. Written by `edgecompress profile`, read by the search; never edited by hand."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgecompress import resources
from edgecompress.errors import ConfigError
from edgecompress.hw.uncertainty import KernelFit, deviation, fit_statistics

FORMAT_VERSION = 1
SOURCES = ("measured", "simulated", "datasheet")
UNITS = ("instructions", "cycles", "seconds")  # cycles: measured, or estimated as in bench/pipeline.py
FLOORS = {"instructions": 0.0, "cycles": 0.0, "seconds": 1e-7}  # a cost's error is relative to cost + floor: clocks are read to some 10 ns


@dataclass(frozen=True)
class LayerRow:
    """One kernel call as it was seen: loop counts and what it cost in the profile's unit."""

    kernel: str
    shape: str  # for people: "conv2d 16x16x8 -> 16x16x16 k3x3 s1"
    features: Mapping[str, float]
    cost: float
    held_back: bool  # not used for the fit, only to judge it
    instructions: float | None = None  # beside estimated cycles; None where the cost is no estimate


@dataclass(frozen=True)
class FirmwareRow:
    """One linked firmware: which kernels, how many layers, what the linker placed beside the constants."""

    kernels: tuple[str, ...]
    layers: int
    code_bytes: int  # flash minus constants
    stack_bytes: int
    overhead: float  # cost of a run outside all kernels
    held_back: bool


@dataclass(frozen=True)
class FitError:
    """Error of the fit on rows that it never saw."""

    rows: int
    mean_absolute_percent: float
    worst_percent: float
    kernels: Mapping[str, float]  # mean absolute percent, a kernel


@dataclass(frozen=True)
class HardwareProfile:
    """Rows and the model fitted to them. Costs are linear in a kernel's features.

    Code is what the linker places: each function that a kernel needs once (`code_functions`, kernel -> function -> bytes), for each kernel what is
    no function (`code_kernel_bytes`: tables, padding), for each layer its call, and a base.
    """

    name: str
    target: str
    board: str
    source: str
    unit: str
    clock_hz: float
    compiler: str
    runner: str  # emulator or board firmware, with version
    kernel_version: str  # hash of the kernel sources
    tool_version: str
    date: str
    seed: int
    layer_rows: tuple[LayerRow, ...]
    firmware_rows: tuple[FirmwareRow, ...]
    coefficients: Mapping[str, Mapping[str, float]]
    overhead_per_layer: float
    overhead_base: float
    code_base_bytes: float
    code_layer_bytes: float
    code_kernel_bytes: Mapping[str, float]
    code_functions: Mapping[str, Mapping[str, int]]
    stack_bytes: int  # deepest of all firmwares
    fit_error: FitError
    calibration_s: float | None = None  # of the loop that tells an undisturbed moment (bench/timing.py); None where nothing was timed
    repeatability: float = 0.0  # relative standard deviation of a run's time from one measurement to the next, which all its layers share
    power_w: float | None = None  # mean power of the device while it computes, as somebody measured it; None: nobody has

    @property
    def floor(self) -> float:
        """Costs are fitted, and err, relative to cost + floor."""
        return FLOORS[self.unit]

    @cached_property
    def statistics(self) -> dict[str, KernelFit]:
        """How well each kernel's fit is known."""
        return fit_statistics(self.layer_rows, self.coefficients, self.floor)

    def deviation(self, calls: Sequence[tuple[str, Mapping[str, float]]]) -> float:
        """Standard deviation of the predicted cost of these kernel calls (kernel, features) together, in the profile's unit."""
        costs = [(kernel, features, self.layer_cost(kernel, features)) for kernel, features in calls]
        return deviation(costs, self.statistics, self.floor, self.repeatability)

    def surprise(self, kernel: str, features: Mapping[str, float]) -> str:
        """Why a call lies outside what the profile saw, in words; empty if it does not."""
        return self.statistics[kernel].surprise(features, self.layer_cost(kernel, features) + self.floor)

    def layer_cost(self, kernel: str, features: Mapping[str, float]) -> float:
        """Predicted cost of one kernel call. Raises ConfigError if the profile never saw the kernel."""
        if kernel not in self.coefficients:
            raise ConfigError(f"profile '{self.name}' knows nothing of kernel '{kernel}'; run 'edgecompress profile --target {self.target}'")
        weights = self.coefficients[kernel]
        return sum(weights.get(name, 0.0) * value for name, value in features.items())

    def code_bytes(self, kernels: Sequence[str], calls: int) -> float:
        """Predicted code of a model: its kernels by name, each once, and the number of calls."""
        fixed = sum(self.code_kernel_bytes.get(kernel, 0.0) for kernel in kernels)
        return self.code_base_bytes + self.code_layer_bytes * calls + fixed + linked_bytes(kernels, self.code_functions)

    @cached_property
    def _kernel_stacks(self) -> dict[str, int]:
        """Bytes of stack a kernel: the least of all firmwares that held it. That is what it needed in one shape, not always in another."""
        stacks: dict[str, int] = {}
        for row in self.firmware_rows:
            stacks |= {kernel: min(row.stack_bytes, stacks.get(kernel, row.stack_bytes)) for kernel in row.kernels}
        return stacks

    @cached_property
    def _stack_margin(self) -> int:
        """How many bytes deeper than its kernels' stacks say a firmware went, at worst: branches of a kernel and the caller's frame differ."""
        return max((row.stack_bytes - max(self._kernel_stacks[kernel] for kernel in row.kernels) for row in self.firmware_rows if row.kernels), default=0)

    def stack_of(self, kernels: Iterable[str]) -> int:
        """Predicted stack of a model in bytes: for no firmware of the profile too low. Of a kernel that the profile never saw the deepest one there was."""
        known = max((self._kernel_stacks.get(kernel, self.stack_bytes) for kernel in kernels), default=self.stack_bytes)
        return min(known + self._stack_margin, self.stack_bytes)

    def save(self, path: Path) -> None:
        """Writes JSON atomically."""
        document = {"format": "edgecompress-profile", "version": FORMAT_VERSION, **asdict(self)}
        temporary = path.with_name(path.name + ".partial")
        temporary.write_text("{\n" + ",\n".join(f'"{key}": {_item_lines(document[key])}' for key in sorted(document)) + "\n}\n")
        temporary.replace(path)


def _item_lines(value: Any) -> str:
    """JSON with one line an item of a list or dictionary: short, and a difference shows which row changed."""
    if isinstance(value, (list, tuple)) and value:
        return "[\n" + ",\n".join(json.dumps(item, sort_keys=True) for item in value) + "\n]"
    if isinstance(value, dict) and value:
        return "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value[key], sort_keys=True)}" for key in sorted(value)) + "\n}"
    return json.dumps(value)


def load_profile(name: str) -> HardwareProfile:
    """Profile by name or path. Raises ConfigError for an unknown, unreadable or inconsistent one."""
    path = resources.find("hw_profiles", name, ".json", "hardware profile")
    try:
        return _parse(path, json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"profile file '{path}' is not usable: {type(error).__name__}: {error}") from None


def _parse(path: Path, document: dict[str, Any]) -> HardwareProfile:
    if document.pop("format", None) != "edgecompress-profile" or document.pop("version", None) != FORMAT_VERSION:
        raise ConfigError(f"profile file '{path}' is not an edgecompress profile of version {FORMAT_VERSION}")
    if document["source"] not in SOURCES or document["unit"] not in UNITS:
        raise ConfigError(f"profile file '{path}': source must be one of {', '.join(SOURCES)}, unit one of {', '.join(UNITS)}")
    document["name"] = path.stem
    document["layer_rows"] = tuple(LayerRow(**row) for row in document["layer_rows"])
    document["firmware_rows"] = tuple(FirmwareRow(**{**row, "kernels": tuple(row["kernels"])}) for row in document["firmware_rows"])
    document["fit_error"] = FitError(**document["fit_error"])
    return HardwareProfile(**document)


def _relative_least_squares(matrix: np.ndarray, costs: np.ndarray, whole: np.ndarray | None = None) -> np.ndarray:
    """Non-negative coefficients that minimise the error relative to `whole` (None: `costs`); columns are scaled so that the solver is well
    conditioned."""
    from scipy.optimize import nnls

    whole = costs if whole is None else whole
    weighted = matrix / whole[:, None]
    norms = np.linalg.norm(weighted, axis=0)
    norms[norms == 0] = 1.0
    solution, _ = nnls(weighted / norms, costs / whole, maxiter=200 * matrix.shape[1])
    return np.asarray(solution / norms)


def fit_layers(rows: Sequence[LayerRow], floor: float = 0.0) -> dict[str, dict[str, float]]:
    """Coefficients a kernel from the rows that are not held back; what is minimised is the error relative to cost + floor."""
    groups: dict[str, list[LayerRow]] = defaultdict(list)
    for row in rows:
        if not row.held_back:
            groups[row.kernel].append(row)
    result = {}
    for kernel, members in sorted(groups.items()):
        names = sorted({name for row in members for name in row.features})
        matrix = np.array([[row.features.get(name, 0.0) for name in names] for row in members])
        costs = np.array([row.cost for row in members])
        solution = _relative_least_squares(matrix, costs, costs + floor)
        result[kernel] = dict(zip(names, solution.tolist(), strict=True))
    return result


def linked_bytes(kernels: Iterable[str], functions: Mapping[str, Mapping[str, int]]) -> int:
    """Size of the functions that these kernels need, those that they share once."""
    needed: dict[str, int] = {}
    for kernel in kernels:
        needed |= functions.get(kernel, {})
    return sum(needed.values())


def fit_code(rows: Sequence[FirmwareRow], functions: Mapping[str, Mapping[str, int]]) -> tuple[float, float, dict[str, float]]:
    """(base bytes, bytes a layer, bytes a kernel) of what was linked beside the kernels' functions."""
    kernels = sorted({name for row in rows for name in row.kernels})
    matrix = np.array([[1.0, row.layers, *(float(name in row.kernels) for name in kernels)] for row in rows])
    rest = np.array([float(row.code_bytes - linked_bytes(row.kernels, functions)) for row in rows])
    solution = _relative_least_squares(matrix, rest, np.array([float(row.code_bytes) for row in rows]))
    return float(solution[0]), float(solution[1]), dict(zip(kernels, solution[2:].tolist(), strict=True))


def fit_overhead(rows: Sequence[FirmwareRow], least: float = 1.0) -> tuple[float, float]:
    """(base, a layer) of the cost outside all kernels, which is taken to be `least` at least."""
    matrix = np.array([[1.0, row.layers] for row in rows])
    solution = _relative_least_squares(matrix, np.array([max(row.overhead, least) for row in rows]))
    return float(solution[0]), float(solution[1])


def judge(rows: Sequence[LayerRow], coefficients: Mapping[str, Mapping[str, float]], floor: float = 0.0) -> FitError:
    """Error on the rows held back, relative to cost + floor."""
    errors: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.held_back and row.kernel in coefficients:
            predicted = sum(coefficients[row.kernel].get(name, 0.0) * value for name, value in row.features.items())
            errors[row.kernel].append(100.0 * abs(predicted - row.cost) / (row.cost + floor))
    everything = [error for group in errors.values() for error in group]
    if not everything:
        return FitError(0, float("nan"), float("nan"), {})
    return FitError(len(everything), float(np.mean(everything)), float(np.max(everything)), {k: float(np.mean(v)) for k, v in sorted(errors.items())})
