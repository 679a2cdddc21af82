"""Every op by hand and against loops over Python integers that know nothing of numpy's shortcuts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ir_requant import divide_by_power, divide_like_c, high_mul, rescale

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.average_pool2d import AveragePool2D
from edgecompress.ir.ops.batch_matmul import BatchMatmul
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.conv2d import Conv2D, exact_float
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.global_average_pool import GlobalAveragePool, fold_count
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.mul import Mul
from edgecompress.ir.ops.pad import Pad
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.resize_nearest import ResizeNearest
from edgecompress.ir.ops.softmax import Softmax, exp_on_negative, reciprocal
from edgecompress.ir.ops.table import UNARY, Table, round_half_away
from edgecompress.ir.requant import Requant
from edgecompress.ir.window import output_size

ONE = Requant((2**30,), (1,))
seeds = st.integers(0, 2**32 - 1)


def int8(*values: object) -> np.ndarray:
    """A batch of one."""
    return np.array(values, dtype=np.int8)[None]


def factor(requant: Requant, channel: int) -> tuple[int, int]:
    """(multiplier, shift) of a channel."""
    position = channel if len(requant.multiplier) > 1 else 0
    return requant.multiplier[position], requant.shift[position]


def clamp(value: int, op: object) -> int:
    """The activation's clamp."""
    return max(op.activation_min, min(op.activation_max, value))  # type: ignore[attr-defined]


def naive_conv(op: Conv2D, x: list, shape: Shape) -> list:  # type: ignore[type-arg]
    """Seven loops."""
    height, width, _ = shape
    out_height, out_width, out_channels = op.infer_shape(shape)
    kernel_height, kernel_width, depth = op.weights.shape[1:]
    weights, bias = op.weights.tolist(), op.bias.tolist()
    result = [[[0] * out_channels for _ in range(out_width)] for _ in range(out_height)]
    for row, column, channel in itertools.product(range(out_height), range(out_width), range(out_channels)):
        accumulator = bias[channel]
        first = channel // (out_channels // op.groups) * depth
        for i, j, k in itertools.product(range(kernel_height), range(kernel_width), range(depth)):
            y = row * op.stride[0] + i * op.dilation[0] - op.padding[0]
            z = column * op.stride[1] + j * op.dilation[1] - op.padding[2]
            if 0 <= y < height and 0 <= z < width:
                accumulator += (x[y][z][first + k] - op.input_zero_point) * weights[channel][i][j][k]
        assert -(2**31) <= accumulator < 2**31
        result[row][column][channel] = clamp(rescale(accumulator, *factor(op.requant, channel)) + op.output_zero_point, op)
    return result


def naive_depthwise(op: DepthwiseConv2D, x: list, shape: Shape) -> list:  # type: ignore[type-arg]
    """As a grouped convolution with one input channel a group."""
    as_conv = Conv2D(op.weights.transpose(2, 0, 1)[..., None], op.bias, op.requant, op.input_zero_point, op.output_zero_point, op.stride,
                     op.dilation, op.padding, shape[2], op.activation_min, op.activation_max)
    return naive_conv(as_conv, x, shape)


def naive_pool(op: AveragePool2D | MaxPool2D, x: list, shape: Shape) -> list:  # type: ignore[type-arg]
    """Elements inside the image only; C's truncating division for the average."""
    height, width, channels = shape
    out_height, out_width, _ = op.infer_shape(shape)
    result = [[[0] * channels for _ in range(out_width)] for _ in range(out_height)]
    for row, column, channel in itertools.product(range(out_height), range(out_width), range(channels)):
        rows = [y for i in range(op.kernel[0]) if 0 <= (y := row * op.stride[0] - op.padding[0] + i) < height]
        columns = [z for j in range(op.kernel[1]) if 0 <= (z := column * op.stride[1] - op.padding[2] + j) < width]
        values = [x[y][z][channel] for y in rows for z in columns]
        if isinstance(op, MaxPool2D):
            value = max(values)
        else:
            total, half = sum(values), len(values) // 2
            value = divide_like_c(total + half if total > 0 else total - half, len(values))
        result[row][column][channel] = clamp(value, op)
    return result


