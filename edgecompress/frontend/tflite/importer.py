"""load_tflite: one file to one graph. An int8 model becomes a QuantizedGraph byte for byte, a float model a FloatGraph."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from edgecompress.errors import ModelError
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.tflite import ends
from edgecompress.frontend.tflite.context import Context, FloatContext, IntegerContext
from edgecompress.frontend.tflite.folding import fold, folds
from edgecompress.frontend.tflite.operators import OPERATORS
from edgecompress.frontend.tflite.schema import ABSENT, Model, SubGraph, printable, read_model
from edgecompress.ir.graph import QuantizedGraph

MAX_LISTED = 6  # operators that one error names
SIDE_EFFECTS = ("ASSIGN_VARIABLE", "CALL_ONCE")  # operators that matter although nobody reads their output


def load_tflite(data: bytes, name: str, outputs: Sequence[str] | None = None) -> QuantizedGraph | FloatGraph:
    """The graph of a TFLite file's bytes; `name` becomes the graph's. Raises ModelError, one sentence, for whatever cannot be imported.

    `outputs` are names of tensors to end the graph at, for models whose tail cannot be converted; by default the file's own.
    An int8 model computes the same bytes as the tflite-micro interpreter. The metadata of either graph has, under "tflite", what is known of
    the file, and what was left out at its ends.
    """
    try:
        model = read_model(data)
        graph = _live(_cut(model.subgraphs[0], outputs))
        _check_inputs(graph)
        _check_written(model, graph)
        return _integer_graph(model, graph, name) if _is_integer(graph) else _float_graph(model, graph, name)
    except ModelError as error:
        raise ModelError(f"model '{printable(name)}' cannot be imported: {error.message}", *error.details) from None


def _cut(graph: SubGraph, outputs: Sequence[str] | None) -> SubGraph:
    """The subgraph with tensors of these names as outputs."""
    if outputs is None:
        return graph
    written = {graph.tensors[index].name: index for operator in graph.operators for index in operator.outputs}
    for wanted in outputs:
        if wanted not in written:
            near = difflib.get_close_matches(wanted, written, n=3)
            hint = f"; near are {', '.join(map(repr, near))}" if near else ""
            raise ModelError(f"it computes no tensor {wanted!r} to end at{hint}")
    return replace(graph, outputs=tuple(written[wanted] for wanted in outputs))


def _check_inputs(graph: SubGraph) -> None:
    if not graph.inputs or not graph.outputs:
        raise ModelError("its main subgraph has no input or no output; export the model with both")
    for index in graph.inputs:
        tensor = graph.tensors[index]
        unknown = [axis for axis, size in enumerate(tensor.shape_signature) if size == -1 and axis > 0]
        if unknown:
            raise ModelError(f"input {tensor.name!r} has shape {tensor.shape_signature}, whose axis {unknown[0]} is only known at run time; "
                             "export the model with fixed sizes")
        if len(tensor.shape) > 1 and tensor.shape[0] != 1:
            raise ModelError(f"input {tensor.name!r} has shape {tensor.shape}, a batch of {tensor.shape[0]}; export the model for a batch of 1")


def _check_written(model: Model, graph: SubGraph) -> None:
    """Raises ModelError for a tensor that is written twice, or that is an input or a constant and written."""
    taken = set(graph.inputs)
    for operator in graph.operators:
        for index in operator.outputs:
            tensor = graph.tensors[index]
            if index in taken or model.constant_bytes(tensor) is not None:
                raise ModelError(f"operator {operator.index} ({operator.name}) writes {tensor.name!r}, which is an input, a constant or written "
                                 "already; the file is malformed, convert the model again")
            taken.add(index)


def _live(graph: SubGraph) -> SubGraph:
    """The subgraph without operators that no output depends on."""
    needed, live = set(graph.outputs), []
    for operator in reversed(graph.operators):
        if operator.name in SIDE_EFFECTS or not needed.isdisjoint(operator.outputs):
            needed.update(operator.inputs)
            live.append(operator)
    return replace(graph, operators=tuple(reversed(live)))


def _is_integer(graph: SubGraph) -> bool:
    """Whether activations are int8: an input is, or an operator writes an int8 tensor."""
    computed = {index for operator in graph.operators for index in operator.outputs} | set(graph.inputs)
    return any(graph.tensors[index].type == "int8" for index in computed)


def _known_at_import(context: Context) -> list[bool]:
    """For each operator whether it can be computed at import. `context` has written nothing yet."""
    inputs = set(context.graph.inputs)
    known = {tensor.index for tensor in context.graph.tensors if tensor.index not in inputs and context.is_constant(tensor.index)}
    result = []
    for operator in context.graph.operators:
        one = folds(context, operator, known)
        if one:
            known.update(operator.outputs)
        result.append(one)
    return result


def _check_supported(context: Context, folded: Iterable[bool], kind: str) -> None:
    """Raises ModelError naming the first operator without a handler, and the others as details."""
    missing = []
    for operator, known in zip(context.graph.operators, folded, strict=True):
        support = OPERATORS.get(operator.name)
        if known or (support is not None and getattr(support, kind) is not None):
            continue
        other = "float32" if kind == "int8" else "int8"
        only = support is not None and getattr(support, other) is not None
        advice = f"it is supported in {other} models only" if only else "it is not supported"
        missing.append((operator, f"{advice}; {support.help if support else HELP.get(operator.name, DEFAULT_HELP)}"))
    if missing:
        operator, advice = missing[0]
        details = [context.where(one) + " is not supported either" for one, _ in missing[1:MAX_LISTED]]
        more = [f"and {len(missing) - MAX_LISTED} more"] if len(missing) > MAX_LISTED else []
        raise ModelError(f"{context.where(operator)} cannot be converted: {advice}", *details, *more)


DEFAULT_HELP = "replace it in the model, or leave that part to code of your own before or after it"
BEFORE_THE_MODEL = "do it outside the model, and start the model behind it"
HELP = {
    "SUM": BEFORE_THE_MODEL,
    "REDUCE_MIN": BEFORE_THE_MODEL,
    "REDUCE_MAX": BEFORE_THE_MODEL,
    "CUSTOM": "export the model with builtin operators only (a custom operator runs only where its own code is linked in)",
    "IF": "export the model without control flow",
    "WHILE": "export the model without control flow, with the loop unrolled",
}


def _run_handlers(context: Context, folded: Iterable[bool], kind: str) -> None:
    for operator, known in zip(context.graph.operators, folded, strict=True):
        try:
            if known:
                fold(context, operator)
            else:
                getattr(OPERATORS[operator.name], kind)(context, operator)
        except ModelError as error:
            where = f"operator {operator.index} ("
            raise error if where in error.message else ModelError(f"{context.where(operator)}: {error.message}", *error.details) from None


def _integer_graph(model: Model, graph: SubGraph, name: str) -> QuantizedGraph:
    context = IntegerContext(model, graph, name)
    folded = _known_at_import(context)
    _check_supported(context, folded, "int8")
    readers = {index for operator in graph.operators for index in operator.inputs if index != ABSENT}
    for index in graph.inputs:
        if graph.tensors[index].type == "int8":
            context.add_input(index)
        elif graph.tensors[index].type not in ends.FOREIGN_INPUTS:
            raise ModelError(f"input {graph.tensors[index].name!r} is {graph.tensors[index].type}; "
                             f"supported are int8, {', '.join(ends.FOREIGN_INPUTS)}")
        elif index not in readers:
            raise ModelError(f"input {graph.tensors[index].name!r} is {graph.tensors[index].type} and nothing quantizes it; "
                             "export the model without it")
    _run_handlers(context, folded, "int8")
    inputs, outputs = _ends(context, graph.inputs, "input"), _ends(context, graph.outputs, "output")
    return QuantizedGraph(name, context.tensors, tuple(context.nodes), inputs, outputs, _metadata(context))


def _ends(context: Context, indices: Iterable[int], what: str) -> tuple[str, ...]:
    """Graph tensors of the model's inputs or outputs, all different."""
    names: dict[str, str] = {}
    for index in indices:
        name = context.info(index).name
        if index not in context.values:
            raise ModelError(f"{what} {name!r} is a constant or is never written; export the model without it")
        if context.values[index] in names:
            raise ModelError(f"{what}s {names[context.values[index]]!r} and {name!r} are the same tensor; export the model with one of them")
        names[context.values[index]] = name
    return tuple(names)


def _metadata(context: Context) -> dict[str, Any]:
    described: dict[str, Any] = {"source_format": "tflite", "description": context.model.description}
    if context.dropped:
        described["dropped_ends"] = context.dropped
    if context.weight_types - {"float32"}:
        described["weights_stored_as"] = sorted(context.weight_types)
    return {"tflite": described}


def _float_graph(model: Model, graph: SubGraph, name: str) -> FloatGraph:
    if len(graph.inputs) != 1:
        raise ModelError(f"its float graph has {len(graph.inputs)} inputs; supported is one, join them before the model or quantize it to int8 first")
    tensor = graph.tensors[graph.inputs[0]]
    if tensor.type != "float32":
        raise ModelError(f"input {tensor.name!r} is {tensor.type}; supported are float32 and int8, convert the model with full int8 quantization")
    context = FloatContext(model, graph, name, graph.inputs[0])
    folded = _known_at_import(context)
    _check_supported(context, folded, "float32")
    _run_handlers(context, folded, "float32")
    return context.builder.build(*_ends(context, graph.outputs, "output"), metadata=_metadata(context))
