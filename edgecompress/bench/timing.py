"""Wall-clock times of a machine that others use too: which readings to trust, and what they say.

A reading is disturbed when the system took the processor away while it was made, or when the machine was slow at that moment (a neighbour on
the same core, a lower clock). The second is told by a calibration loop, always the same work, which runs before and after each reading: of all
readings those count whose two calibrations were near the fastest. What is chosen is the moment, not the reading, so the choice does not favour
short ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgecompress.errors import DeviceError

HEAD = 3  # values before the times of a record: calibration before and after, how often the processor was taken away
QUIET = 1.10  # calibration of an undisturbed moment, over the fastest one
ENOUGH = 8  # undisturbed records to rely on; of fewer, the best quarter of all is taken


@dataclass(frozen=True)
class Schedule:
    """How often what is timed: `records` readings in a row of each of the first `frames` frames, and that `rounds` times over.

    `patience_s` are spent at most on waiting for moments in which nobody disturbs; `fastest_s` is the calibration loop in such a moment, 0 where
    the program finds out itself."""

    rounds: int
    records: int
    frames: int = 1
    patience_s: int = 5
    fastest_s: float = 0.0


@dataclass(frozen=True)
class Records:
    """Readings of one frame: seconds [n, k] (a run of the model, or its k layers), seconds [n] of the calibration around them (the slower of
    two), and which [n] were interrupted."""

    seconds: np.ndarray
    calibration: np.ndarray
    interrupted: np.ndarray


@dataclass(frozen=True)
class Reading:
    """What the trusted records of a frame say: seconds [k], the calibration loop's seconds meanwhile, and how many were trusted."""

    seconds: np.ndarray
    calibration_s: float
    trusted: int


def split_records(times: np.ndarray, schedule: Schedule, values: Sequence[int]) -> tuple[Records, ...]:
    """Contents of times.bin (nanoseconds) by frame; `values` is how many times a record of each frame has. Raises DeviceError if they do not fit."""
    a_round = sum(schedule.records * (HEAD + count) for count in values)
    if times.size != schedule.rounds * a_round or not np.isfinite(times).all():
        raise DeviceError(f"the program wrote {times.size} times, expected {schedule.rounds * a_round} numbers")
    rounds = times.reshape(schedule.rounds, a_round)
    found, start = [], 0
    for count in values:
        end = start + schedule.records * (HEAD + count)
        records = rounds[:, start:end].reshape(-1, HEAD + count)
        found.append(Records(records[:, HEAD:] * 1e-9, records[:, :2].max(axis=1) * 1e-9, records[:, 2] > 0))
        start = end
    return tuple(found)


def fastest_calibration(frames: Sequence[Records]) -> float:
    """Seconds of the calibration loop at the machine's best."""
    return float(min(records.calibration.min() for records in frames))


def trust(records: Records, fastest: float) -> Reading:
    """The undisturbed records, summed up by the mean of their second quarter: above the luckiest, below what disturbances are left."""
    chosen = np.flatnonzero(~records.interrupted & (records.calibration <= QUIET * fastest))
    if len(chosen) < ENOUGH:
        order = np.lexsort((records.calibration, records.interrupted))
        chosen = order[: max(ENOUGH, len(order) // 4)]
    ordered = np.sort(records.seconds[chosen], axis=0)
    low, high = len(ordered) // 4, max(len(ordered) // 2, len(ordered) // 4 + 1)
    return Reading(ordered[low:high].mean(axis=0), float(np.median(records.calibration[chosen])), len(chosen))