def random_requant(rng: np.random.Generator, channels: int, fan_in: int) -> Requant:
    """Factors that keep the results in range, some of them tiny, zero or a power of two."""
    factors = np.exp(rng.uniform(-2, 2, channels)) / (50 * math.sqrt(fan_in))
    factors[rng.random(channels) < 0.1] = 0.0
    factors[rng.random(channels) < 0.1] = 2.0**-9
    return Requant.from_real(factors if rng.random() < 0.8 else factors[0])


def random_window(rng: np.random.Generator) -> tuple[Shape, tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int, int, int]]:
    """(input height and width, kernel, stride, dilation, padding) that fit together."""
    while True:
        size, kernel, stride, dilation = (tuple(int(v) for v in rng.integers(1, high, 2)) for high in (8, 5, 4, 4))
        padding = tuple(int(v) for v in rng.integers(0, 4, 4))
        room = [size[axis] + padding[2 * axis] + padding[2 * axis + 1] - (kernel[axis] - 1) * dilation[axis] for axis in (0, 1)]
        if min(room) >= 1:
            return size, kernel, stride, dilation, padding  # type: ignore[return-value]


def random_bytes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """int8, sometimes only extremes."""
    return (rng.integers(-128, 128, shape) if rng.random() < 0.8 else rng.choice([-128, 127], shape)).astype(np.int8)


def assert_equal(op: Op, naive: Callable[..., list], x: np.ndarray) -> None:  # type: ignore[type-arg]
    """Reference against loops on a batch of one."""
    assert op.reference(x)[0].tolist() == naive(op, x[0].tolist(), x.shape[1:])


@settings(max_examples=80, deadline=None)
@given(seeds)
def test_conv2d_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, kernel, stride, dilation, padding = random_window(rng)
    groups, depth = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    channels = groups * int(rng.integers(1, 4))
    bits = int(rng.choice([8, 4, 2]))
    high = {8: 127, 4: 7, 2: 1}[bits]
    weights = rng.integers(-high, high + 1, (channels, *kernel, depth)).astype(np.int8)
    low, top = sorted(int(v) for v in rng.integers(-128, 128, 2))
    op = Conv2D(weights, rng.integers(-5000, 5000, channels), random_requant(rng, channels, weights[0].size), int(rng.integers(-128, 128)),
                int(rng.integers(-128, 128)), stride, dilation, padding, groups, low, top, bits)
    assert_equal(op, naive_conv, random_bytes(rng, 1, *size, groups * depth))


@settings(max_examples=80, deadline=None)
@given(seeds)
def test_depthwise_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, kernel, stride, dilation, padding = random_window(rng)
    depth = int(rng.integers(1, 5))
    channels = depth * int(rng.integers(1, 4))
    op = DepthwiseConv2D(rng.integers(-128, 128, (*kernel, channels)), rng.integers(-5000, 5000, channels),
                         random_requant(rng, channels, kernel[0] * kernel[1]), int(rng.integers(-128, 128)), int(rng.integers(-128, 128)), stride,
                         dilation, padding)
    assert_equal(op, naive_depthwise, random_bytes(rng, 1, *size, depth))


