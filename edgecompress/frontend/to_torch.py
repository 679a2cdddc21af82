"""FloatGraph to a trainable torch module: the way back of `from_torch`, for models that come from ONNX and TFLite files."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from edgecompress.errors import ModelError
from edgecompress.frontend import graph_module as functions
from edgecompress.frontend.elementwise import expand_expressions, fuse_chains, fuse_diamonds, lower_uniform_norms, uniform
from edgecompress.frontend.float_graph import UNBOUNDED, Clamp, FloatGraph, FloatNode, Shape
from edgecompress.frontend.float_run import UNARY
from edgecompress.frontend.graph_module import GraphModule, Step
from edgecompress.frontend.passes import fold_batch_norms, fold_pads, fuse_clamps, globalise_pools, remove_dead, remove_identities

_PASSES = (  # functions get the names they have in torch, as hard-swish, before what is left is taken apart
    remove_dead, remove_identities, fuse_diamonds, fold_batch_norms, fold_pads, globalise_pools, lower_uniform_norms, fuse_clamps, fuse_chains,
    expand_expressions, fold_batch_norms, fuse_clamps, remove_identities)
_FUNCTIONS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "relu6": nn.ReLU6, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU,
    "hardsigmoid": nn.Hardsigmoid, "hardswish": nn.Hardswish, "silu": nn.SiLU, "gelu": nn.GELU, "softplus": nn.Softplus,
}
_LOWEST = float(np.finfo(np.float32).min)


def to_torch(graph: FloatGraph, input_shape: Shape | None = None) -> nn.Module:
    """A module with the graph's function and its weights as parameters, in eval mode; it shares no memory with the graph.

    It takes float32 [n, c, h, w] for an input (h, w, c), else [n, *shape], and gives [n, features], images as [n, c, h, w]. `input_shape` is how
    the samples come if not as the graph has them: the same axes but for sizes of 1, or anything if the graph's input is flat. Layers are named
    as their nodes, characters that a module's name cannot hold replaced. Batch norms are folded into the layer before them; where there is
    none, a depthwise convolution with a kernel of one stands for them. Raises ModelError naming the node that has no trainable counterpart.
    """
    for one in _PASSES:
        graph = one(graph)
    return _Builder(graph, graph.shapes[graph.input] if input_shape is None else tuple(input_shape)).run()


def layer_name(text: str) -> str:
    """A name that torch's modules can have: dots nest, so they stay only between words; everything but letters, digits and "_" becomes "_"."""
    if re.fullmatch(r"\w+(\.\w+)*", text, re.ASCII):
        return text
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "layer"


