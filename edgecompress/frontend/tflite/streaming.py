"""Resource variables of streaming models: what READ_VARIABLE, CONCATENATION, STRIDED_SLICE and ASSIGN_VARIABLE do together is a delay line.

A streaming layer joins what a variable remembers with its new input along time, works on that, and assigns the last steps to the variable
again. One look at the whole graph finds these groups; their operators then find what they have to do under their index. Every other use of
a variable is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from edgecompress.frontend.tflite.context import IntegerContext
from edgecompress.frontend.tflite.folding import slice_bounds
from edgecompress.frontend.tflite.integer_shapes import same_quantization
from edgecompress.frontend.tflite.schema import OperatorInfo
from edgecompress.ir.ops.delay_line import DelayLine

Handler = Callable[[IntegerContext, OperatorInfo], None]
HELP = "supported is a variable that is read once, joined in front of new steps along time, and assigned the last steps of that"


@dataclass
class Variables:
    """What the graph does with its variables. Keys are shared names; `joins` are indices of the CONCATENATIONs."""

    handles: dict[int, str] = field(default_factory=dict)  # resource tensor -> variable
    initial: dict[str, np.ndarray] = field(default_factory=dict)  # first values in the file's shape
    joins: dict[int, str] = field(default_factory=dict)
    joined: dict[str, OperatorInfo] = field(default_factory=dict)  # the same the other way round
    reads: dict[str, OperatorInfo] = field(default_factory=dict)
    assigns: dict[str, OperatorInfo] = field(default_factory=dict)
    makers: dict[int, OperatorInfo] = field(default_factory=dict)  # tensor -> operator that writes it
    only_assigned: set[int] = field(default_factory=set)  # indices of slices whose result nothing but a variable takes


def variables(context: IntegerContext) -> Variables:
    """The graph's variables, found at the first call."""
    if "variables" not in context.resources:
        found = Variables()
        context.resources["variables"] = found
        for operator in context.graph.operators:
            found.makers.update(dict.fromkeys(operator.outputs, operator))
            if operator.name == "VAR_HANDLE":
                found.handles[context.output(operator)] = _name(operator)
        for operator in context.graph.operators:
            if operator.name in ("READ_VARIABLE", "ASSIGN_VARIABLE"):
                _note(context, found, operator)
        readers = _readers(context)
        for name in found.reads:
            _note_join(context, found, name, readers)
        for operator in found.assigns.values():
            _note_slice(context, found, operator, readers)
    result: Variables = context.resources["variables"]
    return result


def _name(operator: OperatorInfo) -> str:
    return f"{operator.option('container')}/{operator.option('shared_name')}"


def _readers(context: IntegerContext) -> dict[int, list[OperatorInfo]]:
    readers: dict[int, list[OperatorInfo]] = {}
    for operator in context.graph.operators:
        for index in operator.inputs:
            readers.setdefault(index, []).append(operator)
    return readers


def _variable(context: IntegerContext, found: Variables, operator: OperatorInfo) -> str:
    handle = context.input(operator, 0)
    if handle not in found.handles:
        raise context.refuse(operator, f"uses the variable {context.info(handle).name!r}, which no VAR_HANDLE makes; {HELP}")
    return found.handles[handle]


def _note(context: IntegerContext, found: Variables, operator: OperatorInfo) -> None:
    name = _variable(context, found, operator)
    table = found.reads if operator.name == "READ_VARIABLE" else found.assigns
    if name in table:
        raise context.refuse(operator, f"uses variable {name!r} a second time; {HELP}")
    if operator.name == "READ_VARIABLE" and name in found.assigns:
        raise context.refuse(operator, f"reads variable {name!r} after it was assigned; {HELP}")
    table[name] = operator


def _note_join(context: IntegerContext, found: Variables, name: str, readers: dict[int, list[OperatorInfo]]) -> None:
    read = found.reads[name]
    value = context.output(read)
    users = readers.get(value, [])
    if len(users) != 1 or users[0].name != "CONCATENATION" or users[0].inputs[:1] != (value,) or value in context.graph.outputs:
        names = ", ".join(sorted({user.name for user in users})) or "nothing"
        raise context.refuse(read, f"gives variable {name!r} to {names}; {HELP}")
    found.joins[users[0].index] = name
    found.joined[name] = users[0]


def _note_slice(context: IntegerContext, found: Variables, assign: OperatorInfo, readers: dict[int, list[OperatorInfo]]) -> None:
    source = context.input(assign, 1)
    if readers[source] == [assign] and source not in context.graph.outputs:
        found.only_assigned |= {found.makers[source].index} if source in found.makers else set()


def var_handle(context: IntegerContext, operator: OperatorInfo) -> None:
    """VAR_HANDLE only names a variable."""
    variables(context)


