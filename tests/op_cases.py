"""Single-op graphs for every op in OPS, with inputs: the table that the conformance tests of all backends run over.

Scales, zero points and rescaling factors agree with each other as in a quantized model, so that a case can also be
written as a `.tflite` file. Inputs hold random values and the extremes.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sequence_cases import SEQUENCE_CASES

from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.op import Op
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.average_pool2d import AveragePool2D
from edgecompress.ir.ops.batch_matmul import BatchMatmul
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.global_average_pool import GlobalAveragePool, fold_count
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.mul import Mul
from edgecompress.ir.ops.pad import Pad
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.resize_nearest import ResizeNearest
from edgecompress.ir.ops.softmax import Softmax
from edgecompress.ir.ops.table import Table
from edgecompress.ir.requant import Requant
from edgecompress.ir.window import resolve_padding

Quantization = tuple[float, int]  # scale, zero point
Shape = tuple[int, ...]
WEIGHT_LIMIT = {8: 127, 4: 7, 2: 1}


@dataclass(frozen=True)
class OpCase:
    """One op as a graph of one node, with int8 inputs [batch, *shape] by name."""

    name: str
    graph: QuantizedGraph
    inputs: dict[str, np.ndarray]


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _inputs(name: str, tensors: Sequence[Tensor]) -> dict[str, np.ndarray]:
    """Two random samples, all lowest, all highest, a checkerboard of both, and the zero point."""
    generator = _generator(name + " inputs")
    result = {}
    for tensor in tensors:
        random = generator.integers(-128, 128, (2, *tensor.shape), dtype=np.int8)
        checkerboard = np.where(np.arange(tensor.size) % 2, 127, -128).astype(np.int8).reshape(tensor.shape)
        constant = [np.full(tensor.shape, value, dtype=np.int8) for value in (-128, 127, tensor.zero_point)]
        result[tensor.name] = np.stack([*random, *constant, checkerboard])
    return result


def case(name: str, op: Op, inputs: Sequence[tuple[Shape, Quantization]], output: Quantization) -> OpCase:
    """A graph of one node from the inputs' shapes and quantizations."""
    tensors = [Tensor("x" if len(inputs) == 1 else f"x{index}", shape, *quantization) for index, (shape, quantization) in enumerate(inputs)]
    result = Tensor("y", op.infer_shape(*(shape for shape, _ in inputs)), *output)
    names = tuple(tensor.name for tensor in tensors)
    graph = QuantizedGraph(f"{op.kind}_{name}", {t.name: t for t in (*tensors, result)}, (Node(name, op, names, "y"),), names, ("y",))
    return OpCase(f"{op.kind}-{name}", graph, _inputs(f"{op.kind} {name}", tensors))


def _weights(generator: np.random.Generator, shape: Shape, bits: int) -> np.ndarray:
    limit = WEIGHT_LIMIT[bits]
    return generator.integers(-limit, limit + 1, shape)


def _weight_scales(generator: np.random.Generator, channels: int, taps: int, bits: int, source: Quantization, output: Quantization) -> np.ndarray:
    """Per-channel factors input_scale * weight_scale / output_scale that spread sums over the int8 range."""
    spread = 75.0 * WEIGHT_LIMIT[bits] * 0.6 * taps**0.5
    real = generator.uniform(0.3, 1.5, channels) * 60.0 / spread
    weight_scale = np.float32(real * output[0] / source[0])
    return weight_scale.astype(np.float64) * source[0] / output[0]


