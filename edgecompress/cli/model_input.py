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
    if outputs == []:
        raise ConfigError("--outputs names no tensor; give their names with commas between them, or leave it out")
    return load_model(arguments.model, shape, outputs)


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("x"))
    except ValueError:
        raise ConfigError(f"--input-shape '{text}' must be whole numbers with an x between them, such as 3x96x96") from None


def samples(spec: str, shape: tuple[int, ...], normalized: bool, part: str, limit: int, stream: bool = False) -> tuple[np.ndarray, str]:
    """(float32 [n, *shape], where they come from). `spec` is a data set (its `part`), or an .npy or .npz file of inputs without labels.

    At most `limit` samples from all over the data, because files are often sorted by class; of a `stream` the first ones, which follow each other.
    `normalized`: as this tool's own models were trained on them; otherwise as they are stored, which is what a model from elsewhere takes.
    Raises DataError and ConfigError.
    """
    import numpy as np

    if not spec:
        raise ConfigError("the samples' data set or file is an empty text; name one, or leave the option out")
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
    _check_shape(spec, tuple(values.shape[1:]), shape)
    with np.errstate(over="ignore"):
        count = min(len(values), limit)
        positions = np.arange(count) if stream else np.arange(count) * len(values) // count
        chosen = values[positions].reshape(-1, *shape).astype(np.float32)
    if not np.isfinite(chosen).all():
        raise DataError(f"the samples in '{spec}' hold numbers that float32 does not; the largest is 3.4e38")
    return chosen, f"{len(chosen)} {source}"


def _check_shape(spec: str, given: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Axes of size 1 may come and go. Flat samples fit where flattening leaves one order only, and a flat input takes any image."""
    one, other = (tuple(size for size in shape if size != 1) for shape in (given, wanted))
    flat = math.prod(given) == math.prod(wanted) and (len(wanted) == 1 or (len(given) == 1 and len(other) < 3))
    if one == other or flat:
        return
    turned = len(given) == 3 and (*given[1:], given[0]) == wanted
    raise DataError(f"the samples in '{spec}' have shape {given}, the model's input has {wanted}; give samples of that size, the first axis counting "
                    "them, images as (height, width, channels)",
                    *(["try: numpy.transpose(samples, (0, 2, 3, 1)), as these look like (channels, height, width)"] if turned else []))


def _has_labels(spec: str) -> bool:
    return "y=" in spec.partition("?")[2]


def _array(path: Path, query: str) -> np.ndarray:
    """The one array of a file, or the one that `x=name` names."""
    import numpy as np

    key, _, wanted = query.partition("=")
    if query and (path.suffix == ".npy" or key != "x" or not wanted):
        raise ConfigError(f"'?{query}' behind '{path}' is not understood; '?x=NAME' names an array of an .npz file, an .npy file holds only one")
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if path.suffix == ".npz":
                loaded = loaded[wanted or _only_key(path, list(loaded.files))]
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError, AttributeError) as error:
        reason = "it holds Python objects, or is no NumPy file" if "pickle" in str(error) else str(error)[:200]
        raise DataError(f"'{path}' cannot be read as numbers: {reason}") from None
    if loaded.dtype.kind not in "fiu" or not loaded.ndim or not len(loaded) or not np.isfinite(loaded).all():
        raise DataError(f"'{path}' must hold at least one sample of finite numbers, got {loaded.dtype} {list(loaded.shape)}")
    return np.asarray(loaded)


def _only_key(path: Path, keys: list[str]) -> str:
    if len(keys) == 1:
        return keys[0]
    if not keys:
        raise DataError(f"'{path}' holds no array")
    raise DataError(f"'{path}' holds several arrays ({', '.join(keys[:8])}); name one, as in '{path.name}?x={keys[0]}'")
