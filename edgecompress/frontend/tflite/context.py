"""What an operator's handler works with: constants, quantization, and how to add nodes to the graph under construction.

A handler is `handler(context, operator)`. It reads its inputs through the context, adds nodes with `emit` (or `alias` when nothing
has to be computed) and raises `context.refuse(operator, ...)` for what it cannot do. Tensors are named by their index in the file.

Shapes in the graph have no batch axis: a leading 1 is dropped (`activation_shape`). A handler that wants its input under another
shape of the same bytes asks `view` for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import FloatGraphBuilder
from edgecompress.frontend.tflite.schema import ABSENT, Model, OperatorInfo, SubGraph, TensorInfo
from edgecompress.frontend.tflite.vocabulary import ACTIVATIONS
from edgecompress.ir.graph import LARGEST_SCALE, MAX_ELEMENTS, SMALLEST_SCALE, Node, Tensor
from edgecompress.ir.op import Op, Shape
from edgecompress.ir.ops.reshape import Reshape

MOST_INTEGERS = 64  # entries of a constant that is a shape, axis list or padding table
CONSTANT_FACTOR = 16  # constants may be read that many times the file's size, so that shared buffers cannot multiply
LEAST_CONSTANT_BYTES = 2**20
CHANNEL_COST = 32  # bytes that one rescaling factor is charged as

REAL_BOUNDS = {"NONE": (-math.inf, math.inf), "RELU": (0.0, math.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}


def activation_shape(shape: Shape) -> Shape:
    """A file's shape without the batch axis: (1, h, w, c) is (h, w, c), (1, n) is (n,), () and (1,) are (1,); other leading sizes stay."""
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape or (1,)