def conv2d(name: str, shape: Shape, out: int, kernel: tuple[int, int] = (3, 3), stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1),
           padding: str | tuple[int, int, int, int] = "same", groups: int = 1, bits: int = 8, source: Quantization = (0.05, 3),
           output: Quantization = (0.1, -5), activation: tuple[int, int] = (-128, 127), factor: float = 1.0) -> OpCase:
    """`factor` scales the rescaling factors, for shifts that a usual layer does not reach."""
    generator = _generator("conv2d " + name)
    channels = shape[2] // groups
    real = factor * _weight_scales(generator, out, kernel[0] * kernel[1] * channels, bits, source, output)
    weights, bias = _weights(generator, (out, *kernel, channels), bits), generator.integers(-2000, 2001, out)
    op = Conv2D(weights, bias, Requant.from_real(real), source[1], output[1], stride, dilation,
                resolve_padding(padding, shape[:2], kernel, stride, dilation), groups, *activation, bits)
    return case(name, op, [(shape, source)], output)


def depthwise(name: str, shape: Shape, multiplier: int = 1, kernel: tuple[int, int] = (3, 3), stride: tuple[int, int] = (1, 1),
              dilation: tuple[int, int] = (1, 1), padding: str | tuple[int, int, int, int] = "same", bits: int = 8, source: Quantization = (0.05, 3),
              output: Quantization = (0.1, -5), activation: tuple[int, int] = (-128, 127)) -> OpCase:
    """Depthwise convolution."""
    generator = _generator("depthwise " + name)
    out = shape[2] * multiplier
    real = _weight_scales(generator, out, kernel[0] * kernel[1], bits, source, output)
    op = DepthwiseConv2D(_weights(generator, (*kernel, out), bits), generator.integers(-500, 501, out), Requant.from_real(real), source[1], output[1],
                         stride, dilation, resolve_padding(padding, shape[:2], kernel, stride, dilation), *activation, bits)
    return case(name, op, [(shape, source)], output)


def dense(name: str, inputs: int, outputs: int, bits: int = 8, source: Quantization = (0.05, 3), output: Quantization = (0.1, -5),
          activation: tuple[int, int] = (-128, 127), per_channel: bool = True, bias: int = 2000) -> OpCase:
    """Fully connected."""
    generator = _generator("dense " + name)
    real = _weight_scales(generator, outputs if per_channel else 1, inputs, bits, source, output)
    weights, biases = _weights(generator, (outputs, inputs), bits), generator.integers(-bias, bias + 1, outputs)
    op = Dense(weights, biases, Requant.from_real(real), source[1], output[1], *activation, bits)
    return case(name, op, [((inputs,), source)], output)


def add(name: str, shape: Shape, left: Quantization, right: Quantization, output: Quantization, activation: tuple[int, int] = (-128, 127)) -> OpCase:
    """Element-wise sum."""
    return case(name, Add.from_scales(left, right, output, *activation), [(shape, left), (shape, right)], output)


def mul(name: str, shape: Shape, right_shape: Shape, left: Quantization, right: Quantization, output: Quantization,
        activation: tuple[int, int] = (-128, 127)) -> OpCase:
    """Element-wise product."""
    op = Mul(Requant.from_real(left[0] * right[0] / output[0]), left[1], right[1], output[1], *activation)
    return case(name, op, [(shape, left), (right_shape, right)], output)


def matmul(name: str, left_shape: Shape, right_shape: Shape, left: Quantization, right: Quantization, output: Quantization, transpose_left: int = 0,
           transpose_right: int = 0, activation: tuple[int, int] = (-128, 127)) -> OpCase:
    """Product of two activations."""
    op = BatchMatmul(Requant.from_real(left[0] * right[0] / output[0]), left[1], right[1], output[1], transpose_left, transpose_right, *activation)
    return case(name, op, [(left_shape, left), (right_shape, right)], output)


def pool(kind: type[AveragePool2D] | type[MaxPool2D], name: str, shape: Shape, kernel: tuple[int, int], stride: tuple[int, int],
         padding: str | tuple[int, int, int, int] = "valid", zero_point: int = 4, activation: tuple[int, int] = (-128, 127)) -> OpCase:
    """Average or maximum pooling; scale and zero point pass through."""
    op = kind(kernel, stride, resolve_padding(padding, shape[:2], kernel, stride), *activation)
    return case(name, op, [(shape, (0.05, zero_point))], (0.05, zero_point))


