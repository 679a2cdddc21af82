"""How torch's arithmetic maps to FloatGraph nodes. Each function takes the emitter, then what the torch function of that name takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import frozen_float
from edgecompress.frontend.torch_values import Emitter, Value, ordered

Sizes = int | Sequence[int]


def to_array(tensor: torch.Tensor) -> np.ndarray:
    """float32 copy of a parameter. Raises ModelError for NaN or infinity, which training that diverged leaves behind."""
    array = tensor.detach().to(device="cpu", dtype=torch.float32).numpy()
    if not np.isfinite(array).all():
        raise ModelError("has weights that are not finite (NaN or infinity)")
    return array


def spatial(value: Sizes, x: Value) -> tuple[int, int]:
    """(height, width) from torch's int or sequence; a [n, c, l] tensor has height 1."""
    one_dimensional = len(x.shape) == 2
    values = [int(v) for v in ([value] if isinstance(value, int) else value)]
    if one_dimensional:
        return 1, values[0]
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def symmetric_padding(padding: Sizes, x: Value) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) from torch's padding argument."""
    height, width = spatial(padding, x)
    if len(x.shape) == 2:
        height = 0
    return height, height, width, width


def convolution(emitter: Emitter, x: Value, weight: torch.Tensor, bias: torch.Tensor | None = None, stride: Sizes = 1,
                padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1) -> Value:
    """conv1d and conv2d; one filter set a channel becomes depthwise_conv2d."""
    tensor = emitter.image(x, "a convolution")
    if weight.ndim != len(x.shape) + 1:
        raise ModelError(f"a {weight.ndim - 2}-D convolution cannot take an input [n, {', '.join(map(str, x.shape))}]")
    if weight.shape[1] * groups != x.shape[0]:
        raise ModelError(f"input has {x.shape[0]} channels, the weights want {weight.shape[1] * groups}")
    weights = to_array(weight)
    weights = weights[:, :, None, :] if weights.ndim == 3 else weights
    dilations = spatial(dilation, x)
    attributes: dict[str, Any] = {
        "bias": frozen_float(np.zeros(len(weights)) if bias is None else to_array(bias)), "stride": spatial(stride, x), "dilation": dilations,
        "padding": _convolution_padding(padding, weights.shape[2:], dilations, x),
    }
    if groups == x.shape[0] and groups > 1:
        attributes["weights"] = frozen_float(weights[:, 0].transpose(1, 2, 0))
        output = emitter.add("depthwise_conv2d", tensor, **attributes)
    else:
        attributes["weights"] = frozen_float(weights.transpose(0, 2, 3, 1))
        output = emitter.add("conv2d", tensor, groups=groups, **attributes)
    height, width, channels = emitter.builder.shapes[output]
    return Value(output, (channels, width) if len(x.shape) == 2 else (channels, height, width))


def _convolution_padding(padding: Sizes | str, kernel: tuple[int, ...], dilation: tuple[int, int], x: Value) -> tuple[int, int, int, int]:
    if padding == "valid":
        return 0, 0, 0, 0
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2
    if isinstance(padding, str):
        raise ModelError(f"padding '{padding}' is not supported; supported: numbers, 'same', 'valid'")
    return symmetric_padding(padding, x)