class Context:
    """State of one import that handlers of both kinds of model share.

    `graph` is the subgraph that runs; `model.subgraphs` has the others. `folded` holds constants that were computed at import, by tensor
    index. `dropped` lists ends of the model that the graph does not have, for its metadata. `resources` is free for handlers that must
    remember something between operators.
    """

    def __init__(self, model: Model, graph: SubGraph, name: str) -> None:
        self.model = model
        self.graph = graph
        self.name = name
        self.folded: dict[int, np.ndarray] = {}
        self.values: dict[int, str] = {}  # activation tensors that have been written: file index -> graph tensor
        self.dropped: list[dict[str, Any]] = []
        self.weight_types: set[str] = set()  # of constants that became real numbers
        self.resources: dict[str, Any] = {}
        self._bytes_left = max(CONSTANT_FACTOR * len(model.file.data), LEAST_CONSTANT_BYTES)

    def info(self, index: int) -> TensorInfo:
        """The file's record of a tensor."""
        return self.graph.tensors[index]

    def where(self, operator: OperatorInfo) -> str:
        """'operator 3 (CONV_2D) that writes 'name'', for messages; text of the file is quoted."""
        name = f"CUSTOM {operator.custom_code!r}" if operator.name == "CUSTOM" else operator.name
        written = f" that writes {self.info(operator.outputs[0]).name!r}" if operator.outputs else ""
        return f"operator {operator.index} ({name}){written}"

    def refuse(self, operator: OperatorInfo, what: str) -> ModelError:
        """The error for an operator; `what` follows its name: 'has a width of 3; allowed is ..., do ...'."""
        return ModelError(f"{self.where(operator)} {what}")

    def spend(self, size: int) -> None:
        """Counts bytes of constants that are read; raises ModelError when the file uses them more often than its size allows."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise self.model.file.bad("its operators read the same constants too many times")

    def input(self, operator: OperatorInfo, position: int) -> int:
        """Index of an input that must be there."""
        index = self.optional_input(operator, position)
        if index is None:
            raise self.refuse(operator, f"lacks input {position}; the file is malformed, convert the model again")
        return index

    def optional_input(self, operator: OperatorInfo, position: int) -> int | None:
        """Index of an input, None when it is not given."""
        if position >= len(operator.inputs) or operator.inputs[position] == ABSENT:
            return None
        return operator.inputs[position]

    def output(self, operator: OperatorInfo, position: int = 0) -> int:
        """Index of an output that must be there."""
        if position >= len(operator.outputs):
            raise self.refuse(operator, f"lacks output {position}; the file is malformed, convert the model again")
        return operator.outputs[position]

    def is_constant(self, index: int) -> bool:
        """Whether the tensor's values are known at import. A variable's bytes are only its first state."""
        tensor = self.info(index)
        return index in self.folded or (index not in self.values and not tensor.is_variable and self.model.constant_bytes(tensor) is not None)

    def constant(self, operator: OperatorInfo, index: int) -> np.ndarray:
        """Values of a constant tensor as the file types them (int4 as int8), read-only; raises ModelError for a computed tensor."""
        tensor = self.info(index)
        values = self.folded[index] if index in self.folded else self.model.constant(tensor) if self.is_constant(index) else None
        if values is None:
            raise self.refuse(operator, f"needs {tensor.name!r} to be a constant, it is computed at run time; export the model with it fixed")
        self.spend(values.nbytes)
        return values

    def integers(self, operator: OperatorInfo, index: int) -> tuple[int, ...]:
        """A short constant list of integers: a shape, axes, paddings; tables are read row by row."""
        values = self.constant(operator, index)
        if values.dtype.kind not in "iu" or values.size > MOST_INTEGERS:
            raise self.refuse(operator, f"needs {self.info(index).name!r} to be at most {MOST_INTEGERS} integers, "
                                        f"it has {values.size} of type {self.info(index).type}")
        return tuple(int(value) for value in values.reshape(-1))

    def axis(self, operator: OperatorInfo, axis: int, rank: int) -> int:
        """An axis from 0 of a file's tensor of `rank` axes, from one that may be negative."""
        if not -rank <= axis < rank:
            raise self.refuse(operator, f"names axis {axis} of a tensor with {rank} axes")
        return axis % rank

    def activation(self, operator: OperatorInfo) -> str:
        """Name of the fused activation in REAL_BOUNDS; others are refused."""
        code = operator.option("activation")
        name = ACTIVATIONS[code] if 0 <= code < len(ACTIVATIONS) else f"code {code}"
        if name not in REAL_BOUNDS:
            raise self.refuse(operator, f"has the fused activation {name}; supported: {', '.join(REAL_BOUNDS)}, export it as an operator of its own")
        return name

    def shape(self, index: int) -> Shape:
        """The tensor's shape in the graph, without the batch. Raises ModelError for one without elements or with too many."""
        tensor = self.info(index)
        if math.prod(tensor.shape) == 0 or math.prod(tensor.shape) > MAX_ELEMENTS:
            raise ModelError(f"tensor {tensor.name!r} has shape {tensor.shape}; each size must be at least 1 and their product below 2^31")
        return activation_shape(tensor.shape)

    def image_shape(self, operator: OperatorInfo, index: int) -> tuple[int, int, int]:
        """(height, width, channels) of a tensor (1, height, width, channels); anything else is refused."""
        tensor = self.info(index)
        if len(tensor.shape) != 4 or tensor.shape[0] != 1:
            raise self.refuse(operator, f"reads {tensor.name!r} of shape {tensor.shape}; supported is (1, height, width, channels), "
                                        "export the model for a batch of 1")
        height, width, channels = self.shape(index)
        return height, width, channels

    def value(self, operator: OperatorInfo, index: int) -> str:
        """Graph tensor that holds an activation."""
        if index not in self.values:
            what = "is a constant where a computed tensor is supported" if self.is_constant(index) else "is read before anything writes it"
            raise self.refuse(operator, f"reads {self.info(index).name!r}, which {what}; simplify the model before the conversion")
        return self.values[index]

    def alias(self, operator: OperatorInfo, source: int, output: int) -> None:
        """The output has the bytes of the source; a reshape is added when the shapes differ."""
        self.values[output] = self.view(operator, source, self.shape(output))

    def view(self, operator: OperatorInfo, index: int, shape: Shape) -> str:
        """Graph tensor with the bytes of an activation under `shape`."""
        raise NotImplementedError  # abstract: both contexts below override it


ContextT = TypeVar("ContextT", bound=Context)


