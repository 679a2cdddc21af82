"""The C/A spreading codes of the GPS L1 signal: Gold codes of 1023 chips."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

CODE_CHIPS = 1023
CHIP_RATE_HZ = 1.023e6
CARRIER_HZ = 1575.42e6  # GPS L1

# The two stages of the second register whose sum modulo 2 is that satellite's code delay (IS-GPS-200, table 3-Ia, "code phase selection")
_TAPS = (
    (2, 6), (3, 7), (4, 8), (5, 9), (1, 9), (2, 10), (1, 8), (2, 9), (3, 10), (2, 3), (3, 4), (5, 6), (6, 7), (7, 8), (8, 9), (9, 10),
    (1, 4), (2, 5), (3, 6), (4, 7), (5, 8), (6, 9), (1, 3), (4, 6), (5, 7), (6, 8), (7, 9), (8, 10), (1, 6), (2, 7), (3, 8), (4, 9),
)
SATELLITES = len(_TAPS)


def _register(feedback: tuple[int, ...]) -> npt.NDArray[np.int8]:
    """Contents [1023, 10] of a 10-stage shift register that starts with ones; `feedback` stages are summed modulo 2 into stage 1."""
    state = np.ones(10, dtype=np.int8)
    states = np.empty((CODE_CHIPS, 10), dtype=np.int8)
    for chip in range(CODE_CHIPS):
        states[chip] = state
        fed = sum(int(state[stage - 1]) for stage in feedback) % 2
        state = np.concatenate([np.array([fed], dtype=np.int8), state[:-1]])
    return states


@lru_cache(maxsize=1)
def code_table() -> npt.NDArray[np.int8]:
    """Chips +1 and -1 of satellites 1 to 32, int8 [32, 1023]; row r is satellite r + 1.

    G1 = 1 + x^3 + x^10 and G2 = 1 + x^2 + x^3 + x^6 + x^8 + x^9 + x^10 are added modulo 2, G2 through two of its stages (IS-GPS-200, 3.3.2.3).
    A chip 0 is sent as +1, a chip 1 as -1.
    """
    first = _register((3, 10))[:, 9]
    second = _register((2, 3, 6, 8, 9, 10))
    rows = [first ^ second[:, one - 1] ^ second[:, other - 1] for one, other in _TAPS]
    return np.asarray(1 - 2 * np.stack(rows), dtype=np.int8)
