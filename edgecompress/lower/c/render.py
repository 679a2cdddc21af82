"""Decisions to C text: fills the templates in firmware_export/c/templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jinja2
import numpy as np

import edgecompress
from edgecompress.hw.target import Target
from edgecompress.ir.graph import ITEM_BYTES, QuantizedGraph, Tensor
from edgecompress.lower.c.constants import PARAMS, make_constants
from edgecompress.lower.c.emitter import COMMON_HEADERS, Call, ConstArray, Reference, Symbol
from edgecompress.lower.c.naming import c_identifier, c_string, comment_text
from edgecompress.lower.c.planning import Decisions
from edgecompress.lower.c.state import reset_fills, state_offsets
from edgecompress.lower.options import LowerOptions
from edgecompress.resources import data_dir
from edgecompress.units import format_bytes

INT32_MIN = -(2**31)
LINE_WIDTH = 120
C_TYPES = {"int8": "int8_t", "float32": "float"}


@dataclass(frozen=True)
class RenderedModel:
    """Generated text by file name, and which kernel files go beside it."""

    name: str
    texts: dict[str, str]
    kernel_files: tuple[str, ...]


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(data_dir("firmware_export") / "c" / "templates")
    return jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)


def c_integer(value: int) -> str:
    """An int32 literal; the smallest one has no literal of its own."""
    return "(-2147483647 - 1)" if value == INT32_MIN else str(value)


def float_literal(value: float) -> str:
    """The float32 nearest to `value` as a C literal that reads back to the same bits."""
    return f"{np.float32(value):.9e}f"


def array_lines(array: ConstArray) -> list[str]:
    """Initialiser lines of an array."""
    if array.values.ndim == 2:
        return [f"{{{', '.join(c_integer(int(value)) for value in row)}}}," for row in array.values]
    lines, current = [], ""
    for value in array.values.tolist():
        item = f"{float_literal(value) if array.ctype == 'float' else c_integer(value)},"
        if current and len(current) + len(item) + 5 > LINE_WIDTH:
            lines.append(current)
            current = item
        else:
            current = f"{current} {item}" if current else item
    return [*lines, current]


def _end_context(tensor: Tensor, argument: str, location: str) -> dict[str, Any]:
    """An input or output of the model."""
    return {"argument": argument, "macro": argument.upper(), "comment": comment_text(tensor.name), "shape": tensor.shape, "size": tensor.elements,
            "ctype": C_TYPES[tensor.dtype], "dtype": tensor.dtype,
            "scale": float_literal(tensor.scale), "zero_point": tensor.zero_point, "location": location}


def _class_names(graph: QuantizedGraph) -> list[str]:
    """C literals of the class names, where the metadata has one for each output."""
    classes = graph.metadata.get("classes")
    if isinstance(classes, list) and len(classes) == graph.tensors[graph.outputs[0]].elements and all(isinstance(name, str) for name in classes):
        return [c_string(name) for name in classes]
    return []


def _raw_values(graph: QuantizedGraph) -> dict[str, str] | None:
    """The way from raw values to the input, where the metadata has one that a float32 holds."""
    raw = graph.metadata.get("normalization")
    if not isinstance(raw, dict) or len(graph.inputs) != 1:
        return None
    # a comparison that NaN, infinity and integers beyond a float32 all fail
    if not all(isinstance(raw.get(key), int | float) and abs(raw[key]) < 3e38 for key in ("mean", "scale")):
        return None
    return {"mean": float_literal(raw["mean"]), "scale": float_literal(raw["scale"]), "front_end": comment_text(str(raw.get("front_end", "")))}


class _Layers:
    """Template contexts of all calls. Constant arrays of at least `section_over` bytes go into the section for weights; None: none does."""

    def __init__(self, decisions: Decisions, name: str, section_over: int | None) -> None:
        self.graph, self.decisions, self.name, self.section_over = decisions.graph, decisions, name, section_over
        self.constants = decisions.constants or make_constants(list(zip(decisions.emitters, decisions.calls, strict=True)), share=False)
        placements = decisions.plan.memory.placements
        self.offsets = {placement.buffer.name: placement.offset for placement in placements}
        self.scratch = {node: placements[number].offset for node, number in decisions.storage.scratch.items()}
        self.states = state_offsets(self.graph.nodes)

    def _location(self, tensor_name: str, skipped: int = 0) -> str:
        """C expression of the tensor's address, or of what comes `skipped` bytes later."""
        storage = self.decisions.storage
        root, offset = storage.places[tensor_name]
        offset += skipped
        if root in storage.inputs:
            return _address("input" if len(storage.inputs) == 1 else f"input{storage.inputs[root]}", self._steps(root, offset))
        if root in storage.outputs:
            return _address("output" if len(self.graph.outputs) == 1 else f"output{storage.outputs[root]}", self._steps(root, offset))
        return _address(f"{self.name}_arena.bytes", self.offsets[root] + offset)

    def _steps(self, root: str, offset: int) -> int:
        """An offset in bytes as steps of the caller's pointer."""
        return offset // ITEM_BYTES[self.graph.tensors[root].dtype]

    def _argument(self, tensor_name: str, element: str, qualifier: str = "", skipped: int = 0) -> str:
        """A tensor's location as a pointer to `element`."""
        root = self.decisions.storage.places[tensor_name][0]
        at_caller = root in self.decisions.storage.inputs or root in self.decisions.storage.outputs
        location = self._location(tensor_name, skipped)
        if (C_TYPES[self.graph.tensors[root].dtype] if at_caller else "int8_t") == element:
            return location
        # by way of void: arena buffers are aligned, but an int8_t pointer does not say so
        return f"({qualifier}{element} *)({qualifier}void *)({location})"

    def ends(self, names: Sequence[str], kind: str) -> list[dict[str, Any]]:
        """Inputs or outputs of the model: `input`, or `input0`, `input1`, ... for several."""
        return [_end_context(self.graph.tensors[name], kind if len(names) == 1 else f"{kind}{index}", self._location(name))
                for index, name in enumerate(names)]

    def _state(self, node_name: str) -> list[str]:
        return [f"{self.name}_state.bytes + {self.states[node_name]}"] if node_name in self.states else []

    def prefix(self, index: int) -> str:
        """What the C names of a call begin with."""
        return f"{self.name}_{index}_{c_identifier(self.decisions.calls[index].node.name, 'layer')}"

    def _array(self, index: int, suffix: str) -> str:
        return f"{self.prefix(self.constants.owner(index, suffix))}_{suffix}"

    def resets(self) -> list[dict[str, Any]]:
        """What `<name>_reset` does, in order."""
        numbers = {call.node.name: index for index, call in enumerate(self.decisions.calls)}
        return [{"offset": fill.offset, "size": fill.size, "value": fill.value,
                 "array": self._array(numbers[fill.node], "initial") if fill.node else ""} for fill in reset_fills(self.graph.nodes)]

    def _field(self, index: int, field: str, value: int | float | Reference | Symbol) -> str:
        text = self._array(index, value.suffix) if isinstance(value, Reference) else \
            value.name if isinstance(value, Symbol) else \
            float_literal(value) if isinstance(value, float) else c_integer(int(value))
        return f".{field} = {text}"

    def _placed(self, array: ConstArray) -> bool:
        return self.section_over is not None and array.size_bytes >= self.section_over

    def context(self, index: int, call: Call) -> dict[str, Any]:
        """Everything the templates print for one call."""
        emitter, layer = self.decisions.emitters[index], self.decisions.plan.layers[index]
        prefix = self.prefix(index)
        skipped = self.decisions.storage.copies.get(call.node.output, 0)
        inputs = [self._argument(call.node.inputs[position], emitter.element, "const ", skipped) for position in emitter.argument_order(call)]
        scratch = _address(f"{self.name}_arena.bytes", self.scratch[call.node.name]) if layer.scratch_bytes else "0"
        arguments = ["inputs"] if emitter.takes_input_array else inputs
        output = self._argument(call.node.output, emitter.element)
        arguments = [f"&{self._array(index, PARAMS)}", *arguments, output, *([scratch] if emitter.takes_scratch else []),
                     *self._state(call.node.name)]
        arrays = [{"name": f"{prefix}_{array.suffix}", "ctype": array.ctype, "size": len(array.values), "lines": array_lines(array),
                   "placed": self._placed(array)} for array in self.constants.own(index)]
        return {
            "index": index, "comment": comment_text(call.node.name), "op": call.node.op.kind, "kernel": layer.kernel, "macs": layer.macs,
            "input_shapes": [_shape(shape) for shape in layer.input_shapes], "output_shape": _shape(layer.output_shape),
            "struct": emitter.struct(call), "params": f"{prefix}_{PARAMS}" if self.constants.owns_params(index) else "",
            "arrays": arrays, "arguments": ", ".join(arguments),
            "fields": [self._field(index, field, value) for field, value in emitter.params(call).items()],
            "input_array": inputs if emitter.takes_input_array else [], "element": emitter.element, "constant_bytes": layer.constant_bytes,
        }


