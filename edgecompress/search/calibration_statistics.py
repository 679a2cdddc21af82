"""Which proxies order networks as their trained accuracy does: rank correlations, how sure they are, and who is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import kendalltau

BASELINE = "macs"
ALIKE = 0.9  # two proxies whose rankings agree more than that are one
RESAMPLES = 2000


@dataclass(frozen=True)
class Verdict:
    """What a calibration found of one proxy. Correlations are Kendall's tau-b, None where nothing can be ranked.

    `low`, `high`: 95 % bootstrap interval of `tau`; `beats`: share of the resamples in which it is above that of MACs. `tau_depth`: with the number
    of layers; `tau_family`: with accuracy, over pairs of networks of one family only. `undefined`: networks that it gives no value.
    """

    name: str
    tau: float | None
    low: float | None
    high: float | None
    p_value: float | None
    beats: float | None
    tau_depth: float | None
    tau_family: float | None
    undefined: int
    kept: bool
    reason: str


def judge(proxies: Mapping[str, Sequence[float]], accuracies: Sequence[float], depths: Sequence[int], families: Sequence[str], keep: int,
          seed: int) -> tuple[Verdict, ...]:
    """A verdict for each proxy, best first; `proxies` has the baseline "macs". -inf ranks below every number.

    Kept are those whose tau is positive and above that of MACs, the best first, at most `keep`, without those whose ranking of these networks is
    nearly that of a better one; MACs alone when there are none.
    """
    accuracy, depth = np.asarray(accuracies, dtype=np.float64), np.asarray(depths, dtype=np.float64)
    same_family = np.equal.outer(np.asarray(families), np.asarray(families))
    resamples = _resamples(len(accuracy), seed)
    drawn = {name: _tau_of_resamples(np.asarray(values), accuracy, resamples) for name, values in proxies.items()}
    found = [_measured(name, np.asarray(values), accuracy, depth, same_family, drawn[name], drawn[BASELINE]) for name, values in proxies.items()]
    ordered = sorted(found, key=lambda v: (-_or_lowest(v.tau), v.name != BASELINE, v.name))
    return _decide(ordered, proxies, keep)


def tau(first: np.ndarray, second: np.ndarray, pairs: np.ndarray | None = None) -> float | None:
    """Kendall's tau-b over all pairs, or those where the boolean matrix `pairs` holds; None if one side ties everywhere."""
    mask = np.ones((len(first), len(first))) if pairs is None else pairs.astype(np.float64)
    a, b = _signs(first), _signs(second)
    scale = math.sqrt(float((mask * np.abs(a)).sum()) * float((mask * np.abs(b)).sum()))
    return float((mask * a * b).sum()) / scale if scale > 0 else None


def _signs(values: np.ndarray) -> np.ndarray:
    ranks = np.unique(values, return_inverse=True)[1].astype(np.float64)  # -inf minus -inf has no sign, ranks have
    return np.sign(ranks[:, None] - ranks)


def _resamples(count: int, seed: int) -> np.ndarray:
    """[resamples, count]: how often each network was drawn."""
    drawn = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    return np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.float64)


def _tau_of_resamples(values: np.ndarray, accuracy: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """tau-b of each resample; nan where one side ties everywhere."""
    a, b = _signs(values), _signs(accuracy)

    def weighted(matrix: np.ndarray) -> np.ndarray:
        return np.asarray(((drawn @ matrix) * drawn).sum(axis=1))

    scale = np.sqrt(weighted(np.abs(a)) * weighted(np.abs(b)))
    taus = np.full(len(drawn), np.nan)
    np.divide(weighted(a * b), scale, out=taus, where=scale > 0)
    return taus


def _measured(name: str, values: np.ndarray, accuracy: np.ndarray, depth: np.ndarray, same_family: np.ndarray, drawn: np.ndarray,
              baseline: np.ndarray) -> Verdict:
    correlation = tau(values, accuracy)
    undefined = int((~np.isfinite(values)).sum())
    known = drawn[np.isfinite(drawn)]
    if correlation is None or not len(known):
        return Verdict(name, None, None, None, None, None, tau(values, depth), None, undefined, False, "")
    both = np.isfinite(drawn) & np.isfinite(baseline)
    beats = float((drawn[both] > baseline[both]).mean()) if both.any() else None
    low, high = (float(edge) for edge in np.quantile(known, (0.025, 0.975)))
    p_value = float(kendalltau(np.unique(values, return_inverse=True)[1], accuracy).pvalue)
    return Verdict(name, correlation, low, high, p_value, beats, tau(values, depth), tau(values, accuracy, same_family), undefined, False, "")


def _or_lowest(value: float | None) -> float:
    return -math.inf if value is None else value


def _decide(ordered: Sequence[Verdict], proxies: Mapping[str, Sequence[float]], keep: int) -> tuple[Verdict, ...]:
    bar = max(0.0, next(_or_lowest(v.tau) for v in ordered if v.name == BASELINE))
    kept: list[str] = []
    result = []
    for verdict in ordered:
        reason = _reason_against(verdict, bar, kept, proxies, keep)
        if not reason:
            kept.append(verdict.name)
        result.append(replace(verdict, kept=not reason, reason=reason or "kept"))
    if not kept:
        result = [replace(v, kept=True, reason="baseline, kept as no proxy beats it") if v.name == BASELINE else v for v in result]
    return tuple(result)


def _reason_against(verdict: Verdict, bar: float, kept: Sequence[str], proxies: Mapping[str, Sequence[float]], keep: int) -> str:
    if verdict.name == BASELINE:
        return "baseline"
    if verdict.tau is None:
        return "ranks nothing"
    if verdict.tau <= bar:
        return "not above MACs" if bar > 0 else "not above 0"
    for other in kept:
        agreement = tau(np.asarray(proxies[verdict.name]), np.asarray(proxies[other]))
        if agreement is not None and abs(agreement) > ALIKE:
            return f"ranks like {other}"
    return f"beyond the best {keep}" if len(kept) >= keep else ""
