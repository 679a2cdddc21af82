"""Long short-term memory over a sequence, with a state that outlives the inference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompress.errors import ModelError
from edgecompress.ir.op import Op, Shape, check_zero_point, frozen_array, rescale_to_int8
from edgecompress.ir.ops.conv2d import check_accumulator, exact_float
from edgecompress.ir.requant import Requant
from edgecompress.ir.sigmoid16 import sigmoid16, tanh16

INPUT, FORGET, CELL, OUTPUT = range(4)  # order of the gates, TFLite's
INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1
LOWEST_POWER, HIGHEST_POWER = -15, 0
HALF = 2**30  # the multiplier of every power of two


def _saturate16(x: np.ndarray) -> np.ndarray:
    clipped: np.ndarray = np.clip(x, INT16_MIN, INT16_MAX)
    return clipped


@dataclass(frozen=True, eq=False)
class Lstm(Op):
    """TFLite's int8 UNIDIRECTIONAL_SEQUENCE_LSTM: int8 activations and hidden state, int16 gates and cell state.

    Input (time, inputs), output (time, units): the hidden state after each step. For gate g of `input, forget, cell, output`
      gate_g = saturate16(input_requant_g(bias_g + Σ (x - input_zero_point) · w_g) + recurrent_requant_g(Σ (h - output_zero_point) · r_g))
    in Q3.12, each term saturated to int16 first. Sigmoid (tanh for `cell`) makes them Q0.15;
      c = clip(saturate16(forget · c · 2^-15 + input · cell · 2^(-30 - cell_power))), h = clamp(output_requant(output · tanh(c)) + output_zero_point).

    `input_weights` int8 [4, units, inputs], `recurrent_weights` int8 [4, units, units], `bias` int32 [4, units], requants four factors each.
    `cell_power`: the cell state's scale is 2^cell_power. `cell_clip`: largest magnitude of the cell state, 0 for none.
    """

    kind = "lstm"

    input_weights: np.ndarray
    recurrent_weights: np.ndarray
    bias: np.ndarray
    input_requant: Requant
    recurrent_requant: Requant
    output_requant: Requant
    input_zero_point: int
    output_zero_point: int
    cell_power: int
    cell_clip: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, dtype in (("input_weights", np.int8), ("recurrent_weights", np.int8), ("bias", np.int32)):
            object.__setattr__(self, name, frozen_array(getattr(self, name), dtype))
        if self.input_weights.ndim != 3 or self.input_weights.shape[0] != 4 or self.input_weights.size == 0:
            raise ModelError(f"input weights must be [4, units, inputs], got shape {self.input_weights.shape}")
        if self.recurrent_weights.shape != (4, self.units, self.units):
            raise ModelError(f"recurrent weights must be [4, {self.units}, {self.units}], got shape {self.recurrent_weights.shape}")
        if self.bias.shape != (4, self.units):
            raise ModelError(f"bias must be [4, {self.units}], got shape {self.bias.shape}")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for requant, count in ((self.input_requant, 4), (self.recurrent_requant, 4), (self.output_requant, 1)):
            if len(requant.multiplier) != count:
                raise ModelError("an LSTM has one rescaling factor a gate for the input and for the hidden state, and one for the output")
        check_accumulator(self.input_weights.reshape(4 * self.units, -1), self.bias.ravel())
        check_accumulator(self.recurrent_weights.reshape(4 * self.units, -1), np.zeros(4 * self.units, dtype=np.int32))
        check_zero_point(self.input_zero_point)
        check_zero_point(self.output_zero_point)
        if not LOWEST_POWER <= self.cell_power <= HIGHEST_POWER:
            raise ModelError(f"cell power {self.cell_power} must lie in [{LOWEST_POWER}, {HIGHEST_POWER}]; the cell state's scale is 2 to it")
        if not 0 <= self.cell_clip <= INT16_MAX:
            raise ModelError(f"cell clip {self.cell_clip} must lie in [0, {INT16_MAX}]")

    @property
    def units(self) -> int:
        """Cells, which are also the outputs of a step."""
        return int(self.input_weights.shape[1])

    def infer_shape(self, *shapes: Shape) -> Shape:
        self.check_arity(shapes)
        if len(shapes[0]) != 2 or shapes[0][1] != self.input_weights.shape[2]:
            raise ModelError(f"needs an input of shape (time, {self.input_weights.shape[2]}), got {shapes[0]}")
        return shapes[0][0], self.units

    def reference(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        steps = x.reshape(-1, x.shape[2])
        gates = _gate_terms(steps, self.input_zero_point, self.input_weights, self.bias, self.input_requant)
        hidden = np.full((1, self.units), self.output_zero_point, dtype=np.int8)
        cell = np.zeros(self.units, dtype=np.int64)
        output = np.empty((len(steps), self.units), dtype=np.int8)
        no_bias = np.zeros_like(self.bias)
        for index in range(len(steps)):
            recurrent = _gate_terms(hidden, self.output_zero_point, self.recurrent_weights, no_bias, self.recurrent_requant)[0]
            gate = _saturate16(gates[index] + recurrent)
            cell = self._next_cell(cell, gate)
            product = tanh16(cell, self.cell_power + 12) * sigmoid16(gate[:, OUTPUT])
            hidden = rescale_to_int8(product, self.output_requant, self.output_zero_point)[None]
            output[index] = hidden[0]
        return output.reshape(*x.shape[:2], self.units)

    def _next_cell(self, cell: np.ndarray, gate: np.ndarray) -> np.ndarray:
        kept = Requant((HALF,), (-14,)).apply(sigmoid16(gate[:, FORGET]) * cell)
        added = Requant((HALF,), (-29 - self.cell_power,)).apply(sigmoid16(gate[:, INPUT]) * tanh16(gate[:, CELL]))
        cell = _saturate16(_saturate16(kept) + _saturate16(added))
        return np.clip(cell, -self.cell_clip, self.cell_clip) if self.cell_clip else cell

    def macs(self, *shapes: Shape) -> int:
        return shapes[0][0] * int(self.input_weights.size + self.recurrent_weights.size)

    @property
    def parameters(self) -> int:
        return int(self.input_weights.size + self.recurrent_weights.size + self.bias.size)

    @property
    def constant_bytes(self) -> int:
        return int(self.input_weights.size + self.recurrent_weights.size) + 32 * self.units + 64  # two biases a gate and unit, two factors a gate

    @property
    def state_bytes(self) -> int:
        return 3 * self.units  # int16 cell states, then int8 hidden states

    def initial_state(self) -> np.ndarray:
        state = np.zeros(self.state_bytes, dtype=np.int8)
        state[2 * self.units:] = self.output_zero_point
        return state


def _gate_terms(x: np.ndarray, zero_point: int, weights: np.ndarray, bias: np.ndarray, requant: Requant) -> np.ndarray:
    """int8 [n, inputs] to Q3.12 [n, units, 4] in int16's range."""
    gates, units, inputs = weights.shape
    matrix = weights.reshape(gates * units, inputs)
    real = exact_float(matrix)
    sums = ((x.astype(real) - zero_point) @ matrix.T.astype(real)).astype(np.int64).reshape(-1, gates, units) + bias
    return _saturate16(requant.apply(sums.transpose(0, 2, 1)))
