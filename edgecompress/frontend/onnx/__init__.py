"""ONNX files become a FloatGraph, or a QuantizedGraph where they are quantized (QDQ). Needs the package `onnx`, only to parse protobuf."""

from __future__ import annotations

from collections.abc import Sequence

from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.ir.graph import QuantizedGraph


def load_onnx(data: bytes, name: str, input_shape: Sequence[int] | None = None, outputs: Sequence[str] | None = None) -> QuantizedGraph | FloatGraph:
    """The graph of an ONNX file's bytes, operator sets 7 to 24.

    Tensors [1, c, h, w] and [1, c, l] that convolutions work on become (h, w, c) and (l, c), the input and outputs too; all others keep the
    file's axes without the batch. The metadata's "origin" says which it is: "axes" lists the file's axes in the graph's order. `input_shape`,
    without the batch and as the file orders its axes, is for files that leave sizes open. `outputs` are names of tensors to end the graph at.
    Raises ModelError, one sentence that names the operator and the node, for anything that is broken, hostile or not supported;
    ToolMissingError without the package `onnx`.
    """
    from edgecompress.frontend.onnx.importer import Importer
    from edgecompress.frontend.onnx.model import read_model
    from edgecompress.frontend.quantized import is_quantized, to_integers

    graph = Importer(read_model(data), name, input_shape, outputs).run()
    return to_integers(graph) if is_quantized(graph) else graph