class IntegerContext(Context):
    """Builds an int8 graph: `tensors` and `nodes` of the QuantizedGraph to be."""

    def __init__(self, model: Model, graph: SubGraph, name: str) -> None:
        super().__init__(model, graph, name)
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self._names: set[str] = set()

    def quantization(self, index: int) -> tuple[float, int]:
        """(scale, zero point) of an int8 tensor; raises ModelError for another type or more than one scale."""
        tensor = self.info(index)
        given = tensor.quantization
        if tensor.type != "int8" or given is None or len(given.scales) != 1:
            state = "no scale" if given is None else f"{len(given.scales)} scales"
            raise ModelError(f"tensor {tensor.name!r} is {tensor.type} with {state}; activations must be int8 with one scale, "
                             "convert the model with full int8 quantization")
        scale, zero_point = float(given.scales[0]), int(given.zero_points[0])
        if not SMALLEST_SCALE <= scale <= LARGEST_SCALE or not -128 <= zero_point <= 127:
            raise ModelError(f"tensor {tensor.name!r} has scale {scale:.6g} and zero point {zero_point}; a scale must be positive, a zero point "
                             "from -128 to 127, convert the model again")
        return scale, zero_point

    def describe(self, index: int, name: str | None = None, shape: Shape | None = None) -> Tensor:
        """A graph tensor with the quantization of a tensor of the file, by default with its name and shape."""
        return Tensor(name or self.info(index).name, self.shape(index) if shape is None else shape, *self.quantization(index))

    def add_input(self, index: int, tensor: Tensor | None = None) -> str:
        """A graph input for a tensor of the file."""
        made = tensor or self.describe(index)
        self.tensors[made.name] = made
        self.values[index] = made.name
        return made.name

    def emit(self, operator: OperatorInfo, op: Op, inputs: Sequence[str], output: int, suffix: str = "") -> str:
        """Adds a node that writes a tensor of the file; returns the graph tensor's name.

        The op may make another shape of the same size than the file's (a dense layer on an image, a pool that keeps its axes): then it
        writes a helper tensor and a reshape follows.
        """
        self.shape(output)
        made = self.describe(output)
        shape = self._shape(operator, op, inputs)
        if shape == made.shape:
            self._append(operator, suffix, op, inputs, made)
        else:
            helper = replace(made, name=self._free(f"{made.name}:flat"), shape=shape)
            self._append(operator, suffix, op, inputs, helper)
            if math.prod(shape) != made.size:
                raise self.refuse(operator, f"makes shape {shape}, the file says {made.shape}; the file is inconsistent, convert the model again")
            self._append(operator, f"{suffix}_reshape", Reshape(made.shape), (helper.name,), made)
        self.values[output] = made.name
        return made.name

    def emit_helper(self, operator: OperatorInfo, op: Op, inputs: Sequence[str], suffix: str, scale: float, zero_point: int) -> str:
        """Adds a node that writes a tensor the file does not have; `suffix` tells the nodes of one operator apart. Returns its name."""
        shape = self._shape(operator, op, inputs)
        made = Tensor(self._free(f"{self._node_name(operator)}:{suffix}"), shape, scale, zero_point)
        self._append(operator, f"_{suffix}", op, inputs, made)
        return made.name

    def emit_as(self, operator: OperatorInfo, op: Op, inputs: Sequence[str], made: Tensor) -> str:
        """Adds a node that writes `made`, for outputs whose type in the file is not int8; returns its name."""
        if self._shape(operator, op, inputs) != made.shape:
            raise self.refuse(operator, f"makes another shape than {made.shape}, which the file says; the file is inconsistent")
        self._append(operator, "", op, inputs, made)
        return made.name

    def view(self, operator: OperatorInfo, index: int, shape: Shape) -> str:
        name = self.value(operator, index)
        return self.view_of(operator, name, shape)

    def view_of(self, operator: OperatorInfo, name: str, shape: Shape) -> str:
        """As view, for a graph tensor by name."""
        source = self.tensors[name]
        if source.shape == shape:
            return name
        if math.prod(shape) != source.size:
            raise self.refuse(operator, f"needs {name!r} under shape {shape}, it has shape {source.shape}; the file is inconsistent")
        return self.emit_helper(operator, Reshape(shape), (name,), "view", source.scale, source.zero_point)

    def alias(self, operator: OperatorInfo, source: int, output: int) -> None:
        name = self.value(operator, source)
        made = self.describe(output)
        if self.tensors[name].shape == made.shape:
            self.values[output] = name
        else:
            self.emit(operator, Reshape(made.shape), (name,), output)

    def bounds(self, operator: OperatorInfo, output: int) -> tuple[int, int]:
        """Clamp of the fused activation in the output's codes."""
        return quantized_bounds(self.activation(operator), *self.quantization(output))

    def _shape(self, operator: OperatorInfo, op: Op, inputs: Sequence[str]) -> Shape:
        try:
            return op.infer_shape(*(self.tensors[name].shape for name in inputs))
        except ModelError as error:
            raise self.refuse(operator, f"does not fit its inputs: {error.message}") from None

    def _append(self, operator: OperatorInfo, suffix: str, op: Op, inputs: Sequence[str], made: Tensor) -> None:
        name, count = f"{self._node_name(operator)}{suffix}", 1
        unique = name
        while unique in self._names:
            count += 1
            unique = f"{name}_{count}"
        self._names.add(unique)
        if made.name in self.tensors:
            raise self.refuse(operator, "writes a tensor that is written already; the file is malformed")
        self.tensors[made.name] = made
        self.nodes.append(Node(unique, op, tuple(inputs), made.name))

    def _node_name(self, operator: OperatorInfo) -> str:
        return f"{operator.name.lower()}_{operator.index}"

    def _free(self, name: str) -> str:
        taken = {tensor.name for tensor in self.graph.tensors} if "names" not in self.resources else self.resources["names"]
        self.resources["names"] = taken
        unique, count = name, 1
        while unique in taken or unique in self.tensors:
            count += 1
            unique = f"{name}_{count}"
        return unique