class _Builder:
    """Collects layers and steps. `flat` holds tensors (features,) that torch has in the order of a flattened [c, h, w], with that image's shape."""

    def __init__(self, graph: FloatGraph, input_shape: Shape) -> None:
        self.graph, self.shapes = graph, dict(graph.shapes)
        self.input_shape = input_shape
        self.layers: dict[str, nn.Module] = {}
        self.steps: list[Step] = []
        self.flat: dict[str, Shape] = {}
        self.source = graph.input

    def run(self) -> nn.Module:
        self._input()
        for node in self.graph.nodes:
            try:
                EMIT[node.kind](self, node)
            except ModelError as error:
                raise ModelError(f"node '{node.name}' ({node.kind}): {error.message}", *error.details) from None
        output = self.canonical(self.graph.output)
        return GraphModule(self.layers.items(), self.steps, self.source, output).eval()

    def _input(self) -> None:
        wanted, given = self.shapes[self.graph.input], self.input_shape
        if wanted == given:
            return
        squeezed = [tuple(size for size in shape if size != 1) for shape in (wanted, given)]
        if squeezed[0] != squeezed[1] and not (len(wanted) == 1 and math.prod(given) == wanted[0]):
            raise ModelError(f"the model takes samples of shape {wanted}, the data has {given}; give it data of that shape, channels last")
        self.source = f"{self.graph.input}:samples"
        self.shapes[self.source] = given
        self._reshape(self.source, self.graph.input)

    # ---- pieces

    def layer(self, node: FloatNode, layer: nn.Module, inputs: tuple[str, ...], output: str, suffix: str = "") -> None:
        """Adds a layer named after the node and its step."""
        name = base = layer_name(node.name) + suffix
        count = 1
        while any(name == other or other.startswith(name + ".") or name.startswith(other + ".") for other in self.layers):
            count += 1
            name = f"{base.replace('.', '_')}_{count}"
        if hasattr(nn.Module, name.split(".")[0]):  # such as "train"
            name = f"layer_{name}"
        self.layers[name] = layer
        self.steps.append(Step(inputs, output, layer=name))

    def call(self, function: Callable[..., torch.Tensor], inputs: tuple[str, ...], output: str, *arguments: Any) -> None:
        """Adds a step without parameters."""
        self.steps.append(Step(inputs, output, function=function, arguments=arguments))

    def is_image(self, tensor: str) -> bool:
        """Whether torch has the tensor as [n, c, h, w]."""
        return len(self.shapes[tensor]) == 3

    def canonical(self, tensor: str) -> str:
        """The tensor in the graph's own order of elements."""
        if tensor not in self.flat:
            return tensor
        height, width, channels = self.flat[tensor]
        ordered = f"{tensor}:ordered"
        if ordered not in self.shapes:
            self.shapes[ordered] = self.shapes[tensor]
            self.shapes[f"{tensor}:image"] = (height, width, channels)
            self.call(functions.unflatten, (tensor,), f"{tensor}:image", (channels, height, width))
            self.call(functions.reshape, (f"{tensor}:image",), ordered, True, self.shapes[tensor], False)
        return ordered

    def order(self, tensor: str) -> np.ndarray | None:
        """For each torch feature of a flat tensor its place in the graph's; None if they are the same."""
        if tensor not in self.flat:
            return None
        shape = self.flat[tensor]
        return np.arange(math.prod(shape)).reshape(shape).transpose(2, 0, 1).reshape(-1)

    def _reshape(self, source: str, target: str) -> None:
        before, after = self.shapes[source], self.shapes[target]
        if source in self.flat and self.flat[source] == after:
            self.call(functions.unflatten, (source,), target, (after[2], *after[:2]))
            return
        source = self.canonical(source)
        if len(before) == 3 and len(after) == 1:
            self.call(functions.flatten, (source,), target)
            if before[2] > 1 and before[0] * before[1] > 1:
                self.flat[target] = before
        elif len(before) == 1 and len(after) == 3 and (after[2] == 1 or after[:2] == (1, 1)):
            self.call(functions.unflatten, (source,), target, (after[2], *after[:2]))
        elif len(before) == len(after) == 3 and before[2] == after[2]:
            self.call(functions.respace, (source,), target, after[:2])
        else:
            self.call(functions.reshape, (source,), target, len(before) == 3, after, len(after) == 3)

    def clamped(self, node: FloatNode) -> str:
        """Where the node's own result goes; a fused activation follows when `activate` is called."""
        if node.clamp == UNBOUNDED:
            return node.output
        name = f"{node.output}:unbounded"
        self.shapes[name] = self.shapes[node.output]
        return name

    def activate(self, node: FloatNode, source: str, bounds: Clamp, suffix: str) -> None:
        """A clamp as the activation that it is."""
        low, high = bounds
        if bounds == (0.0, math.inf):
            self.layer(node, nn.ReLU(), (source,), node.output, suffix)
        elif bounds == (0.0, 6.0):
            self.layer(node, nn.ReLU6(), (source,), node.output, suffix)
        elif math.isfinite(low) and math.isfinite(high) and low < high:
            self.layer(node, nn.Hardtanh(low, high), (source,), node.output, suffix)
        else:
            self.call(functions.clamp, (source,), node.output, None if low == -math.inf else low, None if high == math.inf else high)
        if source in self.flat:
            self.flat[node.output] = self.flat[source]

    def finish(self, node: FloatNode, result: str) -> None:
        """Applies the node's fused activation to its result."""
        if result != node.output:
            self.activate(node, result, node.clamp, "_activation")

    def padded(self, node: FloatNode, value: float) -> tuple[str, tuple[int, int]]:
        """(input, symmetric padding): the input goes through a padding layer where the two sides differ."""
        top, bottom, left, right = node.attributes["padding"]
        if top == bottom and left == right:
            return node.inputs[0], (top, left)
        name = f"{node.output}:padded"
        height, width, channels = self.shapes[node.inputs[0]]
        self.shapes[name] = (height + top + bottom, width + left + right, channels)
        self.layer(node, _pad_layer((top, bottom, left, right), value), node.inputs, name, "_pad")
        return name, (0, 0)


def _pad_layer(padding: tuple[int, int, int, int], value: float) -> nn.Module:
    top, bottom, left, right = (int(size) for size in padding)
    return nn.ZeroPad2d((left, right, top, bottom)) if value == 0.0 else nn.ConstantPad2d((left, right, top, bottom), value)


def _pair(values: Any) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _parameter(array: np.ndarray) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.array(array, dtype=np.float32, order="C")))


