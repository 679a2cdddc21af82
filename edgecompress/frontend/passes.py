"""Rewrites of a FloatGraph that leave its function as it is: batch norms folded, activations fused, pads absorbed. All are pure."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgecompress.frontend.elementwise import expand_expressions, fuse_chains, fuse_diamonds, lower_uniform_norms, uniform
from edgecompress.frontend.float_graph import CLAMPABLE, UNBOUNDED, WEIGHTED, FloatGraph, FloatNode, Shape, frozen_float

Pass = Callable[[FloatGraph], FloatGraph]

_COMMUTES_WITH_CLAMP = ("max_pool2d", "reshape", "transpose", "slice", "resize_nearest")
_CONVOLUTIONS = ("conv2d", "depthwise_conv2d")


def prepare(graph: FloatGraph) -> FloatGraph:
    """All passes in order. What comes out has no batch_norm, and the same passes change nothing more."""
    for one in PASSES:
        graph = one(graph)
    return graph


def prepare_float(graph: FloatGraph) -> FloatGraph:
    """As `prepare`, for backends that compute in float: functions without a name become sums, products and clamps instead of tables."""
    for one in FLOAT_PASSES:
        graph = one(graph)
    return graph


def remove_dead(graph: FloatGraph) -> FloatGraph:
    """Without nodes that no output depends on."""
    needed, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            kept.append(node)
    return graph if len(kept) == len(graph.nodes) else graph.rebuilt(reversed(kept))


def _is_identity(graph: FloatGraph, node: FloatNode) -> bool:
    attributes = node.attributes
    if node.kind == "reshape":
        return graph.shapes[node.inputs[0]] == graph.shapes[node.output]
    if node.kind == "transpose":
        return tuple(attributes["permutation"]) == tuple(range(len(attributes["permutation"])))
    if node.kind in ("resize_nearest", "slice"):
        return graph.shapes[node.inputs[0]] == graph.shapes[node.output]
    if node.kind in ("average_pool2d", "max_pool2d"):
        return attributes["kernel"] == attributes["stride"] == (1, 1) and not any(attributes["padding"]) and node.clamp == UNBOUNDED
    if node.kind == "pad":
        return not any(attributes["padding"])
    if node.kind == "clamp":
        return (attributes["low"], attributes["high"]) == UNBOUNDED
    return node.kind == "concat" and len(node.inputs) == 1


def remove_identities(graph: FloatGraph) -> FloatGraph:
    """Without nodes that return their input, and with chains of reshapes and of transposes joined."""
    alias: dict[str, str] = {}
    kept: list[FloatNode] = []
    views: dict[str, FloatNode] = {}
    outputs, taken = frozenset(graph.outputs), {graph.input, *graph.outputs}
    for original in graph.nodes:
        node = original.changed(inputs=tuple(alias.get(name, name) for name in original.inputs))
        inner = views.get(node.inputs[0])
        if inner is not None and inner.kind == node.kind:
            node = _joined_views(inner, node)
        if _is_identity(graph, node) and not (node.output in outputs and node.inputs[0] in taken):
            alias[node.output] = node.inputs[0]
            if node.output in outputs:
                taken.add(node.inputs[0])  # two outputs cannot be one tensor
            continue
        if node.kind in ("reshape", "transpose"):
            views[node.output] = node
        kept.append(node)
    return remove_dead(graph.rebuilt(kept, tuple(alias.get(name, name) for name in graph.outputs)))


def _joined_views(inner: FloatNode, outer: FloatNode) -> FloatNode:
    if outer.kind == "reshape":
        return outer.changed(inputs=inner.inputs)
    return outer.changed(inputs=inner.inputs, permutation=tuple(inner.attributes["permutation"][axis] for axis in outer.attributes["permutation"]))


def _scaled_weights(node: FloatNode, scale: np.ndarray) -> np.ndarray:
    shape = (-1,) if node.kind == "depthwise_conv2d" else (-1,) + (1,) * (node.attributes["weights"].ndim - 1)
    return frozen_float(node.attributes["weights"] * scale.reshape(shape))


def _with_batch_norm(producer: FloatNode, norm: FloatNode) -> FloatNode:
    if producer.kind == "batch_matmul":
        return producer.changed(output=norm.output, factor=producer.attributes["factor"] * float(norm.attributes["scale"][0]))
    scale = norm.attributes["scale"].astype(np.float64)
    offset = norm.attributes["offset"].astype(np.float64)
    if producer.kind == "batch_norm":
        return producer.changed(output=norm.output, scale=frozen_float(producer.attributes["scale"] * scale),
                                offset=frozen_float(producer.attributes["offset"] * scale + offset))
    return producer.changed(output=norm.output, weights=_scaled_weights(producer, scale),
                            bias=frozen_float(producer.attributes["bias"] * scale + offset))


def fold_batch_norms(graph: FloatGraph) -> FloatGraph:
    """A batch norm behind a convolution, dense layer or batch norm that nobody else reads becomes part of it, as does a factor behind a product."""
    consumers = graph.consumers
    kept: list[FloatNode] = []
    place: dict[str, int] = {}
    for node in graph.nodes:
        at = place.get(node.inputs[0]) if node.kind == "batch_norm" else None
        if at is not None and _absorbs(kept[at], node, graph, consumers):
            kept[at] = _with_batch_norm(kept[at], node)
            place[node.output] = at
            continue
        place[node.output] = len(kept)
        kept.append(node)
    return graph.rebuilt(kept)


def _absorbs(producer: FloatNode, norm: FloatNode, graph: FloatGraph, consumers: dict[str, list[FloatNode]]) -> bool:
    pair = uniform(norm) if producer.kind == "batch_matmul" else None
    takes = producer.kind in (*WEIGHTED, "batch_norm") or (pair is not None and pair[0] > 0 and pair[1] == 0)
    return (takes and producer.clamp == UNBOUNDED and "integers" not in producer.attributes
            and len(consumers[producer.output]) == 1 and producer.output not in graph.outputs)


def lower_batch_norms(graph: FloatGraph) -> FloatGraph:
    """Batch norms that stand alone become depthwise 1x1 convolutions, between reshapes if the tensor is not an image."""
    kept: list[FloatNode] = []
    shapes: dict[str, Shape] = {}
    for node in graph.nodes:
        if node.kind != "batch_norm":
            kept.append(node)
            continue
        source, target, shape = node.inputs[0], node.output, graph.shapes[node.output]
        if len(shape) != 3:
            source, target = f"{node.name}:in", f"{node.name}:out"
            shapes[source] = shapes[target] = (1, math.prod(shape[:-1]), shape[-1])
            kept.append(FloatNode(source, "reshape", node.inputs, source, {"shape": shapes[source]}))
        attributes = {"weights": frozen_float(node.attributes["scale"][None, None]), "bias": node.attributes["offset"], "stride": (1, 1),
                      "dilation": (1, 1), "padding": (0, 0, 0, 0)}
        kept.append(FloatNode(node.name, "depthwise_conv2d", (source,), target, attributes))
        if len(shape) != 3:
            kept.append(FloatNode(f"{node.name}:flat", "reshape", (target,), node.output, {"shape": shape}))
    return graph.rebuilt(kept, shapes=shapes)


def fold_pads(graph: FloatGraph) -> FloatGraph:
    """A pad of zeros in front of convolutions only becomes their padding."""
    consumers = graph.consumers
    absorbed = {node.output: node for node in graph.nodes
                if node.kind == "pad" and node.attributes["value"] == 0.0 and node.output not in graph.outputs
                and all(user.kind in _CONVOLUTIONS for user in consumers[node.output])}
    if not absorbed:
        return graph

    def without_pad(node: FloatNode) -> FloatNode:
        while node.kind in _CONVOLUTIONS and node.inputs[0] in absorbed:
            pad = absorbed[node.inputs[0]]
            total = tuple(a + b for a, b in zip(pad.attributes["padding"], node.attributes["padding"], strict=True))
            node = node.changed(inputs=pad.inputs, padding=total)
        return node

    return graph.rebuilt(without_pad(node) for node in graph.nodes if node.output not in absorbed)


def globalise_pools(graph: FloatGraph) -> FloatGraph:
    """An average pool whose one window is the whole input becomes global_average_pool."""
    def one(node: FloatNode) -> FloatNode:
        if (node.kind == "average_pool2d" and node.attributes["kernel"] == graph.shapes[node.inputs[0]][:2]
                and not any(node.attributes["padding"])):
            return FloatNode(node.name, "global_average_pool", node.inputs, node.output, {"clamp": node.clamp} if node.clamp != UNBOUNDED else {})
        return node

    return graph.rebuilt(map(one, graph.nodes))


def fuse_clamps(graph: FloatGraph) -> FloatGraph:
    """A clamp becomes part of the node that makes its input, if nobody else reads that; it may pass max pools and views on the way up."""
    consumers = graph.consumers
    kept: list[FloatNode] = []
    place: dict[str, int] = {}
    for node in graph.nodes:
        chain = _clamp_chain(node, kept, place, graph, consumers) if node.kind == "clamp" else []
        if chain:
            low, high = kept[chain[-1]].clamp
            outer_low, outer_high = node.attributes["low"], node.attributes["high"]
            bounds = (min(max(low, outer_low), outer_high), max(min(high, outer_high), outer_low))
            kept[chain[-1]] = kept[chain[-1]].changed(clamp=bounds)
            kept[chain[0]] = kept[chain[0]].changed(output=node.output)
            place[node.output] = chain[0]
            continue
        place[node.output] = len(kept)
        kept.append(node)
    return graph.rebuilt(kept)


def _clamp_chain(node: FloatNode, kept: list[FloatNode], place: dict[str, int], graph: FloatGraph,
                 consumers: dict[str, list[FloatNode]]) -> list[int]:
    """Places in `kept` from the node that makes the clamp's input up to the one that takes the clamp; empty if none can."""
    chain: list[int] = []
    tensor = node.inputs[0]
    while tensor in place and len(consumers[tensor]) == 1 and tensor not in graph.outputs:
        chain.append(place[tensor])
        producer = kept[place[tensor]]
        if producer.kind not in _COMMUTES_WITH_CLAMP:
            return chain if producer.kind in CLAMPABLE else _last_clampable(chain, kept)
        tensor = producer.inputs[0]
    return _last_clampable(chain, kept)


def _last_clampable(chain: list[int], kept: list[FloatNode]) -> list[int]:
    while chain and kept[chain[-1]].kind not in CLAMPABLE:
        chain.pop()
    return chain


PASSES: tuple[Pass, ...] = (remove_dead, remove_identities, fuse_diamonds, fold_batch_norms, fold_pads, globalise_pools, lower_uniform_norms,
                            lower_batch_norms, fuse_clamps, fuse_chains, remove_identities)
FLOAT_PASSES: tuple[Pass, ...] = (remove_dead, remove_identities, fuse_diamonds, expand_expressions, fold_batch_norms, fold_pads, globalise_pools,
                                  lower_batch_norms, fuse_clamps, remove_identities)
