"""From a spec to raw data: known names, `.npz` files, folders."""

from __future__ import annotations

import difflib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from edgecompress.data import idx
from edgecompress.data.folders import AUDIO_SUFFIXES, list_folder
from edgecompress.data.gnss_source import read_gnss, where_simulated
from edgecompress.data.images import read_images
from edgecompress.data.npz import read_npz
from edgecompress.data.raw import POOL, Options, RawData, RawPart
from edgecompress.data.wavs import read_wavs
from edgecompress.errors import ConfigError, DataError, ToolMissingError, unknown_name


@dataclass(frozen=True)
class KnownSet:
    """A data set with a name. `where` is None when it is not on this machine."""

    description: str
    how_to_get: str
    where: Callable[[], str | None]
    read: Callable[[Options], RawData]


def _where_digits() -> str | None:
    return "inside scikit-learn" if importlib.util.find_spec("sklearn") else None


def _read_digits(options: Options) -> RawData:
    options.only()
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ToolMissingError("the data set 'digits' ships with scikit-learn, which is not installed", "try: pip install scikit-learn") from None
    bunch = load_digits()
    part = RawPart(bunch.images.astype(np.uint8), bunch.target.astype(np.int64), "'images'", "'target'")
    return RawData(
        "digits", "image", "scikit-learn load_digits", "none: grey values 0 to 16 as they are stored",
        {POOL: part}, tuple(str(name) for name in bunch.target_names),
    )


def _where_fashion() -> str | None:
    place = idx.find_fashion_mnist()
    return str(place) if place else None


def _read_fashion(options: Options) -> RawData:
    place = Path(options.values["path"]).expanduser() if "path" in options.values else idx.find_fashion_mnist()
    if place is None:
        looked = ", ".join(str(folder) for folder in idx.fashion_mnist_places())
        raise DataError("the data set 'fashion-mnist' is not on this machine", f"looked in: {looked}", f"try: {idx.FASHION_HELP}")
    return idx.read_idx_folder(place, options, "fashion-mnist", idx.FASHION_CLASSES)


KNOWN: dict[str, KnownSet] = {
    "digits": KnownSet("handwritten digits, 8x8 grey, 10 classes, 1,797 samples", "pip install scikit-learn", _where_digits, _read_digits),
    "fashion-mnist": KnownSet(
        "clothes, 28x28 grey, 10 classes, 60,000 + 10,000 samples (fewer: ?train=12000&test=3000)", idx.FASHION_HELP, _where_fashion, _read_fashion
    ),
    "gnss": KnownSet(
        "simulated GNSS interference snapshots, 7 classes, 5,000 + 1,000 + 2,000 samples (others: ?train=N&test=N&jnr=-10..4&features=iq)",
        "it is simulated", where_simulated, read_gnss("gnss"),
    ),
    "gnss-characterization": KnownSet(
        "the same by kind, bandwidth and strength of the interference, 311 classes", "it is simulated", where_simulated,
        read_gnss("gnss-characterization"),
    ),
}

PATTERNS: dict[str, str] = {
    "FILE.npz": "arrays x_train y_train x_test y_test, if there are any also x_val y_val classes",
    "FILE.npz?x=KEY&y=KEY": "samples and labels by array name; also split=KEY (0 train, 1 validation, 2 test), classes=KEY, kind=audio, layout=nchw",
    "FOLDER": "images by class: FOLDER/CLASS/*.png (jpg, jpeg, bmp), or the same inside train, val, test; also ?size=32x32&gray=1",
    "FOLDER (wav)": "16 kHz 16-bit mono wav files by class, through the MLPerf Tiny MFCC front end; also ?seconds=2",
    "FOLDER (idx)": "the four idx files of MNIST or a relative, gzipped or not; also ?train=N&test=N",
}


def parse_spec(spec: str) -> tuple[str, Options]:
    """("name or path", options) of "name?key=value&key=value"; raises ConfigError."""
    name, mark, query = spec.partition("?")
    values: dict[str, str] = {}
    for pair in query.split("&") if mark else ():
        key, equals, value = pair.partition("=")
        if not key or not equals or not value:
            raise ConfigError(f"'{spec}': after the '?' come options as key=value joined by '&', not '{pair}'")
        if key in values:
            raise ConfigError(f"'{spec}' gives the option '{key}' twice")
        values[key] = unquote(value)
    if not name:
        raise ConfigError("the data set has no name; give one of " + ", ".join(KNOWN) + ", a .npz file or a folder")
    return name, Options(values)


def _read_folder(folder: Path, options: Options) -> RawData:
    if idx.is_idx_folder(folder):
        return idx.read_idx_folder(folder, options, folder.resolve().name)
    listing = list_folder(folder)
    return read_wavs(folder, listing, options) if listing.suffixes <= AUDIO_SUFFIXES else read_images(folder, listing, options)


def _missing(name: str, path: Path) -> ConfigError:
    if os.sep not in name and not path.suffix:
        return ConfigError(f"{unknown_name('data set', name, KNOWN).message}, or the path of a .npz file or a folder")
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return ConfigError(f"there is no data file or folder '{name}'." + (f" Did you mean '{path.parent / near[0]}'?" if near else ""))


def read_source(spec: str) -> RawData:
    """Raw data of a spec: a known name (it wins over a folder of that name; write ./digits for the folder), a .npz file or a folder.

    Raises ConfigError for an unknown name, path or option, DataError for data that cannot be read, ToolMissingError for a missing package.
    """
    name, options = parse_spec(spec)
    if name in KNOWN:
        return KNOWN[name].read(options)
    path = Path(name).expanduser()
    try:
        if path.is_dir():
            return _read_folder(path, options)
        if not path.is_file():
            raise _missing(name, path)
    except OSError as error:
        raise DataError(f"'{name}' cannot be read: {error.strerror or error}") from None
    if path.suffix.lower() != ".npz":
        raise DataError(f"'{name}' is not a data set: a .npz file or a folder of samples by class is", "try: edgecompress data list")
    return read_npz(path, options)