def linear(emitter: Emitter, x: Value, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Value:
    """Fully connected; after a flatten of an image the columns are put into the order of the NHWC memory. Several rows: a 1x1 convolution."""
    if len(x.shape) > 1:
        return _linear_rows(emitter, x, to_array(weight), None if bias is None else to_array(bias))
    tensor, index = emitter.flat(x, "a Linear")
    weights = to_array(weight)
    if weights.shape[1] != x.shape[0]:
        raise ModelError(f"the input has {x.shape[0]} features, the weights want {weights.shape[1]}")
    if index is not None:
        weights = weights[:, np.argsort(index)]
    constant = np.zeros(len(weights)) if bias is None else to_array(bias)
    return Value(emitter.add("dense", tensor, weights=frozen_float(weights), bias=frozen_float(constant)), (len(weights),))


def _linear_rows(emitter: Emitter, x: Value, weights: np.ndarray, bias: np.ndarray | None) -> Value:
    features, axes = x.shape[-1], range(len(x.shape))
    if weights.shape[1] != features:
        raise ModelError(f"the input has {features} features, the weights want {weights.shape[1]}")
    rows = math.prod(x.shape[:-1])
    tensor = emitter.reshaped(emitter.arranged(x, axes), (1, rows, features))
    output = emitter.add("conv2d", tensor, weights=frozen_float(weights[:, None, None, :]), groups=1, stride=(1, 1), dilation=(1, 1),
                         bias=frozen_float(np.zeros(len(weights)) if bias is None else bias), padding=(0, 0, 0, 0))
    return ordered(output, (*x.shape[:-1], len(weights)), axes)


def affine(emitter: Emitter, x: Value, scale: np.ndarray, offset: np.ndarray) -> Value:
    """x * scale + offset, one pair a channel."""
    if (scale == scale[0]).all() and (offset == offset[0]).all() and len(x.shape) > 1:
        channels = emitter.builder.shapes[x.tensor][-1]
        factors, offsets = (frozen_float(np.full(channels, values[0])) for values in (scale, offset))
        output = emitter.add("batch_norm", x.tensor, scale=factors, offset=offsets)
        return Value(output, x.shape, x.index)
    if len(x.shape) == 1:
        tensor, index = emitter.flat(x, "a normalisation")
        order = slice(None) if index is None else np.argsort(index)
        output = emitter.add("batch_norm", tensor, scale=frozen_float(scale[order]), offset=frozen_float(offset[order]))
        return Value(output, x.shape, index)
    tensor = emitter.image(x, "a normalisation")
    return Value(emitter.add("batch_norm", tensor, scale=frozen_float(scale), offset=frozen_float(offset)), x.shape)


def batch_norm(emitter: Emitter, x: Value, running_mean: torch.Tensor | None, running_var: torch.Tensor | None, weight: torch.Tensor | None = None,
               bias: torch.Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Value:
    """Batch normalisation with its running statistics."""
    if running_mean is None or running_var is None or training:
        raise ModelError("batch normalisation without running statistics depends on the batch; use track_running_stats=True and eval mode")
    mean, variance = to_array(running_mean).astype(np.float64), to_array(running_var).astype(np.float64)
    if len(mean) != x.shape[0]:
        raise ModelError(f"input has {x.shape[0]} channels, the normalisation {len(mean)}")
    scale = (1.0 if weight is None else to_array(weight)) / np.sqrt(variance + eps)
    return affine(emitter, x, scale, (0.0 if bias is None else to_array(bias)) - mean * scale)


def _channel_constant(constant: Any, x: Value) -> np.ndarray:
    array = np.asarray(constant.detach().cpu() if isinstance(constant, torch.Tensor) else constant, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ModelError("a constant is not finite")
    if array.size == 1:
        return np.full(x.shape[0], array.item())
    aligned = (1,) * (len(x.shape) + 1 - array.ndim) + array.shape
    if aligned != (1, x.shape[0], *(1,) * (len(x.shape) - 1)):
        raise ModelError(f"a constant of shape {array.shape} is not supported beside a tensor [n, {', '.join(map(str, x.shape))}]; "
                         "supported: one number, or one a channel")
    return array.reshape(-1)


def _together(emitter: Emitter, a: Value, b: Value) -> tuple[str, str, np.ndarray | None]:
    same_order = (a.index is None and b.index is None) or (a.index is not None and b.index is not None and np.array_equal(a.index, b.index))
    if same_order and emitter.builder.shapes[a.tensor] == emitter.builder.shapes[b.tensor]:
        return a.tensor, b.tensor, a.index
    return emitter.canonical(a), emitter.canonical(b), None


def add(emitter: Emitter, a: Any, b: Any, alpha: float = 1) -> Value:
    """a + alpha * b of two tensors of one shape, or of a tensor and a constant."""
    if not isinstance(a, Value):
        return _scaled_add(emitter, b, alpha, a)
    if not isinstance(b, Value):
        return _scaled_add(emitter, a, 1.0, b * alpha)
    if a.shape != b.shape or alpha != 1:
        raise ModelError(f"tensors [n, {', '.join(map(str, a.shape))}] and [n, {', '.join(map(str, b.shape))}] cannot be added with alpha={alpha}; "
                         "supported: equal shapes, alpha=1")
    left, right, index = _together(emitter, a, b)
    return Value(emitter.add("add", left, right), a.shape, index)


def _scaled_add(emitter: Emitter, x: Value, scale: float, constant: Any) -> Value:
    return affine(emitter, x, np.full(x.shape[0], float(scale)), _channel_constant(constant, x))


def subtract(emitter: Emitter, a: Any, b: Any, alpha: float = 1) -> Value:
    """A tensor minus a constant, or the reverse."""
    if isinstance(a, Value) and isinstance(b, Value):
        raise ModelError("a difference of two tensors is not supported; supported: tensor and constant")
    return _scaled_add(emitter, a, 1.0, -b * alpha) if isinstance(a, Value) else _scaled_add(emitter, b, -alpha, a)


def multiply(emitter: Emitter, a: Any, b: Any) -> Value:
    """Product of two tensors of one shape, of an image and one value a channel (squeeze-and-excite), or of a tensor and a constant."""
    if not (isinstance(a, Value) and isinstance(b, Value)):
        x, constant = (a, b) if isinstance(a, Value) else (b, a)
        return affine(emitter, x, _channel_constant(constant, x), np.zeros(x.shape[0]))
    if a.shape == b.shape:
        left, right, index = _together(emitter, a, b)
        return Value(emitter.add("mul", left, right), a.shape, index)
    if math.prod(a.shape) < math.prod(b.shape):
        a, b = b, a
    if b.shape != (a.shape[0], *(1,) * (len(a.shape) - 1)):
        raise ModelError(f"tensors [n, {', '.join(map(str, a.shape))}] and [n, {', '.join(map(str, b.shape))}] cannot be multiplied; "
                         "supported: equal shapes, or [n, c, 1, 1] beside [n, c, h, w]")
    return Value(emitter.add("mul", emitter.image(a, "a product"), emitter.image(b, "a product")), a.shape)


def divide(emitter: Emitter, a: Any, b: Any, rounding_mode: str | None = None) -> Value:
    """A tensor by a constant."""
    if isinstance(b, Value) or rounding_mode is not None:
        raise ModelError("division by a tensor, or with rounding, is not supported; supported: tensor / constant")
    return affine(emitter, a, 1.0 / _channel_constant(b, a), np.zeros(a.shape[0]))


def negate(emitter: Emitter, x: Value) -> Value:
    """-x."""
    return multiply(emitter, x, -1.0)


def unary(emitter: Emitter, x: Value, function: str) -> Value:
    """A function of one number; the order of elements does not matter."""
    return Value(emitter.add("unary", x.tensor, function=function), x.shape, x.index)


def clamp(emitter: Emitter, x: Value, min: float | None = None, max: float | None = None) -> Value:
    """Clamp to constants; either may be missing."""
    low, high = (-math.inf if min is None else float(min)), (math.inf if max is None else float(max))
    if not low <= high:
        raise ModelError(f"clamps to [{low}, {high}]; the lower bound must not be above the upper one")
    return Value(emitter.add("clamp", x.tensor, low=low, high=high), x.shape, x.index)
