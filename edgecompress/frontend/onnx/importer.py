"""The walk over an ONNX graph: every node becomes nodes of a FloatGraph, a view, or a constant."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import FloatGraph, FloatGraphBuilder
from edgecompress.frontend.onnx.call import Call
from edgecompress.frontend.onnx.emitter import MAX_ACTIVATION, Budget, Emitter, channels_last
from edgecompress.frontend.onnx.model import InputInfo, OnnxModel, OnnxNode
from edgecompress.frontend.onnx.operators import OPERATORS, REFUSED
from edgecompress.frontend.onnx.tensors import FLOATS, tensor_array
from edgecompress.frontend.onnx.text import shown
from edgecompress.frontend.onnx.values import Constant, Operand, Quantization, StoredIntegers, Value, in_order, is_contiguous, row_major

MAX_OUTPUTS = 64
CHANNELS_FIRST = frozenset((  # have their channels at axis 1
    "Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization", "Resize", "Upsample", "PRelu", "DepthToSpace",
    "SpaceToDepth", "QLinearConv", "QLinearAveragePool", "QLinearGlobalAveragePool"))
KEEPS_LAYOUT = frozenset((
    "Identity", "Dropout", "Cast", "CastLike", "Relu", "Clip", "Sigmoid", "Tanh", "Add", "Sub", "Mul", "Div", "Neg", "Abs", "Sqrt", "Pow", "Pad",
    "QuantizeLinear", "DequantizeLinear", "Concat", "Slice", "Split"))


class Importer:
    """One import. `input_shape` without the batch, as the file orders its axes; `outputs` names tensors to end the graph at."""

    def __init__(self, model: OnnxModel, name: str, input_shape: Sequence[int] | None, outputs: Sequence[str] | None) -> None:
        self.model, self.name, self.input_shape = model, name, input_shape
        self.outputs = self._chosen_outputs(outputs)
        self.nodes, self.read = self._needed_nodes()
        self.known: dict[str, Operand] = {}
        self.info = self._input(self.read)

    def run(self) -> FloatGraph:
        """The float graph. Raises ModelError naming the operator and node that cannot be imported."""
        budget = Budget(self.model.bytes)
        shape = self._input_sizes()
        channels_first = len(shape) in (3, 4) and shape[0] == 1 and self._is_image(self.info.name)
        order = channels_last(len(shape)) if channels_first else range(len(shape))
        builder = FloatGraphBuilder(self.name, _graph_shape(shape, order), self.info.name)
        self.emitter = Emitter(builder, budget)
        integer = {2: "uint8", 3: "int8"}.get(self.info.data_type)
        self.known[self.info.name] = Value(self.info.name, row_major(shape, order), Quantization(float("nan"), 0, integer) if integer else None)
        for node in self.nodes:
            self._import(node)
        written = [self._output(name) for name in self.outputs]
        origin = {"format": "onnx", "input": {"name": self.info.name, "shape": list(shape), "axes": _file_axes(order, shape)},
                  "outputs": [{"name": name, "shape": list(value.shape), "axes": _file_axes(axes, value.shape)}
                              for name, (_, value, axes) in zip(self.outputs, written, strict=True)]}
        return builder.build(*(tensor for tensor, _, _ in written), metadata={"origin": origin})

    # ---- what is needed

    def _chosen_outputs(self, outputs: Sequence[str] | None) -> tuple[str, ...]:
        made = {name for node in self.model.nodes for name in node.outputs if name}
        chosen = tuple(dict.fromkeys(outputs if outputs is not None else self.model.outputs))
        if not 1 <= len(chosen) <= MAX_OUTPUTS:
            raise ModelError(f"the model has {len(chosen)} outputs; 1 to {MAX_OUTPUTS} are supported")
        for name in chosen:
            if name not in made:
                near = difflib.get_close_matches(name, [text for text in made if len(text) < 200][:2000], n=1)
                hint = f"; did you mean {shown(near[0])}?" if near else ""
                raise ModelError(f"no node of the model makes the output {shown(name)}{hint}")
        return chosen

    def _needed_nodes(self) -> tuple[list[OnnxNode], set[str]]:
        """Nodes that the outputs depend on, in file order, and every name that they read."""
        makers: dict[str, int] = {}
        for index, node in enumerate(self.model.nodes):
            for name in node.outputs:
                if name and name in makers:
                    raise ModelError(f"{node.label} writes {shown(name)}, which another node writes too")
                makers[name] = index
        wanted, used, names = list(self.outputs), set[int](), set[str](self.outputs)
        while wanted:
            maker = makers.get(wanted.pop())
            if maker is not None and maker not in used:
                used.add(maker)
                fresh = [name for name in self.model.nodes[maker].inputs if name and name not in names]
                names.update(fresh)
                wanted.extend(fresh)
        return [self.model.nodes[index] for index in sorted(used)], names

    def _input(self, needed: set[str]) -> InputInfo:
        inputs = [info for info in self.model.inputs if info.name in needed]
        if not inputs:
            raise ModelError("the outputs do not depend on any input of the model")
        if len(inputs) > 1:
            readers = {name: node.label for node in reversed(self.model.nodes) for name in node.inputs}
            named = ", ".join(f"{shown(info.name)} [{', '.join(info.labels)}] of {readers.get(info.name, 'an output')}" for info in inputs[:6])
            raise ModelError(f"the model has {len(inputs)} inputs ({named}); one is supported",
                             "export it with the others fixed as constants, or end the graph with --outputs where only one input matters")
        return inputs[0]

    # ---- the input

    def _input_sizes(self) -> tuple[int, ...]:
        """The input's shape with a batch of 1. Raises ModelError if a size is neither in the file nor given."""
        info, given = self.info, self.input_shape
        if info.data_type not in (*FLOATS, 2, 3):
            raise ModelError(f"input {shown(info.name)} is of ONNX data type {info.data_type}; float, uint8 and int8 inputs are supported")
        if given is not None and (not given or min(given) < 1):
            raise ModelError(f"an input shape needs at least one size, each at least 1, got {tuple(given)}")
        if info.shape is None:
            if given is None:
                raise ModelError(f"input {shown(info.name)} has no shape in the file; give its sizes without the batch, as --input-shape 3x96x96")
            return 1, *given
        if not info.shape:
            raise ModelError(f"input {shown(info.name)} is a single number; a tensor is needed")
        sizes = list(info.shape)
        free_batch = sizes[0] is None or sizes[0] == 1
        if sizes[0] is None:
            sizes[0] = 1
        if given is not None:
            sizes = self._given(sizes, list(given), free_batch)
        if None in sizes:
            free = ", ".join(str(axis) for axis, size in enumerate(sizes) if size is None)
            raise ModelError(f"input {shown(info.name)} has the shape [{', '.join(info.labels)}]: the file leaves axes {free} open; give all "
                             f"sizes without the batch, as --input-shape {'x'.join(str(size or 96) for size in sizes[1:])}")
        known = tuple(int(size) for size in sizes if size is not None)
        if int(np.prod([float(size) for size in known])) > MAX_ACTIVATION:
            raise ModelError(f"input {shown(info.name)} has shape {list(known)}; at most {MAX_ACTIVATION} elements are supported")
        return known

    def _given(self, sizes: list[int | None], given: list[int], free_batch: bool) -> list[int | None]:
        wanted = [1, *given] if free_batch and len(given) == len(sizes) - 1 else given
        if len(wanted) != len(sizes) or any(have not in (None, want) for have, want in zip(sizes, wanted, strict=True)):
            raise ModelError(f"--input-shape {'x'.join(map(str, given))} does not fit input {shown(self.info.name)} of shape "
                             f"[{', '.join(self.info.labels)}]; give the sizes without the batch, equal to the file's where it fixes them")
        return list(wanted)

    def _is_image(self, name: str) -> bool:
        """Whether the input reaches an operator that has channels at axis 1, through operators that keep the layout."""
        reached = {name}
        for node in self.nodes:
            if not reached.isdisjoint(node.inputs):
                if node.operator in CHANNELS_FIRST:
                    return True
                if node.operator in KEEPS_LAYOUT:
                    reached.update(node.outputs)
        return False

    # ---- nodes

    def _import(self, node: OnnxNode) -> None:
        try:
            results = self._results(node)
            outputs = [name for name in node.outputs if name]
            for name, result in zip(node.outputs, results, strict=False):
                if name:
                    self.known[name] = result
            if missing := [name for name in outputs if name not in self.known]:
                self._refuse_missing(missing)
        except ModelError as error:
            raise ModelError(f"{node.label}: {error.message}", *error.details) from None

    def _refuse_missing(self, missing: list[str]) -> None:
        for name in missing:
            if name in self.read:
                raise ModelError(f"its output {shown(name)} is used, which is not supported; only the first output is")

    def _results(self, node: OnnxNode) -> tuple[Operand, ...]:
        support = OPERATORS.get(node.operator)
        inputs = [self._operand(name) for name in node.inputs]
        self.emitter.name = next((name for name in node.outputs if name), "node")
        call = Call(node, inputs, self.emitter)
        given = [operand for operand in inputs if operand is not None]
        constant = all(isinstance(operand, Constant) for operand in given)
        if support is None:
            raise self._unsupported(call)
        if node.operator in ("Shape", "Size") or (constant and support.fold is not None):
            return (self._folded(call, support.fold),)
        if support.handler is None or (constant and node.operator not in ("QuantizeLinear", "DequantizeLinear")):
            raise ModelError("is supported on constants only, and here it depends on the model's input; end the graph before it with --outputs"
                             if support.handler is None else "is not computed on constants; simplify the model with onnxsim")
        result = support.handler(call)
        return result if isinstance(result, tuple) else (result,)

    def _unsupported(self, call: Call) -> ModelError:
        operator = call.node.operator
        if operator in REFUSED:
            try:
                REFUSED[operator](call)
            except ModelError as error:
                return error
        if "::" in operator:
            return ModelError("is not an operator of ONNX; inline model functions with onnx.inliner.inline_local_functions, or end the graph "
                              "before it with --outputs")
        near = difflib.get_close_matches(operator, OPERATORS, n=1)
        return ModelError(f"is not supported{f' (nearest: {near[0]})' if near else ''}; end the graph before it with --outputs, or rewrite it with "
                          "supported operators (docs/operators.md)")

    def _folded(self, call: Call, fold: Any) -> Constant:
        try:
            array = np.asarray(fold(call))
        except (TypeError, ValueError, OverflowError, MemoryError) as error:  # numpy on whatever the file holds
            raise ModelError(f"cannot be computed on its constants: {str(error)[:200]}") from None
        return Constant(array, _moved_integers(call, array))

    def _operand(self, name: str) -> Operand | None:
        if not name:
            return None
        if name not in self.known:
            if name not in self.model.initializers:
                raise ModelError(f"reads {shown(name)}, which nothing before it writes: the graph has a cycle, is out of order, or misses a node")
            self.known[name] = Constant(tensor_array(self.model.initializers[name], f"initializer {shown(name)}"))
        return self.known[name]

    # ---- outputs

    def _output(self, name: str) -> tuple[str, Value, Sequence[int]]:
        """(graph tensor, value, order of the file's axes in it) of an output."""
        value = self.known[name]
        self.emitter.name = name
        if isinstance(value, Constant):
            raise ModelError(f"output {shown(name)} does not depend on the input")
        if value.quantized is not None and math.isnan(value.quantized.scale):
            raise ModelError(f"output {shown(name)} holds integers of the input without a scale; a quantized model is needed")
        rank = len(value.axes)
        order: Sequence[int] = range(rank)
        if rank in (3, 4) and value.shape[0] == 1 and is_contiguous(in_order(value.axes, channels_last(rank))):
            order = channels_last(rank)
        tensor = self.emitter.arranged(value, order, _graph_shape(value.shape, order))
        if tensor == self.info.name:
            raise ModelError(f"output {shown(name)} is the input itself; the model computes nothing")
        return tensor, value, order


