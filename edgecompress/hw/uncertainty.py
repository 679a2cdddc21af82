"""How far a predicted latency may be off: standard deviations from the rows that a profile was fitted to.

Three things make an error. A kernel's coefficients are only known as well as its rows tell them: the covariance of weighted least squares, and
since all calls of a kernel in a model share its coefficients, their loop counts are added up before it is applied. What the loop counts do not
explain is the scatter of a kernel: the root mean square of the errors that rows make when the fit has not seen them. Calls of one kernel in one
model have like shapes and err alike, so their scatter is correlated. Different kernels err independently.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgecompress.hw.profile import LayerRow

LIKENESS = 0.5  # correlation of the scatter of two calls of one kernel in one model
BEYOND = 2.0  # a loop count over the largest seen, from which on a prediction is an extrapolation
UNSURE = 0.25  # likewise for the part of a call's cost that the uncertainty of the coefficients makes
COVERAGE = 0.9  # of `interval`
DEVIATIONS = 1.645  # standard deviations to each side that hold COVERAGE of a normal distribution


@dataclass(frozen=True)
class KernelFit:
    """What the rows of one kernel say of the fit to them. Relative errors are relative to cost + floor."""

    names: tuple[str, ...]  # features with a coefficient above zero
    inverse: np.ndarray  # [k, k] inverse of the normal matrix of the relative fit
    variance: float  # of the relative residuals
    scatter: float  # relative
    largest: Mapping[str, float]  # of each feature that a row had
    rows: int

    def vector(self, features: Mapping[str, float]) -> np.ndarray:
        """[k]."""
        return np.array([features.get(name, 0.0) for name in self.names])

    def surprise(self, features: Mapping[str, float], whole: float) -> str:
        """Why a call of predicted cost + floor `whole` is unlike the rows, in words; empty if it is like them."""
        for name, value in sorted(features.items()):
            if value and name not in self.largest:
                return f"no row had '{name}'"
            if value > BEYOND * self.largest.get(name, math.inf):
                return f"'{name}' is {value:g}, the rows end at {self.largest[name]:g}"
        row = self.vector(features) / whole
        if math.sqrt(self.variance * float(row @ self.inverse @ row)) > UNSURE:
            return "its loop counts stand in another proportion than those of the rows"
        return ""


def fit_statistics(rows: Iterable[LayerRow], coefficients: Mapping[str, Mapping[str, float]], floor: float) -> dict[str, KernelFit]:
    """By kernel, from the rows that `coefficients` were fitted to and those held back."""
    groups: dict[str, list[LayerRow]] = defaultdict(list)
    for row in rows:
        if row.kernel in coefficients:
            groups[row.kernel].append(row)
    return {kernel: _statistics(members, coefficients[kernel], floor) for kernel, members in groups.items()}


def _statistics(rows: Sequence[LayerRow], weights: Mapping[str, float], floor: float) -> KernelFit:
    names = tuple(sorted(name for name, weight in weights.items() if weight > 0))
    whole = np.array([row.cost + floor for row in rows])
    matrix = np.array([[row.features.get(name, 0.0) for name in names] for row in rows]).reshape(len(rows), len(names)) / whole[:, None]
    errors = np.array([row.cost for row in rows]) / whole - matrix @ np.array([weights[name] for name in names])
    fitted = np.array([not row.held_back for row in rows])
    inverse = np.linalg.pinv(matrix[fitted].T @ matrix[fitted], hermitian=True)
    leverage = np.einsum("ij,jk,ik->i", matrix, inverse, matrix)
    free = max(int(fitted.sum()) - len(names), 1)
    variance = float((errors[fitted] ** 2).sum() / free)
    # what a row's error would be had it not been fitted to; a row that nearly determines a coefficient by itself says little
    unseen = np.where(fitted, errors / np.maximum(1.0 - leverage, 0.2), errors)
    largest: dict[str, float] = {}
    for row in rows:
        for name, value in row.features.items():
            largest[name] = max(value, largest.get(name, 0.0))
    return KernelFit(names, inverse, variance, float(np.sqrt((unseen ** 2).mean())), largest, len(rows))


def deviation(calls: Sequence[tuple[str, Mapping[str, float], float]], statistics: Mapping[str, KernelFit], floor: float, common: float) -> float:
    """Standard deviation of the summed cost of calls (kernel, features, predicted cost); `common` is the relative error that all costs share."""
    groups: dict[str, list[tuple[Mapping[str, float], float]]] = defaultdict(list)
    for kernel, features, cost in calls:
        groups[kernel].append((features, cost))
    total = (common * sum(cost for _, _, cost in calls)) ** 2
    for kernel, members in groups.items():
        fit = statistics[kernel]
        vector = np.sum([fit.vector(features) for features, _ in members], axis=0)
        whole = np.array([cost + floor for _, cost in members])
        alike = LIKENESS * whole.sum() ** 2 + (1.0 - LIKENESS) * float((whole ** 2).sum())
        total += fit.variance * float(vector @ fit.inverse @ vector) + fit.scatter ** 2 * alike
    return math.sqrt(total)
