"""int8 handlers of the operators that keep a state in variable tensors: UNIDIRECTIONAL_SEQUENCE_LSTM and SVDF, as tflite-micro evaluates them."""

from __future__ import annotations

import math

import numpy as np

from edgecompress.frontend.tflite.context import IntegerContext
from edgecompress.frontend.tflite.integer_layers import Weights, read_weights
from edgecompress.frontend.tflite.schema import OperatorInfo
from edgecompress.frontend.tflite.vocabulary import ACTIVATIONS
from edgecompress.ir.ops.lstm import HIGHEST_POWER, LOWEST_POWER, Lstm
from edgecompress.ir.ops.svdf import Svdf
from edgecompress.ir.requant import Requant

# positions of the inputs of UNIDIRECTIONAL_SEQUENCE_LSTM; four in a row are the gates input, forget, cell, output
INPUT_WEIGHTS, RECURRENT_WEIGHTS, BIASES, HIDDEN_STATE, CELL_STATE = 1, 5, 12, 18, 19
EXTRAS = {9: "peephole connections", 10: "peephole connections", 11: "peephole connections", 16: "a projection", 17: "a projection",
          20: "layer normalisation", 21: "layer normalisation", 22: "layer normalisation", 23: "layer normalisation"}
GATE_SCALE = 2.0**-12  # of the sums that sigmoid and tanh take: Q3.12
GATED_SCALE = 2.0**-15  # of what they make: Q0.15


def lstm(context: IntegerContext, operator: OperatorInfo) -> None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM of batch 1 with int8 hidden and int16 cell state."""
    _check_lstm(context, operator)
    source, output = context.input(operator, 0), context.output(operator)
    hidden, cell = context.input(operator, HIDDEN_STATE), context.input(operator, CELL_STATE)
    steps, inputs = _sequence(context, operator, source)
    from_input = [_weights(context, operator, INPUT_WEIGHTS + gate) for gate in range(4)]
    from_hidden = [_weights(context, operator, RECURRENT_WEIGHTS + gate) for gate in range(4)]
    units = len(from_input[0].values)
    biases = np.stack([_bias(context, operator, BIASES + gate, units) for gate in range(4)])
    if {weights.values.shape for weights in from_input} != {(units, inputs)} or {weights.values.shape for weights in from_hidden} != {(units, units)}:
        raise context.refuse(operator, f"has gates of different shapes; all need [{units}, {inputs}] and [{units}, {units}]")
    hidden_scale, hidden_zero_point = context.quantization(hidden)
    power = _cell_power(context, operator, cell)
    op = Lstm(np.stack([weights.values for weights in from_input]), np.stack([weights.values for weights in from_hidden]), biases,
              _gate_factors(context.quantization(source)[0], from_input), _gate_factors(hidden_scale, from_hidden),
              Requant.from_real(GATED_SCALE * GATED_SCALE / hidden_scale), context.quantization(source)[1], hidden_zero_point, power,
              _cell_clip(context, operator, power))
    context.emit(operator, op, (context.view(operator, source, (steps, inputs)),), output)


def _check_lstm(context: IntegerContext, operator: OperatorInfo) -> None:
    """Refuses what tflite-micro or this program does not compute."""
    for position, what in EXTRAS.items():
        if context.optional_input(operator, position) is not None:
            raise context.refuse(operator, f"has {what}, which tflite-micro does not compute either; train the layer without")
    for position in (INPUT_WEIGHTS, RECURRENT_WEIGHTS, BIASES):
        if context.optional_input(operator, position) is None:
            raise context.refuse(operator, "couples its input and forget gates (CIFG), which tflite-micro does not compute either; "
                                           "train the layer with four gates")
    code = operator.option("activation")
    if not 0 <= code < len(ACTIVATIONS) or ACTIVATIONS[code] != "TANH":
        raise context.refuse(operator, "has another cell activation than tanh; train the layer with tanh")
    for position, kind in ((0, "int8"), (HIDDEN_STATE, "int8"), (CELL_STATE, "int16")):
        tensor = context.info(context.input(operator, position))
        if tensor.type != kind or (position and not tensor.is_variable):
            raise context.refuse(operator, f"has {tensor.name!r} of type {tensor.type} as input {position}; needed is "
                                           f"{'a variable of type ' if position else ''}{kind}: convert the model with full int8 quantization")


def _sequence(context: IntegerContext, operator: OperatorInfo, source: int) -> tuple[int, int]:
    """(steps, inputs) of the LSTM's input."""
    shape = context.info(source).shape
    time_major = operator.option("time_major")
    if len(shape) != 3 or shape[1 if time_major else 0] != 1:
        raise context.refuse(operator, f"reads shape {shape}; supported is {'(time, 1, inputs)' if time_major else '(1, time, inputs)'}, "
                                       "export the model for a batch of 1")
    return shape[0 if time_major else 1], shape[2]


def _weights(context: IntegerContext, operator: OperatorInfo, position: int) -> Weights:
    weights = read_weights(context, operator, position, rank=2, channel_axis=0)
    tensor = context.info(context.input(operator, position))
    if tensor.type != "int8" or len(weights.scales) != 1:
        raise context.refuse(operator, f"has weights {tensor.name!r} of type {tensor.type} with {len(weights.scales)} scales; "
                                       "supported is int8 with one")
    return weights


