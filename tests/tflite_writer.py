"""Test helper: an int8 `.tflite` file from a QuantizedGraph, so that the tflite-micro interpreter can be asked for the same bytes.

Only what rung 1 of the ladder needs: every op of `ir/ops`, batch 1, the schema that comes with the tflite_micro wheel.
Multipliers are not stored in a `.tflite`; the interpreter derives them from the float32 scales that are written here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema
from tflite_sequence import SEQUENCE_EMIT

from edgecompress.ir.graph import Node, QuantizedGraph, Tensor
from edgecompress.ir.ops.add import Add
from edgecompress.ir.ops.average_pool2d import AveragePool2D
from edgecompress.ir.ops.batch_matmul import BatchMatmul
from edgecompress.ir.ops.concat import Concat
from edgecompress.ir.ops.conv2d import Conv2D
from edgecompress.ir.ops.dense import Dense
from edgecompress.ir.ops.depthwise_conv2d import DepthwiseConv2D
from edgecompress.ir.ops.global_average_pool import GlobalAveragePool
from edgecompress.ir.ops.max_pool2d import MaxPool2D
from edgecompress.ir.ops.mul import Mul
from edgecompress.ir.ops.pad import Pad
from edgecompress.ir.ops.reshape import Reshape
from edgecompress.ir.ops.resize_nearest import ResizeNearest
from edgecompress.ir.ops.softmax import Softmax
from edgecompress.ir.ops.table import Table
from edgecompress.ir.window import Padding, Pair, same_padding

Builtin = schema.BuiltinOperator
Options = schema.BuiltinOptions
TYPES = {name: getattr(schema.TensorType, name.upper()) for name in ("int8", "int16", "int32", "resource")}


@dataclass
class Writer:
    """Collects the parts of one flatbuffer. `weight_scales` holds float32 scales by node name, one or one an output channel."""

    graph: QuantizedGraph
    weight_scales: Mapping[str, np.ndarray]
    keep_dims: bool = True
    buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    tensors: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    codes: list[Any] = field(default_factory=list)
    by_name: dict[str, int] = field(default_factory=dict)
    others: list[Any] = field(default_factory=list)  # further subgraphs

    def tensor(self, name: str, shape: tuple[int, ...], dtype: str, scales: list[float] | None = None, zero_point: int = 0,
               buffer: int = 0, dimension: int = 0) -> int:
        """Index of a new tensor; `shape` with the batch."""
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer, made.hasRank = name.encode(), list(shape), TYPES[dtype], buffer, True
        if scales is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = scales
            made.quantization.zeroPoint = [zero_point] * len(scales)
            made.quantization.quantizedDimension = dimension
        self.tensors.append(made)
        return len(self.tensors) - 1

    def activation(self, name: str) -> int:
        """Index of a graph tensor, made on first use."""
        if name not in self.by_name:
            self.by_name[name] = self.like(self.graph.tensors[name], name, (1, *self.graph.tensors[name].shape))
        return self.by_name[name]

    def like(self, tensor: Tensor, name: str, shape: tuple[int, ...]) -> int:
        """Index of a new int8 tensor with another's quantization."""
        if float(np.float32(tensor.scale)) != tensor.scale:
            raise ValueError(f"tensor {tensor.name!r}: scale {tensor.scale} is not a float32")
        return self.tensor(name, shape, "int8", [tensor.scale], tensor.zero_point)

    def constant(self, name: str, values: np.ndarray, scales: list[float] | None = None, zero_point: int = 0, dimension: int = 0) -> int:
        """Index of a new constant tensor."""
        made = schema.BufferT()
        made.data = np.frombuffer(values.tobytes(), dtype=np.uint8)
        self.buffers.append(made)
        return self.tensor(name, values.shape, values.dtype.name, scales, zero_point, len(self.buffers) - 1, dimension)

    def operator(self, builtin: int, inputs: list[int], outputs: list[int], options_type: int = 0, options: Any = None, version: int = 1) -> None:
        """Appends one operator call."""
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
        self.codes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(self.codes) - 1, inputs, outputs
        made.builtinOptionsType, made.builtinOptions = options_type, options
        self.operators.append(made)

    def start(self, fill: Callable[[], None]) -> int:
        """Number of a new subgraph with the tensors and operators that `fill` makes."""
        kept, made = (self.tensors, self.operators), schema.SubGraphT()
        self.tensors, self.operators = [], []
        fill()
        made.tensors, made.operators, made.inputs, made.outputs, made.name = self.tensors, self.operators, [], [], b"start"
        self.others.append(made)
        self.tensors, self.operators = kept
        return len(self.others)

    def finish(self) -> bytes:
        """Emits every node; the file."""
        for name in self.graph.inputs:
            self.activation(name)
        for node in self.graph.nodes:
            EMIT[node.op.kind](self, node)
        return self.pack()

    def pack(self) -> bytes:
        """The file of what was collected so far."""
        subgraph = schema.SubGraphT()
        subgraph.tensors, subgraph.operators, subgraph.name = self.tensors, self.operators, b"main"
        subgraph.inputs = [self.by_name[name] for name in self.graph.inputs]
        subgraph.outputs = [self.by_name[name] for name in self.graph.outputs]
        model = schema.ModelT()
        model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, self.codes, [subgraph, *self.others], self.buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def tflite_bytes(graph: QuantizedGraph, weight_scales: Mapping[str, np.ndarray] | None = None, keep_dims: bool = True) -> bytes:
    """The graph as a `.tflite` file. `keep_dims` is MEAN's option; without it the writer reshapes back."""
    return Writer(graph, weight_scales or {}, keep_dims).finish()


