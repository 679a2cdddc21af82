"""What a model keeps between two runs: where each op's state lies, and how `<name>_reset` fills it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from edgecompress.ir.graph import Node
from edgecompress.ir.op import Op

ALIGNMENT = 4
READY_BYTES = 4
WHOLE = 16  # the arena's alignment: compilers and linkers that put the arena behind the state would leave a gap, which no figure would count
MOST_FILLS = 4  # runs of one value that are worth a memset each; beyond that the first state is a constant array


@dataclass(frozen=True)
class Fill:
    """Bytes from `offset` on that get one value, or where `node` is not empty the constant array of that node's first state."""

    offset: int
    size: int
    value: int
    node: str = ""


def fills(op: Op) -> list[tuple[int, int]]:
    """The op's first state as (bytes, value), in order."""
    state = op.initial_state()
    starts = np.flatnonzero(np.diff(state, prepend=~state[:1]))
    ends = np.append(starts[1:], len(state))
    return [(int(end - start), int(state[start])) for start, end in zip(starts, ends, strict=True)]


def needs_array(op: Op) -> bool:
    """Whether the first state is stored as a constant array."""
    return len(fills(op)) > MOST_FILLS


def state_offsets(nodes: Iterable[Node]) -> dict[str, int]:
    """Offset of the state of each node that has one."""
    offsets, end = {}, 0
    for node in nodes:
        if node.op.state_bytes:
            offsets[node.name] = end
            end += _aligned(node.op.state_bytes, ALIGNMENT)
    return offsets


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def state_bytes(nodes: Iterable[Node]) -> int:
    """RAM of all states and of the word that says whether they have been set, a multiple of WHOLE; 0 without a state."""
    total = sum(_aligned(node.op.state_bytes, ALIGNMENT) for node in nodes)
    return _aligned(total + READY_BYTES, WHOLE) if total else 0


def reset_fills(nodes: Iterable[Node]) -> list[Fill]:
    """How the whole state gets its first value; neighbours of one value are filled together, with the gap between them."""
    nodes = list(nodes)
    offsets = state_offsets(nodes)
    result: list[Fill] = []
    for node in nodes:
        if not node.op.state_bytes:
            continue
        offset = offsets[node.name]
        if needs_array(node.op):
            result.append(Fill(offset, node.op.state_bytes, 0, node.name))
            continue
        for size, value in fills(node.op):
            if result and not result[-1].node and result[-1].value == value:
                result[-1] = replace(result[-1], size=offset + size - result[-1].offset)
            else:
                result.append(Fill(offset, size, value))
            offset += size
    return result
