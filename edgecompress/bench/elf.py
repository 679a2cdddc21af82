"""Reads the sections and symbols of a 32-bit little-endian ELF file: sizes by section, addresses by name, names by address."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from edgecompress.errors import ModelError

_ALLOCATED = 2
_NO_BITS = 8
_SYMBOL_TABLE = 2


@dataclass(frozen=True)
class Section:
    """A part of the file that takes room on the device."""

    name: str
    address: int
    size: int
    loaded: bool  # False for .bss and stacks, which have no bytes in the file


@dataclass(frozen=True)
class ElfImage:
    """A linked firmware: allocated sections, symbols, and the load segments as (physical address, bytes)."""

    sections: tuple[Section, ...]
    symbols: Mapping[str, int]  # function addresses without the Thumb bit
    segments: tuple[tuple[int, bytes], ...]
    functions: Mapping[str, int] = field(repr=False)  # sizes in bytes
    code: Mapping[str, tuple[int, int]] = field(repr=False)  # address and size of functions; of one that only its file sees by `file: name`

    def size_of(self, *names: str) -> int:
        """Bytes of the named sections; a section that is not there has none."""
        return sum(section.size for section in self.sections if section.name in names)

    @cached_property
    def _by_address(self) -> tuple[tuple[int, str], ...]:
        return tuple(sorted((self.symbols[name], name) for name in self.functions))

    def symbol_at(self, address: int) -> str:
        """Place in the code such as `ek_dense_s8+0x12`; the number itself when no function holds it."""
        index = bisect.bisect_right(self._by_address, (address, "\x7f")) - 1
        if index >= 0:
            start, name = self._by_address[index]
            if address < start + max(self.functions[name], 1):
                return name if address == start else f"{name}+0x{address - start:x}"
        return f"0x{address:08x}"


def parse_elf(data: bytes) -> ElfImage:
    """Parses an ELF32 file. Raises ModelError when it is not one."""
    try:
        return _parse(data)
    except (struct.error, IndexError, ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"the linked firmware is not a readable ELF file: {error}") from None


def _parse(data: bytes) -> ElfImage:
    if data[:6] != b"\x7fELF\x01\x01":
        raise ValueError("it has no 32-bit little-endian ELF header")
    program_offset, section_offset = struct.unpack_from("<II", data, 28)
    program_size, program_count, section_size, section_count, names_index = struct.unpack_from("<HHHHH", data, 42)
    headers = [struct.unpack_from("<10I", data, section_offset + index * section_size) for index in range(section_count)]
    names_offset = headers[names_index][4]
    sections = tuple(Section(_text(data, names_offset + h[0]), h[3], h[5], h[1] != _NO_BITS) for h in headers if h[2] & _ALLOCATED and h[5])
    symbols: dict[str, int] = {}
    functions: dict[str, int] = {}
    code: dict[str, tuple[int, int]] = {}
    for header in headers:
        if header[1] == _SYMBOL_TABLE:
            _read_symbols(data, header, headers[header[6]][4], symbols, functions, code)
    segments = []
    for index in range(program_count):
        kind, offset, _, physical, file_size, *_ = struct.unpack_from("<8I", data, program_offset + index * program_size)
        if kind == 1 and file_size:
            segments.append((physical, data[offset : offset + file_size]))
    return ElfImage(sections, symbols, tuple(segments), functions, code)


def _read_symbols(data: bytes, header: tuple[int, ...], strings: int, symbols: dict[str, int], functions: dict[str, int],
                  code: dict[str, tuple[int, int]]) -> None:
    file = ""
    for offset in range(header[4], header[4] + header[5], 16):
        name, value, size, info, _, section = struct.unpack_from("<IIIBBH", data, offset)
        if info & 15 == 4:  # a source file, whose own symbols follow
            file = _text(data, strings + name)
        if section and info & 15 <= 2:  # defined; a function, an object or a plain label
            text = _text(data, strings + name)
            is_function = info & 15 == 2
            symbols[text] = value & ~1 if is_function else value
            if is_function:
                functions[text] = size
                code[text if info >> 4 else f"{file}: {text}"] = value & ~1, size


def _text(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
