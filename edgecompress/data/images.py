"""A folder of images by class, read with Pillow."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecompress.data.folders import FolderListing, read_parts
from edgecompress.data.raw import Array, Options, RawData, check_size
from edgecompress.errors import ConfigError, DataError, EdgecompressError, ToolMissingError

if TYPE_CHECKING:
    from PIL import Image

_GREY_MODES = ("1", "L", "LA")
_WIDE_MODES = ("I", "F")  # and I;16, I;16B, ...: more than 8 bits a pixel
_MAX_PIXELS = 1 << 26  # a small file can claim a picture that fills the memory


def _open(path: Path) -> Image.Image:
    try:
        from PIL import Image
    except ImportError:
        raise ToolMissingError("reading images needs Pillow", "try: pip install pillow") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's size warning; sizes are checked below
            image = Image.open(path)
    except Exception as error:  # Pillow's parsers let many types out of a damaged file
        raise DataError(f"image '{path}' cannot be read: {error or type(error).__name__}") from error
    width, height = image.size
    if image.mode.startswith(_WIDE_MODES):
        image.close()
        raise DataError(f"image '{path}' has more than 8 bits a pixel (mode {image.mode}); convert it to 8 bits first")
    if width * height > _MAX_PIXELS:
        image.close()
        raise DataError(f"image '{path}' is {width}x{height}; at most {_MAX_PIXELS} pixels are read")
    return image


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if match is None:
        raise ConfigError(f"option 'size' must be WIDTHxHEIGHT such as 32x24, not '{text}'")
    return int(match.group(1)), int(match.group(2))


def _survey(paths: Sequence[Path], wanted: tuple[int, int] | None) -> tuple[tuple[int, int], bool]:
    """(width, height) that all images will have, and whether every one is grey."""
    size, grey, first = wanted, True, paths[0]
    for path in paths:
        with _open(path) as image:
            grey = grey and image.mode in _GREY_MODES
            size = size or image.size
            if wanted is None and image.size != size:
                raise DataError(
                    f"images differ in size: '{first}' is {size[0]}x{size[1]}, '{path}' is {image.size[0]}x{image.size[1]}",
                    f"try: one size for all with ?size={size[0]}x{size[1]}",
                )
    assert size is not None
    return size, grey


def _decode(path: Path, size: tuple[int, int], mode: str) -> Array:
    try:
        with _open(path) as image:
            image.load()
            # by way of RGB for palettes, so that a grey conversion weighs colours and not palette indices
            flat = image if image.mode == mode else image.convert("RGB").convert(mode)
            if flat.size != size:
                from PIL import Image

                flat = flat.resize(size, Image.Resampling.BOX if flat.size[0] >= size[0] and flat.size[1] >= size[1] else Image.Resampling.BILINEAR)
            return np.asarray(flat, dtype=np.uint8)
    except EdgecompressError:
        raise
    except Exception as error:  # see _open
        raise DataError(f"image '{path}' is corrupt or truncated: {error or type(error).__name__}") from error


def read_images(folder: Path, listing: FolderListing, options: Options) -> RawData:
    """RawData of 8-bit images, uint8 [n, height, width, 1 or 3]; options `size=WIDTHxHEIGHT`, `gray=1`.

    Grey when every file is, or when asked for; else RGB. Raises DataError for an unreadable image or for sizes that differ.
    """
    options.only("size", "gray")
    wanted = _parse_size(options.values["size"]) if "size" in options.values else None
    size, all_grey = _survey(listing.everything, wanted)
    asked = options.flag("gray")
    grey = all_grey if asked is None else asked
    check_size(len(listing.everything) * size[0] * size[1] * (1 if grey else 3), f"'{folder}', as {size[0]}x{size[1]} images,")

    def read(paths: Sequence[Path]) -> Array:
        pixels = np.empty((len(paths), size[1], size[0], 1 if grey else 3), dtype=np.uint8)
        for row, path in enumerate(paths):
            pixels[row] = _decode(path, size, "L" if grey else "RGB").reshape(pixels.shape[1:])
        return pixels

    colour = "grey" if grey else "RGB"
    resized = f", resized to {size[0]}x{size[1]} (area average when smaller)" if wanted else ""
    return RawData(
        folder.resolve().name, "image", str(folder.resolve()), f"8-bit {colour} pixels 0 to 255{resized}",
        read_parts(listing, read), listing.classes, listing.notes,
    )
