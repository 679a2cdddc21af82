"""Singular value decomposition filter: a rank-reduced dense layer over the last steps of a stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, check_zero_point, frozen_array, rescale_to_int8
from edgecompress.ir.ops.conv2d import check_accumulator, exact_float
from edgecompress.ir.requant import Requant


@dataclass(frozen=True, eq=False)
class Svdf(Op):
    """TFLite's int8 SVDF. Each filter f turns the input into one number and remembers the last `memory` of them:
      s = saturate(feature_requant(Σ (x - input_zero_point) · w_f)), appended to the row of f while its oldest leaves;
      y_u = clamp(output_requant(bias_u + Σ over the filters of unit u, Σ over its row s · t) + output_zero_point).

    Unit u has the filters u · rank to u · rank + rank - 1. The last sum wraps at 32 bits. `feature_weights` int8 [filters, inputs],
    `time_weights` int16 [filters, memory] (oldest first), `bias` int32 [units], `state_bits` 16 or 8 (then the time weights are int8, too).
    """

    kind = "svdf"

    feature_weights: np.ndarray
    time_weights: np.ndarray
    bias: np.ndarray
    feature_requant: Requant
    output_requant: Requant
    input_zero_point: int
    output_zero_point: int
    rank: int = 1
    state_bits: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, dtype in (("feature_weights", np.int8), ("time_weights", np.int16), ("bias", np.int32)):
            object.__setattr__(self, name, frozen_array(getattr(self, name), dtype))
        if self.feature_weights.ndim != 2 or self.feature_weights.size == 0:
            raise ModelError(f"feature weights must be [filters, inputs], got shape {self.feature_weights.shape}")
        filters = self.feature_weights.shape[0]
        if self.time_weights.ndim != 2 or self.time_weights.shape[0] != filters or self.time_weights.size == 0:
            raise ModelError(f"time weights must be [{filters}, memory], got shape {self.time_weights.shape}")
        if self.rank < 1 or self.bias.ndim != 1 or self.bias.size * self.rank != filters:
            raise ModelError(f"{filters} filters of rank {self.rank} do not fit a bias of shape {self.bias.shape}")
        self._check_numbers()

    def _check_numbers(self) -> None:
        if len(self.feature_requant.multiplier) != 1 or len(self.output_requant.multiplier) != 1:
            raise ModelError("an SVDF has one rescaling factor for its features and one for its outputs")
        if self.state_bits not in (8, 16):
            raise ModelError(f"a state of {self.state_bits} bits is not 8 or 16 bits wide")
        if self.state_bits == 8 and np.abs(self.time_weights.astype(np.int32) * 2 + 1).max() > 255:
            raise ModelError("time weights of an SVDF with an int8 state must be int8")
        check_accumulator(self.feature_weights, np.zeros(len(self.feature_weights), dtype=np.int32))
        check_zero_point(self.input_zero_point)
        check_zero_point(self.output_zero_point)

    @property
    def memory(self) -> int:
        """Steps that a filter remembers, the present one among them."""
        return int(self.time_weights.shape[1])

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        if shapes[0] != self.feature_weights.shape[1:]:
            raise ModelError(f"needs an input of shape ({self.feature_weights.shape[1]},), got {shapes[0]}")
        return self.bias.shape

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        real = exact_float(self.feature_weights)
        features = ((x.astype(real) - self.input_zero_point) @ self.feature_weights.T.astype(real)).astype(np.int64)
        limit = 2 ** (self.state_bits - 1)
        states = np.clip(self.feature_requant.apply(features), -limit, limit - 1)
        stream = np.concatenate([np.zeros((self.memory - 1, states.shape[1]), dtype=np.int64), states])
        sums = np.zeros_like(states)
        for step in range(self.memory):
            sums += stream[step : step + len(x)] * self.time_weights[:, step]
        totals = sums.reshape(len(x), self.bias.size, self.rank).sum(axis=2) + self.bias
        return rescale_to_int8(totals.astype(np.int32), self.output_requant, self.output_zero_point)

    def macs(self, *shapes: Shape) -> int:
        return int(self.feature_weights.size + self.time_weights.size)

    @property
    def parameters(self) -> int:
        return int(self.feature_weights.size + self.time_weights.size + self.bias.size)

    @property
    def constant_bytes(self) -> int:
        return int(self.feature_weights.size + self.time_weights.size * self.state_bits // 8 + 4 * (self.bias.size + len(self.feature_weights)))

    @property
    def state_bytes(self) -> int:
        return int(self.time_weights.size) * self.state_bits // 8
