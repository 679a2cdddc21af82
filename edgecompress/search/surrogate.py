"""Learns accuracy from the candidates that were trained, and says what to expect of those that were not.

A Gaussian process over what the zero-shot search knows of a candidate. Trainings of different length are one data set: the length is an
input too, so a long training of one candidate corrects what short ones of its neighbours promised.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgecompress.search.space import Space
from edgecompress.search.study import Trial

MAIN_WEIGHT = 1.0  # of sizes, costs and proxies, each with standard deviation 1 over the candidates
LEARNING_CURVE = 0.2  # errors fall as the length of training to minus this, until observations say otherwise: what short trainings on images and speech did
KNOB_WEIGHT = 0.5  # of single knobs: there are many of them, and few trainings to tell which matter


@dataclass(frozen=True)
class Observation:
    """A training: which candidate, for what share of a full one, and the validation accuracy that it reached (0 to 1)."""

    trial: Trial
    share: float
    accuracy: float


def features(trials: Sequence[Trial], space: Space) -> np.ndarray:
    """float64 [trials, features]: logarithms of sizes and costs, proxies, the family, and the knobs that all families share."""
    main = np.array([_main_features(trial) for trial in trials])
    knobs = np.array([_knob_features(trial, space) for trial in trials])
    return np.hstack([MAIN_WEIGHT * _standardised(main), KNOB_WEIGHT * knobs])


def _main_features(trial: Trial) -> list[float]:
    score = trial.score
    sizes = [score.macs, score.parameters, score.latency_s, score.ram_bytes, score.flash_bytes, score.layers, score.macs / max(score.parameters, 1)]
    return [*(math.log(max(float(size), 1e-9)) for size in sizes), *score.proxies.values()]


def _knob_features(trial: Trial, space: Space) -> list[float]:
    choices = trial.candidate.choices
    result = [float(trial.candidate.family == family) for family in space.families]
    knobs = space.common or next(iter(space.families.values())).knobs
    for knob in knobs:
        place = knob.choices.index(choices[knob.name]) if choices.get(knob.name) in knob.choices else 0
        result.append(place / max(len(knob.choices) - 1, 1))
    return result


def _standardised(values: np.ndarray) -> np.ndarray:
    finite = np.where(np.isfinite(values), values, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a proxy that is -inf for all candidates
        low, mean, deviation = np.nanmin(finite, axis=0), np.nanmean(finite, axis=0), np.nanstd(finite, axis=0)
    filled = np.where(np.isnan(finite), np.nan_to_num(low), finite)
    return np.asarray((filled - np.nan_to_num(mean)) / np.where(np.nan_to_num(deviation) > 0, np.nan_to_num(deviation, nan=1.0), 1.0))


class Surrogate:
    """Expected accuracy of candidates after a full training. Same observations in the same order, same answers."""

    def __init__(self, trials: Sequence[Trial], space: Space, seed: int) -> None:
        """`trials` are all candidates that will ever be asked about."""
        self._rows: Mapping[str, int] = {trial.candidate.id: index for index, trial in enumerate(trials)}
        self._features = features(trials, space)
        self._seed = seed

    def predict(self, observations: Sequence[Observation], asked: Sequence[Trial], share: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """(mean, standard deviation) of the accuracy of each candidate in `asked` after a training of `share`; needs two observations."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        known = self._inputs([seen.trial for seen in observations], [seen.share for seen in observations])
        # errors, not accuracies: halving the error is as hard at 80 % as at 98 %
        errors = np.log(np.clip([1.005 - seen.accuracy for seen in observations], 5e-3, None))
        errors += LEARNING_CURVE * np.log([seen.share for seen in observations])
        kernel = ConstantKernel(1.0, (0.05, 20.0)) * RBF(4.0, (1.0, 30.0)) + WhiteKernel(0.1, (0.01, 1.0))
        process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=self._seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound is an answer too
            process.fit(known, errors)
            mean, deviation = process.predict(self._inputs(asked, [share] * len(asked)), return_std=True)
        error = np.exp(mean - LEARNING_CURVE * np.log(share))
        return 1.005 - error, error * deviation

    def _inputs(self, trials: Sequence[Trial], shares: Sequence[float]) -> np.ndarray:
        rows = self._features[[self._rows[trial.candidate.id] for trial in trials]]
        return np.hstack([rows, np.log2(np.asarray(shares, dtype=np.float64))[:, None] * 0.5])


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """Expected gain over `best` (Jones et al. 1998): (m - b) Phi(z) + s phi(z) with z = (m - b) / s."""
    from scipy.stats import norm

    spread = np.maximum(deviation, 1e-9)
    z = (mean - best) / spread
    return np.asarray((mean - best) * norm.cdf(z) + spread * norm.pdf(z))
