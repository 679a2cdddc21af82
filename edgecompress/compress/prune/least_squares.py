"""Ridge least squares with the strength chosen on held-out rows: numpy in, numpy out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

STRENGTHS = tuple(10.0**power for power in range(-7, 2))  # of the ridge, relative to the mean square of the inputs
SAME = 1e-9  # share of the variance: such an error is rounding


@dataclass(frozen=True, eq=False)
class Fit:
    """weights [inputs, outputs], intercept [outputs]; errors are the residual's mean square over the answers' variance on the held-out rows."""

    weights: np.ndarray
    intercept: np.ndarray
    error_before: float
    error_after: float
    ridge: float


@dataclass(frozen=True, eq=False)
class _Centred:
    x: np.ndarray
    y: np.ndarray
    x_mean: np.ndarray
    y_mean: np.ndarray


def solve(
    inputs: np.ndarray, answers: np.ndarray, old_weights: np.ndarray, old_bias: np.ndarray | None, held_out: np.ndarray, *, to_old: bool, intercept: bool
) -> Fit | None:
    """argmin |inputs W + b - answers|^2 + ridge |W - W0|^2, with W0 the old weights (`to_old`) or 0. None where the old ones are exact.

    inputs [n, k, in], answers [n, k, out] with k rows for each of n samples, old_weights [in, out]; `held_out` bool [n] are the samples that choose
    the ridge. Without `intercept` b stays the old bias (or 0). Where no strength has less error than the old weights, these are returned, with an
    infinite ridge.
    """
    offset = np.zeros(answers.shape[2]) if old_bias is None else old_bias
    x, y = inputs.astype(np.float64), answers.astype(np.float64) - offset
    first, second = _centre(x[~held_out], y[~held_out], intercept), _flat(x[held_out], y[held_out])
    variance = max(float(np.square(second[1] - first.y_mean).mean()), 1e-30)
    before = float(np.square(second[1] - second[0] @ old_weights).mean()) / variance
    if before < SAME:
        return None
    prior = old_weights if to_old else np.zeros_like(old_weights)
    best = _best_strength(first, second, prior)
    if not best[1] / variance < before:
        return Fit(old_weights, offset, before, before, math.inf)
    whole = _centre(x, y, intercept)
    weights = _Path(whole, prior).weights(best[0])
    return Fit(weights, offset + whole.y_mean - whole.x_mean @ weights, before, best[1] / variance, best[0])


def _best_strength(first: _Centred, second: tuple[np.ndarray, np.ndarray], prior: np.ndarray) -> tuple[float, float]:
    """(strength, mean squared error on the held-out rows)."""
    path, found = _Path(first, prior), []
    for strength in STRENGTHS:
        predicted = (second[0] - first.x_mean) @ path.weights(strength) + first.y_mean
        found.append((strength, float(np.square(second[1] - predicted).mean())))
    return min(found, key=lambda pair: pair[1])


class _Path:
    """Solutions for all strengths from one eigendecomposition, of the smaller of X^T X and X X^T."""

    def __init__(self, rows: _Centred, prior: np.ndarray) -> None:
        self.prior = prior
        count, inputs = rows.x.shape
        residual = rows.y - rows.x @ prior
        self.unit = max(float(np.square(rows.x).sum()) / (count * inputs), 1e-30)
        if count >= inputs:
            values, self.vectors = np.linalg.eigh(rows.x.T @ rows.x / count)
        else:
            values, left = np.linalg.eigh(rows.x @ rows.x.T / count)
            used = values > values[-1] * 1e-12  # the others are rounding, and no row of X points their way
            values = values[used]
            self.vectors = rows.x.T @ left[:, used] / np.sqrt(values * count)
        self.values = np.maximum(values, 0.0)  # rounding makes some slightly negative
        self.projected = self.vectors.T @ (rows.x.T @ residual / count)

    def weights(self, strength: float) -> np.ndarray:
        solution: np.ndarray = self.prior + self.vectors @ (self.projected / (self.values + strength * self.unit)[:, None])
        return solution


def _flat(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x.reshape(-1, x.shape[2]), y.reshape(-1, y.shape[2])


def _centre(x: np.ndarray, y: np.ndarray, intercept: bool) -> _Centred:
    rows, answers = _flat(x, y)
    if not intercept:
        return _Centred(rows, answers, np.zeros(rows.shape[1]), np.zeros(answers.shape[1]))
    x_mean, y_mean = rows.mean(axis=0), answers.mean(axis=0)
    return _Centred(rows - x_mean, answers - y_mean, x_mean, y_mean)
