"""A FloatGraph with quantize nodes, as quantized model files give it, to the integer graph: every scale, zero point and integer is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.elementwise import node_steps
from edgecompress.frontend.emit import LayerConstants, emit_graph
from edgecompress.frontend.expression import evaluate_float64
from edgecompress.frontend.float_graph import TIED, FloatGraph, FloatNode, IntegerLayer, frozen_float
from edgecompress.frontend.passes import prepare
from edgecompress.ir.graph import QuantizedGraph, Tensor
from edgecompress.ir.requant import Requant

Parameters = tuple[float, int]  # scale, zero point
FIXED: dict[str, Parameters] = {"softmax": (1 / 256, -128)}  # the integer op has no other output
PREFERRED: dict[str, Parameters] = {"sigmoid": (1 / 256, -128), "tanh": (1 / 128, 0)}  # where the file leaves the result in float
MOST_ONES = 2**16  # bytes of weights that a pool may turn into
SAME_SCALE = 1e-4  # relative difference of a bias scale from input times weight that is only rounding


def is_quantized(graph: FloatGraph) -> bool:
    """Whether the graph has points where a quantized model rounds."""
    return any(node.kind == "quantize" for node in graph.nodes)


def to_integers(graph: FloatGraph) -> QuantizedGraph:
    """The integer graph. Raises ModelError naming the first node whose result the file leaves in float and that no rule covers."""
    graph = average_pools_with_scales(prepare(graph))
    graph, parameters = _with_parameters(graph)
    tensors = {name: Tensor(name, shape, *parameters[name]) for name, shape in graph.shapes.items()}
    constants = {node.name: _constants(node, tensors) for node in graph.weighted}
    return emit_graph(graph, tensors, constants, graph.metadata)


def _quantize_users(graph: FloatGraph, tensor: str, consumers: Mapping[str, list[FloatNode]]) -> Parameters | None:
    """Scale and zero point that all quantize nodes behind a tensor agree on."""
    found = {(node.attributes["scale"], node.attributes["zero_point"]) for node in consumers[tensor] if node.kind == "quantize"}
    return found.pop() if len(found) == 1 else None


def average_pools_with_scales(graph: FloatGraph) -> FloatGraph:
    """Average pools without padding whose output has its own scale become depthwise convolutions of ones, which round once instead of twice."""
    consumers = graph.consumers

    def one(node: FloatNode) -> FloatNode:
        if node.kind != "average_pool2d" or any(node.attributes["padding"]) or _quantize_users(graph, node.output, consumers) is None:
            return node
        kernel, channels = node.attributes["kernel"], graph.shapes[node.output][2]
        if math.prod(kernel) * channels > MOST_ONES:
            return node
        share, ones = 1.0 / math.prod(kernel), np.ones((*kernel, channels), np.int8)
        attributes = {"weights": frozen_float(ones * np.float32(share)), "bias": frozen_float(np.zeros(channels)), "dilation": (1, 1),
                      "padding": (0, 0, 0, 0), "stride": node.attributes["stride"], "integers": IntegerLayer(ones, np.full(1, share)),
                      "clamp": node.clamp}
        return FloatNode(node.name, "depthwise_conv2d", node.inputs, node.output, attributes)

    return graph.rebuilt(map(one, graph.nodes))


@dataclass
class _State:
    """Parameters found so far."""

    graph: FloatGraph
    consumers: Mapping[str, list[FloatNode]]
    table: dict[str, Parameters]


def _with_parameters(graph: FloatGraph) -> tuple[FloatGraph, dict[str, Parameters]]:
    """(the graph without quantize nodes that only name the scale of their input, parameters of every tensor)."""
    state = _State(graph, graph.consumers, {node.output: (node.attributes["scale"], node.attributes["zero_point"])
                                            for node in graph.nodes if node.kind == "quantize"})
    _backwards(state)
    _forwards(state)
    return _without_identities(graph, state.table)


def _backwards(state: _State) -> None:
    """What a tensor is rounded to behind it is what its maker should write; through ops that keep codes, up to the next known scale."""
    for node in reversed(state.graph.nodes):
        if node.kind == "quantize" or node.kind in FIXED:
            continue
        wanted = state.table.get(node.output) or _quantize_users(state.graph, node.output, state.consumers)
        if wanted is None:
            continue
        if node.kind not in TIED:
            state.table.setdefault(node.output, wanted)
        elif (source := node.inputs[0]) not in state.table and len(state.consumers[source]) == 1 and source != state.graph.input:
            state.table.setdefault(source, wanted)
    users = _quantize_users(state.graph, state.graph.input, state.consumers)
    if state.graph.input not in state.table and users is not None:
        state.table[state.graph.input] = users


def _forwards(state: _State) -> None:
    """Ops that keep codes pass their input's parameters on; fixed and computable results get theirs."""
    table = state.table
    if state.graph.input not in table:
        raise ModelError(f"input {state.graph.input!r} of the quantized model is not quantized at one scale; quantize it, or import the float model")
    for node in state.graph.nodes:
        if node.kind in TIED:
            table[node.output] = table[node.inputs[0]]
        elif node.kind in FIXED:
            table[node.output] = FIXED[node.kind]
        elif node.output not in table:
            table[node.output] = _computed(node, table)


