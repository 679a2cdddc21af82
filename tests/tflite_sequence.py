"""The ops that remember and those that re-order, for tests/tflite_writer.py and tests/tflite_cases.py: how a file holds them, and random ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from edgecompress.ir.graph import Node, QuantizedGraph
from edgecompress.ir.op import Op
from edgecompress.ir.ops.delay_line import DelayLine
from edgecompress.ir.ops.lstm import Lstm
from edgecompress.ir.ops.slice import Slice
from edgecompress.ir.ops.svdf import Svdf
from edgecompress.ir.ops.transpose import Transpose
from edgecompress.ir.requant import Requant

if TYPE_CHECKING:
    from tflite_cases import Case
    from tflite_writer import Writer

Builtin = schema.BuiltinOperator
Options = schema.BuiltinOptions
GATES = 4


def _slice(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, Slice)
    op = node.op
    ends = [begin + size * step for begin, size, step in zip(op.begin, op.size, op.step, strict=True)]
    options = schema.StridedSliceOptionsT()
    options.endMask = sum(1 << (axis + 1) for axis, end in enumerate(ends) if end < 0)
    lists = [writer.constant(f"{node.name}.{name}", np.array(values, dtype=np.int32))
             for name, values in (("begin", (0, *op.begin)), ("end", (1, *ends)), ("step", (1, *op.step)))]
    writer.operator(Builtin.STRIDED_SLICE, [writer.activation(node.inputs[0]), *lists], [writer.activation(node.output)],
                    Options.StridedSliceOptions, options, version=2)


def _transpose(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, Transpose)
    order = writer.constant(f"{node.name}.order", np.array([0, *(axis + 1 for axis in node.op.permutation)], dtype=np.int32))
    writer.operator(Builtin.TRANSPOSE, [writer.activation(node.inputs[0]), order], [writer.activation(node.output)], Options.TransposeOptions,
                    schema.TransposeOptionsT(), version=2)


def _handle(writer: Writer, name: str) -> tuple[int, schema.VarHandleOptionsT]:
    options = schema.VarHandleOptionsT()
    options.container, options.sharedName = b"", name.encode()
    return writer.tensor(name, (), "resource"), options


def _delay_line(writer: Writer, node: Node) -> None:
    """As streaming models do it: a variable, its first value from a subgraph that runs once."""
    assert isinstance(node.op, DelayLine)
    initial = node.op.initial[None]
    output = writer.graph.tensors[node.output]
    once = schema.CallOnceOptionsT()
    once.initSubgraphIndex = writer.start(lambda: _assign_first(writer, node.name, initial, output.scale, output.zero_point))
    writer.operator(Builtin.CALL_ONCE, [], [], Options.CallOnceOptions, once)
    handle, options = _handle(writer, node.name)
    writer.operator(Builtin.VAR_HANDLE, [], [handle], Options.VarHandleOptions, options)
    kept = writer.like(output, f"{node.name}.kept", initial.shape)
    writer.operator(Builtin.READ_VARIABLE, [handle], [kept])
    join = schema.ConcatenationOptionsT()
    join.axis = 1
    joined = writer.activation(node.output)
    writer.operator(Builtin.CONCATENATION, [kept, writer.activation(node.inputs[0])], [joined], Options.ConcatenationOptions, join, version=2)
    cut = schema.StridedSliceOptionsT()
    others = (1 << initial.ndim) - 1 - 2
    cut.beginMask, cut.endMask = others, others + 2
    new = output.shape[0] - initial.shape[1]
    lists = [writer.constant(f"{node.name}.{name}", np.array([1, value, *[1] * (initial.ndim - 2)], dtype=np.int32))
             for name, value in (("begin", new), ("end", 0), ("step", 1))]
    last = writer.like(output, f"{node.name}.last", initial.shape)
    writer.operator(Builtin.STRIDED_SLICE, [joined, *lists], [last], Options.StridedSliceOptions, cut, version=2)
    writer.operator(Builtin.ASSIGN_VARIABLE, [handle, last], [])


def _assign_first(writer: Writer, name: str, initial: np.ndarray, scale: float, zero_point: int) -> None:
    handle, options = _handle(writer, name)
    writer.operator(Builtin.VAR_HANDLE, [], [handle], Options.VarHandleOptions, options)
    writer.operator(Builtin.ASSIGN_VARIABLE, [handle, writer.constant(f"{name}.first", initial, [scale], zero_point)], [])


def _variable(writer: Writer, name: str, shape: tuple[int, ...], dtype: str, scale: float, zero_point: int) -> int:
    index = writer.tensor(name, shape, dtype, [scale], zero_point)
    writer.tensors[index].isVariable = True
    return index


def _lstm(writer: Writer, node: Node) -> None:
    """`weight_scales` are those of the input's four gates and of the hidden state's."""
    assert isinstance(node.op, Lstm)
    op, output = node.op, writer.graph.tensors[node.output]
    scales = [float(scale) for scale in writer.weight_scales[node.name]]
    inputs = [-1] * 24
    inputs[0] = writer.activation(node.inputs[0])
    source = writer.graph.tensors[node.inputs[0]]
    for gate in range(GATES):
        inputs[1 + gate] = writer.constant(f"{node.name}.input{gate}", op.input_weights[gate], [scales[gate]])
        inputs[5 + gate] = writer.constant(f"{node.name}.recurrent{gate}", op.recurrent_weights[gate], [scales[GATES + gate]])
        inputs[12 + gate] = writer.constant(f"{node.name}.bias{gate}", op.bias[gate], [float(np.float32(source.scale) * np.float32(scales[gate]))])
    inputs[18] = _variable(writer, f"{node.name}.hidden", (1, op.units), "int8", output.scale, output.zero_point)
    inputs[19] = _variable(writer, f"{node.name}.cell", (1, op.units), "int16", 2.0**op.cell_power, 0)
    options = schema.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.TANH
    options.cellClip = op.cell_clip * 2.0**op.cell_power
    writer.operator(Builtin.UNIDIRECTIONAL_SEQUENCE_LSTM, inputs, [writer.activation(node.output)], Options.UnidirectionalSequenceLSTMOptions,
                    options)


def _svdf(writer: Writer, node: Node) -> None:
    """`weight_scales` are those of the features, of the time weights and of the state."""
    assert isinstance(node.op, Svdf)
    op = node.op
    feature, time, state = (np.float32(scale) for scale in writer.weight_scales[node.name])
    dtype = {8: "int8", 16: "int16"}[op.state_bits]
    inputs = [writer.activation(node.inputs[0]), writer.constant(f"{node.name}.features", op.feature_weights, [float(feature)]),
              writer.constant(f"{node.name}.times", op.time_weights.astype(dtype), [float(time)]),
              writer.constant(f"{node.name}.bias", op.bias, [float(time * state)]),
              _variable(writer, f"{node.name}.state", (1, op.time_weights.size), dtype, float(state), 0)]
    options = schema.SVDFOptionsT()
    options.rank, options.fusedActivationFunction = op.rank, schema.ActivationFunctionType.RELU
    writer.operator(Builtin.SVDF, inputs, [writer.activation(node.output)], Options.SVDFOptions, options, version=4)


SEQUENCE_EMIT: dict[str, Callable[[Writer, Node], None]] = {
    "slice": _slice,
    "transpose": _transpose,
    "delay_line": _delay_line,
    "lstm": _lstm,
    "svdf": _svdf,
}


def _moved(case: Case, op: Op, shape: tuple[int, ...]) -> QuantizedGraph:
    source = case.tensor("a", shape)
    case.tensor("y", op.infer_shape(shape), source.scale, source.zero_point)
    case.add(op, ("a",), "y")
    return case.graph()


def _shape(case: Case, least: int, most: int) -> tuple[int, ...]:
    return tuple(int(size) for size in case.rng.integers(1, 7, case.rng.integers(least, most + 1)))


def make_slice(case: Case) -> QuantizedGraph:
    """Any slice of up to three axes (tflite-micro takes four, the batch among them), steps of both signs."""
    shape, parts = _shape(case, 1, 3), []
    for length in shape:
        first, last = sorted(case.rng.integers(0, length, 2).tolist())
        step = int(case.rng.integers(1, 4))
        size = (last - first) // step + 1
        parts.append((first, size, step) if case.rng.random() < 0.6 else (first + (size - 1) * step, size, -step))
    return _moved(case, Slice(*(tuple(part[index] for part in parts) for index in range(3))), shape)


def make_transpose(case: Case) -> QuantizedGraph:
    """Any order of up to four axes."""
    shape = _shape(case, 1, 4)
    return _moved(case, Transpose(tuple(case.rng.permutation(len(shape)).tolist())), shape)


def make_delay_line(case: Case) -> QuantizedGraph:
    """More or fewer steps kept than new."""
    shape = _shape(case, 2, 3)
    return _moved(case, DelayLine(case.rng.integers(-128, 128, (int(case.rng.integers(1, 7)), *shape[1:]))), shape)


def make_lstm(case: Case) -> QuantizedGraph:
    """Sums of every gate spread to a few units, now and then saturated."""
    steps, inputs, units = (int(size) for size in case.rng.integers(1, 9, 3))
    source, hidden = case.tensor("a", (steps, inputs)), float(np.float32(case.rng.uniform(1 / 256, 1 / 100)))
    spread = case.rng.uniform(0.2, 5.0, 2 * GATES)
    widths = np.repeat([source.scale * inputs**0.5, hidden * units**0.5], GATES)
    scales = (spread / (5400 * widths)).astype(np.float32)
    power = int(case.rng.integers(-15, -8))
    clip = int(case.rng.choice([0, 0, case.rng.integers(1, 32768)]))
    output = case.tensor("y", (steps, units), hidden)
    factors = [Requant.from_real([float(np.float32(scale) * one) / 2.0**-12 for one in part])
               for scale, part in ((source.scale, scales[:GATES]), (hidden, scales[GATES:]))]
    bias = np.rint(case.rng.uniform(-1, 1, (GATES, units)) / (source.scale * scales[:GATES, None].astype(np.float64))).clip(-(2**30), 2**30)
    op = Lstm(case.rng.integers(-127, 128, (GATES, units, inputs)), case.rng.integers(-127, 128, (GATES, units, units)), bias.astype(np.int64),
              *factors, Requant.from_real(2.0**-30 / hidden), source.zero_point, output.zero_point, power, clip)
    case.add(op, ("a",), "y")
    case.weight_scales[case.nodes[-1].name] = scales
    return case.graph()


def make_svdf(case: Case, state_bits: int) -> QuantizedGraph:
    """Features and outputs spread over their ranges."""
    inputs, units, memory = (int(size) for size in case.rng.integers(1, 9, 3))
    rank, limit = int(case.rng.integers(1, 4)), 2 ** (state_bits - 1)
    source, output = case.tensor("a", (inputs,)), case.tensor("y", (units,))
    feature = np.float32(case.scale())
    state = np.float32(source.scale * feature * 5400 * inputs**0.5 * 2 / limit * case.rng.uniform(0.3, 3))
    widest = int(case.rng.choice([127, limit - 1]))
    time = np.float32(output.scale * 60 / (state * limit / 2 * widest / 2 * (rank * memory) ** 0.5))
    op = Svdf(case.rng.integers(-127, 128, (units * rank, inputs)), case.rng.integers(-widest, widest + 1, (units * rank, memory)),
              case.rng.integers(-1000, 1001, units), Requant.from_real(float(np.float32(source.scale) * feature / state)),
              Requant.from_real(float(state * time / np.float32(output.scale))), source.zero_point, output.zero_point, rank, state_bits)
    case.add(op, ("a",), "y")
    case.weight_scales[case.nodes[-1].name] = np.array([feature, time, state])
    return case.graph()


SEQUENCE_MAKERS: dict[str, tuple[Callable[[Case], QuantizedGraph], ...]] = {
    "slice": (make_slice,),
    "transpose": (make_transpose,),
    "delay_line": (make_delay_line,),
    "lstm": (make_lstm,),
    "svdf": (lambda case: make_svdf(case, 16), lambda case: make_svdf(case, 8)),
}