def call_once(context: IntegerContext, operator: OperatorInfo) -> None:
    """CALL_ONCE of a subgraph that assigns constants to variables: their first values."""
    number = operator.option("init_subgraph_index")
    if not 0 < number < len(context.model.subgraphs):
        raise context.refuse(operator, f"calls subgraph {number}, which the file does not have; convert the model again")
    graph, found = context.model.subgraphs[number], variables(context)
    handles: dict[int, str] = {}
    for one in graph.operators:
        if one.name == "VAR_HANDLE" and one.outputs:
            handles[one.outputs[0]] = _name(one)
        elif one.name == "ASSIGN_VARIABLE" and len(one.inputs) == 2 and one.inputs[0] in handles:
            tensor = graph.tensors[one.inputs[1]]
            values = context.model.constant(tensor)
            if values is None or values.dtype != np.int8:
                raise context.refuse(operator, f"gives variable {handles[one.inputs[0]]!r} a first value that is not an int8 constant; "
                                               "convert the model with full int8 quantization")
            context.spend(values.nbytes)
            found.initial[handles[one.inputs[0]]] = values
        else:
            raise context.refuse(operator, f"runs {one.name} at the start; supported is a start that assigns constants to variables")


def read_variable(context: IntegerContext, operator: OperatorInfo) -> None:
    """READ_VARIABLE: its CONCATENATION makes the delay line."""
    found = variables(context)
    name = _variable(context, found, operator)
    for table, what in ((found.assigns, "which nothing assigns"), (found.initial, "which has no first value yet")):
        if name not in table:
            raise context.refuse(operator, f"reads variable {name!r}, {what}; {HELP}")


def assign_variable(context: IntegerContext, operator: OperatorInfo) -> None:
    """ASSIGN_VARIABLE of the last steps that the delay line made; it needs no node."""
    found = variables(context)
    name = _variable(context, found, operator)
    if name not in found.joined:
        raise context.refuse(operator, f"assigns variable {name!r}, which nothing reads; {HELP}")
    _check_last_steps(context, operator, found, name)


def _check_last_steps(context: IntegerContext, assign: OperatorInfo, found: Variables, name: str) -> None:
    join = found.joined[name]
    source, joined = context.input(assign, 1), context.output(join)
    shape, axis = context.info(joined).shape, _time_axis(context, join)
    kept = context.info(context.input(join, 0)).shape
    maker, fits = found.makers.get(source), False
    if maker is not None and maker.name == "STRIDED_SLICE" and context.input(maker, 0) == joined and maker.index > join.index:
        ranges, dropped = slice_bounds(context, maker, shape)
        wanted = [(size - kept[axis] if index == axis else 0, kept[axis] if index == axis else size, 1) for index, size in enumerate(shape)]
        same_quantization(context, maker, joined, source)
        fits = [one if one[1] > 1 else (*one[:2], 1) for one in ranges] == wanted and not dropped
    if not fits:
        raise context.refuse(assign, f"assigns variable {name!r} something else than the last {kept[axis]} steps of "
                                     f"{context.info(joined).name!r}; {HELP}")


def _time_axis(context: IntegerContext, join: OperatorInfo) -> int:
    return context.axis(join, join.option("axis"), len(context.info(context.output(join)).shape))


def concatenation(context: IntegerContext, operator: OperatorInfo, otherwise: Handler) -> None:
    """A CONCATENATION that reads a variable becomes a delay line; any other goes its usual way."""
    found = variables(context)
    if operator.index not in found.joins:
        otherwise(context, operator)
        return
    name, output = found.joins[operator.index], context.output(operator)
    if len(operator.inputs) != 2 or context.activation(operator) != "NONE":
        raise context.refuse(operator, f"joins variable {name!r} with {len(operator.inputs) - 1} tensors or has a fused activation; {HELP}")
    for position in (0, 1):
        same_quantization(context, operator, context.input(operator, position), output)
    initial, shape, axis = found.initial[name], context.info(output).shape, _time_axis(context, operator)
    kept, new = (context.info(context.input(operator, position)).shape for position in (0, 1))
    if math.prod(shape[:axis]) != 1 or initial.shape != kept or (*new[:axis], kept[axis] + new[axis], *new[axis + 1:]) != shape:
        raise context.refuse(operator, f"joins variable {name!r} of shape {initial.shape} with {new} along axis {axis}, where all axes before it "
                                       "must be of size 1 and the others agree")
    step = kept[axis + 1:] or (1,)
    source = context.view(operator, context.input(operator, 1), (new[axis], *step))
    context.emit(operator, DelayLine(initial.reshape(kept[axis], *step)), (source,), output)


def strided_slice(context: IntegerContext, operator: OperatorInfo, otherwise: Handler) -> None:
    """A STRIDED_SLICE that only a variable takes needs no node; any other goes its usual way."""
    if operator.index not in variables(context).only_assigned:
        otherwise(context, operator)
