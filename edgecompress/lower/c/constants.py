"""Constant arrays of all layers; layers with the same array share it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from edgecompress.lower.c.emitter import Call, ConstArray, Emitter


@dataclass(frozen=True)
class Constants:
    """`arrays`: one tuple a call. `owners`: (call, suffix) of an array -> the earlier call that has the same array."""

    arrays: tuple[tuple[ConstArray, ...], ...]
    owners: Mapping[tuple[int, str], int]

    def owner(self, call: int, suffix: str) -> int:
        """The call under whose name an array is stored."""
        return self.owners.get((call, suffix), call)

    def own(self, call: int) -> list[ConstArray]:
        """Arrays that are stored under this call's name."""
        return [array for array in self.arrays[call] if (call, array.suffix) not in self.owners]

    def shared_bytes(self, call: int) -> int:
        """Bytes of the call's arrays that an earlier call stores."""
        return sum(array.size_bytes for array in self.arrays[call] if (call, array.suffix) in self.owners)


def make_constants(pairs: Iterable[tuple[Emitter, Call]], share: bool) -> Constants:
    """All arrays; with `share` those of the same suffix, type and values are stored once."""
    arrays = tuple(emitter.arrays(call) for emitter, call in pairs)
    owners: dict[tuple[int, str], int] = {}
    seen: dict[tuple[str, str, tuple[int, ...], bytes], int] = {}
    for index, own in enumerate(arrays if share else ()):
        for array in own:
            key = (array.suffix, array.ctype, array.values.shape, np.ascontiguousarray(array.values).tobytes())
            first = seen.setdefault(key, index)
            if first != index:
                owners[index, array.suffix] = first
    return Constants(arrays, owners)