@settings(max_examples=80, deadline=None)
@given(seeds, st.sampled_from([AveragePool2D, MaxPool2D]))
def test_pools_against_loops(seed: int, kind: type[AveragePool2D] | type[MaxPool2D]) -> None:
    rng = np.random.default_rng(seed)
    size, kernel, stride, _, padding = random_window(rng)
    padding = tuple(min(side, kernel[axis // 2] - 1) for axis, side in enumerate(padding))  # type: ignore[assignment]
    if any(size[axis] + padding[2 * axis] + padding[2 * axis + 1] < kernel[axis] for axis in (0, 1)):
        return
    low, top = sorted(int(v) for v in rng.integers(-128, 128, 2))
    assert_equal(kind(kernel, stride, padding, low, top), naive_pool, random_bytes(rng, 1, *size, int(rng.integers(1, 4))))


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_dense_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, length = int(rng.integers(1, 6)), int(rng.integers(1, 60))
    op = Dense(rng.integers(-128, 128, (rows, length)), rng.integers(-(2**20), 2**20, rows), random_requant(rng, rows, length),
               int(rng.integers(-128, 128)), int(rng.integers(-128, 128)))
    x = random_bytes(rng, 1, length)
    expected = [clamp(rescale(int(op.bias[row]) + sum((v - op.input_zero_point) * w for v, w in zip(x[0].tolist(), op.weights[row].tolist(),
                                                                                                    strict=True)),
                              *factor(op.requant, row)) + op.output_zero_point, op) for row in range(rows)]
    assert op.reference(x)[0].tolist() == expected


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_add_and_mul_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    za, zb, zo = (int(v) for v in rng.integers(-128, 128, 3))
    a, b = random_bytes(rng, 1, 3, 2, 4), random_bytes(rng, 1, 3, 2, 4)
    add = Add.from_scales((float(np.exp(rng.uniform(-6, 3))), za), (float(np.exp(rng.uniform(-6, 3))), zb), (float(np.exp(rng.uniform(-6, 3))), zo))
    mul = Mul(Requant.from_real(float(np.exp(rng.uniform(-10, 1)))), za, zb, zo)
    pairs = list(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    total = [rescale((x - za) << 20, *factor(add.left, 0)) + rescale((y - zb) << 20, *factor(add.right, 0)) for x, y in pairs]
    assert add.reference(a, b).ravel().tolist() == [clamp(rescale(v, *factor(add.out, 0)) + zo, add) for v in total]
    assert mul.reference(a, b).ravel().tolist() == [clamp(rescale((x - za) * (y - zb), *factor(mul.requant, 0)) + zo, mul) for x, y in pairs]
    one_each = b[:, :1, :1, :]
    assert np.array_equal(mul.reference(a, one_each), mul.reference(a, np.broadcast_to(one_each, a.shape)))


@pytest.mark.parametrize("transposed", itertools.product((0, 1), (0, 1)))
@pytest.mark.parametrize("depth", [1, 7, 258, 259, 700])
def test_products_of_matrices_against_loops(depth: int, transposed: tuple[int, int]) -> None:
    """Either side of the depth up to which float32 is exact, with the largest products among them."""
    rng = np.random.default_rng(depth)
    za, zb = (-128, 127) if depth > 7 else (3, -9)
    a, b = random_bytes(rng, 2, 3, depth), random_bytes(rng, 2, depth, 4)
    a[0, 0], b[0, :, 0] = 127, -128
    op = BatchMatmul(Requant.from_real(0.3 / depth**0.5 / 40), za, zb, -7, *transposed, -100, 110)
    stored = (matrix.swapaxes(-1, -2) if flag else matrix for matrix, flag in zip((a, b), transposed, strict=True))
    sums = [sum((int(a[n, i, k]) - za) * (int(b[n, k, j]) - zb) for k in range(depth)) for n, i, j in itertools.product(range(2), range(3), range(4))]
    assert op.reference(*stored).ravel().tolist() == [clamp(rescale(total, *factor(op.requant, 0)) - 7, op) for total in sums]
    with pytest.raises(ModelError, match="one rescaling factor"):
        BatchMatmul(Requant((2**30,) * 2, (0, 0)), 0, 0, 0)
    with pytest.raises(ModelError, match="must be 0 or 1"):
        BatchMatmul(ONE, 0, 0, 0, 2)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_global_average_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width, zero_point, out_zero_point = (*(int(v) for v in rng.integers(1, 12, 2)), *(int(v) for v in rng.integers(-128, 128, 2)))
    op = GlobalAveragePool(fold_count(float(np.exp(rng.uniform(-2, 2))), height * width), zero_point, out_zero_point)
    x = random_bytes(rng, 1, height, width, 3)
    totals = [sum(v - zero_point for v in x[0, :, :, channel].ravel().tolist()) for channel in range(3)]
    assert op.reference(x).ravel().tolist() == [clamp(rescale(total, *factor(op.requant, 0)) + out_zero_point, op) for total in totals]


def test_convolution_by_hand() -> None:
    # one channel, 3x3 input 1..9, 2x2 kernel [[1, 2], [3, 4]], zero point 1, bias 10, factor 1/4
    op = Conv2D(np.array([[[[1], [2]], [[3], [4]]]]), np.array([10]), Requant.from_real(0.25), 1, -2)
    x = int8([[1], [2], [3]], [[4], [5], [6]], [[7], [8], [9]])
    # x - 1 = 0..8; top left: 0*1 + 1*2 + 3*3 + 4*4 + 10 = 37; a step right adds 10, a step down 30
    # 1/4 is 2^30 * 2^-31, then / 2, each rounded: 37 -> 18.5 -> 19 -> 9.5 -> 10;  47 -> 23.5 -> 24 -> 12;
    # 67 -> 33.5 -> 34 -> 17;  77 -> 38.5 -> 39 -> 19.5 -> 20;  all minus 2
    assert op.reference(x).tolist() == [[[[8], [10]], [[15], [18]]]]


def test_convolution_padding_means_real_zero() -> None:
    # with zero point 5, a padded tap adds nothing: only the bias is left in the corner of a kernel that is all ones
    op = Conv2D(np.ones((1, 2, 2, 1), dtype=np.int8), np.array([100]), Requant.from_real(0.5), 5, 0, padding=(1, 0, 1, 0))
    # the window at (0, 0) sees one pixel, 7 - 5 = 2: (100 + 2) / 2 = 51; at (1, 1) four of them: 108 / 2 = 54
    assert op.reference(np.full((1, 2, 2, 1), 7, dtype=np.int8)).tolist() == [[[[51], [52]], [[52], [54]]]]


def test_rounding_in_an_op_is_double() -> None:
    # acc * 2^30 / 2^31 rounds first (ties up), then / 2 rounds again (ties away): 5 -> 2.5 -> 3 -> 1.5 -> 2, while 5 / 4 = 1.25 is nearer to 1
    op = Dense(np.array([[1]]), np.array([0]), Requant((2**30,), (-1,)), 0, 0)
    assert [op.reference(np.array([[v]], dtype=np.int8)).item() for v in (5, -5, 3, -3, 2, -2)] == [2, -1, 1, -1, 1, -1]
    # -5 -> -2.5 -> -2 -> -1;  3 -> 1.5 -> 2 -> 1;  -3 -> -1.5 -> -1 -> -0.5 -> -1;  2 -> 1 -> 0.5 -> 1;  -2 -> -1 -> -0.5 -> -1


def test_average_pool_rounds_half_away_from_zero() -> None:
    op = AveragePool2D((1, 2), (1, 2))
    # (1 + 2) / 2 = 1.5 -> 2, (-1 - 2) / 2 -> -2, (0 + 1) / 2 -> 1, (-1 + 0) / 2 -> -1
    assert op.reference(int8([[1], [2], [-1], [-2], [0], [1], [-1], [0]])).ravel().tolist() == [2, -2, 1, -1]


def test_max_pool_never_takes_padding() -> None:
    op = MaxPool2D((2, 2), (1, 1), (1, 1, 1, 1))
    assert op.reference(np.full((1, 2, 2, 1), -128, dtype=np.int8)).max() == -128


def test_moving_ops_by_hand() -> None:
    assert Pad((1, 0, 0, 2), 9).reference(int8([[1], [2]])).tolist() == [[[[9], [9], [9], [9]], [[1], [2], [9], [9]]]]
    assert Reshape((3, 2)).reference(int8(1, 2, 3, 4, 5, 6)).tolist() == [[[1, 2], [3, 4], [5, 6]]]
    # columns 0 * 2 // 3 = 0, 1 * 2 // 3 = 0, 2 * 2 // 3 = 1
    assert ResizeNearest((1, 3)).reference(int8([[1], [2]])).tolist() == [[[[1], [1], [2]]]]
    assert ResizeNearest((1, 1)).reference(int8([[1], [2]])).tolist() == [[[[1]]]]


def test_concat_rescales_each_input_to_the_output() -> None:
    op = Concat(0, Requant.from_real([1.0, 0.5, 1.0]), (4, -10, 0), 4)
    assert [op.is_copy(position) for position in range(3)] == [True, False, False]
    # second: (x + 10) / 2 + 4: -9 -> 4.5 -> 5 (tie up), -13 -> -1.5 + 4 -> 3 (tie up: -1), 127 -> 68.5 + 4 -> 73
    # third: x + 4, saturating
    assert op.reference(int8(-128, 127), int8(-9, -13, 127), int8(1, 127)).tolist() == [[-128, 127, 5, 3, 73, 5, 127]]


def test_requantize_by_hand() -> None:
    assert Requantize(ONE, 3, 5).reference(int8(-128, 0, 3, 127)).tolist() == [[-126, 2, 5, 127]]
    assert Requantize(Requant.from_real(2.0), 0, 0, -5, 100).reference(int8(-3, 2, 60)).tolist() == [[-5, 4, 100]]


def test_add_by_hand() -> None:
    # equal scales: left = right = 1/2, out = 2 * s / (2^20 * s): the sum itself
    op = Add.from_scales((0.1, 1), (0.1, -2), (0.1, 3))
    # (10 - 1) + (20 + 2) + 3 = 34; saturates at both ends
    assert op.reference(int8(10, 127, -128), int8(20, 127, -128)).tolist() == [[34, 127, -128]]


def test_mul_by_hand() -> None:
    op = Mul(Requant.from_real(0.5), 1, 2, 3)
    # (4 - 1) * (6 - 2) / 2 + 3 = 9;  (0 - 1) * (5 - 2) / 2 = -1.5 -> -1 (tie up), + 3 = 2
    assert op.reference(int8(4, 0), int8(6, 5)).tolist() == [[9, 2]]


@pytest.mark.parametrize("scale", [2.0**-12, 0.01, 0.1, 0.7, 5.0])
def test_softmax_is_within_one_step_of_the_real_one(scale: float) -> None:
    rng = np.random.default_rng(0)
    op = Softmax.from_scale(scale)
    for depth in (1, 2, 10, 100):
        x = rng.integers(-128, 128, (20, depth)).astype(np.int8)
        real = np.exp(x * scale - (x * scale).max(axis=1, keepdims=True))
        real /= real.sum(axis=1, keepdims=True)
        assert np.abs(op.reference(x) - np.minimum(real * 256 - 128, 127)).max() <= 1.0


def test_softmax_by_hand() -> None:
    op = Softmax.from_scale(0.5)
    assert op.reference(int8(7)).tolist() == [[127]]  # probability 1 is 256 - 128, clamped
    assert op.reference(int8(7, 7)).tolist() == [[0, 0]]  # 1/2 -> 128 - 128
    assert op.reference(int8(-128, 127)).tolist() == [[-128, 127]]
    # exp(-1) = 0.36788: 1 / 1.36788 = 0.73106 -> 187.15 - 128 = 59, 0.26894 -> 68.85 - 128 = -59
    assert op.reference(int8(2, 0)).tolist() == [[59, -59]]


def test_softmax_over_very_many_or_very_coarse_inputs() -> None:
    op = Softmax.from_scale(0.01)
    assert set(op.reference(np.zeros((1, 511), dtype=np.int8)).ravel().tolist()) == {-127}  # 256 / 511 = 0.501 -> 1
    assert set(op.reference(np.zeros((1, 4095), dtype=np.int8)).ravel().tolist()) == {-128}
    peak = np.full((1, 4095), -128, dtype=np.int8)
    peak[0, 17] = 127
    assert Softmax.from_scale(1.0).reference(peak)[0, 17] == 127
    coarse = Softmax.from_scale(100.0)  # a step is far more than 16: winner takes all
    assert coarse.diff_min == 0
    assert coarse.reference(int8(5, 5, 4)).tolist() == [[0, 0, -128]]


def exp_like_c(a: int) -> int:
    """gemmlowp's exp_on_negative_values for Q5.26, barrel shifter and all."""
    if a == 0:
        return 2**31 - 1
    modulo = (a & (2**24 - 1)) - 2**24
    x = (modulo << 5) + 2**28
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    tail = divide_by_power(high_mul(divide_by_power(x4, 2) + x3, 715827883) + x2, 1)
    result = 1895147668 + high_mul(1895147668, x + tail)
    for exponent, factor_of_bit in ((-2, 1672461947), (-1, 1302514674), (0, 790015084), (1, 290630308), (2, 39332535), (3, 720401), (4, 242)):
        if (modulo - a) & 2 ** (26 + exponent):
            result = high_mul(result, factor_of_bit)
    return result


def reciprocal_like_c(x: int) -> tuple[int, int]:
    """TFLite's GetReciprocal for Q12.19: gemmlowp's one_over_one_plus_x_for_x_in_0_1, three Newton steps."""
    leading_zeros = 32 - x.bit_length()
    a = (x << leading_zeros) - 2**31
    half = divide_like_c(a + 2**31 - 1 + 1, 2)  # RoundingHalfSum with one
    y = 1515870810 + high_mul(half, -1010580540)
    for _ in range(3):
        y += max(-(2**31), min(2**31 - 1, high_mul(y, 2**29 - high_mul(half, y)) << 2))
    return max(-(2**31), min(2**31 - 1, y << 1)), 12 - leading_zeros


@given(st.integers(-(31 << 26), 0), st.integers(2**19, 2**31 - 1))
def test_exponential_and_reciprocal_against_transcriptions(a: int, total: int) -> None:
    assert int(exp_on_negative(np.array([a]))[0]) == exp_like_c(a)
    assert abs(exp_like_c(a) / 2**31 - math.exp(a / 2**26)) < 5e-7
    scale, power = reciprocal(np.array([total]))
    assert (int(scale[0]), int(power[0])) == reciprocal_like_c(total)
    assert reciprocal_like_c(total)[0] / 2**31 / 2.0 ** reciprocal_like_c(total)[1] == pytest.approx(2**19 / total, rel=1e-7)


@pytest.mark.parametrize("function", UNARY)
def test_tables_equal_the_formula_value_by_value(function: str) -> None:
    formulas: dict[str, Callable[[float], float]] = {
        "sigmoid": lambda v: 1 / (1 + math.exp(-v)), "tanh": math.tanh, "relu": lambda v: max(v, 0.0), "relu6": lambda v: min(max(v, 0.0), 6.0),
        "leaky_relu": lambda v: v if v >= 0 else 0.01 * v, "elu": lambda v: v if v >= 0 else math.expm1(v),
        "hardsigmoid": lambda v: min(max(v + 3, 0), 6) / 6, "hardswish": lambda v: v * min(max(v + 3, 0), 6) / 6,
        "silu": lambda v: v / (1 + math.exp(-v)), "gelu": lambda v: v * 0.5 * math.erfc(-v / math.sqrt(2)),
        "softplus": lambda v: math.log1p(math.exp(-abs(v))) + max(v, 0.0), "abs": abs, "square": lambda v: v * v}
    for scale, zero_point, out_scale, out_zero_point in ((0.05, -3, 0.03, 7), (0.02, 127, 1 / 256, -128), (0.1, -128, 0.1, -128)):
        table = Table.from_function(function, scale, zero_point, out_scale, out_zero_point)
        exact = [formulas[function]((q - zero_point) * scale) / out_scale + out_zero_point for q in range(-128, 128)]
        assert all(abs(min(max(value, -128), 127) - entry) <= 0.5 + 1e-9 for value, entry in zip(exact, table.table.tolist(), strict=True))
        x = np.arange(-128, 128).astype(np.int8)[None]
        assert table.reference(x).ravel().tolist() == table.table.tolist()


def test_tables_round_ties_away_from_zero_and_survive_extremes() -> None:
    assert round_half_away(np.array([0.5, -0.5, 1.5, -1.5, 0.49999999999999994, 2.4, -2.6, np.inf])).tolist() == [1, -1, 2, -2, 0, 2, -3, np.inf]
    halves = Table.from_function("abs", 0.5, 0, 1.0, 0)
    assert halves.reference(int8(1, -1, 3, 2)).tolist() == [[1, 1, 2, 1]]
    for function in UNARY:
        huge = Table.from_function(function, 1e30, 0, 1e-30, 0).table
        assert huge.dtype == np.int8 and huge.shape == (256,)
    assert Table.from_function("sigmoid", 1e30, 0, 1 / 256, -128).reference(int8(-128, 0, 127)).tolist() == [[-128, 0, 127]]


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_matrix_products_in_floats_are_exact_up_to_the_bound(seed: int) -> None:
    """Weights at the edge of float32's exact range, and beyond it, where float64 has to be chosen."""
    rng = np.random.default_rng(seed)
    taps = int(rng.integers(100, 1200))
    weights = rng.choice([-127, 127], (3, taps)).astype(np.int8)
    assert exact_float(weights) is (np.float32 if 255 * 127 * taps <= 2**24 else np.float64)
    op = Dense(weights, np.zeros(3, dtype=np.int32), Requant.from_real(1 / (127 * taps)), int(rng.choice([-128, 127])), 0)
    x = random_bytes(rng, 2, taps)
    accumulator = (x.astype(np.int64) - op.input_zero_point) @ weights.astype(np.int64).T
    expected = [[clamp(rescale(v, *factor(op.requant, 0)), op) for v in row] for row in accumulator.tolist()]
    assert op.reference(x).tolist() == expected


def test_convolutions_equal_torch_in_float64() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    for _ in range(25):
        size, kernel, stride, dilation, padding = random_window(rng)
        groups = int(rng.integers(1, 3))
        weights = rng.integers(-127, 128, (groups * 2, *kernel, 3)).astype(np.int8)
        zero_point = int(rng.integers(-128, 128))
        x = random_bytes(rng, 2, *size, 3 * groups)
        image = torch.nn.functional.pad(torch.from_numpy((x.astype(np.float64) - zero_point).transpose(0, 3, 1, 2).copy()),
                                        (padding[2], padding[3], padding[0], padding[1]))
        exact = torch.nn.functional.conv2d(image, torch.from_numpy(weights.transpose(0, 3, 1, 2).astype(np.float64).copy()), stride=stride,
                                           dilation=dilation, groups=groups).numpy().transpose(0, 2, 3, 1)
        assert exact.shape[1:3] == output_size(size, kernel, stride, padding, dilation)
        requant = Requant.from_real(127 / max(np.abs(exact).max(), 1))
        fitted = Conv2D(weights, np.zeros(groups * 2), requant, zero_point, 0, stride, dilation, padding, groups)
        assert np.array_equal(fitted.reference(x), requant.apply(exact.astype(np.int64)))
