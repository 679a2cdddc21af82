"""Maximum over windows; padding never wins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.ir.op import Op, Shape, check_activation_range, clamp_int8, image_shape
from edgecompress.ir.window import Padding, Pair, check_pool, output_size, patches


@dataclass(frozen=True, eq=False)
class MaxPool2D(Op):
    """Largest element of each window; input and output share scale and zero point."""

    kind = "max_pool2d"
    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0, 0, 0)
    activation_min: int = -128
    activation_max: int = 127

    def __post_init__(self) -> None:
        super().__post_init__()
        check_activation_range(self.activation_min, self.activation_max)
        check_pool(self.kernel, self.stride, self.padding)

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        height, width, channels = image_shape(shapes[0])
        return (*output_size((height, width), self.kernel, self.stride, self.padding), channels)

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        largest = patches(x, self.kernel, self.stride, self.padding, (1, 1), fill=-128).max(axis=(3, 4))
        return clamp_int8(largest, self.activation_min, self.activation_max)
