"""Test helper: small TFLite files built tensor by tensor and operator by operator, with the schema of the tflite_micro wheel.

tflite_writer makes a file from our own graph; here a test says what stands in the file, whether our graph can hold it or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from tflite_micro import runtime
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

Shape = Sequence[int]
OPTION_NAMES = {
    "CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions", "AVERAGE_POOL_2D": "Pool2DOptions", "MAX_POOL_2D": "Pool2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions", "ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "SOFTMAX": "SoftmaxOptions", "LEAKY_RELU": "LeakyReluOptions", "GELU": "GeluOptions", "CONCATENATION": "ConcatenationOptions",
    "RESHAPE": "ReshapeOptions", "SQUEEZE": "SqueezeOptions", "MEAN": "ReducerOptions", "MIRROR_PAD": "MirrorPadOptions", "PACK": "PackOptions",
    "STRIDED_SLICE": "StridedSliceOptions", "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions", "CAST": "CastOptions",
    "SPLIT": "SplitOptions", "SPLIT_V": "SplitVOptions", "UNPACK": "UnpackOptions", "SLICE": "SliceOptions",
}


class File:
    """A model under construction; every method returns the index of the tensor it made."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version, self.model.operatorCodes, self.model.buffers = 3, [], [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.name, self.graph.tensors, self.graph.operators, self.graph.inputs, self.graph.outputs = b"main", [], [], [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, shape: Shape, dtype: str = "int8", scale: Any = None, zero_point: int = 0, name: str | bytes = "", dimension: int = 0) -> int:
        """A tensor without values; `scale` is a number or a list."""
        made = schema.TensorT()
        made.name = (name or f"t{len(self.graph.tensors)}") if isinstance(name, bytes) else (name or f"t{len(self.graph.tensors)}").encode()
        made.shape, made.type, made.hasRank, made.buffer = list(shape), getattr(schema.TensorType, dtype.upper()), True, 0
        if scale is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.atleast_1d(np.asarray(scale, dtype=np.float32))
            made.quantization.zeroPoint = np.full(made.quantization.scale.size, zero_point, dtype=np.int64)
            made.quantization.quantizedDimension = dimension
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def input(self, shape: Shape, dtype: str = "int8", scale: Any = None, zero_point: int = 0, name: str = "") -> int:
        """A model input."""
        index = self.tensor(shape, dtype, scale, zero_point, name)
        self.graph.inputs.append(index)
        return index

    def constant(self, values: Any, dtype: str = "", scale: Any = None, zero_point: int = 0, dimension: int = 0, shape: Shape | None = None) -> int:
        """A constant; `shape` and `dtype` where the file's differ from the array's (packed int4)."""
        array = np.asarray(values)
        index = self.tensor(array.shape if shape is None else shape, dtype or array.dtype.name, scale, zero_point, dimension=dimension)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), dtype=np.uint8)
        self.model.buffers.append(buffer)
        self.graph.tensors[index].buffer = len(self.model.buffers) - 1
        return index

    def operator(self, name: str, inputs: Sequence[int], output: int | Sequence[int], version: int = 1, **options: Any) -> int:
        """An operator call; options by the schema's attribute names."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
        self.model.operatorCodes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs = len(self.model.operatorCodes) - 1, list(inputs)
        made.outputs = [output] if isinstance(output, int) else list(output)
        if name in OPTION_NAMES:
            kind = OPTION_NAMES[name]
            made.builtinOptionsType, made.builtinOptions = getattr(schema.BuiltinOptions, kind), getattr(schema, kind + "T")()
            for option, value in options.items():
                assert hasattr(made.builtinOptions, option), option
                setattr(made.builtinOptions, option, value)
        self.graph.operators.append(made)
        return made.outputs[0] if made.outputs else -1

    def data(self, *outputs: int) -> bytes:
        """The file."""
        if outputs:
            self.graph.outputs = list(outputs)
        return packed(self.model)


def packed(model: Any) -> bytes:
    """The bytes of a schema ModelT."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def unpacked(data: bytes) -> Any:
    """The schema's ModelT of a file."""
    return schema.ModelT.InitFromPackedBuf(data, 0)


def interpret(data: bytes, samples: Sequence[Sequence[np.ndarray]], arena: int = 4_000_000) -> list[list[np.ndarray]]:
    """All outputs of the tflite-micro interpreter for each sample, a list of one array an input."""
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=arena)
    outputs = len(unpacked(data).subgraphs[0].outputs)
    results = []
    for sample in samples:
        for position, values in enumerate(sample):
            interpreter.set_input(values.reshape(interpreter.get_input_details(position)["shape"]), position)
        interpreter.invoke()
        results.append([np.array(interpreter.get_output(position)) for position in range(outputs)])
    return results


def without_compressed_weights(data: bytes) -> bytes:
    """The same float model with float32 weights: constants behind DEQUANTIZE and int8 weights of float layers are written out."""
    model = unpacked(data)
    graph = model.subgraphs[0]
    kept = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) == schema.BuiltinOperator.DEQUANTIZE:
            source, output = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
            _set_values(model, output, np.frombuffer(bytes(model.buffers[source.buffer].data), np.float16).astype(np.float32))
        else:
            kept.append(operator)
    for tensor in graph.tensors:
        if tensor.type == schema.TensorType.INT8:
            codes = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8).reshape(tensor.shape).astype(np.float32)
            layout = [1] * codes.ndim
            layout[tensor.quantization.quantizedDimension] = -1
            _set_values(model, tensor, codes * np.asarray(tensor.quantization.scale, np.float32).reshape(layout))
            tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
    graph.operators = kept
    return packed(model)


def _set_values(model: Any, tensor: Any, values: np.ndarray) -> None:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), dtype=np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
