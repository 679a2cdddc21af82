"""QuantizeLinear, DequantizeLinear and the QLinear operators: where a quantized model rounds, and what its constants hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.onnx import elementwise_ops, layer_ops, pool_ops, view_ops
from edgecompress.frontend.onnx.call import Call, Handler, axis_of
from edgecompress.frontend.onnx.tensors import TYPES
from edgecompress.frontend.onnx.values import Constant, Operand, Quantization, StoredIntegers, Value

SHIFTS = {"int8": 0, "uint8": 128}  # taken off a zero point to make it one of int8 codes
LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7), "uint4": (0, 15), "int16": (-32768, 32767), "uint16": (0, 65535)}
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


def _scales(call: Call, index: int) -> np.ndarray:
    scales = np.asarray(call.array(index, "scales"))
    if scales.dtype.kind != "f" or scales.ndim > 1 or scales.size == 0 or not (np.isfinite(scales).all() and (scales >= SMALLEST_SCALE).all()):
        raise ModelError(f"has scales of shape {list(scales.shape)} that are not positive numbers; one, or one a channel, is supported")
    return scales.astype(np.float64).reshape(-1)


def _zero_points(call: Call, index: int) -> np.ndarray | None:
    return np.asarray(call.array(index, "zero points")) if call.has(index) else None


def parameters(call: Call, scale_index: int) -> Quantization:
    """Scale and zero point of an activation from two neighbouring inputs. Raises ModelError for types other than int8 and uint8."""
    scales, zero_points = _scales(call, scale_index), _zero_points(call, scale_index + 1)
    number = call.node.integer("output_dtype", 0) or 2
    dtype = str(zero_points.dtype) if zero_points is not None else TYPES.get(number, ("an unknown type",))[0]
    if dtype not in SHIFTS:
        raise ModelError(f"quantizes an activation to {dtype}; int8 and uint8 are supported")
    if len(scales) != 1 or (zero_points is not None and zero_points.size != 1):
        raise ModelError(f"quantizes an activation with {len(scales)} scales; one is supported")
    zero_point = int(zero_points.reshape(-1)[0]) if zero_points is not None else 0
    return Quantization(float(scales[0]), zero_point - SHIFTS[dtype], dtype)


def quantize_linear(call: Call) -> Operand:
    """Rounds a tensor to codes; constants become integers now."""
    if isinstance(call.operand(0), Constant):
        return _quantized_constant(call)
    return call.emitter.quantized(call.value(0), parameters(call, 1))


def _quantized_constant(call: Call) -> Constant:
    array, scales, zero_points = call.array(0, "inputs"), _scales(call, 1), _zero_points(call, 2)
    dtype = "uint8" if zero_points is None else str(zero_points.dtype)
    if array.dtype.kind != "f" or dtype not in LIMITS:
        raise ModelError(f"quantizes a constant of type {array.dtype} to {dtype}, which is not supported")
    call.emitter.budget.spend(3 * array.size)
    shape = _along(call, array, len(scales), call.node.integer("axis", 1))
    zero = 0 if zero_points is None else zero_points.astype(np.float64).reshape(shape if zero_points.size > 1 else (1,) * array.ndim)
    with np.errstate(all="ignore"):
        codes = np.nan_to_num(np.rint(array / scales.reshape(shape)) + zero)
    return Constant(np.clip(codes, *LIMITS[dtype]).astype(dtype))


def _along(call: Call, array: np.ndarray, count: int, axis: int) -> tuple[int, ...]:
    """Shape in which one number a channel stands beside a constant."""
    if count == 1:
        return (1,) * array.ndim
    if call.node.integer("block_size", 0):
        raise ModelError("has scales for blocks of weights, which is not supported; quantize per channel")
    axis = axis_of(axis, array.ndim)
    if array.shape[axis] != count:
        raise ModelError(f"has {count} scales along axis {axis} of a constant {list(array.shape)}")
    return tuple(count if a == axis else 1 for a in range(array.ndim))


def dequantize_linear(call: Call) -> Operand:
    """What codes stand for; constants keep their integers."""
    operand = call.operand(0)
    if isinstance(operand, Constant):
        return dequantized_constant(call, operand, 1, call.node.integer("axis", 1))
    return dequantized(call, call.value(0, integers=True), parameters(call, 1))


def dequantized(call: Call, x: Value, given: Quantization) -> Value:
    """The real numbers behind a value's codes. Raises ModelError if the codes were made with other parameters."""
    made = x.quantized
    if made is None:
        raise ModelError("reads a tensor that is not quantized")
    if math.isnan(made.scale):  # the model's own input is integer: its parameters are known now
        if made.dtype != given.dtype:
            raise ModelError(f"reads {made.dtype} codes with a zero point of type {given.dtype}")
        x = call.emitter.quantized(Value(x.tensor, x.axes), given)
    elif made != given:
        raise ModelError(f"reads codes of scale {made.scale} and zero point {made.zero_point} with scale {given.scale} and zero point "
                         f"{given.zero_point}; they must be equal")
    return Value(x.tensor, x.axes)


