"""Emitter of the fully connected layer on cores with Helium."""

from __future__ import annotations

import numpy as np

from edgecompress.lower.c.emitter import Call, ConstArray, Emitter, Reference
from edgecompress.lower.c.mve_weights import (
    CHANNEL_WORDS,
    OUTPUT_RANGE,
    VECTOR,
    biases_fit,
    block_weight_bytes,
    factors,
    folded_bias,
    parameter_blocks,
    shifts_fit,
    ties,
    weight_blocks,
    wrapped,
)

LANES = 8  # outputs of a block
LOOP_CHUNKS = 4  # chunks of the assembly's loop


class DenseMveEmitter(Emitter):
    """ec_dense_<channel or tensor>_<ties>_mve."""

    extensions = frozenset({"mve"})
    takes_scratch = True
    narrow = {**OUTPUT_RANGE, "shift": "int8_t", "weight_bits": "uint8_t"}

    def supports(self, call: Call) -> bool:
        return shifts_fit(call.op.requant) and (self._one_factor(call) or biases_fit(call.op, call.op.weights))

    def kernel(self, call: Call) -> str:
        return f"ec_dense_{'tensor' if self._one_factor(call) else 'channel'}_{ties(call.op)}_mve"

    def _one_factor(self, call: Call) -> bool:
        return len(call.op.requant.multiplier) == 1

    def struct(self, call: Call) -> str:
        return "ec_dense_mve_params"

    def files(self, call: Call) -> tuple[str, ...]:
        return (f"{self.kernel(call)}.c", "ec_dense_mve.c", "ec_dense_mve.h", "ec_dense_blocks_mve.h", "ec_requant_mve.h", "ec_segments_mve.c",
                "ec_segments_mve.h", "ec_unpack_mve.c", "ec_unpack_mve.h")

    def params(self, call: Call) -> dict[str, int | Reference]:
        op = call.op
        outputs, inputs = op.weights.shape
        multiplier, shift = factors(op.requant, 1) if self._one_factor(call) else ([0], [0])
        return {"weights": Reference("weights"), "parameters": Reference("parameters"), "input_size": inputs, "output_size": outputs,
                "chunks": self._chunks(call), "unpacked_bytes": self._unpacked_bytes(call), "multiplier": int(multiplier[0]), "shift": int(shift[0]),
                "weight_bits": op.weight_bits, "output_zero_point": op.output_zero_point, "activation_min": op.activation_min,
                "activation_max": op.activation_max}

    def arrays(self, call: Call) -> tuple[ConstArray, ...]:
        op = call.op
        return (ConstArray("weights", "int32_t", self._weights(op.weights, op.weight_bits)),
                ConstArray("parameters", "int32_t", self._parameters(call)))

    def _parameters(self, call: Call) -> np.ndarray:
        if not self._one_factor(call):
            return parameter_blocks(call.op, call.op.weights, LANES)
        return wrapped(folded_bias(call.op, call.op.weights))

    def _weights(self, rows: np.ndarray, bits: int) -> np.ndarray:
        whole = len(rows) // LANES * LANES if bits == 8 else len(rows)
        parts = [weight_blocks(rows[:whole], LANES, bits)] if whole else []
        if whole < len(rows):
            parts.append(weight_blocks(rows[whole:], len(rows) - whole, bits))
        return np.concatenate(parts)

    def array_bytes(self, call: Call) -> int:
        outputs, inputs = call.op.weights.shape
        lanes = 1 if call.op.weight_bits == 8 else LANES
        parameters = 4 * outputs if self._one_factor(call) else 4 * CHANNEL_WORDS * LANES * -(-outputs // LANES)
        return int(block_weight_bytes(outputs, inputs, lanes, call.op.weight_bits) + parameters)

    def _chunks(self, call: Call) -> int:
        return -(-int(call.op.weights.shape[1]) // VECTOR)

    def _unpacked_bytes(self, call: Call) -> int:
        return 0 if call.op.weight_bits == 8 else LANES * VECTOR * self._chunks(call)

    def scratch_bytes(self, call: Call) -> int:
        return self._unpacked_bytes(call) + (VECTOR * self._chunks(call) if call.op.weights.shape[1] % VECTOR else 0)

    def features(self, call: Call) -> dict[str, float]:
        op, chunks = call.op, self._chunks(call)
        outputs, inputs = op.weights.shape
        blocks, left = outputs // LANES, outputs % LANES
        packed = op.weight_bits != 8
        return {"call": 1, "products": (blocks + bool(left)) * packed, "blocks": blocks, "block_chunks": blocks * chunks,
                "block_passes": blocks * -(-(chunks - 1) // LOOP_CHUNKS), "tails": left, "tail_chunks": left * chunks,
                "unpacked": (blocks + bool(left)) * 2 * chunks * packed, "copied": inputs // VECTOR * bool(inputs % VECTOR),
                "clamped": outputs / VECTOR * ((op.activation_min, op.activation_max) != (-128, 127))}
