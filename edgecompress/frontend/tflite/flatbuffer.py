"""A reader of FlatBuffers for hostile files: every offset is checked, nothing recurses, vectors are views of the file.

Layout from the FlatBuffers binary specification: little endian; a table starts with the signed distance back to its vtable,
the vtable holds its own size, the table's size and one 16-bit offset a field (0: absent); references are unsigned and point
forward, so no chain of them can be cyclic.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError

LEAST_ITEMS, MOST_ITEMS = 4096, 250_000  # as many take some seconds to look at
MOST_FIELDS = 64  # entries of a field list that are looked at; no table of the schema has more
LONGEST_TEXT = 1024  # bytes of a text that are looked at; names are for people

FORMATS = {"int8": "<b", "uint8": "<B", "bool": "<?", "uint16": "<H", "int32": "<i", "uint32": "<I", "uint64": "<Q", "float32": "<f"}
STRUCTS = {name: struct.Struct(code) for name, code in FORMATS.items()}


class FlatBuffer:
    """The bytes of one file. `items_left` bounds how many tables and elements may be visited.

    An honest file has at most one item every four bytes; a hostile one may point at the same item from many places.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.items_left = min(max(len(data), LEAST_ITEMS), MOST_ITEMS)
        self._vtables: dict[int, tuple[int, ...]] = {}  # tables of one kind share theirs

    def bad(self, what: str) -> ModelError:
        """The error for a file that breaks the format."""
        return ModelError(f"it is not a valid TFLite file: {what}; it is damaged or cut short, get or export it again")

    def spend(self, items: int) -> None:
        """Counts visited items; raises ModelError when the file makes more of them than its size, or any model, needs."""
        self.items_left -= items
        if self.items_left < 0:
            raise self.bad("its parts are more, or refer to each other more often, than a model of its size can need")

    def scalar(self, kind: str, position: int) -> int | float | bool:
        """The number of a kind in FORMATS at an absolute position."""
        layout = STRUCTS[kind]
        if not 0 <= position <= len(self.data) - layout.size:
            raise self.bad(f"a number at byte {position} lies outside its {len(self.data)} bytes")
        value: int | float | bool = layout.unpack_from(self.data, position)[0]
        return value

    def integer(self, kind: str, position: int) -> int:
        """As scalar, for the integer kinds."""
        return int(self.scalar(kind, position))

    def reference(self, position: int) -> int:
        """Where the reference that is stored at `position` points."""
        target = position + self.integer("uint32", position)
        if target == position or target > len(self.data) - 4:
            raise self.bad(f"a reference at byte {position} points outside the file")
        return target

    def table(self, position: int) -> Table:
        """The table that starts at an absolute position, its vtable checked."""
        self.spend(1)
        at = position - self.integer("int32", position)
        vtable = self._vtables.get(at) or self._read_vtable(position, at)
        if position + vtable[1] > len(self.data):
            raise self.bad(f"the table at byte {position} reaches beyond the end")
        return Table(self, position, vtable)

    def _read_vtable(self, position: int, at: int) -> tuple[int, ...]:
        if not 0 <= at <= len(self.data) - 4:
            raise self.bad(f"the table at byte {position} has its field list outside the file")
        size = self.integer("uint16", at)
        if size < 4 or size % 2 or at + size > len(self.data):
            raise self.bad(f"the field list at byte {at} reaches beyond the end")
        entries = struct.unpack_from(f"<{min(size // 2, MOST_FIELDS)}H", self.data, at)
        if entries[1] < 4:
            raise self.bad(f"the table at byte {position} has a size of {entries[1]} bytes")
        self._vtables[at] = entries
        return entries

    def vector(self, position: int, element_size: int) -> tuple[int, int]:
        """(position of the first element, count) of the vector at an absolute position; checked to lie inside the file."""
        count = self.integer("uint32", position)
        if count * element_size > len(self.data) - position - 4:
            raise self.bad(f"a list of {count} entries at byte {position} reaches beyond the end")
        return position + 4, count


@dataclass(frozen=True, slots=True)
class Table:
    """One table. `slot` is a field's place in the schema, from 0; what is absent has its default.

    `vtable` is (size of itself, size of the table, offset of each field or 0).
    """

    buffer: FlatBuffer
    position: int
    vtable: tuple[int, ...]

    def field(self, slot: int, size: int) -> int | None:
        """Absolute position of a field of `size` bytes; None when it is absent."""
        offset = self.vtable[2 + slot] if 2 + slot < len(self.vtable) else 0
        if offset == 0:
            return None
        if offset < 4 or offset + size > self.vtable[1]:
            raise self.buffer.bad(f"a field of the table at byte {self.position} lies outside it")
        return self.position + offset

    def scalar(self, slot: int, kind: str, default: int | float | bool) -> int | float | bool:
        """A number of a kind in FORMATS."""
        at = self.field(slot, STRUCTS[kind].size)
        return default if at is None else self.buffer.scalar(kind, at)

    def integer(self, slot: int, kind: str, default: int = 0) -> int:
        """As scalar, for the integer kinds."""
        return int(self.scalar(slot, kind, default))

    def table(self, slot: int) -> Table | None:
        """A table that this one refers to."""
        at = self.field(slot, 4)
        return None if at is None else self.buffer.table(self.buffer.reference(at))

    def text(self, slot: int) -> str:
        """A text, cut to LONGEST_TEXT bytes; broken UTF-8 is replaced. Empty when absent."""
        at = self.field(slot, 4)
        if at is None:
            return ""
        start, count = self.buffer.vector(self.buffer.reference(at), 1)
        return self.buffer.data[start : start + min(count, LONGEST_TEXT)].decode("utf-8", errors="replace")

    def array(self, slot: int, dtype: str) -> np.ndarray | None:
        """A vector of numbers as a read-only view of the file; None when absent."""
        at = self.field(slot, 4)
        if at is None:
            return None
        layout = np.dtype(dtype).newbyteorder("<")
        start, count = self.buffer.vector(self.buffer.reference(at), layout.itemsize)
        return np.frombuffer(self.buffer.data, dtype=layout, count=count, offset=start)

    def integers(self, slot: int, dtype: str = "int32") -> tuple[int, ...]:
        """A short vector of numbers as Python integers; each one is counted. Empty when absent."""
        values = self.array(slot, dtype)
        if values is None or not len(values):
            return ()
        self.buffer.spend(1 + len(values) // 4)
        return tuple(values.tolist())

    def tables(self, slot: int) -> list[Table]:
        """A vector of tables; empty when absent."""
        at = self.field(slot, 4)
        if at is None:
            return []
        start, count = self.buffer.vector(self.buffer.reference(at), 4)
        self.buffer.spend(count)
        return [self.buffer.table(self.buffer.reference(start + 4 * index)) for index in range(count)]
