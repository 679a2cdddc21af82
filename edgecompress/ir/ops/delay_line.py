"""The last steps of a stream in front of the new ones: what streaming networks keep between two inferences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, frozen_array


@dataclass(frozen=True, eq=False)
class DelayLine(Op):
    """y = state, then x along the first axis (time); the next state is the end of y. `initial` int8 [steps, ...] is the first state."""

    kind = "delay_line"

    initial: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "initial", frozen_array(self.initial, np.int8))
        if self.initial.ndim < 2 or self.initial.size == 0:
            raise ModelError(f"a delay line's state must be [steps, ...] with at least one step, got shape {self.initial.shape}")

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        if shapes[0][1:] != self.initial.shape[1:]:
            raise ModelError(f"an input of shape {shapes[0]} does not continue a state of shape {self.initial.shape} along the first axis")
        return (len(self.initial) + shapes[0][0], *shapes[0][1:])

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        stream = np.concatenate([self.initial, x.reshape(-1, *x.shape[2:])])
        kept, new = len(self.initial), x.shape[1]
        positions = np.arange(len(x))[:, None] * new + np.arange(kept + new)
        joined: np.ndarray = stream[positions]
        return joined

    @property
    def state_bytes(self) -> int:
        return int(self.initial.size)

    def initial_state(self) -> np.ndarray:
        return self.initial.ravel()
