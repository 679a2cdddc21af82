"""Which bytes each tensor occupies when: the caller's inputs and outputs, the arena's buffers, and which of those may overlap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

from edgecompress.hw.plan import Buffer, Overlap
from edgecompress.ir.graph import Node, QuantizedGraph
from edgecompress.lower.c.views import Place, Views, resolve_views
from edgecompress.lower.passes.rewrite import free_name

SCRATCH_ALIGNMENT = 16  # kernels load whole vectors from scratch memory


@dataclass(frozen=True)
class Permission:
    """What Emitter.overlaps, same_start, scratch_bytes and scratch_overlaps say of one call."""

    distances: Mapping[int, int]
    same_start: bool
    scratch_bytes: int
    scratch_distances: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """`places` maps each tensor to (root, offset): a root is one of the caller's inputs or outputs, or a buffer of the arena."""

    places: Mapping[str, Place]
    inputs: Mapping[str, int]  # root that the caller owns -> index of the model input that it is
    outputs: Mapping[str, int]  # root that the caller owns -> index of the model output that it is
    without_code: frozenset[str]  # outputs of nodes that need no kernel
    copies: Mapping[str, int]  # outputs of reshapes and slices that are copied -> where their bytes lie within the input
    buffers: tuple[Buffer, ...]  # activations named by root, then scratch memory in the order of the nodes
    scratch: Mapping[str, int]  # node -> index of its scratch buffer
    overlaps: tuple[Overlap, ...]


@dataclass(frozen=True)
class _Piece:
    """Bytes [low, high) of a root, written by node `first` and read last by node `last`; -1 and one past the nodes are the caller."""

    low: int
    high: int
    first: int
    last: int


def resolve_storage(graph: QuantizedGraph, permissions: Sequence[Permission], io: str = "caller") -> Storage:
    """`permissions`: one a node. `io` as in LowerOptions. Raises ModelError for an output that is also an input."""
    views = resolve_views(graph, io)
    inputs = {name: index for index, name in enumerate(graph.inputs)} if io == "caller" else {}
    pieces = _Tracer(graph, views, {*inputs, *views.outputs}).pieces()
    names = list(pieces)
    scratch: dict[str, int] = {}
    for index, (node, permission) in enumerate(zip(graph.nodes, permissions, strict=True)):
        if permission.scratch_bytes and node.output not in views.without_code:
            scratch[node.name] = len(names)
            names.append(free_name(pieces, f"scratch:{node.name}"))
            pieces[names[-1]] = [_Piece(0, permission.scratch_bytes, index, index)]
    end = max(len(graph.nodes) - 1, 0)
    buffers = tuple(Buffer(name, *_extent(parts, end), *((SCRATCH_ALIGNMENT,) if position >= len(names) - len(scratch) else ()))
                    for position, (name, parts) in enumerate(pieces.items()))
    overlaps = _Overlaps(graph, views, pieces, permissions, {names[number]: node for node, number in scratch.items()}).find()
    return Storage(views.places, inputs, views.outputs, views.without_code, views.copies, buffers, scratch, overlaps)


def _extent(pieces: Sequence[_Piece], end: int) -> tuple[int, int, int]:
    """(size, first node, last node) of a root; what the caller does happens before and after the first and last node."""
    first = max(min(piece.first for piece in pieces), 0)
    return max(piece.high for piece in pieces), first, max(min(max(piece.last for piece in pieces), end), first)


class _Tracer:
    """Follows every byte of the arena from the node that writes it to the last node that reads it."""

    def __init__(self, graph: QuantizedGraph, views: Views, foreign: set[str]) -> None:
        self.graph, self.views, self.foreign = graph, views, foreign

    def pieces(self) -> dict[str, list[_Piece]]:
        """The pieces of each root, in the order of first writing."""
        after = len(self.graph.nodes)
        writes = [(name, -1) for name in self.graph.inputs]
        reads = []
        for index, node in enumerate(self.graph.nodes):
            if node.output not in self.views.without_code:
                writes.append((node.output, index))
                reads += [(self._copied(node) or self._range(name), index) for name in node.inputs]
        reads += [(self._range(name), after) for name in self.graph.outputs]
        read_ranges: dict[str, list[tuple[int, int, int]]] = {}
        for (root, low, high), index in reads:
            read_ranges.setdefault(root, []).append((low, high, index))
        result: dict[str, list[_Piece]] = {}
        for name, index in writes:
            root, low, high = self._range(name)
            if root not in self.foreign:
                result.setdefault(root, []).extend(_split_by_reads(low, high, index, read_ranges.get(root, [])))
        return result

    def _range(self, name: str) -> tuple[str, int, int]:
        root, offset = self.views.places[name]
        return root, offset, offset + self.graph.tensors[name].size

    def _copied(self, node: Node) -> tuple[str, int, int] | None:
        """The part of its input that a copied view reads."""
        if node.output not in self.views.copies:
            return None
        root, offset = self.views.places[node.inputs[0]]
        offset += self.views.copies[node.output]
        return root, offset, offset + self.graph.tensors[node.output].size


