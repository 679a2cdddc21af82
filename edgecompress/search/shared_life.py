"""Signs of life in a shared search: whose machine is silent, and whether the database is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgecompress.errors import DeviceError
from edgecompress.search.shared_answers import Unsent
from edgecompress.search.shared_storage import is_lost, reason, redact
from edgecompress.search.shared_table import AnswerTable
from edgecompress.units import format_duration


@dataclass(frozen=True)
class Timing:
    """Seconds: silence after which a machine counts as dead, how long a lost database is waited for, and between two looks at the table."""

    grace: float = 30.0
    outage: float = 300.0
    look: float = 0.1


class Watch:
    """Which machines have been silent. Only their own counters are compared, over this machine's clock: clocks may differ."""

    def __init__(self, grace: float) -> None:
        self._grace, self._looked = grace, -float("inf")
        self._seen: dict[str, tuple[str, float]] = {}

    def due(self) -> bool:
        """Whether it is time to read the counters again."""
        return time.monotonic() - self._looked > self._grace / 6

    def look(self, beats: Mapping[str, str]) -> None:
        """Takes note of the counters."""
        self._looked = time.monotonic()
        for owner, beat in beats.items():
            if self._seen.get(owner, ("", 0.0))[0] != beat:
                self._seen[owner] = (beat, self._looked)

    def is_silent(self, owner: str) -> bool:
        """Whether the machine has given no sign for longer than the grace time."""
        _, since = self._seen.setdefault(owner, ("", self._looked))
        return self._looked - since > self._grace

    def forget(self) -> None:
        """After the database was away: nobody could give a sign."""
        self._seen.clear()


class Heart(threading.Thread):
    """Tells the table that this machine lives. An outage is the main loop's to report; anything else is kept as `failure`."""

    def __init__(self, table: AnswerTable, interval: float) -> None:
        super().__init__(daemon=True)
        self._table, self._interval, self._stop_event = table, interval, threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        """Beats until `stop`."""
        count = 1
        while not self._stop_event.wait(self._interval):
            try:
                self._table.beat(count)
            except Exception as error:
                if not is_lost(error):
                    self.failure = error
                    return
            count += 1

    def stop(self) -> None:
        """Ends the thread; one that waits for a lost database is left behind."""
        self._stop_event.set()
        self.join(timeout=1)


class Outage:
    """The time that the database has been away, and when to try again."""

    def __init__(self, url: str, timing: Timing, unsent: Unsent, say: Callable[[str], None]) -> None:
        self._url, self._timing, self._unsent, self._say = url, timing, unsent, say
        self._since: float | None = None
        self._reason = ""
        self._pause = 0.0

    @property
    def now(self) -> bool:
        """Whether the database is away."""
        return self._since is not None

    @property
    def pause(self) -> float:
        """Seconds until the next try."""
        return self._pause

    def note(self, error: Exception) -> None:
        """The database did not answer."""
        self._reason = reason(error, self._url)
        if self._since is None:
            self._since, self._pause = time.monotonic(), min(0.1, self._timing.outage / 10)
            self._say(f"note: the storage '{redact(self._url)}' does not answer ({self._reason}); trying again for {format_duration(self._timing.outage)}, "
                      "work goes on meanwhile")
        self._pause = min(2 * self._pause, 10.0)

    def end(self) -> None:
        """The database answered."""
        if self._since is not None:
            self._say(f"note: the storage '{redact(self._url)}' answers again")
        self._since, self._pause = None, 0.0

    def give_up(self) -> None:
        """Raises DeviceError when the time is over."""
        if self._since is not None and time.monotonic() - self._since > self._timing.outage:
            raise DeviceError(f"the storage '{redact(self._url)}' has not answered for {format_duration(self._timing.outage)} ({self._reason}); "
                              f"{self._unsent.count()} finished answers are kept in the run folder; run the same command again with --resume when it is back")
