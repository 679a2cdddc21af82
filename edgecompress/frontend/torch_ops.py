"""The tables of supported torch modules, functions and tensor methods. A new one is one line here."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from edgecompress.errors import ModelError
from edgecompress.frontend import torch_attention as attention
from edgecompress.frontend import torch_layers as layers
from edgecompress.frontend import torch_shapes as shapes
from edgecompress.frontend.torch_values import Emitter, Value

Handler = Callable[..., Any]


def _identity(emitter: Emitter, x: Value, *_: Any, **__: Any) -> Value:
    return x


def _relu(emitter: Emitter, x: Value, inplace: bool = False) -> Value:
    return layers.clamp(emitter, x, 0.0)


def _relu6(emitter: Emitter, x: Value, inplace: bool = False) -> Value:
    return layers.clamp(emitter, x, 0.0, 6.0)


def _hardtanh(emitter: Emitter, x: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Value:
    return layers.clamp(emitter, x, min_val, max_val)


def _unary(function: str) -> Handler:
    return lambda emitter, x, inplace=False: layers.unary(emitter, x, function)


def _leaky_relu(emitter: Emitter, x: Value, negative_slope: float = 0.01, inplace: bool = False) -> Value:
    _require(negative_slope == 0.01, f"leaky ReLU with slope {negative_slope}", "0.01")
    return layers.unary(emitter, x, "leaky_relu")


def _elu(emitter: Emitter, x: Value, alpha: float = 1.0, inplace: bool = False) -> Value:
    _require(alpha == 1.0, f"ELU with alpha {alpha}", "1.0")
    return layers.unary(emitter, x, "elu")


def _gelu(emitter: Emitter, x: Value, approximate: str = "none") -> Value:
    _require(approximate == "none", f"GELU with approximate='{approximate}'", "'none'")
    return layers.unary(emitter, x, "gelu")


def _softplus(emitter: Emitter, x: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    _require(beta == 1.0 and threshold >= 20.0, f"softplus with beta {beta} and threshold {threshold}", "beta 1, threshold 20")
    return layers.unary(emitter, x, "softplus")


def _dropout(emitter: Emitter, x: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    _require(not training, "a dropout call that stays active in eval mode", "nn.Dropout, or training=self.training")
    return x


def _require(condition: bool, what: str, supported: str) -> None:
    if not condition:
        raise ModelError(f"{what} is not supported; supported: {supported}")


def _conv_module(emitter: Emitter, m: Any, x: Value) -> Value:
    _require(m.padding_mode == "zeros", f"padding_mode '{m.padding_mode}'", "'zeros'")
    return layers.convolution(emitter, x, m.weight, m.bias, m.stride, m.padding, m.dilation, m.groups)


def _norm_module(emitter: Emitter, m: Any, x: Value) -> Value:
    return layers.batch_norm(emitter, x, m.running_mean, m.running_var, m.weight, m.bias, eps=m.eps)


def _max_module(emitter: Emitter, m: Any, x: Value) -> Value:
    return shapes.max_pool(emitter, x, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)


def _average_module(emitter: Emitter, m: Any, x: Value) -> Value:
    return shapes.average_pool(emitter, x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, getattr(m, "divisor_override", None))


def _plain(handler: Handler) -> Handler:
    return lambda emitter, m, x: handler(emitter, x)


MODULES: dict[type[nn.Module], Handler] = {
    nn.Conv1d: _conv_module,
    nn.Conv2d: _conv_module,
    nn.Linear: lambda emitter, m, x: layers.linear(emitter, x, m.weight, m.bias),
    nn.BatchNorm1d: _norm_module,
    nn.BatchNorm2d: _norm_module,
    nn.ReLU: _plain(_relu),
    nn.ReLU6: _plain(_relu6),
    nn.Hardtanh: lambda emitter, m, x: _hardtanh(emitter, x, m.min_val, m.max_val),
    nn.Hardswish: _plain(_unary("hardswish")),
    nn.Hardsigmoid: _plain(_unary("hardsigmoid")),
    nn.Sigmoid: _plain(_unary("sigmoid")),
    nn.Tanh: _plain(_unary("tanh")),
    nn.SiLU: _plain(_unary("silu")),
    nn.GELU: lambda emitter, m, x: _gelu(emitter, x, m.approximate),
    nn.ELU: lambda emitter, m, x: _elu(emitter, x, m.alpha),
    nn.LeakyReLU: lambda emitter, m, x: _leaky_relu(emitter, x, m.negative_slope),
    nn.Softplus: lambda emitter, m, x: _softplus(emitter, x, m.beta, m.threshold),
    nn.MaxPool1d: _max_module,
    nn.MaxPool2d: _max_module,
    nn.AvgPool1d: _average_module,
    nn.AvgPool2d: _average_module,
    nn.AdaptiveAvgPool1d: lambda emitter, m, x: shapes.adaptive_average_pool(emitter, x, m.output_size),
    nn.AdaptiveAvgPool2d: lambda emitter, m, x: shapes.adaptive_average_pool(emitter, x, m.output_size),
    nn.ZeroPad1d: lambda emitter, m, x: shapes.pad(emitter, x, m.padding),
    nn.ZeroPad2d: lambda emitter, m, x: shapes.pad(emitter, x, m.padding),
    nn.ConstantPad1d: lambda emitter, m, x: shapes.pad(emitter, x, m.padding, value=m.value),
    nn.ConstantPad2d: lambda emitter, m, x: shapes.pad(emitter, x, m.padding, value=m.value),
    nn.Upsample: lambda emitter, m, x: shapes.interpolate(emitter, x, m.size, m.scale_factor, m.mode),
    nn.UpsamplingNearest2d: lambda emitter, m, x: shapes.interpolate(emitter, x, m.size, m.scale_factor, m.mode),
    nn.Flatten: lambda emitter, m, x: shapes.flatten(emitter, x, m.start_dim, m.end_dim),
    nn.Unflatten: lambda emitter, m, x: shapes.unflatten(emitter, x, m.dim, m.unflattened_size),
    nn.Softmax: lambda emitter, m, x: shapes.softmax(emitter, x, m.dim),
    nn.Dropout: _plain(_identity),
    nn.Dropout1d: _plain(_identity),
    nn.Dropout2d: _plain(_identity),
    nn.AlphaDropout: _plain(_identity),
    nn.Identity: _plain(_identity),
}

FUNCTIONS: dict[Any, Handler] = {
    F.conv1d: layers.convolution,
    F.conv2d: layers.convolution,
    F.linear: layers.linear,
    F.batch_norm: layers.batch_norm,
    F.relu: _relu,
    F.relu_: _relu,
    torch.relu: _relu,
    torch.relu_: _relu,
    F.relu6: _relu6,
    F.hardtanh: _hardtanh,
    torch.clamp: layers.clamp,
    F.hardswish: _unary("hardswish"),
    F.hardsigmoid: _unary("hardsigmoid"),
    F.sigmoid: _unary("sigmoid"),
    torch.sigmoid: _unary("sigmoid"),
    F.tanh: _unary("tanh"),
    torch.tanh: _unary("tanh"),
    F.silu: _unary("silu"),
    F.gelu: _gelu,
    F.elu: _elu,
    F.leaky_relu: _leaky_relu,
    F.softplus: _softplus,
    torch.abs: _unary("abs"),
    operator.abs: _unary("abs"),
    torch.square: _unary("square"),
    F.max_pool1d: shapes.max_pool,
    F.max_pool2d: shapes.max_pool,
    torch.max_pool1d: shapes.max_pool,
    torch.max_pool2d: shapes.max_pool,
    F.avg_pool1d: shapes.average_pool,
    F.avg_pool2d: shapes.average_pool,
    F.adaptive_avg_pool1d: shapes.adaptive_average_pool,
    F.adaptive_avg_pool2d: shapes.adaptive_average_pool,
    torch.mean: shapes.mean,
    operator.add: layers.add,
    operator.iadd: layers.add,
    torch.add: layers.add,
    operator.sub: layers.subtract,
    operator.isub: layers.subtract,
    torch.sub: layers.subtract,
    operator.mul: layers.multiply,
    operator.imul: layers.multiply,
    torch.mul: layers.multiply,
    operator.matmul: attention.matmul,
    torch.matmul: attention.matmul,
    torch.bmm: attention.matmul,
    F.scaled_dot_product_attention: attention.attention,
    operator.truediv: layers.divide,
    operator.itruediv: layers.divide,
    torch.div: layers.divide,
    operator.neg: layers.negate,
    torch.cat: shapes.concatenate,
    F.pad: shapes.pad,
    F.interpolate: shapes.interpolate,
    F.dropout: _dropout,
    F.dropout2d: _dropout,
    F.softmax: shapes.softmax,
    torch.softmax: shapes.softmax,
    torch.flatten: shapes.flatten,
    torch.reshape: shapes.reshape,
    torch.permute: shapes.permute,
    torch.transpose: shapes.transpose,
    torch.squeeze: shapes.squeeze,
    torch.unsqueeze: shapes.unsqueeze,
    operator.getitem: shapes.get_item,
    getattr: shapes.attribute,
}

METHODS: dict[str, Handler] = {
    "relu": _relu,
    "relu_": _relu,
    "clamp": layers.clamp,
    "clamp_": layers.clamp,
    "clamp_min": lambda emitter, x, low: layers.clamp(emitter, x, low),
    "clamp_max": lambda emitter, x, high: layers.clamp(emitter, x, None, high),
    "sigmoid": _unary("sigmoid"),
    "tanh": _unary("tanh"),
    "abs": _unary("abs"),
    "square": _unary("square"),
    "mean": shapes.mean,
    "add": layers.add,
    "add_": layers.add,
    "sub": layers.subtract,
    "mul": layers.multiply,
    "mul_": layers.multiply,
    "matmul": attention.matmul,
    "bmm": attention.matmul,
    "div": layers.divide,
    "softmax": shapes.softmax,
    "flatten": shapes.flatten,
    "unflatten": shapes.unflatten,
    "view": shapes.reshape,
    "reshape": shapes.reshape,
    "permute": shapes.permute,
    "transpose": shapes.transpose,
    "squeeze": shapes.squeeze,
    "unsqueeze": shapes.unsqueeze,
    "contiguous": _identity,
    "clone": _identity,
    "detach": _identity,
    "float": _identity,
    "size": shapes.size,
    "dim": lambda emitter, x: len(x.shape) + 1,
}