def dequantized_constant(call: Call, constant: Constant, scale_index: int, axis: int) -> Constant:
    """float32 values of stored integers, with the integers (zero point taken off); several scales lie along `axis`."""
    codes, scales, zero_points = constant.array, _scales(call, scale_index), _zero_points(call, scale_index + 1)
    if codes.dtype.kind not in "iu":
        raise ModelError(f"reads a constant of type {codes.dtype}; integers are supported")
    call.emitter.budget.spend(4 * codes.size)
    shape = _along(call, codes, len(scales), axis)
    values = codes.astype(np.int64)
    if zero_points is not None:
        if zero_points.size not in (1, len(scales)):
            raise ModelError(f"has {zero_points.size} zero points beside {len(scales)} scales")
        values = values - zero_points.astype(np.int64).reshape(shape if zero_points.size > 1 else (1,) * codes.ndim)
    with np.errstate(over="ignore"):  # the layer that uses them refuses infinity
        real = (values * scales.reshape(shape)).astype(np.float32)
    return Constant(real, StoredIntegers(values, scales, axis % max(codes.ndim, 1)))


# ---- operators on codes: the same as the float operator between a DequantizeLinear and a QuantizeLinear

def _real(call: Call, index: int, axis: int = 0) -> Operand:
    """Operand (data, scale, zero point) at `index` as real numbers."""
    operand = call.operand(index)
    if isinstance(operand, Constant):
        return dequantized_constant(call, operand, index + 1, axis)
    return dequantized(call, call.value(index, integers=True), parameters(call, index + 1))


def _rounded(call: Call, result: Operand | tuple[Operand, ...], index: int) -> Value:
    assert isinstance(result, Value)
    return call.emitter.quantized(result, parameters(call, index))


def _inner(call: Call, operator: str, inputs: Sequence[Operand | None]) -> Call:
    return Call(replace(call.node, operator=operator), inputs, call.emitter)


def _integer_bias(call: Call, index: int, x_index: int, w_index: int) -> Constant | None:
    """int32 bias at the scale of input times weight."""
    if not call.has(index):
        return None
    bias = call.array(index, "biases").astype(np.int64).reshape(-1)
    scales = _scales(call, x_index + 1)[0] * _scales(call, w_index + 1)
    if len(scales) not in (1, len(bias)):
        raise ModelError(f"has {len(scales)} weight scales beside {len(bias)} biases")
    return Constant((bias * scales).astype(np.float32), StoredIntegers(bias, scales, 0))


def qlinear_conv(call: Call) -> Value:
    """QLinearConv: x, scale, zero point, weights, scale, zero point, output scale, zero point, int32 bias."""
    call.constant(3, "weights")
    return _rounded(call, layer_ops.conv(_inner(call, "Conv", (_real(call, 0), _real(call, 3), _integer_bias(call, 8, 0, 3)))), 6)


def qlinear_matmul(call: Call) -> Value:
    """QLinearMatMul: a, scale, zero point, b, scale, zero point, output scale, zero point."""
    return _rounded(call, layer_ops.matmul(_inner(call, "MatMul", (_real(call, 0), _real(call, 3, axis=1)))), 6)


def qgemm(call: Call) -> Value:
    """QGemm of com.microsoft: a, scale, zero point, b, scale, zero point, int32 bias, output scale, zero point."""
    if call.node.number("alpha", 1.0) != 1.0 or not call.has(7):
        raise ModelError("has alpha other than 1, or float output, which is not supported")
    call.constant(3, "weights")
    weights = _real(call, 3, axis=0 if call.node.integer("transB", 0) else 1)
    return _rounded(call, layer_ops.gemm(_inner(call, "Gemm", (_real(call, 0), weights, _integer_bias(call, 6, 0, 3)))), 7)


def qlinear_binary(operator: str, handler: Handler) -> Handler:
    """QLinearAdd and QLinearMul of com.microsoft: a, scale, zero point, b, scale, zero point, output scale, zero point."""
    return lambda call: _rounded(call, handler(_inner(call, operator, (_real(call, 0), _real(call, 3)))), 6)


def qlinear_unary(operator: str, handler: Handler) -> Handler:
    """QLinearSigmoid and its like: x, scale, zero point, output scale, zero point."""
    def converted(call: Call) -> Value:
        if call.node.integer("channels_last", 0):
            raise ModelError("has channels_last=1, which is not supported")
        return _rounded(call, handler(_inner(call, operator, (_real(call, 0),))), 3)

    return converted


def qlinear_concat(call: Call) -> Value:
    """QLinearConcat of com.microsoft: output scale, zero point, then triples."""
    if len(call.inputs) < 5 or (len(call.inputs) - 2) % 3:
        raise ModelError("needs an output scale, a zero point and three inputs a tensor")
    parts = [_real(call, index) for index in range(2, len(call.inputs), 3)]
    return _rounded(call, view_ops.concat(_inner(call, "Concat", parts)), 0)


QLINEAR: dict[str, Handler] = {
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "QGemm": qgemm,
    "QLinearAdd": qlinear_binary("Add", elementwise_ops.add),
    "QLinearMul": qlinear_binary("Mul", elementwise_ops.multiply),
    "QLinearConcat": qlinear_concat,
    "QLinearSigmoid": qlinear_unary("Sigmoid", elementwise_ops.unary("sigmoid")),
    "QLinearLeakyRelu": qlinear_unary("LeakyRelu", elementwise_ops.leaky_relu),
    "QLinearAveragePool": qlinear_unary("AveragePool", pool_ops.average_pool),
    "QLinearGlobalAveragePool": qlinear_unary("GlobalAveragePool", pool_ops.global_average_pool),
    "QLinearSoftmax": qlinear_unary("Softmax", pool_ops.softmax),
}

