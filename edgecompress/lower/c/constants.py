"""Constant arrays and parameters of all layers; layers with the same ones share them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgecompress.lower.c.emitter import Call, ConstArray, Emitter, Reference

PARAMS = "params"


@dataclass(frozen=True)
class Constants:
    """`arrays`: one tuple a call. `owners`: (call, suffix) of an array -> the earlier call that has the same array; PARAMS stands for the
    struct of parameters."""

    arrays: tuple[tuple[ConstArray, ...], ...]
    owners: Mapping[tuple[int, str], int]
    params_bytes: tuple[int, ...]

    def owner(self, call: int, suffix: str) -> int:
        """The call under whose name an array or the parameters are stored."""
        return self.owners.get((call, suffix), call)

    def own(self, call: int) -> list[ConstArray]:
        """Arrays that are stored under this call's name."""
        return [array for array in self.arrays[call] if (call, array.suffix) not in self.owners]

    def owns_params(self, call: int) -> bool:
        """Whether the parameters are stored under this call's name."""
        return (call, PARAMS) not in self.owners

    def stored_bytes(self, call: int) -> int:
        """Bytes of the constants that are stored under this call's name."""
        return sum(array.size_bytes for array in self.own(call)) + self.params_bytes[call] * self.owns_params(call)


def make_constants(pairs: Sequence[tuple[Emitter, Call]], share: bool) -> Constants:
    """All constants; with `share` arrays of the same suffix, type and values are stored once, and so are equal structs of parameters."""
    arrays = tuple(emitter.arrays(call) for emitter, call in pairs)
    sizes = tuple(emitter.constant_bytes(call) - emitter.array_bytes(call) for emitter, call in pairs)
    owners: dict[tuple[int, str], int] = {}
    seen: dict[Hashable, int] = {}

    def find(index: int, suffix: str, key: Hashable) -> None:
        first = seen.setdefault(key, index)
        if first != index:
            owners[index, suffix] = first

    for index, (emitter, call) in enumerate(pairs if share else ()):
        for array in arrays[index]:
            find(index, array.suffix, (array.suffix, array.ctype, array.values.shape, np.ascontiguousarray(array.values).tobytes()))
        fields = tuple((name, (value.suffix, owners.get((index, value.suffix), index)) if isinstance(value, Reference) else value)
                       for name, value in emitter.params(call).items())
        find(index, PARAMS, (emitter.struct(call), fields))
    return Constants(arrays, owners, sizes)
