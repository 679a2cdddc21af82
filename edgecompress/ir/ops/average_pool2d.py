"""Average over windows; padding does not count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.ir.op import Op, Shape, check_activation_range, clamp_int8, image_shape
from edgecompress.ir.window import Padding, Pair, check_pool, output_size, patches


def rounded_divide(total: np.ndarray, count: np.ndarray | int) -> np.ndarray:
    """total / count to nearest, ties away from zero, as TFLite's integer pooling."""
    quotient: np.ndarray = (np.abs(total) + np.asarray(count) // 2) // count
    return np.where(total < 0, -quotient, quotient)


@dataclass(frozen=True, eq=False)
class AveragePool2D(Op):
    """Mean of the window's elements that lie inside the input; input and output share scale and zero point."""

    kind = "average_pool2d"
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
        total = patches(x.astype(np.int32), self.kernel, self.stride, self.padding, (1, 1), fill=0).sum(axis=(3, 4), dtype=np.int32)
        inside = np.ones((1, *x.shape[1:3], 1), dtype=np.int32)
        count = patches(inside, self.kernel, self.stride, self.padding, (1, 1), fill=0).sum(axis=(3, 4), dtype=np.int32)
        return clamp_int8(rounded_divide(total, count), self.activation_min, self.activation_max)