def global_average(name: str, shape: Shape, source: Quantization, output: Quantization, activation: tuple[int, int] = (-128, 127)) -> OpCase:
    """Mean over all pixels."""
    op = GlobalAveragePool(fold_count(source[0] / output[0], shape[0] * shape[1]), source[1], output[1], *activation)
    return case(name, op, [(shape, source)], output)


def concat(name: str, axis: int, shapes: Sequence[Shape], sources: Sequence[Quantization], output: Quantization) -> OpCase:
    """Concatenation."""
    op = Concat(axis, Requant.from_real([scale / output[0] for scale, _ in sources]), tuple(zero for _, zero in sources), output[1])
    return case(name, op, list(zip(shapes, sources, strict=True)), output)


def requantize(name: str, shape: Shape, source: Quantization, output: Quantization, activation: tuple[int, int] = (-128, 127)) -> OpCase:
    """Change of scale."""
    return case(name, Requantize(Requant.from_real(source[0] / output[0]), source[1], output[1], *activation), [(shape, source)], output)


def table(name: str, function: str, shape: Shape, source: Quantization, output: Quantization) -> OpCase:
    """Unary function."""
    return case(name, Table.from_function(function, *source, *output), [(shape, source)], output)


LOWEST, HIGHEST = (0.05, -128), (0.05, 127)

