"""Runs a FloatGraph with torch's kernels. Tensors travel as NCHW views of NHWC memory, so that no copy is made for the layout."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from edgecompress.errors import ModelError
from edgecompress.frontend.expression import evaluate
from edgecompress.frontend.float_graph import UNBOUNDED, FloatGraph, FloatNode

UNARY: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "silu": F.silu,
    "gelu": F.gelu,
    "softplus": F.softplus,
    "abs": torch.abs,
    "square": torch.square,
}
FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {  # as expression.FUNCTIONS
    **UNARY,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "reciprocal": torch.reciprocal,
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "sign": torch.sign,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
}
BINARY: dict[str, Callable[[Any, Any], torch.Tensor]] = {
    "add": operator.add,
    "mul": operator.mul,
    "minimum": lambda a, b: _bounded(a, b, torch.minimum),
    "maximum": lambda a, b: _bounded(a, b, torch.maximum),
    "power": operator.pow,
}


def _bounded(a: Any, b: Any, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    return function(*(value if isinstance(value, torch.Tensor) else torch.tensor(value) for value in (a, b)))


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _row_major(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def _channels_first(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def to_torch(x: np.ndarray) -> torch.Tensor:
    """float32 [n, h, w, c] or [n, features] as torch's [n, c, h, w] or [n, features]."""
    return _channels_first(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)))


def to_numpy(x: torch.Tensor) -> np.ndarray:
    """Inverse of to_torch."""
    return np.ascontiguousarray(_row_major(x).numpy())


def _spatial_pad(x: torch.Tensor, padding: tuple[int, int, int, int], value: float) -> torch.Tensor:
    top, bottom, left, right = padding
    return F.pad(x, (left, right, top, bottom), value=value) if any(padding) else x