def _bias(context: IntegerContext, operator: OperatorInfo, position: int, size: int) -> np.ndarray:
    index = context.input(operator, position)
    tensor = context.info(index)
    if tensor.type != "int32" or tensor.shape != (size,):
        raise context.refuse(operator, f"has bias {tensor.name!r} of type {tensor.type} and shape {tensor.shape}; needed is int32 [{size}]")
    return context.constant(operator, index)


def _gate_factors(scale: float, gates: list[Weights]) -> Requant:
    """tflite-micro multiplies the two scales in float32, as in a FULLY_CONNECTED with one scale."""
    return Requant.from_real([float(np.float32(scale) * gate.scales[0]) / GATE_SCALE for gate in gates])


def _variable_scale(context: IntegerContext, operator: OperatorInfo, index: int) -> tuple[np.float32, int]:
    given = context.info(index).quantization
    if given is None or len(given.scales) != 1 or not given.scales[0] > 0 or not math.isfinite(given.scales[0]):
        raise context.refuse(operator, f"has a state {context.info(index).name!r} without one positive scale; convert the model again")
    return np.float32(given.scales[0]), int(given.zero_points[0])


def _cell_power(context: IntegerContext, operator: OperatorInfo, cell: int) -> int:
    scale, zero_point = _variable_scale(context, operator, cell)
    mantissa, exponent = math.frexp(scale)
    if mantissa != 0.5 or zero_point != 0 or not LOWEST_POWER <= exponent - 1 <= HIGHEST_POWER:
        raise context.refuse(operator, f"has a cell state of scale {float(scale):.6g} and zero point {zero_point}; needed is a power of two from "
                                       f"2^{LOWEST_POWER} to 2^{HIGHEST_POWER} and zero point 0, convert the model again")
    return exponent - 1


def _cell_clip(context: IntegerContext, operator: OperatorInfo, power: int) -> int:
    """The largest magnitude of the cell state in its codes, 0 for none."""
    clip = operator.option("cell_clip")
    if not clip >= 0:
        raise context.refuse(operator, f"has a cell clip of {clip:g}; it must be at least 0")
    codes = int(min(clip * 2.0**-power, 32767.0))
    if clip and not codes:
        raise context.refuse(operator, f"has a cell clip of {clip:g}, which is below the cell state's scale; train the layer with a larger one")
    return codes


def svdf(context: IntegerContext, operator: OperatorInfo) -> None:
    """SVDF of batch 1 with an int16 or int8 state. tflite-micro does not look at its fused activation: the output's range is the clamp."""
    source, output = context.input(operator, 0), context.output(operator)
    code = operator.option("activation")
    if not 0 <= code < len(ACTIVATIONS) or ACTIVATIONS[code] not in ("NONE", "RELU"):
        raise context.refuse(operator, "has another fused activation than RELU, which tflite-micro would not compute; "
                                       "export it as an operator of its own")
    shape = context.info(source).shape
    if len(shape) != 2 or shape[0] != 1:
        raise context.refuse(operator, f"reads shape {shape}; supported is (1, inputs), export the model for a batch of 1")
    features = _weights(context, operator, 1)
    times, time_scale = _time_weights(context, operator, features)
    state = context.input(operator, 4)
    state_scale, state_zero_point = _variable_scale(context, operator, state)
    if state_zero_point:
        raise context.refuse(operator, f"has a state with zero point {state_zero_point}, which versions of tflite-micro compute differently; "
                                       "supported is 0, convert the model with a symmetric or int16 state")
    rank = operator.option("rank")
    filters = len(features.values)
    if rank < 1 or filters % rank:
        raise context.refuse(operator, f"has {filters} filters of rank {rank}; the rank must divide them")
    bias = np.zeros(filters // rank, np.int32) if context.optional_input(operator, 3) is None else _bias(context, operator, 3, filters // rank)
    feature_factor = np.float32(context.quantization(source)[0]) * features.scales[0] / state_scale
    output_factor = state_scale * time_scale / np.float32(context.quantization(output)[0])
    op = Svdf(features.values, times, bias, Requant.from_real(float(feature_factor)), Requant.from_real(float(output_factor)),
              context.quantization(source)[1], context.quantization(output)[1], rank,
              {"int16": 16, "int8": 8}[context.info(state).type])
    context.emit(operator, op, (context.view(operator, source, shape[1:]),), output)


def _time_weights(context: IntegerContext, operator: OperatorInfo, features: Weights) -> tuple[np.ndarray, np.float32]:
    """(values [filters, memory], scale); their type must be the state's."""
    tensor, state = context.info(context.input(operator, 2)), context.info(context.input(operator, 4))
    if tensor.type not in ("int16", "int8") or state.type != tensor.type or not state.is_variable:
        raise context.refuse(operator, f"has time weights of type {tensor.type} and a state of type {state.type}; supported are both int16 or "
                                       "both int8, the state a variable: convert the model with full int8 quantization")
    given = tensor.quantization
    if given is None or len(given.scales) != 1 or given.zero_points.any() or len(tensor.shape) != 2 or tensor.shape[0] != len(features.values):
        raise context.refuse(operator, f"has time weights {tensor.name!r} of shape {tensor.shape}; needed are {len(features.values)} rows with "
                                       "one scale and zero point 0")
    return context.constant(operator, tensor.index), np.float32(given.scales[0])