CASES: dict[str, list[OpCase]] = {
    "conv2d": [
        conv2d("same", (8, 8, 4), 8),
        conv2d("odd_everything", (7, 5, 3), 5),
        conv2d("first_layer", (12, 10, 1), 8, (5, 4), (2, 2)),
        conv2d("valid_stride2", (9, 9, 6), 7, stride=(2, 2), padding="valid"),
        conv2d("pointwise", (6, 6, 16), 12, (1, 1)),
        conv2d("pointwise_odd", (5, 3, 7), 9, (1, 1)),
        conv2d("pointwise_stride2", (7, 7, 8), 4, (1, 1), (2, 2)),
        conv2d("one_pixel", (1, 1, 10), 6, (1, 1)),
        conv2d("one_pixel_padded", (1, 1, 3), 4),
        conv2d("one_output_channel", (4, 6, 5), 1),
        conv2d("temporal", (1, 24, 6), 8, (1, 5), (1, 2)),
        conv2d("tall", (20, 1, 4), 6, (7, 1)),
        conv2d("explicit_padding", (6, 7, 4), 6, padding=(2, 0, 1, 3)),
        conv2d("padding_beyond_window", (3, 3, 2), 4, (2, 2), (1, 1), padding=(3, 2, 4, 3)),
        conv2d("dilated", (9, 8, 4), 6, dilation=(2, 3)),
        conv2d("dilated_valid", (9, 9, 3), 4, dilation=(2, 2), padding="valid"),
        conv2d("groups", (6, 6, 8), 12, groups=4),
        conv2d("groups_odd", (5, 5, 6), 9, groups=3),
        conv2d("groups_depthwise_like", (5, 4, 5), 5, groups=5),
        conv2d("lowest_zero_points", (5, 6, 5), 6, source=LOWEST, output=(0.1, -128), activation=(-128, 127)),
        conv2d("highest_zero_points", (5, 6, 5), 6, source=HIGHEST, output=(0.1, 127)),
        conv2d("relu6", (6, 6, 4), 8, output=(0.03, -128), activation=(-128, 72)),
        conv2d("narrow_activation", (5, 5, 4), 4, activation=(-20, 31)),
        conv2d("left_shift", (4, 4, 2), 4, factor=300.0),
        conv2d("unit_shift", (4, 4, 2), 4, factor=20.0),
        conv2d("deep_right_shift", (4, 4, 2), 4, factor=1e-6),
        conv2d("int4", (7, 6, 6), 7, bits=4),
        conv2d("int4_odd_rows", (5, 5, 3), 5, bits=4),
        conv2d("int4_pointwise_odd", (5, 3, 7), 6, (1, 1), bits=4),
        conv2d("int4_groups", (5, 5, 6), 6, groups=2, bits=4),
        conv2d("ternary", (7, 6, 6), 7, bits=2),
        conv2d("ternary_odd_rows", (5, 5, 3), 5, bits=2),
        conv2d("ternary_pointwise_odd", (5, 3, 7), 6, (1, 1), bits=2),
        conv2d("ternary_groups", (5, 5, 6), 6, groups=3, bits=2),
    ],
    "depthwise_conv2d": [
        depthwise("same", (8, 8, 8)),
        depthwise("odd_everything", (7, 5, 7)),
        depthwise("three_channels", (6, 6, 3)),
        depthwise("one_channel", (9, 9, 1)),
        depthwise("stride2", (9, 8, 12), stride=(2, 2)),
        depthwise("stride_unequal", (9, 12, 4), stride=(1, 3)),
        depthwise("valid", (8, 7, 5), padding="valid"),
        depthwise("five_by_five", (10, 10, 6), kernel=(5, 5)),
        depthwise("temporal", (1, 20, 8), kernel=(1, 9)),
        depthwise("tall", (20, 1, 6), kernel=(9, 1)),
        depthwise("one_pixel", (1, 1, 9)),
        depthwise("explicit_padding", (6, 7, 4), padding=(0, 2, 3, 1)),
        depthwise("padding_beyond_window", (3, 3, 6), kernel=(2, 2), padding=(3, 2, 4, 3)),
        depthwise("dilated", (9, 10, 5), dilation=(2, 3)),
        depthwise("multiplier2", (6, 6, 4), multiplier=2),
        depthwise("multiplier8", (12, 8, 1), multiplier=8, kernel=(5, 4), stride=(2, 2)),
        depthwise("lowest_zero_points", (5, 6, 6), source=LOWEST, output=(0.1, -128)),
        depthwise("highest_zero_points", (5, 6, 6), source=HIGHEST, output=(0.1, 127)),
        depthwise("relu6", (6, 6, 8), output=(0.03, -128), activation=(-128, 72)),
        depthwise("int4", (7, 6, 10), bits=4),
        depthwise("int4_odd", (6, 6, 7), bits=4),
        depthwise("int4_multiplier", (6, 6, 3), multiplier=3, bits=4),
        depthwise("ternary", (7, 6, 10), bits=2),
        depthwise("ternary_odd", (6, 6, 7), bits=2),
        depthwise("ternary_multiplier", (6, 6, 3), multiplier=3, bits=2),
    ],
    "dense": [
        dense("plain", 32, 10),
        dense("odd", 33, 7),
        dense("one_to_one", 1, 1),
        dense("one_input", 1, 5),
        dense("three_outputs", 18, 3),
        dense("long", 300, 12),
        dense("per_tensor", 20, 8, per_channel=False),
        dense("lowest_zero_points", 24, 6, source=LOWEST, output=(0.1, -128)),
        dense("highest_zero_points", 24, 6, source=HIGHEST, output=(0.1, 127)),
        dense("relu", 24, 6, output=(0.1, -128), activation=(-128, 127)),
        dense("narrow_activation", 24, 6, activation=(-7, 50)),
        dense("bias_near_overflow", 16, 4, bias=2_146_000_000),
        dense("int4", 32, 10, bits=4),
        dense("int4_odd", 29, 7, bits=4),
        dense("int4_short", 3, 5, bits=4),
        dense("ternary", 32, 10, bits=2),
        dense("ternary_odd", 31, 7, bits=2),
        dense("ternary_short", 2, 3, bits=2),
    ],
    "add": [
        add("same_scales", (6, 6, 4), (0.05, 0), (0.05, 0), (0.1, 0)),
        add("different_scales", (5, 3, 7), (0.05, 3), (0.11, -20), (0.13, 7)),
        add("extreme_zero_points", (4, 4, 4), (0.05, -128), (0.02, 127), (0.06, -128)),
        add("small_output_scale", (12,), (0.5, 5), (0.3, -6), (0.001, 0)),
        add("large_output_scale", (12,), (0.005, 5), (0.003, -6), (1.0, 0)),
        add("very_different_inputs", (3, 3, 5), (1.0, 1), (0.0001, 2), (1.0, 3)),
        add("relu", (1, 1, 9), (0.05, 3), (0.05, 3), (0.05, -128), (-128, 127)),
        add("narrow_activation", (7,), (0.05, 3), (0.07, 3), (0.05, -10), (-10, 25)),
    ],
    "mul": [
        mul("same_shape", (5, 5, 4), (5, 5, 4), (0.05, 3), (0.02, -7), (0.08, 4)),
        mul("per_channel", (6, 4, 8), (1, 1, 8), (0.05, 3), (1 / 256, -128), (0.05, 3)),
        mul("per_channel_odd", (3, 5, 7), (1, 1, 7), (0.05, -128), (0.01, 127), (0.02, -1)),
        mul("one_channel", (4, 4, 1), (1, 1, 1), (0.05, 3), (0.02, -7), (0.1, 4)),
        mul("flat", (19,), (19,), (0.05, 3), (0.05, 3), (0.1, 0)),
        mul("left_shift", (9,), (9,), (2.0, 1), (3.0, 0), (0.5, 0)),
        mul("tiny", (9,), (9,), (0.001, 1), (0.001, 0), (0.5, 9)),
        mul("relu6", (4, 4, 4), (4, 4, 4), (0.05, 3), (0.05, -7), (6 / 255, -128), (-128, 127)),
    ],
    "batch_matmul": [
        matmul("plain", (6, 8), (8, 5), (0.05, 3), (0.02, -7), (0.15, 4)),
        matmul("scores", (16, 12), (16, 12), (0.05, 3), (0.05, -5), (0.3, 10), transpose_right=1),
        matmul("left_transposed", (9, 7), (9, 6), (0.05, 3), (0.05, -5), (0.3, 10), transpose_left=1),
        matmul("both_transposed", (9, 7), (6, 9), (0.05, 3), (0.05, -5), (0.3, 10), 1, 1),
        matmul("heads", (3, 10, 8), (3, 8, 10), (1 / 256, -128), (0.05, 9), (0.05, 9)),
        matmul("two_leading_axes", (2, 3, 4, 5), (2, 3, 6, 5), (0.05, 127), (0.05, -128), (0.2, 0), transpose_right=1),
        matmul("one_by_one", (1, 1), (1, 1), (0.05, 3), (0.05, -5), (0.05, 10)),
        matmul("row", (1, 33), (33, 1), (0.05, 3), (0.05, -5), (0.5, 10)),
        matmul("deep", (2, 1000), (1000, 3), (0.05, -128), (0.05, 127), (9.0, 0)),
        matmul("relu6", (5, 6), (6, 7), (0.05, 3), (0.05, -5), (6 / 255, -128), activation=(-128, 127)),
        matmul("narrow_activation", (5, 6), (6, 7), (0.05, 3), (0.05, -5), (0.1, 0), activation=(-20, 31)),
        matmul("left_shift", (4, 3), (3, 4), (2.0, 3), (1.0, -5), (0.5, 0)),
        matmul("tiny", (4, 3), (3, 4), (0.001, 3), (0.001, -5), (0.5, 9)),
    ],
    "average_pool2d": [
        pool(AveragePool2D, "two", (8, 8, 8), (2, 2), (2, 2)),
        pool(AveragePool2D, "same", (7, 5, 6), (3, 3), (1, 1), "same"),
        pool(AveragePool2D, "odd", (9, 7, 5), (3, 2), (2, 3)),
        pool(AveragePool2D, "whole_image", (6, 5, 9), (6, 5), (6, 5)),
        pool(AveragePool2D, "temporal", (1, 15, 7), (1, 3), (1, 2), "same"),
        pool(AveragePool2D, "deep_padding", (3, 4, 5), (3, 4), (1, 2), (2, 2, 3, 2)),
        pool(AveragePool2D, "narrow_activation", (6, 6, 4), (2, 2), (1, 1), activation=(-30, 12)),
        pool(AveragePool2D, "one_pixel", (1, 1, 3), (1, 1), (1, 1)),
    ],
    "max_pool2d": [
        pool(MaxPool2D, "two", (8, 8, 8), (2, 2), (2, 2)),
        pool(MaxPool2D, "same", (7, 5, 6), (3, 3), (1, 1), "same"),
        pool(MaxPool2D, "odd", (9, 7, 5), (3, 2), (2, 3)),
        pool(MaxPool2D, "whole_image", (6, 5, 9), (6, 5), (6, 5)),
        pool(MaxPool2D, "temporal", (1, 15, 7), (1, 3), (1, 2), "same"),
        pool(MaxPool2D, "deep_padding", (3, 4, 5), (3, 4), (1, 2), (2, 2, 3, 2)),
        pool(MaxPool2D, "narrow_activation", (6, 6, 4), (2, 2), (1, 1), activation=(-30, 12)),
        pool(MaxPool2D, "one_pixel", (1, 1, 3), (1, 1), (1, 1)),
    ],
    "global_average_pool": [
        global_average("plain", (8, 8, 16), (0.05, 3), (0.04, -5)),
        global_average("odd", (7, 5, 7), (0.05, -3), (0.05, -3)),
        global_average("one_pixel", (1, 1, 6), (0.05, 3), (0.04, -5)),
        global_average("one_channel", (9, 9, 1), (0.05, 3), (0.02, -5)),
        global_average("lowest_zero_points", (4, 6, 5), (0.05, -128), (0.03, -128)),
        global_average("highest_zero_points", (4, 6, 5), (0.05, 127), (0.03, 127)),
        global_average("narrow_activation", (4, 4, 8), (0.05, 3), (0.05, 3), (-5, 20)),
        global_average("temporal", (1, 40, 6), (0.05, 3), (0.04, -5)),
    ],
    "pad": [
        case("all_sides", Pad((1, 2, 3, 4), -7), [((4, 5, 3), (0.05, -7))], (0.05, -7)),
        case("none", Pad((0, 0, 0, 0), 0), [((3, 3, 2), (0.05, 0))], (0.05, 0)),
        case("top", Pad((2, 0, 0, 0), -128), [((3, 4, 5), (0.05, -128))], (0.05, -128)),
        case("right", Pad((0, 0, 0, 1), 127), [((4, 4, 1), (0.05, 127))], (0.05, 127)),
        case("bottom_left", Pad((0, 1, 2, 0), 3), [((1, 1, 7), (0.05, 3))], (0.05, 3)),
        case("mobilenet", Pad((0, 1, 0, 1), -1), [((8, 8, 3), (0.05, -1))], (0.05, -1)),
    ],
    "concat": [
        concat("copy", 2, [(4, 4, 3), (4, 4, 5)], [(0.05, 3)] * 2, (0.05, 3)),
        concat("rescale", 2, [(4, 5, 3), (4, 5, 2)], [(0.05, 3), (0.08, -9)], (0.07, 1)),
        concat("mixed", 2, [(3, 3, 4), (3, 3, 1), (3, 3, 2)], [(0.05, 3), (0.05, 4), (0.2, 3)], (0.05, 3)),
        concat("rows", 0, [(2, 4, 3), (3, 4, 3)], [(0.05, 3), (0.01, -128)], (0.05, 3)),
        concat("columns", 1, [(3, 1, 4), (3, 6, 4)], [(0.05, 127), (0.05, 3)], (0.04, 3)),
        concat("flat", 0, [(7,), (1,), (4,), (9,)], [(0.05, 3), (0.06, 3), (0.05, 3), (0.5, 0)], (0.05, 3)),
        concat("single", 0, [(5, 2, 2)], [(0.05, 3)], (0.06, 3)),
    ],
    "reshape": [
        case("flatten", Reshape((48,)), [((4, 4, 3), (0.05, 3))], (0.05, 3)),
        case("image", Reshape((3, 4, 2)), [((24,), (0.05, 3))], (0.05, 3)),
        case("same", Reshape((2, 2, 2)), [((2, 2, 2), (0.05, 3))], (0.05, 3)),
        case("one", Reshape((1, 1, 1)), [((1,), (0.05, 3))], (0.05, 3)),
        case("rank4", Reshape((2, 3, 2, 2)), [((4, 6), (0.05, -128))], (0.05, -128)),
        case("row", Reshape((1, 35)), [((5, 7), (0.05, 127))], (0.05, 127)),
    ],
    "softmax": [
        case("ten", Softmax.from_scale(0.1), [((10,), (0.1, 3))], (1 / 256, -128)),
        case("two", Softmax.from_scale(0.05), [((2,), (0.05, -7))], (1 / 256, -128)),
        case("one", Softmax.from_scale(0.05), [((1,), (0.05, 0))], (1 / 256, -128)),
        case("rows", Softmax.from_scale(0.2), [((3, 2, 5), (0.2, 5))], (1 / 256, -128)),
        case("small_scale", Softmax.from_scale(0.0005), [((12,), (0.0005, 5))], (1 / 256, -128)),
        case("large_scale", Softmax.from_scale(2.5), [((12,), (2.5, 5))], (1 / 256, -128)),
        case("long", Softmax.from_scale(0.03), [((1000,), (0.03, 5))], (1 / 256, -128)),
        case("longest", Softmax.from_scale(0.001), [((4095,), (0.001, 5))], (1 / 256, -128)),
    ],
    "resize_nearest": [
        case("double", ResizeNearest((8, 10)), [((4, 5, 3), (0.05, 3))], (0.05, 3)),
        case("half", ResizeNearest((4, 3)), [((8, 6, 4), (0.05, 3))], (0.05, 3)),
        case("uneven", ResizeNearest((7, 5)), [((3, 8, 2), (0.05, 3))], (0.05, 3)),
        case("from_one_pixel", ResizeNearest((3, 4)), [((1, 1, 5), (0.05, 3))], (0.05, 3)),
        case("to_one_pixel", ResizeNearest((1, 1)), [((5, 4, 3), (0.05, 3))], (0.05, 3)),
        case("same", ResizeNearest((4, 4)), [((4, 4, 1), (0.05, 3))], (0.05, 3)),
    ],
    "table": [
        table("sigmoid", "sigmoid", (4, 4, 5), (0.05, 3), (1 / 256, -128)),
        table("tanh", "tanh", (17,), (0.03, -9), (1 / 128, 0)),
        table("hardswish", "hardswish", (3, 5, 3), (0.05, 3), (0.04, -110)),
        table("gelu", "gelu", (1, 9, 3), (0.04, 0), (0.03, -100)),
        table("relu", "relu", (6,), (0.05, -128), (0.05, -128)),
        table("abs", "abs", (256,), (0.05, 127), (0.05, -128)),
    ],
    "requantize": [
        requantize("narrower", (4, 4, 5), (0.05, 3), (0.02, -9)),
        requantize("wider", (33,), (0.05, 3), (0.3, 100)),
        requantize("unit", (7,), (0.05, -128), (0.05, 127)),
        requantize("left_shift", (9,), (1.0, 3), (0.001, 0)),
        requantize("deep_right_shift", (9,), (0.00001, 3), (1.0, -50)),
        requantize("narrow_activation", (3, 3, 3), (0.05, 3), (0.02, -9), (-9, 60)),
    ],
}

CASES |= {kind: [case(*spec) for spec in specs] for kind, specs in SEQUENCE_CASES.items()}
ALL_CASES: list[OpCase] = [item for cases in CASES.values() for item in cases]
