"""Float32 ops that sum or compare many elements, each in one stated order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.float_ops.functions import exp
from edgecompress.ir.float_ops.layers import _taps, clamp, frozen_bounds, unbounded
from edgecompress.ir.op import Op, Shape, image_shape
from edgecompress.ir.window import Padding, Pair, check_pool, output_size


@dataclass(frozen=True, eq=False)
class FloatPool2D(Op):
    """Mean or maximum (`function`) over windows; padding does not count. Rows before columns; the mean is the sum divided by the count."""

    kind = "float_pool2d"
    dtypes = ("float32",)
    function: str
    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0, 0, 0)
    bounds: np.ndarray = field(default_factory=unbounded)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "bounds", frozen_bounds(self.bounds))
        check_pool(self.kernel, self.stride, self.padding)
        if self.function not in ("average", "max"):
            raise ModelError(f"unknown pooling {self.function[:40]!r}; known: average, max")

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        height, width, channels = image_shape(shapes[0])
        return (*output_size((height, width), self.kernel, self.stride, self.padding), channels)

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        out = self.infer_shape(x.shape[1:])
        start = np.float32(0 if self.function == "average" else -np.inf)
        total, count = np.full((len(x), *out), start, np.float32), np.zeros((*out[:2], 1), np.float32)
        for row, column in np.ndindex(*self.kernel):
            part, (rows, columns) = _taps(x, row, column, (out[0], out[1]), self.stride, (1, 1), self.padding)
            if self.function == "average":
                total[:, rows, columns] += part
            else:
                total[:, rows, columns] = np.where(part > total[:, rows, columns], part, total[:, rows, columns])
            count[rows, columns] += 1
        return clamp(total / count if self.function == "average" else total, self.bounds)


@dataclass(frozen=True, eq=False)
class FloatGlobalAveragePool(Op):
    """Mean of each channel over all pixels in order, (h, w, c) to (1, 1, c)."""

    kind = "float_global_average_pool"
    dtypes = ("float32",)
    bounds: np.ndarray = field(default_factory=unbounded)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "bounds", frozen_bounds(self.bounds))

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        return 1, 1, image_shape(shapes[0])[2]

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        pixels = x.reshape(len(x), -1, x.shape[3])
        total = np.zeros((len(x), x.shape[3]), np.float32)
        for index in range(pixels.shape[1]):
            total += pixels[:, index]
        return clamp(total / np.float32(pixels.shape[1]), self.bounds).reshape(len(x), 1, 1, -1)


@dataclass(frozen=True, eq=False)
class FloatSoftmax(Op):
    """e^(x - max) divided by their sum in order, along the last axis; as the maximum counts what no earlier number is as large as."""

    kind = "float_softmax"
    dtypes = ("float32",)

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        return shapes[0]

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        largest = x[..., 0]
        for index in range(1, x.shape[-1]):  # not numpy's maximum, which finds NaN anywhere
            largest = np.where(x[..., index] > largest, x[..., index], largest)
        powers = exp(x - largest[..., None])
        total = np.zeros(powers.shape[:-1], np.float32)
        for index in range(powers.shape[-1]):
            total += powers[..., index]
        result: np.ndarray = powers / total[..., None]
        return result
