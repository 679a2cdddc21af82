"""The IDX files of MNIST and its relatives (`train-images-idx3-ubyte[.gz]` and three more), in any folder."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from edgecompress.data.raw import Array, Options, RawData, RawPart, check_size
from edgecompress.errors import DataError

FASHION_CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
FASHION_HELP = (
    "as root: apt install dataset-fashion-mnist; or with torchvision: python -c \"import torchvision; "
    "torchvision.datasets.FashionMNIST('data', download=True)\"; or name a folder with the four idx files: fashion-mnist?path=FOLDER"
)
_FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}


def fashion_mnist_places() -> list[Path]:
    """Folders that are looked into, in this order: Debian's package, torchvision's usual roots, Keras' cache."""
    torch_home = Path(os.environ.get("TORCH_HOME") or "~/.cache/torch").expanduser()
    roots = (Path("data"), Path(), torch_home, torch_home / "datasets", torch_home / "data", Path("~/data").expanduser())
    return [
        Path("/usr/share/datasets/fashion-mnist"),
        *(root / "FashionMNIST" / "raw" for root in roots),
        Path("~/.keras/datasets/fashion-mnist").expanduser(),
    ]


def _find(folder: Path, stem: str) -> Path | None:
    candidates = (folder / stem, folder / f"{stem}.gz")
    return next((path for path in candidates if path.is_file()), None)


def is_idx_folder(folder: Path) -> bool:
    """Whether the training images lie there; the other three files are asked for on reading."""
    return _find(folder, _FILES["train"][0]) is not None


def find_fashion_mnist() -> Path | None:
    """The first folder that has the files, or None."""
    return next((place for place in fashion_mnist_places() if is_idx_folder(place)), None)


def read_idx(path: Path, dimensions: int) -> Array:
    """uint8 array of an IDX file, gzipped or not; raises DataError when it is damaged or of another kind."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            header = stream.read(4 + 4 * dimensions)
            if len(header) < 4 + 4 * dimensions or header[:4] != bytes((0, 0, 8, dimensions)):
                raise DataError(f"'{path}' is not an IDX file of {dimensions}-dimensional bytes: it starts with {header[:4].hex() or 'nothing'}")
            shape = tuple(int.from_bytes(header[at : at + 4], "big") for at in range(4, len(header), 4))
            check_size(math.prod(shape), f"'{path}', of shape {shape},")
            content = stream.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"'{path}' is corrupt, truncated or unreadable: {error}") from error
    if len(content) != math.prod(shape):
        found = "more" if len(content) > math.prod(shape) else str(len(content))
        raise DataError(f"'{path}' says shape {shape}, {math.prod(shape)} bytes, but holds {found}")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _first(part: RawPart, count: float, wanted: str) -> RawPart:
    if count > len(part.x):
        raise DataError(f"option '{wanted}={int(count)}' asks for more than the {len(part.x)} samples there are")
    return RawPart(part.x[: int(count)], part.y[: int(count)], part.x_name, part.y_name)


def read_idx_folder(folder: Path, options: Options, name: str, classes: tuple[str, ...] | None = None) -> RawData:
    """RawData of the four files in `folder`; options `train` and `test` keep only the first so many samples of a part."""
    options.only("path", "train", "test")
    parts = {}
    for part, stems in _FILES.items():
        paths = []
        for stem in stems:
            path = _find(folder, stem)
            if path is None:
                raise DataError(f"'{folder}' has no file '{stem}' or '{stem}.gz'")
            paths.append(path)
        whole = RawPart(read_idx(paths[0], 3), read_idx(paths[1], 1), f"'{paths[0]}'", f"'{paths[1]}'")
        parts[part] = _first(whole, options.number(part, len(whole.x), int), part) if part in options.values else whole
    return RawData(name, "image", str(folder.resolve()), "none: grey values 0 to 255 as they are stored", parts, classes)
