"""QUANTIZE and DEQUANTIZE in an int8 model: between two int8 scales a node, at the ends of the model nothing.

Models often take float, uint8 or int16 and turn it into int8 first, or the other way round at the end. The integer graph begins and ends
with the int8 tensor; what was left out stands in the metadata. uint8 is int8 with all codes 128 higher.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgecompress.errors import ModelError
from edgecompress.frontend.tflite.context import IntegerContext
from edgecompress.frontend.tflite.schema import OperatorInfo, TensorInfo
from edgecompress.ir.graph import Tensor
from edgecompress.ir.ops.requantize import Requantize
from edgecompress.ir.requant import Requant

FOREIGN_INPUTS = ("float32", "uint8", "int16")
FOREIGN_OUTPUTS = ("float32", "uint8", "int16", "int32")


def quantize(context: IntegerContext, operator: OperatorInfo) -> None:
    """QUANTIZE of an int8 tensor, or of a model input of another type."""
    source, output = context.input(operator, 0), context.output(operator)
    kind, written = context.info(source).type, context.info(output).type
    if kind == "int8" and written == "int8":
        _requantize(context, operator, context.value(operator, source), output)
    elif written == "int8" and kind in FOREIGN_INPUTS and source in _ends(context)[0]:
        _drop_input(context, operator, source, output)
    elif source in context.values and written in FOREIGN_OUTPUTS and is_last(context, output):
        _drop_output(context, operator, source, output)
    else:
        raise context.refuse(operator, f"turns {kind} into {written} inside the model; supported are int8 to int8, and "
                                       f"{', '.join(FOREIGN_INPUTS)} at a model input or output: convert the model with full int8 quantization")


def dequantize(context: IntegerContext, operator: OperatorInfo) -> None:
    """DEQUANTIZE of an int8 tensor to a model output."""
    source, output = context.input(operator, 0), context.output(operator)
    if context.info(source).type != "int8" or not is_last(context, output):
        raise context.refuse(operator, "turns integers into floats inside the model; only a DEQUANTIZE that writes a model output is supported, "
                                       "convert the model with full int8 quantization")
    _drop_output(context, operator, source, output)


def is_last(context: IntegerContext, index: int) -> bool:
    """Whether a tensor is a model output that no operator reads."""
    _, outputs, read = _ends(context)
    return index in outputs and index not in read


def _ends(context: IntegerContext) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
    """(model inputs, model outputs, tensors that an operator reads)."""
    if "ends" not in context.resources:
        read = frozenset(source for operator in context.graph.operators for source in operator.inputs)
        context.resources["ends"] = frozenset(context.graph.inputs), frozenset(context.graph.outputs), read
    found: tuple[frozenset[int], frozenset[int], frozenset[int]] = context.resources["ends"]
    return found


def _one_quantization(tensor: TensorInfo) -> tuple[float, int]:
    given = tensor.quantization
    if given is None or len(given.scales) != 1:
        raise ModelError(f"tensor {tensor.name!r} is {tensor.type} without exactly one scale; convert the model again")
    return float(given.scales[0]), int(given.zero_points[0])


def _requantize(context: IntegerContext, operator: OperatorInfo, name: str, output: int) -> None:
    source, made = context.tensors[name], context.describe(output)
    if (source.scale, source.zero_point) == (made.scale, made.zero_point) and source.shape == made.shape:
        context.values[output] = name
    else:
        context.emit(operator, Requantize(Requant.from_real(source.scale / made.scale), source.zero_point, made.zero_point), (name,), output)


def _drop_input(context: IntegerContext, operator: OperatorInfo, source: int, output: int) -> None:
    tensor, made = context.info(source), context.describe(output)
    if tensor.type == "uint8":
        scale, zero_point = _one_quantization(tensor)
        if source not in context.values:
            context.add_input(source, Tensor(tensor.name, context.shape(source), scale, zero_point - 128))
            record(context, "input", source, operator, context.values[source], "feed each uint8 value minus 128")
        _requantize(context, operator, context.values[source], output)
        return
    if source in context.values:
        known = context.tensors[context.values[source]]
        if (known.scale, known.zero_point) != (made.scale, made.zero_point):
            raise context.refuse(operator, f"quantizes the input {tensor.name!r} a second time to another scale; export the model with int8 inputs")
        context.values[output] = context.values[source]
        return
    context.add_input(source, replace(made, name=tensor.name))
    context.values[output] = context.values[source]
    real = "x" if tensor.type == "float32" else "real value"
    how = f"feed int8 values: round({real} / {made.scale:.9g}) + {made.zero_point}, clamped to [-128, 127]"
    record(context, "input", source, operator, tensor.name, how)


def _drop_output(context: IntegerContext, operator: OperatorInfo, source: int, output: int) -> None:
    tensor, name = context.info(output), context.value(operator, source)
    have = context.tensors[name]
    if tensor.type == "uint8":
        scale, zero_point = _one_quantization(tensor)
        shifted = Tensor(tensor.name, context.shape(output), scale, zero_point - 128)
        if (shifted.scale, shifted.zero_point) != (have.scale, have.zero_point):
            op = Requantize(Requant.from_real(have.scale / scale), have.zero_point, shifted.zero_point)
            name = context.emit_as(operator, op, (name,), shifted)
        record(context, "output", output, operator, name, "add 128 to each value to get the file's uint8")
    else:
        record(context, "output", output, operator, name, f"real value: {have.scale:.9g} * (q - {have.zero_point})")
    context.values[output] = name


def record(context: IntegerContext, side: str, index: int, operator: OperatorInfo | None, name: str, what: str) -> None:
    """Notes an end of the model that the integer graph does not have, for metadata['tflite']['dropped_ends']."""
    tensor = context.info(index)
    entry: dict[str, Any] = {"side": side, "tensor": tensor.name, "type": tensor.type, "now": name, "how": what}
    if operator is not None:
        entry["operator"] = f"{operator.name} {operator.index}"
    context.dropped.append(entry)
