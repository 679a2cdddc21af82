"""Cycles that a core waits for its flash, from the addresses that it fetched and read: a model of an accelerator with two small caches.

The flash answers a read of `read_bytes` after `wait_cycles` more. What was read stays in a cache, one for code and one for constants, from
which the least recently used goes first (ST's ART of the STM32F4, L4 and G4 is such a thing; its replacement is not documented). Prefetching
and the overlap of waits with execution are left out, so where they are on the chip waits less: an upper estimate for code in a straight line,
exact for loops that stay in the cache, which is where a model's time goes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from edgecompress.hw.target import FlashTiming


@dataclass
class _Cache:
    """Fully associative, least recently used out first; counts misses."""

    entries: int
    held: OrderedDict[int, None] = field(default_factory=OrderedDict)

    def misses(self, units: range) -> int:
        """Of the units, read one after the other."""
        found = 0
        held = self.held
        for unit in units:
            if unit in held:
                held.move_to_end(unit)
                continue
            found += 1
            if self.entries == 0:
                continue
            if len(held) == self.entries:
                held.popitem(last=False)
            held[unit] = None
        return found


class FlashWaits:
    """Follows one run. `code` and `constant` return the cycles waited for one block or one load."""

    def __init__(self, timing: FlashTiming) -> None:
        self._cycles, self._read = timing.wait_cycles, timing.read_bytes
        self._code = _Cache(timing.code_cache_bytes // timing.read_bytes)
        self._constants = _Cache(timing.constant_cache_bytes // timing.read_bytes)
        self._last_block, self._last_waited = (0, 0), 0

    def code(self, address: int, size: int) -> int:
        """A basic block of `size` bytes that runs."""
        if self._last_block == (address, size) and self._last_waited == 0:
            return 0  # it is still there
        self._last_block, self._last_waited = (address, size), self._cycles * self._code.misses(self._units(address, size))
        return self._last_waited

    def constant(self, address: int, size: int) -> int:
        """A load of `size` bytes from flash."""
        return self._cycles * self._constants.misses(self._units(address, size))

    def _units(self, address: int, size: int) -> range:
        return range(address // self._read, (address + size - 1) // self._read + 1)
