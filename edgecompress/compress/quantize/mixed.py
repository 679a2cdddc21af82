"""Mixed precision from end to end: sensitivities, bits within limits, the real integer graph, other assignments if it disappoints, training at last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgecompress.compress.quantize.assign import BitCosts, BitLimits, assign_bits
from edgecompress.compress.quantize.config import QuantizeConfig
from edgecompress.compress.quantize.evaluate import accuracy_float, accuracy_int8
from edgecompress.compress.quantize.fallback import QuantizationOutcome, calibration_samples, imported, quantize_with_fallback
from edgecompress.compress.quantize.sensitivity import Sensitivity, sensitivity
from edgecompress.compress.quantize.static import calibrate, quantize_calibrated
from edgecompress.compress.training import TrainConfig
from edgecompress.data.parts import TrainingData
from edgecompress.errors import BudgetError
from edgecompress.frontend.float_graph import FloatGraph

if TYPE_CHECKING:
    from torch import nn

ATTEMPTS = 4  # assignments that are quantized and judged on the validation part


@dataclass(frozen=True, eq=False)
class MixedOutcome:
    """`bits` layer -> weight bits of `outcome.graph`; `flash_bytes` and `latency_s` as estimated from the costs. `tried`: all assignments in the order
    of predicted damage, with the accuracy of each after rounding."""

    bits: Mapping[str, int]
    outcome: QuantizationOutcome
    sensitivity: Sensitivity | None  # not measured where 8 bits keep the limits
    flash_bytes: float
    latency_s: float
    tried: tuple[tuple[Mapping[str, int], float], ...]


def quantize_mixed(
    model: nn.Module | FloatGraph, data: TrainingData, settings: QuantizeConfig, costs: BitCosts, limits: BitLimits, max_drop: float, *,
    calibration: int = 512, training: TrainConfig | None = None, allow_training: bool = True, seed: int = 0, name: str = "model",
    stop: Callable[[], bool] | None = None,
) -> MixedOutcome:
    """The assignment of least predicted damage within `limits` (8 bits everywhere if they allow it), quantized; `settings.weight_bits` is ignored.

    Adding up single layers' damage is an approximation: if the integer graph loses more than `max_drop` on the validation part, the next best assignments
    are quantized too, up to ATTEMPTS, and the most accurate one goes on to `quantize_with_fallback`. Raises BudgetError if no assignment keeps the limits,
    and as `quantize_with_fallback` does.
    """
    floats = imported(model, data, name)
    samples = calibration_samples(data, calibration, seed)
    settings = replace(settings, rounding="adaptive")
    eight = dict.fromkeys(costs.layers, 8)
    if _allows(costs, limits, eight):
        outcome = quantize_with_fallback(floats, data, replace(settings, weight_bits=eight), max_drop, calibration=calibration, training=training,
                                         allow_training=allow_training, seed=seed, name=name, stop=stop)
        return MixedOutcome(eight, outcome, None, costs.flash_bytes(eight), costs.seconds(eight), ((eight, outcome.steps[0].accuracy),))
    table = sensitivity(floats, samples)
    calibrated = calibrate(floats, samples, settings)
    goal = accuracy_float(floats, data.validation) - max_drop
    tried: list[tuple[Mapping[str, int], float]] = []
    while len(tried) < ATTEMPTS and not any(reached >= goal for _, reached in tried):
        try:
            bits = assign_bits(table, costs, limits, [bits for bits, _ in tried])
        except BudgetError:
            if not tried:
                raise
            break  # all assignments within the limits were tried
        graph = quantize_calibrated(calibrated, replace(settings, weight_bits=bits))
        tried.append((bits, accuracy_int8(graph, data.validation.x, data.validation.y)))
    best = max(tried, key=lambda one: one[1])[0]
    outcome = quantize_with_fallback(floats, data, replace(settings, weight_bits=best), max_drop, calibration=calibration, training=training,
                                     allow_training=allow_training, seed=seed, name=name, stop=stop)
    return MixedOutcome(best, outcome, table, costs.flash_bytes(best), costs.seconds(best), tuple(tried))


def _allows(costs: BitCosts, limits: BitLimits, bits: Mapping[str, int]) -> bool:
    if any(width not in costs.layers[name] for name, width in bits.items()):
        return False
    return ((limits.flash_bytes is None or costs.flash_bytes(bits) <= limits.flash_bytes)
            and (limits.latency_s is None or costs.seconds(bits) <= limits.latency_s))