def _convolution(builder: _Builder, node: FloatNode) -> None:
    attributes, channels = node.attributes, builder.shapes[node.inputs[0]][2]
    depthwise = node.kind == "depthwise_conv2d"
    weights = attributes["weights"].transpose(2, 0, 1)[:, None] if depthwise else attributes["weights"].transpose(0, 3, 1, 2)
    source, padding = builder.padded(node, 0.0)
    layer = nn.Conv2d(channels, len(weights), _pair(weights.shape[2:]), _pair(attributes["stride"]), padding, _pair(attributes["dilation"]),
                      channels if depthwise else int(attributes["groups"]), device="meta")
    layer.weight, layer.bias = _parameter(weights), _parameter(attributes["bias"])
    result = builder.clamped(node)
    builder.layer(node, layer, (source,), result)
    builder.finish(node, result)


def _dense(builder: _Builder, node: FloatNode) -> None:
    weights, order = node.attributes["weights"], builder.order(node.inputs[0])
    layer = nn.Linear(weights.shape[1], weights.shape[0], device="meta")
    layer.weight = _parameter(weights if order is None else weights[:, order])
    layer.bias = _parameter(node.attributes["bias"])
    result = builder.clamped(node)
    builder.layer(node, layer, node.inputs, result)
    builder.finish(node, result)


def _batch_norm(builder: _Builder, node: FloatNode) -> None:
    """The same for all channels: two constants, as in x / 6. Else trainable: a depthwise convolution with a kernel of one."""
    source, shape = node.inputs[0], builder.shapes[node.output]
    if source in builder.flat:
        builder.flat[node.output] = builder.flat[source]
    pair = uniform(node)
    if pair is not None:
        builder.call(functions.affine, (source,), node.output, *pair)
        return
    order, inside, outside = builder.order(source), f"{node.output}:in", f"{node.output}:out"
    scale, offset = (node.attributes[key] if order is None else node.attributes[key][order] for key in ("scale", "offset"))
    if len(shape) == 3:
        builder.layer(node, _scaling(nn.Conv2d, scale, offset), (source,), node.output)
    elif len(shape) == 2:
        builder.call(functions.swap_last, (source,), inside)
        builder.layer(node, _scaling(nn.Conv1d, scale, offset), (inside,), outside)
        builder.call(functions.swap_last, (outside,), node.output)
    elif len(shape) == 1:
        builder.call(functions.unflatten, (source,), inside, (shape[0], 1, 1))
        builder.layer(node, _scaling(nn.Conv2d, scale, offset), (inside,), outside)
        builder.call(functions.flatten, (outside,), node.output)
    else:
        raise ModelError(f"a normalisation of a tensor with {len(shape)} axes cannot be trained here; at most 3 are supported")


def _scaling(kind: type[nn.Conv1d | nn.Conv2d], scale: np.ndarray, offset: np.ndarray) -> nn.Module:
    layer = kind(len(scale), len(scale), 1, groups=len(scale), device="meta")
    layer.weight = _parameter(scale.reshape(-1, 1, *(1,) * (layer.weight.ndim - 2)))
    layer.bias = _parameter(offset)
    return layer


def _binary(function: Callable[..., torch.Tensor]) -> Callable[[_Builder, FloatNode], None]:
    def emit(builder: _Builder, node: FloatNode) -> None:
        inputs, result = node.inputs, builder.clamped(node)
        shapes = {builder.flat.get(name) for name in inputs}
        if len(shapes) == 1 and None not in shapes:
            builder.flat[result] = builder.flat[inputs[0]]
        else:
            inputs = tuple(builder.canonical(name) for name in inputs)
        builder.call(function, inputs, result)
        builder.finish(node, result)

    return emit


def _matmul(builder: _Builder, node: FloatNode) -> None:
    attributes, result = node.attributes, builder.clamped(node)
    builder.call(functions.matmul, node.inputs, result, builder.is_image(node.output), bool(attributes["transpose_left"]),
                 bool(attributes["transpose_right"]), float(attributes["factor"]))
    builder.finish(node, result)


def _average_pool(builder: _Builder, node: FloatNode) -> None:
    (top, bottom, left, right), kernel = node.attributes["padding"], _pair(node.attributes["kernel"])
    if top != bottom or left != right or 2 * top > kernel[0] or 2 * left > kernel[1]:
        raise ModelError(f"an average pool with padding (top, bottom, left, right) {(top, bottom, left, right)} that does not count cannot be trained "
                         "here; supported: the same on both sides, at most half the kernel")
    result = builder.clamped(node)
    layer = nn.AvgPool2d(kernel, _pair(node.attributes["stride"]), (int(top), int(left)), count_include_pad=False)
    builder.layer(node, layer, node.inputs, result)
    builder.finish(node, result)


