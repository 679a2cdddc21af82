"""Nearest-neighbour resize of an image (TFLite's RESIZE_NEAREST_NEIGHBOR with neither corner option)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, image_shape
from edgecompress.ir.window import Pair


@dataclass(frozen=True, eq=False)
class ResizeNearest(Op):
    """Output pixel (r, c) is input pixel (r * height // out_height, c * width // out_width)."""

    kind = "resize_nearest"
    size: Pair

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        channels = image_shape(shapes[0])[2]
        if len(self.size) != 2 or min(self.size) < 1:
            raise ModelError(f"output size {self.size} must be two numbers of at least 1")
        return (*self.size, channels)

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        rows = np.arange(self.size[0]) * x.shape[1] // self.size[0]
        columns = np.arange(self.size[1]) * x.shape[2] // self.size[1]
        return x[:, rows][:, :, columns]
