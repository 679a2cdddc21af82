"""What `lower` and `inspect` share: the model a user names, and samples for it."""

from __future__ import annotations

import argparse
import math
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompress.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np

    from edgecompress.frontend.float_graph import FloatGraph
    from edgecompress.ir.graph import QuantizedGraph

MODEL_HELP = "a .tflite or .onnx file, graph.json, or the folder of a candidate or an artifact"


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model's arguments."""
    parser.add_argument("model", type=Path, help=MODEL_HELP)
    parser.add_argument("--input-shape", help="the input's shape without batch, axes as in the file, such as 3x96x96, if an ONNX file leaves it open")
    parser.add_argument("--outputs", help="comma-separated names of the tensors to end the model at (default: the file's outputs)")


def load(arguments: argparse.Namespace) -> QuantizedGraph | FloatGraph:
    """The model those arguments name. Raises ModelError and ConfigError."""
    from edgecompress.frontend.model_file import load_model

    shape = None if arguments.input_shape is None else _shape(arguments.input_shape)
    outputs = None if arguments.outputs is None else [name for name in arguments.outputs.split(",") if name]
    return load_model(arguments.model, shape, outputs)


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("x"))
    except ValueError:
        raise ConfigError(f"--input-shape '{text}' must be whole numbers with an x between them, such as 3x96x96") from None


def samples(spec: str, shape: tuple[int, ...], normalized: bool, part: str, limit: int) -> tuple[np.ndarray, str]:
    """(float32 [n, *shape], where they come from). `spec` is a data set (its `part`), or an .npy or .npz file of inputs without labels.

    `normalized`: as this tool's own models were trained on them; otherwise as they are stored, which is what a model from elsewhere takes.
    Raises DataError and ConfigError.
    """
    path = Path(spec.partition("?")[0])
    if path.suffix in (".npy", ".npz") and not _has_labels(spec):
        values, source = _array(path, spec.partition("?")[2]), path.name
    else:
        from edgecompress.data.dataset import load_dataset

        data = load_dataset(spec)
        values = getattr(data, part).x
        if not normalized:
            values = values / data.normalization.scale + data.normalization.mean
        source = f"{part} samples of {data.name}"
    if values.ndim < 2 or math.prod(values.shape[1:]) != math.prod(shape):
        raise DataError(f"the samples in '{spec}' have shape {tuple(values.shape[1:])}, the model's input has {shape}; give samples of that size, "
                        "images as (height, width, channels)")
    chosen = values[:limit]
    return chosen.reshape(len(chosen), *shape).astype("float32"), f"{len(chosen)} {source}"


def _has_labels(spec: str) -> bool:
    return "y=" in spec.partition("?")[2]


def _array(path: Path, query: str) -> np.ndarray:
    """The one array of a file, or the one that `x=name` names."""
    import numpy as np

    wanted = dict(item.partition("=")[::2] for item in query.split("&") if item).get("x")
    try:
        loaded = np.load(path, allow_pickle=False)
        if path.suffix == ".npz":
            keys = list(loaded.files)
            if wanted is None and len(keys) != 1:
                raise DataError(f"'{path}' holds several arrays ({', '.join(keys[:8])}); name one, as in '{path.name}?x={keys[0] if keys else 'x'}'")
            loaded = loaded[wanted or keys[0]]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError) as error:
        raise DataError(f"'{path}' cannot be read as numbers: {str(error)[:200]}") from None
    if loaded.dtype.kind not in "fiu" or not np.isfinite(loaded).all() or not len(loaded):
        raise DataError(f"'{path}' must hold at least one sample of finite numbers, got {loaded.dtype} {list(loaded.shape)}")
    return np.asarray(loaded)
