"""Matrix product of two activations, one pair of matrices for each place along the leading axes: what attention needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import INT32_LIMIT, Op, Shape, check_activation_range, check_zero_point, rescale_to_int8
from edgecompress.ir.requant import Requant

LARGEST_PRODUCT = 255 * 255
MAX_DEPTH = (INT32_LIMIT - 1) // LARGEST_PRODUCT  # products that an int32 holds, whatever the zero points
FLOAT32_DEPTH = 2**24 // LARGEST_PRODUCT  # products whose partial sums float32 holds exactly


@dataclass(frozen=True, eq=False)
class BatchMatmul(Op):
    """y = clamp(requant((a - za) (b - zb)) + zo) for a [..., rows, depth] and b [..., depth, columns] with equal leading axes.

    With `transpose_left` a is stored as [..., depth, rows], with `transpose_right` b as [..., columns, depth]; both are 0 or 1.
    """

    kind = "batch_matmul"
    arity = 2
    requant: Requant
    left_zero_point: int
    right_zero_point: int
    output_zero_point: int
    transpose_left: int = 0
    transpose_right: int = 0
    activation_min: int = -128
    activation_max: int = 127

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.requant.multiplier) != 1:
            raise ModelError("a product of matrices has one rescaling factor")
        for value in (self.left_zero_point, self.right_zero_point, self.output_zero_point):
            check_zero_point(value)
        if self.transpose_left not in (0, 1) or self.transpose_right not in (0, 1):
            raise ModelError(f"transpose_left and transpose_right must be 0 or 1, got {self.transpose_left} and {self.transpose_right}")
        check_activation_range(self.activation_min, self.activation_max)

    def sizes(self, left: Shape, right: Shape) -> tuple[int, int, int, int]:
        """(batches, rows, columns, depth). Raises ModelError when the inputs do not fit."""
        if len(left) < 2 or len(left) != len(right) or left[:-2] != right[:-2]:
            raise ModelError(f"inputs of shapes {left} and {right} are no pairs of matrices; both need the same leading axes and two more")
        rows, depth = left[-2:] if not self.transpose_left else left[:-3:-1]
        right_depth, columns = right[-2:] if not self.transpose_right else right[:-3:-1]
        if depth != right_depth:
            raise ModelError(f"matrices of {rows} x {depth} and {right_depth} x {columns} cannot be multiplied; the inner sizes must be equal")
        if depth > MAX_DEPTH:
            raise ModelError(f"a product over {depth} elements can overflow its int32 accumulator; at most {MAX_DEPTH}")
        return math.prod(left[:-2]), rows, columns, depth

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        left, right = shapes
        _, rows, columns, _ = self.sizes(left, right)
        return (*left[:-2], rows, columns)

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        a, b = inputs
        depth = a.shape[-2 if self.transpose_left else -1]
        exact = np.dtype(np.float32 if depth <= FLOAT32_DEPTH else np.float64)
        left, right = a.astype(exact) - self.left_zero_point, b.astype(exact) - self.right_zero_point
        left = left.swapaxes(-1, -2) if self.transpose_left else left
        right = right.swapaxes(-1, -2) if self.transpose_right else right
        accumulator = np.matmul(left, right).astype(np.int32)
        return rescale_to_int8(accumulator, self.requant, self.output_zero_point, self.activation_min, self.activation_max)

    def macs(self, *shapes: Shape) -> int:
        return math.prod(self.sizes(*shapes))