def fused_activation(tensor: Tensor, low: int, high: int) -> int:
    """The schema's activation whose range, computed as TFLite does in float32, is [low, high]."""
    bounds = {"NONE": (-np.inf, np.inf), "RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
    for name, (real_low, real_high) in bounds.items():
        if activation_range(tensor, real_low, real_high) == (low, high):
            return int(getattr(schema.ActivationFunctionType, name))
    raise ValueError(f"no fused activation has the range [{low}, {high}] at scale {tensor.scale}, zero point {tensor.zero_point}")


def activation_range(tensor: Tensor, low: float, high: float) -> tuple[int, int]:
    """Real bounds as quantized ones, rounded half away from zero in float32 like TFLite's CalculateActivationRangeQuantized."""
    def quantize(real: float) -> int:
        scaled = np.float32(real) / np.float32(tensor.scale)
        return tensor.zero_point + int(np.copysign(np.floor(np.abs(scaled) + np.float32(0.5)), scaled))

    return (-128 if low == -np.inf else max(-128, quantize(low)), 127 if high == np.inf else min(127, quantize(high)))


def _spatial(writer: Writer, node: Node, kernel: Pair, stride: Pair, dilation: Pair, padding: Padding) -> tuple[int, int]:
    """(input tensor, SAME or VALID); other paddings become a PAD before the op."""
    source = writer.graph.tensors[node.inputs[0]]
    index = writer.activation(node.inputs[0])
    if padding == (0, 0, 0, 0):
        return index, int(schema.Padding.VALID)
    if padding == same_padding((source.shape[0], source.shape[1]), kernel, stride, dilation):
        return index, int(schema.Padding.SAME)
    if isinstance(node.op, (AveragePool2D, MaxPool2D)):
        raise ValueError(f"TFLite pools cannot pad by {padding}")
    return _pad(writer, node, padding, source.zero_point, None), int(schema.Padding.VALID)


def _pad(writer: Writer, node: Node, padding: Padding, value: int, output: int | None) -> int:
    source = writer.graph.tensors[node.inputs[0]]
    top, bottom, left, right = padding
    amounts = writer.constant(f"{node.name}.paddings", np.array([[0, 0], [top, bottom], [left, right], [0, 0]], dtype=np.int32))
    if output is None:
        height, width, channels = source.shape
        output = writer.like(source, f"{node.name}.padded", (1, height + top + bottom, width + left + right, channels))
    inputs = [writer.activation(node.inputs[0]), amounts]
    if value == source.zero_point:
        writer.operator(Builtin.PAD, inputs, [output], Options.PadOptions, schema.PadOptionsT(), version=2)
    else:
        inputs.append(writer.constant(f"{node.name}.value", np.array([value], dtype=np.int8), [source.scale], source.zero_point))
        writer.operator(Builtin.PADV2, inputs, [output], Options.PadV2Options, schema.PadV2OptionsT(), version=2)
    return output


def _weights(writer: Writer, node: Node, weights: np.ndarray, bias: np.ndarray, dimension: int) -> list[int]:
    scales = np.atleast_1d(np.asarray(writer.weight_scales[node.name], dtype=np.float32))
    source = writer.graph.tensors[node.inputs[0]]
    bias_scales = [float(np.float32(source.scale) * scale) for scale in scales]
    return [writer.constant(f"{node.name}.weights", weights, [float(scale) for scale in scales], dimension=dimension),
            writer.constant(f"{node.name}.bias", bias, bias_scales)]


def _activation_of(writer: Writer, node: Node) -> int:
    return fused_activation(writer.graph.tensors[node.output], node.op.activation_min, node.op.activation_max)  # type: ignore[attr-defined]


def _conv2d(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, Conv2D)
    options = schema.Conv2DOptionsT()
    index, options.padding = _spatial(writer, node, node.op.kernel, node.op.stride, node.op.dilation, node.op.padding)
    options.strideH, options.strideW = node.op.stride
    options.dilationHFactor, options.dilationWFactor = node.op.dilation
    options.fusedActivationFunction = _activation_of(writer, node)
    constants = _weights(writer, node, node.op.weights, node.op.bias, 0)
    writer.operator(Builtin.CONV_2D, [index, *constants], [writer.activation(node.output)], Options.Conv2DOptions, options, version=3)


def _depthwise_conv2d(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, DepthwiseConv2D)
    options = schema.DepthwiseConv2DOptionsT()
    index, options.padding = _spatial(writer, node, node.op.kernel, node.op.stride, node.op.dilation, node.op.padding)
    options.strideH, options.strideW = node.op.stride
    options.dilationHFactor, options.dilationWFactor = node.op.dilation
    options.depthMultiplier = node.op.weights.shape[2] // writer.graph.tensors[node.inputs[0]].shape[2]
    options.fusedActivationFunction = _activation_of(writer, node)
    constants = _weights(writer, node, node.op.weights[None], node.op.bias, 3)
    writer.operator(Builtin.DEPTHWISE_CONV_2D, [index, *constants], [writer.activation(node.output)], Options.DepthwiseConv2DOptions, options,
                    version=3)


def _dense(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, Dense)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = _activation_of(writer, node)
    constants = _weights(writer, node, node.op.weights, node.op.bias, 0)
    writer.operator(Builtin.FULLY_CONNECTED, [writer.activation(node.inputs[0]), *constants], [writer.activation(node.output)],
                    Options.FullyConnectedOptions, options, version=4)


def _binary(builtin: int, options_type: int, make_options: Callable[[], Any]) -> Callable[[Writer, Node], None]:
    def emit(writer: Writer, node: Node) -> None:
        assert isinstance(node.op, (Add, Mul))
        options = make_options()
        options.fusedActivationFunction = _activation_of(writer, node)
        inputs = [writer.activation(name) for name in node.inputs]
        writer.operator(builtin, inputs, [writer.activation(node.output)], options_type, options, version=2)

    return emit


def _pool(builtin: int) -> Callable[[Writer, Node], None]:
    def emit(writer: Writer, node: Node) -> None:
        assert isinstance(node.op, (AveragePool2D, MaxPool2D))
        options = schema.Pool2DOptionsT()
        index, options.padding = _spatial(writer, node, node.op.kernel, node.op.stride, (1, 1), node.op.padding)
        options.filterHeight, options.filterWidth = node.op.kernel
        options.strideH, options.strideW = node.op.stride
        options.fusedActivationFunction = _activation_of(writer, node)
        writer.operator(builtin, [index], [writer.activation(node.output)], Options.Pool2DOptions, options, version=2)

    return emit


def _global_average_pool(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, GlobalAveragePool)
    axes = writer.constant(f"{node.name}.axes", np.array([1, 2], dtype=np.int32))
    options = schema.ReducerOptionsT()
    options.keepDims = writer.keep_dims
    output = writer.graph.tensors[node.output]
    result = writer.activation(node.output)
    made = result if writer.keep_dims else writer.like(output, f"{node.name}.flat", (1, output.shape[2]))
    writer.operator(Builtin.MEAN, [writer.activation(node.inputs[0]), axes], [made], Options.ReducerOptions, options, version=2)
    if not writer.keep_dims:
        _reshape_to(writer, node.name, made, result, (1, *output.shape))


def _reshape_to(writer: Writer, name: str, source: int, target: int, shape: tuple[int, ...]) -> None:
    options = schema.ReshapeOptionsT()
    options.newShape = list(shape)
    sizes = writer.constant(f"{name}.shape", np.array(shape, dtype=np.int32))
    writer.operator(Builtin.RESHAPE, [source, sizes], [target], Options.ReshapeOptions, options)


def _reshape(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, Reshape)
    _reshape_to(writer, node.name, writer.activation(node.inputs[0]), writer.activation(node.output), (1, *node.op.shape))


def _pad_op(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, Pad)
    _pad(writer, node, node.op.padding, node.op.value, writer.activation(node.output))


def _concat(writer: Writer, node: Node) -> None:
    """TFLite copies bytes here, so an input of another scale goes through a QUANTIZE to the output's scale first."""
    assert isinstance(node.op, Concat)
    options = schema.ConcatenationOptionsT()
    options.axis = node.op.axis + 1
    inputs = []
    for position, name in enumerate(node.inputs):
        index = writer.activation(name)
        if not node.op.is_copy(position):
            made = writer.like(writer.graph.tensors[node.output], f"{node.name}.{position}", (1, *writer.graph.tensors[name].shape))
            writer.operator(Builtin.QUANTIZE, [index], [made], version=2)
            index = made
        inputs.append(index)
    writer.operator(Builtin.CONCATENATION, inputs, [writer.activation(node.output)], Options.ConcatenationOptions, options, version=2)


def _softmax(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, Softmax)
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    writer.operator(Builtin.SOFTMAX, [writer.activation(node.inputs[0])], [writer.activation(node.output)], Options.SoftmaxOptions, options,
                    version=2)


def _batch_matmul(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, BatchMatmul)
    options = schema.BatchMatMulOptionsT()
    options.adjX, options.adjY = bool(node.op.transpose_left), bool(node.op.transpose_right)
    writer.operator(Builtin.BATCH_MATMUL, [writer.activation(name) for name in node.inputs], [writer.activation(node.output)],
                    Options.BatchMatMulOptions, options, version=2)


def _resize_nearest(writer: Writer, node: Node) -> None:
    assert isinstance(node.op, ResizeNearest)
    size = writer.constant(f"{node.name}.size", np.array(node.op.size, dtype=np.int32))
    writer.operator(Builtin.RESIZE_NEAREST_NEIGHBOR, [writer.activation(node.inputs[0]), size], [writer.activation(node.output)],
                    Options.ResizeNearestNeighborOptions, schema.ResizeNearestNeighborOptionsT(), version=2)


def _requantize(writer: Writer, node: Node) -> None:
    writer.operator(Builtin.QUANTIZE, [writer.activation(node.inputs[0])], [writer.activation(node.output)], Options.QuantizeOptions,
                    schema.QuantizeOptionsT(), version=2)


def _table(writer: Writer, node: Node) -> None:
    """Any table: CAST to int32, ADD 128, GATHER from the 256 bytes."""
    assert isinstance(node.op, Table)
    shape = (1, *writer.graph.tensors[node.inputs[0]].shape)
    wide, positions = writer.tensor(f"{node.name}.wide", shape, "int32"), writer.tensor(f"{node.name}.positions", shape, "int32")
    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = TYPES["int8"], TYPES["int32"]
    writer.operator(Builtin.CAST, [writer.activation(node.inputs[0])], [wide], Options.CastOptions, cast)
    offset = writer.constant(f"{node.name}.offset", np.full(shape, 128, dtype=np.int32))
    writer.operator(Builtin.ADD, [wide, offset], [positions], Options.AddOptions, schema.AddOptionsT())
    output = writer.graph.tensors[node.output]
    entries = writer.constant(f"{node.name}.table", node.op.table, [output.scale], output.zero_point)
    writer.operator(Builtin.GATHER, [entries, positions], [writer.activation(node.output)], Options.GatherOptions, schema.GatherOptionsT())


EMIT: dict[str, Callable[[Writer, Node], None]] = {
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise_conv2d,
    "dense": _dense,
    "add": _binary(Builtin.ADD, Options.AddOptions, schema.AddOptionsT),
    "mul": _binary(Builtin.MUL, Options.MulOptions, schema.MulOptionsT),
    "average_pool2d": _pool(Builtin.AVERAGE_POOL_2D),
    "max_pool2d": _pool(Builtin.MAX_POOL_2D),
    "global_average_pool": _global_average_pool,
    "pad": _pad_op,
    "concat": _concat,
    "reshape": _reshape,
    "softmax": _softmax,
    "resize_nearest": _resize_nearest,
    "table": _table,
    "requantize": _requantize,
    "batch_matmul": _batch_matmul,
    **SEQUENCE_EMIT,
}