def _convolution(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
    attributes = node.attributes
    weights = _tensor(attributes["weights"])
    if node.kind == "depthwise_conv2d":
        weights, groups = weights.permute(2, 0, 1).unsqueeze(1), x.shape[1]
    else:
        weights, groups = weights.permute(0, 3, 1, 2), attributes["groups"]
    top, bottom, left, right = attributes["padding"]
    symmetric = top == bottom and left == right
    if not symmetric:
        x = _spatial_pad(x, attributes["padding"], 0.0)
    return F.conv2d(x, weights, _tensor(attributes["bias"]), attributes["stride"], (top, left) if symmetric else 0, attributes["dilation"], groups)


def _average_pool(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
    kernel, stride, padding = (node.attributes[key] for key in ("kernel", "stride", "padding"))
    mean = F.avg_pool2d(_spatial_pad(x, padding, 0.0), kernel, stride)
    if not any(padding):
        return mean
    inside = F.avg_pool2d(_spatial_pad(torch.ones(1, 1, *x.shape[2:]), padding, 0.0), kernel, stride)
    return mean / inside.clamp_min(1.0 / (2 * kernel[0] * kernel[1]))  # a window wholly in the padding yields 0


def _max_pool(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(_spatial_pad(x, node.attributes["padding"], -torch.inf), node.attributes["kernel"], node.attributes["stride"])


def _batch_matmul(node: FloatNode, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    left, right = (matrix.transpose(-1, -2) if node.attributes[key] else matrix
                   for matrix, key in ((_row_major(a), "transpose_left"), (_row_major(b), "transpose_right")))
    return _channels_first(left @ right * node.attributes["factor"])


def _affine(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
    shape = (1, -1, 1, 1) if x.ndim == 4 else (-1,)
    return x * _tensor(node.attributes["scale"]).reshape(shape) + _tensor(node.attributes["offset"]).reshape(shape)


def _reshape(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
    return _channels_first(_row_major(x).reshape(x.shape[0], *node.attributes["shape"]))


def _transpose(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
    return _channels_first(_row_major(x).permute(0, *(axis + 1 for axis in node.attributes["permutation"])).contiguous())


def _slice(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
    result = _row_major(x)
    for axis, (begin, size, step) in enumerate(zip(*(node.attributes[key] for key in ("begin", "size", "step")), strict=True), start=1):
        if (begin, size, step) != (0, result.shape[axis], 1):
            result = result.index_select(axis, begin + step * torch.arange(size))
    return _channels_first(result)


def _unary(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
    function = node.attributes["function"]
    if function != "expression":
        return UNARY[function](x)
    result: torch.Tensor = evaluate(node.attributes["steps"], x, FUNCTIONS, BINARY)
    return result


def _quantize(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
    scale, zero_point = node.attributes["scale"], node.attributes["zero_point"]
    codes = torch.clamp(torch.round(x / scale) + zero_point, -128, 127)
    return torch.mul(codes - zero_point, scale)


def _resize(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
    rows, columns = (torch.arange(out) * size // out for out, size in zip(node.attributes["size"], x.shape[2:], strict=True))
    return x[:, :, rows][:, :, :, columns]


def _concat(node: FloatNode, *inputs: torch.Tensor) -> torch.Tensor:
    return torch.cat(inputs, dim=(2, 3, 1)[node.attributes["axis"]] if inputs[0].ndim == 4 else 1 + node.attributes["axis"])


EXECUTE: dict[str, Callable[..., torch.Tensor]] = {
    "conv2d": _convolution,
    "depthwise_conv2d": _convolution,
    "dense": lambda node, x: F.linear(x, _tensor(node.attributes["weights"]), _tensor(node.attributes["bias"])),
    "batch_norm": _affine,
    "add": lambda node, a, b: a + b,
    "mul": lambda node, a, b: a * b,
    "batch_matmul": _batch_matmul,
    "average_pool2d": _average_pool,
    "max_pool2d": _max_pool,
    "global_average_pool": lambda node, x: x.mean(dim=(2, 3), keepdim=True),
    "pad": lambda node, x: _spatial_pad(x, node.attributes["padding"], node.attributes["value"]),
    "concat": _concat,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "softmax": lambda node, x: torch.softmax(x, dim=1 if x.ndim == 4 else -1),
    "resize_nearest": _resize,
    "unary": _unary,
    "clamp": lambda node, x: x.clamp(node.attributes["low"], node.attributes["high"]),
    "quantize": _quantize,
}


def execute_node(node: FloatNode, *inputs: torch.Tensor, clamp: bool = True) -> torch.Tensor:
    """One node on torch-layout tensors; `clamp=False` leaves out the fused activation."""
    result = EXECUTE[node.kind](node, *inputs)
    return result.clamp(*node.clamp) if clamp and node.clamp != UNBOUNDED else result


def last_uses(graph: FloatGraph) -> dict[str, int]:
    """Index of the last node that reads each tensor; outputs live to the end, a tensor that nobody reads ends where it is made."""
    last = {node.output: index for index, node in enumerate(graph.nodes)}
    last.update({name: index for index, node in enumerate(graph.nodes) for name in node.inputs})
    return {**last, **dict.fromkeys(graph.outputs, len(graph.nodes))}


def check_samples(graph: FloatGraph, x: np.ndarray) -> None:
    """Raises ModelError unless x is [n, *input shape]."""
    if tuple(x.shape[1:]) != graph.shapes[graph.input]:
        raise ModelError(f"graph {graph.name!r} takes samples of shape {graph.shapes[graph.input]}, got an array of shape {tuple(x.shape)}")


def iterate_float(graph: FloatGraph, x: np.ndarray, batch_size: int = 64) -> Iterator[Iterator[tuple[str, torch.Tensor]]]:
    """For each batch, an iterator over (tensor name, torch-layout values) as they are computed; dead tensors are freed on the way."""
    check_samples(graph, x)
    last = last_uses(graph)

    def one_batch(batch: np.ndarray) -> Iterator[tuple[str, torch.Tensor]]:
        values = {graph.input: to_torch(batch)}
        yield graph.input, values[graph.input]
        for index, node in enumerate(graph.nodes):
            with torch.inference_mode():
                values[node.output] = execute_node(node, *(values[name] for name in node.inputs))
            yield node.output, values[node.output]
            for name in {*node.inputs, node.output}:
                if last[name] == index:
                    del values[name]

    for start in range(0, len(x), batch_size):
        yield one_batch(x[start : start + batch_size])


def run_tensors(graph: FloatGraph, x: np.ndarray, tensors: Iterable[str], batch_size: int = 64) -> Mapping[str, np.ndarray]:
    """float32 [n, *shape] of the named tensors for x float32 [n, *input shape]. Raises ModelError on a wrong name or shape."""
    wanted = list(dict.fromkeys(tensors))
    for name in wanted:
        if name not in graph.shapes:
            raise ModelError(f"graph {graph.name!r} has no tensor {name!r}")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
    for batch in iterate_float(graph, x, batch_size):
        for name, values in batch:
            if name in parts:
                parts[name].append(to_numpy(values))
    return {name: np.concatenate(part) if part else np.zeros((0, *graph.shapes[name]), np.float32) for name, part in parts.items()}


def run_float(graph: FloatGraph, x: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """The one output float32 [n, *shape] for x float32 [n, *input shape]; run_tensors gives several. Raises ModelError on a wrong shape."""
    return run_tensors(graph, x, (graph.output,), batch_size)[graph.output]