def _max_pool(builder: _Builder, node: FloatNode) -> None:
    kernel, padding = _pair(node.attributes["kernel"]), node.attributes["padding"]
    source, symmetric = builder.padded(node, _LOWEST)
    if 2 * symmetric[0] > kernel[0] or 2 * symmetric[1] > kernel[1]:
        raise ModelError(f"a max pool with padding {tuple(padding)} of more than half its kernel cannot be trained here")
    result = builder.clamped(node)
    builder.layer(node, nn.MaxPool2d(kernel, _pair(node.attributes["stride"]), symmetric), (source,), result)
    builder.finish(node, result)


def _global_pool(builder: _Builder, node: FloatNode) -> None:
    result = builder.clamped(node)
    builder.layer(node, nn.AdaptiveAvgPool2d(1), node.inputs, result)
    builder.finish(node, result)


def _pad(builder: _Builder, node: FloatNode) -> None:
    builder.layer(node, _pad_layer(node.attributes["padding"], float(node.attributes["value"])), node.inputs, node.output)


def _concat(builder: _Builder, node: FloatNode) -> None:
    axis = int(node.attributes["axis"])
    torch_axis = (2, 3, 1)[axis] if builder.is_image(node.output) else axis + 1
    builder.call(functions.concatenate, tuple(builder.canonical(name) for name in node.inputs), node.output, torch_axis)


def _transpose(builder: _Builder, node: FloatNode) -> None:
    permutation = tuple(int(axis) for axis in node.attributes["permutation"])
    builder.call(functions.transpose, (builder.canonical(node.inputs[0]),), node.output, builder.is_image(node.output), permutation)


def _slice(builder: _Builder, node: FloatNode) -> None:
    before, is_image = builder.shapes[node.inputs[0]], builder.is_image(node.output)
    places = (2, 3, 1) if is_image else range(1, len(before) + 1)
    axes = zip(places, *(node.attributes[key] for key in ("begin", "size", "step")), before, strict=True)
    cuts = tuple((place, int(begin), int(size), int(step)) for place, begin, size, step, whole in axes if (begin, size, step) != (0, whole, 1))
    builder.call(functions.take, (builder.canonical(node.inputs[0]),), node.output, cuts)


def _softmax(builder: _Builder, node: FloatNode) -> None:
    builder.layer(node, nn.Softmax(1 if builder.is_image(node.output) else -1), (builder.canonical(node.inputs[0]),), node.output)


def _resize(builder: _Builder, node: FloatNode) -> None:
    for have, want in zip(builder.shapes[node.inputs[0]][:2], node.attributes["size"], strict=True):
        picked = np.floor(np.arange(want, dtype=np.float32) * np.float32(have / want)).astype(np.int64)
        if not np.array_equal(np.minimum(picked, have - 1), np.arange(want) * have // want):
            raise ModelError(f"resizing {have} to {want} picks other pixels in torch; use whole factors")
    builder.layer(node, nn.Upsample(size=_pair(node.attributes["size"]), mode="nearest"), node.inputs, node.output)


def _unary(builder: _Builder, node: FloatNode) -> None:
    function = str(node.attributes["function"])
    if node.inputs[0] in builder.flat:
        builder.flat[node.output] = builder.flat[node.inputs[0]]
    if function in _FUNCTIONS:
        builder.layer(node, _FUNCTIONS[function](), node.inputs, node.output)
    elif function == "expression":
        builder.call(functions.expression, node.inputs, node.output, node.attributes["steps"])
    else:
        builder.call(UNARY[function], node.inputs, node.output)


def _clamp(builder: _Builder, node: FloatNode) -> None:
    builder.activate(node, node.inputs[0], (float(node.attributes["low"]), float(node.attributes["high"])), "")


def _quantize(builder: _Builder, node: FloatNode) -> None:
    raise ModelError("rounds to int8 codes, which no gradient passes; give the float model")


EMIT: dict[str, Callable[[_Builder, FloatNode], None]] = {
    "conv2d": _convolution,
    "depthwise_conv2d": _convolution,
    "dense": _dense,
    "batch_norm": _batch_norm,
    "add": _binary(functions.add),
    "mul": _binary(functions.multiply),
    "batch_matmul": _matmul,
    "average_pool2d": _average_pool,
    "max_pool2d": _max_pool,
    "global_average_pool": _global_pool,
    "pad": _pad,
    "concat": _concat,
    "reshape": lambda builder, node: builder._reshape(node.inputs[0], node.output),
    "transpose": _transpose,
    "slice": _slice,
    "softmax": _softmax,
    "resize_nearest": _resize,
    "unary": _unary,
    "clamp": _clamp,
    "quantize": _quantize,
}