def _computed(node: FloatNode, table: Mapping[str, Parameters]) -> Parameters:
    """Parameters of a result that the file leaves in float: exact for functions of one number, whose 256 results are known."""
    function = node.attributes.get("function")
    if node.kind == "unary" and function in PREFERRED:
        return PREFERRED[function]
    steps = node_steps(node) if node.kind in ("unary", "clamp") else None
    if steps is not None:
        scale, zero_point = table[node.inputs[0]]
        values = evaluate_float64(steps, (np.arange(-128, 128, dtype=np.float64) - zero_point) * scale)
        values = values[np.isfinite(values)]
        low, high = min(values.min(initial=0.0), 0.0), max(values.max(initial=0.0), 0.0)
        if low < high:
            step = float(np.float32((high - low) / 255.0))
            return step, int(np.clip(np.rint(-128.0 - low / step), -128, 127))
    raise ModelError(f"node {node.name!r} ({node.kind}) of the quantized model works in float: nothing quantizes its result",
                     "quantize this operator too (op_types_to_quantize of onnxruntime.quantization), or end the graph before it with --outputs")


def _without_identities(graph: FloatGraph, table: dict[str, Parameters]) -> tuple[FloatGraph, dict[str, Parameters]]:
    alias: dict[str, str] = {}
    kept: list[FloatNode] = []
    for original in graph.nodes:
        node = original.changed(inputs=tuple(alias.get(name, name) for name in original.inputs))
        if node.kind == "quantize" and table[node.inputs[0]] == table[node.output]:
            alias[node.output] = node.inputs[0]
        else:
            kept.append(node)
    outputs = tuple(alias.get(name, name) for name in graph.outputs)
    if len(set(outputs)) != len(outputs) or graph.input in outputs:
        raise ModelError("two outputs of the quantized model, or an output and the input, are the same tensor; leave one out with --outputs")
    result = graph.rebuilt(kept, outputs)
    return result, {name: table[name] for name in result.shapes}


def _constants(node: FloatNode, tensors: Mapping[str, Tensor]) -> LayerConstants:
    """The layer's integers; its bias brought to the scale of input times weight if the file's differs."""
    integers: IntegerLayer | None = node.attributes.get("integers")
    source, output = tensors[node.inputs[0]], tensors[node.output]
    if integers is None:
        integers = _single_taps(node)
    channels = node.attributes["bias"].shape[0]
    scales = np.broadcast_to(source.scale * integers.scales, channels)
    bias = _bias(node.attributes["bias"], integers, scales)
    if np.abs(bias).max(initial=0) >= 2**31:
        raise ModelError(f"node {node.name!r} ({node.kind}) has a bias too large for 32 bits at the scale of its input and weights")
    factors = scales / output.scale
    return LayerConstants(integers.values, bias.astype(np.int32), Requant.from_real(factors if len(integers.scales) > 1 else factors[:1]),
                          integers.bits)


def _bias(real: np.ndarray, integers: IntegerLayer, scales: np.ndarray) -> np.ndarray:
    if integers.bias is not None and integers.bias_scales is not None:
        given = np.broadcast_to(integers.bias_scales, scales.shape)
        if (np.abs(given - scales) <= SAME_SCALE * scales).all():
            return integers.bias
    rounded: np.ndarray = np.rint(real.astype(np.float64) / scales)
    return rounded


def _single_taps(node: FloatNode) -> IntegerLayer:
    """Integers for a float layer with one weight a channel (a batch norm that stands alone), which int8 with a scale a channel holds exactly."""
    weights = node.attributes["weights"]
    if node.kind != "depthwise_conv2d" or weights.shape[:2] != (1, 1):
        raise ModelError(f"node {node.name!r} ({node.kind}) of the quantized model has float weights; quantize this operator too, or import "
                         "the float model")
    taps = weights[0, 0].astype(np.float64)
    scales = np.where(taps == 0, 1.0, np.abs(taps) / 127.0)
    scales = np.maximum(scales, float(np.finfo(np.float32).tiny))
    return IntegerLayer(np.rint(weights / scales).astype(np.int8), scales)

