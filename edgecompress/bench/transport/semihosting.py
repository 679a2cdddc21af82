"""Arm semihosting served from memory: the files of the harness, no real ones."""

from __future__ import annotations

import struct
from collections.abc import Callable

OPEN, CLOSE, WRITE, READ, EXIT, EXIT_EXTENDED = 0x01, 0x02, 0x05, 0x06, 0x18, 0x20
APPLICATION_EXIT = 0x20026
FAILED = 0xFFFFFFFF


class SemihostingFiles:
    """State of the files and of the program's exit. `read_memory(address, size)` and `write_memory(address, data)` reach the guest."""

    def __init__(self, inputs: dict[str, bytes], read_memory: Callable[[int, int], bytes], write_memory: Callable[[int, bytes], None]) -> None:
        self.outputs: dict[str, bytearray] = {}
        self.exit_code: int | None = None
        self._inputs = inputs
        self._read_memory = read_memory
        self._write_memory = write_memory
        self._handles: dict[int, tuple[str, bool]] = {}  # handle -> name, whether it is an output
        self._positions: dict[int, int] = {}

    def call(self, operation: int, argument: int) -> int:
        """Serves one request and returns what r0 must hold. An unknown operation fails, as the specification says."""
        if operation == EXIT:
            self.exit_code = 0 if argument == APPLICATION_EXIT else 1
            return 0
        if operation == EXIT_EXTENDED:
            reason, code = self._words(argument, 2)
            self.exit_code = code if reason == APPLICATION_EXIT else 1
            return 0
        if operation == OPEN:
            return self._open(*self._words(argument, 3))
        if operation == CLOSE:
            return 0 if self._handles.pop(self._words(argument, 1)[0], None) else FAILED
        if operation in (READ, WRITE):
            handle, address, length = self._words(argument, 3)
            name, is_output = self._handles.get(handle, ("", False))
            if is_output != (operation == WRITE) or not name:
                return length  # nothing was transferred
            return self._write(name, address, length) if is_output else self._read(handle, name, address, length)
        return FAILED

    def _words(self, address: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self._read_memory(address, 4 * count))

    def _open(self, path: int, mode: int, length: int) -> int:
        name = self._read_memory(path, length).decode("ascii", errors="replace")
        is_output = mode >= 4
        if not is_output and name not in self._inputs:
            return FAILED
        if is_output:
            self.outputs[name] = bytearray()
        handle = len(self._positions) + 1
        self._handles[handle] = (name, is_output)
        self._positions[handle] = 0
        return handle

    def _read(self, handle: int, name: str, address: int, length: int) -> int:
        position = self._positions[handle]
        data = self._inputs[name][position : position + length]
        self._positions[handle] = position + len(data)
        self._write_memory(address, data)
        return length - len(data)

    def _write(self, name: str, address: int, length: int) -> int:
        self.outputs[name] += self._read_memory(address, length)
        return 0