def _split_by_reads(low: int, high: int, first: int, reads: Iterable[tuple[int, int, int]]) -> list[_Piece]:
    """What one node writes, cut where the last reader changes."""
    touching = [(max(start, low), min(end, high), index) for start, end, index in reads if start < high and end > low]
    cuts = sorted({low, high, *(cut for start, end, _ in touching for cut in (start, end))})
    pieces: list[_Piece] = []
    for start, end in pairwise(cuts):
        last = max((index for a, b, index in touching if a <= start and end <= b), default=first)
        if pieces and pieces[-1].last == last:
            pieces[-1] = _Piece(pieces[-1].low, end, first, last)
        else:
            pieces.append(_Piece(start, end, first, last))
    return pieces


@dataclass(frozen=True)
class _Rule:
    """How far apart two roots must begin: at least `distance`, or at `exact` where a kernel asks for one distance."""

    distance: int
    exact: int | None


class _Overlaps:
    """Pairs of buffers that are alive together and may share bytes all the same.

    Two reasons: a kernel may overwrite an input that nobody reads again, with its output or its scratch memory; and of buffers made of
    several pieces (slices, concatenations in place) only some pieces are alive together. `scratch` maps a scratch buffer to its node.
    """

    def __init__(self, graph: QuantizedGraph, views: Views, pieces: Mapping[str, list[_Piece]], permissions: Sequence[Permission],
                 scratch: Mapping[str, str]) -> None:
        self.graph, self.pieces, self.permissions, self.scratch = graph, pieces, permissions, scratch
        self.places, self.without_code, self.copies = views.places, views.without_code, views.copies
        self.number = {name: index for index, name in enumerate(pieces)}

    def find(self) -> tuple[Overlap, ...]:
        """All that allow more than lying one above the other."""
        pairs = self._pairs()
        found = []
        for lower, upper in sorted(pairs, key=lambda pair: (self.number[pair[0]], self.number[pair[1]])):
            rule = self._rule(lower, upper)
            a, b = self.number[lower], self.number[upper]
            if rule.distance < max(piece.high for piece in self.pieces[lower]):
                found.append(Overlap(a, b, rule.distance))
            if rule.exact is not None and rule.exact < rule.distance:
                found.append(Overlap(a, b, rule.exact, exact=True))
        return tuple(found)

    def _pairs(self) -> set[tuple[str, str]]:
        """(lower, upper) that a kernel or the pieces' lifetimes may bring nearer than one size."""
        pairs = set()
        scratch = {node: name for name, node in self.scratch.items()}
        for node, permission in zip(self.graph.nodes, self.permissions, strict=True):
            lower = self.places[node.output][0]
            if node.name in scratch:
                pairs |= {(scratch[node.name], self.places[node.inputs[position]][0]) for position in permission.scratch_distances}
            if node.output not in self.without_code and lower in self.pieces:
                pairs |= {(lower, upper) for upper in (self.places[node.inputs[position]][0] for position in permission.distances)}
        spans = {name: (min(p.first for p in parts), max(p.last for p in parts)) for name, parts in self.pieces.items()}
        for one, parts in self.pieces.items():
            if len(parts) > 1:
                first, last = spans[one]
                pairs |= {pair for other, (start, end) in spans.items() if start <= last and first <= end for pair in ((one, other), (other, one))}
        return {(lower, upper) for lower, upper in pairs if lower != upper and upper in self.pieces}

    def _rule(self, lower: str, upper: str) -> _Rule:
        """The least distance over all pairs of pieces that are alive together."""
        plain = around = -max(piece.high for piece in self.pieces[upper])  # from there on all of `upper` lies below `lower`
        exact: set[int] = set()
        for one, other in product(self.pieces[lower], self.pieces[upper]):
            if one.first > other.last or other.first > one.last:
                continue
            apart = one.high - other.low
            kernel = self._kernel_distance(lower, upper, one.first) if other.first < one.first == other.last else None
            if kernel is None:
                plain, around = max(plain, apart), max(around, apart)
            elif self.permissions[one.first].same_start and lower not in self.scratch:
                exact.add(kernel)
                plain = max(plain, apart)
            else:
                plain, around = max(plain, kernel), max(around, kernel)
        return _Rule(plain, exact.pop() if len(exact) == 1 and around <= max(exact) else None)

    def _kernel_distance(self, lower: str, upper: str, time: int) -> int | None:
        """Distance that the kernel of node `time` asks of the roots when it writes into `lower` and reads from `upper`; None: it allows nothing."""
        if not 0 <= time < len(self.graph.nodes):
            return None
        node, permission = self.graph.nodes[time], self.permissions[time]
        root, offset = self.places[node.output]
        allowed, same_start = permission.distances, permission.same_start
        if lower in self.scratch:
            root, offset, allowed, same_start = lower, 0, permission.scratch_distances, False
        if root != lower or node.output in self.without_code:
            return None
        skipped = self.copies.get(node.output, 0)
        read = [(position, self.places[name][1] + skipped) for position, name in enumerate(node.inputs) if self.places[name][0] == upper]
        if not read or any(position not in allowed for position, _ in read):
            return None
        distances = {offset + allowed[position] - begin for position, begin in read}
        return max(distances) if len(distances) == 1 or not same_start else None