def _address(base: str, offset: int) -> str:
    return f"{base} + {offset}" if offset else base


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _unused_inputs(graph: QuantizedGraph, decisions: Decisions) -> list[str]:
    """Arguments that no kernel reads; a compiler would warn of them."""
    if not decisions.storage.inputs:
        return []
    read = {decisions.storage.places[name][0] for call in decisions.calls for name in call.node.inputs}
    return ["input" if len(graph.inputs) == 1 else f"input{index}" for index, name in enumerate(graph.inputs) if name not in read]


def render(graph: QuantizedGraph, target: Target, decisions: Decisions, options: LowerOptions) -> RenderedModel:
    """All generated text files; kernels are copied by the caller."""
    name = c_identifier(graph.name)
    plan = decisions.plan
    contexts = _Layers(decisions, name, options.weights_section_over if options.weights_section else None)
    layers = [contexts.context(index, call) for index, call in enumerate(decisions.calls)]
    pairs = zip(decisions.emitters, decisions.calls, strict=True)
    kernel_files = sorted({*COMMON_HEADERS, *(file for emitter, call in pairs for file in emitter.files(call))})
    values = {
        "name": name, "macro": name.upper(), "tool_version": edgecompress.__version__, "target": comment_text(target.name),
        "graph_hash": graph.hash, "graph_name": comment_text(graph.name), "arena_bytes": plan.memory.arena_bytes,
        "constant_bytes": plan.constant_bytes, "macs": plan.macs, "arena_text": format_bytes(plan.memory.arena_bytes),
        "constant_text": format_bytes(plan.constant_bytes), "state_bytes": plan.state_bytes, "resets": contexts.resets(),
        "inputs": contexts.ends(graph.inputs, "input"), "outputs": contexts.ends(graph.outputs, "output"),
        "io": options.io, "weights_section": options.weights_section, "arena_section": options.arena_section,
        "classes": _class_names(graph), "raw": _raw_values(graph), "unused": _unused_inputs(graph, decisions), "layers": layers,
        "headers": sorted({"ec_kernels.h", *(emitter.header for emitter in decisions.emitters)}),
        "floats": all(graph.tensors[name].dtype == "float32" for name in (*graph.inputs, *graph.outputs)),
        "arrays": [array for layer in layers for array in layer["arrays"]],
        "sources": [f"{name}.c", f"{name}_weights.c", *(file for file in kernel_files if file.endswith(".c"))],
    }
    templates = {f"{name}.h": "model.h.jinja", f"{name}.c": "model.c.jinja", f"{name}_weights.h": "weights.h.jinja",
                 f"{name}_weights.c": "weights.c.jinja", "README.md": "README.md.jinja"}
    texts = {file: _environment().get_template(template).render(**values, file=file) for file, template in templates.items()}
    return RenderedModel(name, texts, tuple(kernel_files))
