"""Pareto fronts, exact hypervolume and the choice of k candidates that cover the most of it. Every objective is minimised here."""

from __future__ import annotations

import numpy as np

from edgecompress.errors import ConfigError

REFERENCE = 1.1  # per normalised objective: a little beyond the worst, so that extreme points count too


def _points(points: np.ndarray) -> np.ndarray:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] < 1:
        raise ConfigError(f"objectives must be an array [points, objectives], got shape {array.shape}")
    if np.isnan(array).any():
        raise ConfigError(f"objectives of point {int(np.isnan(array).any(axis=1).argmax())} are not numbers; leave failed candidates out")
    return array


def non_dominated(points: np.ndarray) -> list[int]:
    """Indices, rising, of the points [n, objectives] that no other point beats; of equal points only the first. Raises ConfigError for NaN."""
    array = _points(points)
    kept = []
    for index, point in enumerate(array):
        no_worse = (array <= point).all(axis=1)
        better = no_worse & (array < point).any(axis=1)
        if not better.any() and not no_worse[:index].any():
            kept.append(index)
    return kept


def normalise(points: np.ndarray) -> np.ndarray:
    """Each objective to [0, 1], 0 being the best; an objective in which all points are equal becomes 0. Infinities count as the worst or best."""
    array = _points(points).copy()
    for column in array.T:
        finite = column[np.isfinite(column)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        clipped = np.clip(column, low, high)
        scaled = (clipped - low) / (high - low) if high > low else np.zeros_like(column)
        column[:] = np.where(np.isposinf(column), 1.0, np.where(np.isneginf(column), 0.0, scaled))
    return array


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Exact volume that the points [n, objectives] dominate up to `reference` [objectives]; points beyond it add nothing.

    Dimensions are peeled off one by one, so the cost grows as n^(objectives - 1): meant for up to about 4 objectives and some hundred points.
    """
    array, corner = _points(points), np.asarray(reference, dtype=np.float64)
    if corner.shape != (array.shape[1],):
        raise ConfigError(f"the reference point has shape {corner.shape}, the objectives need ({array.shape[1]},)")
    return _volume(array[(array < corner).all(axis=1)], corner)


def _volume(points: np.ndarray, reference: np.ndarray) -> float:
    if len(points) == 0:
        return 0.0
    if points.shape[1] == 1:
        return float(reference[0] - points.min())
    if points.shape[1] == 2:
        return _area(points, reference)
    ordered = points[np.argsort(points[:, -1], kind="stable")]
    bounds = np.append(ordered[:, -1], reference[-1])
    front = np.empty((0, points.shape[1] - 1))
    total = 0.0
    for index, point in enumerate(ordered):
        front = _insert(front, point[:-1])
        depth = float(bounds[index + 1] - bounds[index])
        if depth > 0:
            total += depth * _volume(front, reference[:-1])
    return total


def _area(points: np.ndarray, reference: np.ndarray) -> float:
    ordered = points[np.lexsort((points[:, 1], points[:, 0]))]
    lowest = np.minimum.accumulate(np.append(reference[1], ordered[:, 1]))
    return float(((reference[0] - ordered[:, 0]) * (lowest[:-1] - lowest[1:])).sum())


def _insert(front: np.ndarray, point: np.ndarray) -> np.ndarray:
    """The front with `point`, without what it dominates; unchanged when the point is dominated."""
    if len(front) and (front <= point).all(axis=1).any():
        return front
    return np.vstack([front[~(point <= front).all(axis=1)], point])


def select(points: np.ndarray, count: int) -> list[int]:
    """Indices of at most `count` points [n, objectives], chosen greedily by the hypervolume each adds to those chosen before.

    Objectives are normalised over the given points, the reference is 1.1 in each. The greedy choice covers at least 1 - 1/e of what the best
    subset covers. Ties go to the lower index. Stops early when no point adds anything: dominated and repeated points are never chosen.
    """
    if count < 1:
        raise ConfigError(f"{count} candidates were asked for; choose at least 1")
    if len(points) == 0:
        return []
    front = non_dominated(points)
    scaled = normalise(points)
    reference = np.full(scaled.shape[1], REFERENCE)
    chosen: list[int] = []
    covered = 0.0
    while len(chosen) < min(count, len(front)):
        rest = [index for index in front if index not in chosen]
        gains = np.array([hypervolume(scaled[[*chosen, index]], reference) - covered for index in rest])
        best = int(gains.argmax())
        # two orders of summation of equal gains differ in their last bits: the lower index must win on every machine
        best = int(np.flatnonzero(gains >= gains[best] - 1e-12)[0])
        if gains[best] <= 0:
            break
        chosen.append(rest[best])
        covered += float(gains[best])
    return chosen
