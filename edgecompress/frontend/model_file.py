"""Any model file to a graph: our own JSON, TFLite and ONNX, told apart by what they hold, not only by their name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecompress.errors import ConfigError, ModelError
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.ir import serialize
from edgecompress.ir.graph import QuantizedGraph

MAX_FILE_BYTES = 256 * 1024**2  # no microcontroller holds more; a bigger file is a mistake or an attack
SUFFIXES = (".json", ".tflite", ".onnx")


def load_model(path: Path, input_shape: Sequence[int] | None = None, outputs: Sequence[str] | None = None) -> QuantizedGraph | FloatGraph:
    """The graph of a model file, or of a folder with graph.json in it (a candidate or an artifact).

    `input_shape` without batch, as the file orders its axes: for ONNX files that leave sizes open. `outputs`: names of the tensors to end
    the graph at, for models whose tail cannot be converted. Raises ModelError for a file that cannot be read or converted.
    """
    path = path / "graph.json" if path.is_dir() else path
    data = _read(path)
    if data[4:8] == b"TFL3" or path.suffix.lower() in (".tflite", ".lite"):
        from edgecompress.frontend.tflite import load_tflite

        _refuse(path, "--input-shape", input_shape)
        return load_tflite(data, path.stem, outputs=outputs)
    if path.suffix.lower() == ".onnx":
        from edgecompress.frontend.onnx import load_onnx

        try:
            return load_onnx(data, path.stem, input_shape=input_shape, outputs=outputs)
        except ModelError as error:
            raise ModelError(f"model '{path.stem}' cannot be imported: {error.message}", *error.details) from None
    if path.suffix.lower() == ".json":
        _refuse(path, "--input-shape", input_shape)
        _refuse(path, "--outputs", outputs)
        return serialize.load(path)
    raise ModelError(f"'{path}' is not a model this tool knows by its name; known: {', '.join(SUFFIXES)}, or a folder with graph.json",
                     "a torch module is given to search with --model, a Keras file must be converted to .tflite first")


def _refuse(path: Path, option: str, value: Sequence[object] | None) -> None:
    if value is not None:
        raise ConfigError(f"{option} does nothing for '{path.name}'; leave it out")


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise ModelError(f"there is no model file '{path}'", "give a .tflite or .onnx file, or a folder with graph.json that 'lower' or 'search' wrote")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ModelError(f"model file '{path}' has {size} bytes; at most {MAX_FILE_BYTES} are read")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"model file '{path}' cannot be read: {error.strerror or error}") from None