def _moved_integers(call: Call, array: np.ndarray) -> StoredIntegers | None:
    """Integers behind a constant that a Transpose, Reshape or Identity only moved."""
    source = call.inputs[0] if call.inputs else None
    if not isinstance(source, Constant) or source.integers is None:
        return None
    stored = source.integers
    if call.node.operator == "Identity":
        return stored
    if call.node.operator == "Transpose":
        order = call.node.integers("perm", tuple(reversed(range(array.ndim))))
        return StoredIntegers(stored.values.transpose(order), stored.scales, list(order).index(stored.axis), stored.bits)
    if call.node.operator == "Reshape" and len(stored.scales) == 1:
        return StoredIntegers(stored.values.reshape(array.shape), stored.scales, 0, stored.bits)
    return None


def _graph_shape(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Shape without the batch axis of size 1, axes in `order`; images always have a height."""
    sizes = tuple(shape[axis] for axis in order)
    if len(sizes) == 3 and tuple(order) == channels_last(3):
        return sizes
    return sizes[1:] if len(sizes) > 1 and sizes[0] == 1 else sizes or (1,)


def _file_axes(order: Sequence[int], shape: Sequence[int]) -> list[int]:
    """The file's axes in the order of the graph's tensor, without the batch."""
    return list(order)[1 if len(shape) > 1 and shape[0] == 1 else 0:]
