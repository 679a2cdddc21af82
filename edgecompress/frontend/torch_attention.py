"""How torch's products of activations, and attention as one function, map to FloatGraph nodes."""

from __future__ import annotations

from typing import Any

from edgecompress.errors import ModelError
from edgecompress.frontend.torch_layers import multiply
from edgecompress.frontend.torch_shapes import softmax, transpose
from edgecompress.frontend.torch_values import Emitter, Value, ordered


def matmul(emitter: Emitter, a: Any, b: Any) -> Value:
    """Product of two computed matrices, with equal axes before them if there are any; a matrix that lies transposed in memory stays there."""
    if not isinstance(a, Value) or not isinstance(b, Value):
        raise ModelError("multiplies a tensor and a constant matrix, which is not supported as a product; write it as nn.Linear")
    if len(a.shape) < 2 or len(a.shape) != len(b.shape) or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ModelError(f"tensors [n, {', '.join(map(str, a.shape))}] and [n, {', '.join(map(str, b.shape))}] cannot be multiplied as matrices; "
                         "supported: [n, ..., i, j] by [n, ..., j, k] with equal axes before the last two")
    rank = len(a.shape)
    natural, swapped = tuple(range(rank)), (*range(rank - 2), rank - 1, rank - 2)
    (left, transpose_left), (right, transpose_right) = ((emitter.arranged(x, swapped if flag else natural), flag) for x, flag in (
        (x, not x.is_ordered(natural) and (x.is_ordered(swapped) or x.steps_by_one(rank - 2))) for x in (a, b)))
    product = emitter.add("batch_matmul", left, right, transpose_left=transpose_left, transpose_right=transpose_right, factor=1.0)
    return ordered(product, (*a.shape[:-1], b.shape[-1]), natural)


def attention(emitter: Emitter, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
              scale: float | None = None, enable_gqa: bool = False) -> Value:
    """scaled_dot_product_attention without a mask."""
    if attn_mask is not None or is_causal or dropout_p or enable_gqa:
        raise ModelError("attention with a mask, dropout or grouped queries is not supported; supported: every query sees every key")
    scores = matmul(emitter, query, transpose(emitter, key, -2, -1))
    scaled = multiply(emitter, scores, query.shape[-1] ** -0.5 if scale is None else scale)
    return matmul(emitter, softmax(emitter, scaled, -1), value)
