"""Nearest-neighbour resize of an image (TFLite's RESIZE_NEAREST_NEIGHBOR with neither corner option)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, image_shape
from edgecompress.ir.window import MAX_STEP, Pair


def source_positions(source: int, target: int) -> np.ndarray:
    """Input position of each output position along one axis, in integers."""
    return np.arange(target, dtype=np.int64) * source // target


def float32_positions(source: int, target: int) -> np.ndarray:
    """The same as TFLite's GetNearestNeighbor computes it."""
    scaled = np.arange(target, dtype=np.float32) * (np.float32(source) / np.float32(target))
    positions: np.ndarray = np.minimum(np.floor(scaled).astype(np.int64), source - 1)
    return positions


@dataclass(frozen=True, eq=False)
class ResizeNearest(Op):
    """Output pixel (r, c) is input pixel (r * height // out_height, c * width // out_width).

    TFLite computes these positions in float32. Where its rounding leaves the integer rule (26 rows to 22, 2 to 82: about one
    pair of sizes in a hundred) the shape is refused, so that one rule holds on every backend.
    """

    kind = "resize_nearest"
    dtypes = ("int8", "float32")
    size: Pair

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.size) < 1 or max(self.size) > MAX_STEP:
            raise ModelError(f"output size {self.size} must be two numbers from 1 to {MAX_STEP}")

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        height, width, channels = image_shape(shapes[0])
        for name, source, target in (("rows", height, self.size[0]), ("columns", width, self.size[1])):
            if not np.array_equal(source_positions(source, target), float32_positions(source, target)):
                raise ModelError(f"a resize from {source} to {target} {name} falls between pixels in TFLite's float arithmetic; choose another size")
        return (*self.size, channels)

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        return x[:, source_positions(x.shape[1], self.size[0])][:, :, source_positions(x.shape[2], self.size[1])]
