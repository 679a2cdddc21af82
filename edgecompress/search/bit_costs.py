"""What each layer costs at each weight width on a device, from lowered plans and the device's profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecompress.compress.quantize.assign import BitCosts, LayerCost
from edgecompress.compress.quantize.config import layer_bits
from edgecompress.compress.quantize.structure import quantize_structure
from edgecompress.errors import ConfigError, ModelError
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.passes import prepare
from edgecompress.hw.estimate import estimate
from edgecompress.hw.plan import LayerPlan, LoweredPlan
from edgecompress.hw.profile import HardwareProfile
from edgecompress.hw.target import Target
from edgecompress.lower import plan


def bit_costs(graph: FloatGraph, target: Target, profile: HardwareProfile, bits: Sequence[int] = (8, 4, 2)) -> BitCosts:
    """Costs of every layer at each of `bits` that the target's lowering supports and the profile knows.

    One plan a width. Sums over layers are what `estimate` says of the mixed model: constants and code are additive, code once a kernel and function.
    Raises ModelError if even 8 bits cannot be lowered, ConfigError for a profile of another target.
    """
    prepared = prepare(graph)
    names = list(layer_bits(prepared, 8))
    base = plan(quantize_structure(prepared, 8), target)
    whole = estimate(base, profile, target)
    options: dict[str, dict[int, LayerCost]] = {name: {} for name in names}
    for width in bits:
        for name, cost in _plan_costs(prepared, names, width, target, profile).items():
            options[name][width] = cost
    seconds = dict(zip((layer.node for layer in base.layers), whole.layers, strict=True))
    others = [layer for layer in base.layers if layer.node not in options]
    kernels = sorted({layer.kernel for layer in others if layer.kernel})
    calls = sum(1 for layer in base.layers if layer.kernel)
    paid = {name for kernel in kernels for name in profile.code_functions.get(kernel, {})}
    used = {cost.kernel for row in options.values() for cost in row.values()}
    return BitCosts(
        options,
        {kernel: 0.0 if kernel in kernels else profile.code_kernel_bytes.get(kernel, 0.0) for kernel in sorted(used)},
        {kernel: {name: float(size) for name, size in profile.code_functions.get(kernel, {}).items() if name not in paid} for kernel in sorted(used)},
        base.constant_bytes - sum(layer.constant_bytes for layer in base.layers if layer.node in options) + profile.code_bytes(kernels, calls),
        whole.latency_s - sum(seconds[name] for name in names),
    )


def _plan_costs(graph: FloatGraph, names: Sequence[str], width: int, target: Target, profile: HardwareProfile) -> dict[str, LayerCost]:
    """Of all layers at one width; of those alone that the target can do, where it cannot do all."""
    whole = _try_plan(graph, dict.fromkeys(names, width), target)
    if whole is not None:
        return _costs(whole, names, profile, target)
    if width == 8:
        plan(quantize_structure(graph, 8), target)  # says why
    found: dict[str, LayerCost] = {}
    for name in names:
        alone = _try_plan(graph, {name: width}, target)
        if alone is not None:
            found |= _costs(alone, [name], profile, target)
    return found


def _try_plan(graph: FloatGraph, bits: Mapping[str, int], target: Target) -> LoweredPlan | None:
    try:
        return plan(quantize_structure(graph, bits), target)
    except ModelError:
        return None


def _costs(lowered: LoweredPlan, names: Sequence[str], profile: HardwareProfile, target: Target) -> dict[str, LayerCost]:
    layers: dict[str, LayerPlan] = {layer.node: layer for layer in lowered.layers}
    try:
        seconds = dict(zip(layers, estimate(lowered, profile, target).layers, strict=True))
    except ConfigError:
        known = {name for name in names if layers[name].kernel in profile.coefficients}
        if not known:
            return {}
        raise
    return {name: LayerCost(layers[name].constant_bytes, seconds[name], layers[name].kernel) for name in names}