class FloatContext(Context):
    """Builds a FloatGraph through `builder`."""

    def __init__(self, model: Model, graph: SubGraph, name: str, input_index: int) -> None:
        super().__init__(model, graph, name)
        self.builder = FloatGraphBuilder(name, self.shape(input_index))
        self.values[input_index] = self.builder.input

    def emit(self, operator: OperatorInfo, kind: str, inputs: Sequence[str], output: int, **attributes: Any) -> str:
        """Adds a node that writes a tensor of the file, and a reshape when the node's shape differs from the file's; returns its name."""
        name = self.emit_helper(operator, kind, inputs, "", **attributes)
        shape = self.shape(output)
        if self.builder.shapes[name] != shape:
            name = self.view_of(operator, name, shape)
        self.values[output] = name
        return name

    def emit_helper(self, operator: OperatorInfo, kind: str, inputs: Sequence[str], suffix: str, **attributes: Any) -> str:
        """Adds a node that writes a tensor the file does not have; returns its name."""
        name = f"{operator.name.lower()}_{operator.index}" + (f"_{suffix}" if suffix else "")
        try:
            return self.builder.add(kind, name, *inputs, **attributes)
        except ModelError as error:
            raise self.refuse(operator, f"does not fit its inputs: {error.message}") from None

    def view(self, operator: OperatorInfo, index: int, shape: Shape) -> str:
        return self.view_of(operator, self.value(operator, index), shape)

    def view_of(self, operator: OperatorInfo, name: str, shape: Shape) -> str:
        """As view, for a graph tensor by name."""
        have = self.builder.shapes[name]
        if have == shape:
            return name
        if math.prod(have) != math.prod(shape):
            raise self.refuse(operator, f"makes shape {have}, the file says {shape}; the file is inconsistent, convert the model again")
        return self.emit_helper(operator, "reshape", (name,), "reshape", shape=shape)

    def real(self, operator: OperatorInfo, index: int) -> np.ndarray:
        """float32 values of a constant; float16 and quantized ones (weights of a dynamic-range model) are converted."""
        values = self.constant(operator, index)
        return to_real(self, operator, values, self.info(index))

    def clamp(self, operator: OperatorInfo) -> dict[str, tuple[float, float]]:
        """Attributes of the fused activation: {} or {'clamp': (low, high)}."""
        bounds = REAL_BOUNDS[self.activation(operator)]
        return {} if bounds == REAL_BOUNDS["NONE"] else {"clamp": bounds}


def to_real(context: Context, operator: OperatorInfo, values: np.ndarray, tensor: TensorInfo) -> np.ndarray:
    """float32 of a constant's values: floats as they are, quantized integers as scale * (q - zero point) along their dimension."""
    context.spend(4 * values.size)
    context.weight_types.add(tensor.type)
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            result = values.astype(np.float32)
    elif tensor.quantization is not None and values.dtype.kind in "iu":
        scales, zero_points = tensor.quantization.scales, tensor.quantization.zero_points
        if len(scales) > 1:
            dimension = context.axis(operator, tensor.quantization.dimension, max(values.ndim, 1))
            if values.ndim == 0 or values.shape[dimension] != len(scales):
                raise context.refuse(operator, f"reads {tensor.name!r} of shape {values.shape} with {len(scales)} scales along axis {dimension}")
            layout = [1] * values.ndim
            layout[dimension] = len(scales)
            scales, zero_points = scales.reshape(layout), zero_points.reshape(layout)
        with np.errstate(all="ignore"):
            result = ((values.astype(np.float32) - zero_points) * scales).astype(np.float32)
    else:
        raise context.refuse(operator, f"needs {tensor.name!r} to be real numbers, it is {tensor.type} without a scale")
    if not np.isfinite(result).all():
        raise context.refuse(operator, f"reads the constant {tensor.name!r}, which holds NaN or infinite values")
    return result


def quantized_bounds(activation: str, scale: float, zero_point: int) -> tuple[int, int]:
    """[low, high] of a fused activation, rounded half away from zero in float32 (TFLite's CalculateActivationRangeQuantized)."""
    def quantize(real: float) -> int:
        with np.errstate(over="ignore"):
            scaled = float(np.float32(real) / np.float32(scale))
        return zero_point + int(math.copysign(math.floor(abs(scaled) + 0.5), scaled)) if math.isfinite(scaled) else 2**31

    low, high = REAL_BOUNDS[activation]
    return (-128 if math.isinf(low) else max(-128, quantize(low))), (127 if math.isinf(high) else min(127, quantize(high)))
