"""Exact counts of executed instructions from an emulator's basic blocks, split by layer.

The emulator reports each executed block by address and size; how many instructions a block holds is decoded once.
A conditional instruction that is skipped counts as one, as in qemu's `-icount`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from edgecompress.bench.flash_wait import FlashWaits
from edgecompress.bench.pipeline import BlockCost
from edgecompress.bench.protocol import FrameCount
from edgecompress.errors import DeviceError

Blocks = dict[int, int]  # address << 12 | size -> times executed; -(address << 12 | size) -> times left by a taken branch


def thumb_instructions_in(code: bytes) -> int:
    """Thumb instructions in a block: a halfword whose top five bits are 11101, 11110 or 11111 begins a 32-bit one."""
    count = position = 0
    while position < len(code):
        position += 4 if code[position + 1] >> 3 >= 0b11101 else 2
        count += 1
    return count


def riscv_instructions_in(code: bytes) -> int:
    """RISC-V instructions in a block: one that ends in the bits 11 has 32 bits, any other is a compressed one of 16."""
    count = position = 0
    while position < len(code):
        position += 4 if code[position] & 3 == 3 else 2
        count += 1
    return count


class InstructionCounter:
    """Follows one model's run: the entry of run, each kernel's entry in call order, and the return to the harness.

    `entries` are the kernels' addresses in the order in which run calls them. A loop may jump back to a kernel's first instruction,
    so an entry counts as a call only when the link register changed.
    """

    def __init__(self, run: int, returned: int, entries: Sequence[int], read_code: Callable[[int, int], bytes],
                 link_register: Callable[[], int], instructions_in: Callable[[bytes], int] = thumb_instructions_in,
                 cost_of: Callable[[bytes], BlockCost] | None = None, waits: FlashWaits | None = None) -> None:
        self._run, self._returned, self._entries = run, returned, tuple(entries)
        self._watched = {run, returned, *entries}
        self._read_code, self._link_register = read_code, link_register
        self._instructions_in = instructions_in
        self._sizes: dict[int, int] = {}
        self._outside: Blocks = {}
        self._parts: list[Blocks] = []
        self._current = self._outside
        self._last_link = 0
        self._cost_of = cost_of
        self._waits = waits
        self._waited = 0  # cycles for flash since the frame began
        self._waited_before: list[int] = []  # the same at the beginning of each part
        self._costs: dict[int, BlockCost] = {}
        self._left: tuple[Blocks, int, int] = (self._outside, 0, 0)  # the block before: where it was counted, its key, the address behind it

    def on_block(self, _emulator: object, address: int, size: int, _data: object) -> None:
        """The emulator's hook, called before each block."""
        before, left, behind = self._left
        if address != behind:
            before[-left] = before.get(-left, 0) + 1
        if address in self._watched:
            self._enter(address)
        if self._waits is not None:
            self._waited += self._waits.code(address, size)
        blocks = self._current
        key = address << 12 | size
        blocks[key] = blocks.get(key, 0) + 1
        self._left = blocks, key, address + size

    def on_flash_read(self, _emulator: object, _access: int, address: int, size: int, _value: int, _data: object) -> None:
        """The emulator's hook, called before each load from flash."""
        assert self._waits is not None
        self._waited += self._waits.constant(address, size)

    def _enter(self, address: int) -> None:
        if address == self._returned:
            if self._current is not self._outside:
                self._waited_before.append(self._waited)
            self._current = self._outside
        elif address == self._run:
            if self._current is self._outside:
                self._parts, self._waited_before = [], []
                self._last_link = 0
                self._begin_part()
        elif self._current is not self._outside:
            link = self._link_register()
            if link != self._last_link:
                self._last_link = link
                self._check_order(address)
                self._begin_part()

    def _begin_part(self) -> None:
        self._current = {}
        self._parts.append(self._current)
        self._waited_before.append(self._waited)

    def _check_order(self, address: int) -> None:
        index = len(self._parts) - 1
        if index >= len(self._entries) or self._entries[index] != address:
            raise DeviceError(f"call {index} of the model enters the kernel at 0x{address:x}, which is not what its manifest lists; "
                              "lower the model again")

    def executed(self) -> int:
        """Instructions of the run that is going on or ended last."""
        return sum(self._total(part) for part in self._parts)

    def frame_count(self) -> FrameCount:
        """Counts of the run that ended last. Raises DeviceError when it did not call every kernel of the manifest."""
        if len(self._parts) - 1 != len(self._entries):
            raise DeviceError(f"the model called {len(self._parts) - 1} kernels, its manifest lists {len(self._entries)}; lower the model again")
        totals = [self._total(part) for part in self._parts]
        costs = [self._cost(part) for part in self._parts] if self._cost_of is not None else []
        waits = [after - before for before, after in pairwise(self._waited_before)] if self._waits is not None and costs else []
        return FrameCount(sum(totals), totals[0], tuple(totals[1:]), tuple(cycles for cycles, _ in costs), tuple(words for _, words in costs),
                          tuple(waits), self._blocks())

    def _blocks(self) -> tuple[tuple[bytes, int], ...]:
        times: Blocks = {}
        for part in self._parts:
            for key, count in part.items():
                if key > 0:
                    times[key] = times.get(key, 0) + count
        ranked = sorted(times, key=lambda key: (-times[key] * self._block_size(key), key))
        return tuple((self._read_code(key >> 12, key & 0xFFF), times[key]) for key in ranked)

    def _total(self, blocks: Blocks) -> int:
        return sum(times * self._block_size(key) for key, times in blocks.items() if key > 0)

    def _cost(self, blocks: Blocks) -> tuple[int, int]:
        """Estimated cycles and memory words of one part."""
        cycles = words = 0
        for key, times in blocks.items():
            cost = self._block_cost(abs(key)) if key else BlockCost(0, 0, 0)
            cycles += times * (cost.cycles if key > 0 else cost.taken_cycles)
            words += times * (cost.memory_words if key > 0 else 0)
        return cycles, words

    def _block_cost(self, key: int) -> BlockCost:
        if key not in self._costs:
            assert self._cost_of is not None
            self._costs[key] = self._cost_of(self._read_code(key >> 12, key & 0xFFF))
        return self._costs[key]

    def _block_size(self, key: int) -> int:
        if key not in self._sizes:
            self._sizes[key] = self._instructions_in(self._read_code(key >> 12, key & 0xFFF))
        return self._sizes[key]
