"""Low-rank splits: one layer becomes two thinner ones, from the singular value decomposition of its weights (methods: HCInfer).

With W [out, in] (a convolution's `in` counts channels and taps) and rank r: W ~ U_r S_r V_r^T, the first layer is sqrt(S_r) V_r^T, the second
U_r sqrt(S_r). Activation-aware: with M = E[x x^T] over calibration inputs and L L^T = M + eps I, the decomposition is that of W L and the first
layer sqrt(S_r) V_r^T L^-1, which is the best rank-r approximation of the layer's outputs instead of its weights.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from edgecompress.compress.replace import check_names, replaced
from edgecompress.errors import ConfigError

_DAMPING = 1e-3  # of the mean diagonal of E[x x^T]: directions that calibration never saw keep a little weight


def can_be_split(layer: nn.Module) -> bool:
    """Whether the layer is a plain nn.Linear or an nn.Conv2d with groups=1."""
    return type(layer) is nn.Linear or (type(layer) is nn.Conv2d and layer.groups == 1)


def sizes(layer: nn.Module) -> tuple[int, int]:
    """(outputs, inputs) of the layer's weight as a matrix; a convolution's inputs are channels times taps."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return len(weight), weight[0].numel()


def saves(layer: nn.Module, rank: int) -> bool:
    """Whether the two layers need fewer multiply-accumulates than the one."""
    outputs, inputs = sizes(layer)
    return rank * (outputs + inputs) < outputs * inputs


def rank_for_share(layer: nn.Module, share: float, multiple: int = 4) -> int:
    """The largest multiple of `multiple` whose two layers need at most `share` of the layer's multiply-accumulates, 0 if there is none."""
    if not 0 < share <= 1 or multiple < 1:
        raise ConfigError(f"a share of {share} with ranks in steps of {multiple} was asked for; a share is above 0 and at most 1, a step at least 1")
    outputs, inputs = sizes(layer)
    return int(share * outputs * inputs / (outputs + inputs)) // multiple * multiple


def split_low_rank(module: nn.Module, ranks: Mapping[str, int], moments: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
    """A copy of `module` whose layers of these names are split at these ranks; layers that this would not make cheaper stay whole.

    A split layer has the parts `reduce` (no bias; a convolution's kernel, stride, padding and dilation) and `expand` (the bias). `moments` are
    E[x x^T] by layer, from `input_moments`, for activation-aware splits. Raises ConfigError for a layer that is not there or cannot be split, or
    a rank below 1.
    """
    check_names(module, ranks)
    makers: dict[str, Callable[[nn.Module], nn.Module]] = {}
    for name, rank in ranks.items():
        layer = module.get_submodule(name)
        if not can_be_split(layer) or rank < 1:
            raise ConfigError(f"layer '{name}' ({layer}) cannot be split at rank {rank}; this takes an nn.Linear or an nn.Conv2d with groups=1, and a "
                              "rank of at least 1")
        if saves(layer, rank):
            makers[name] = _maker(rank, (moments or {}).get(name))
    return replaced(module, makers)


def _maker(rank: int, moment: torch.Tensor | None) -> Callable[[nn.Module], nn.Module]:
    return lambda layer: split_layer(layer, rank, moment)


def split_layer(layer: nn.Module, rank: int, moment: torch.Tensor | None = None) -> nn.Sequential:
    """The two layers in place of one, whether they are cheaper or not; at the full rank, min(outputs, inputs), they compute the same."""
    return _split(layer, *factors(_matrix(layer), min(rank, *sizes(layer)), moment))


def _split(layer: Any, first: torch.Tensor, second: torch.Tensor) -> nn.Sequential:
    rank = len(first)
    parts: OrderedDict[str, Any] = OrderedDict()
    if type(layer) is not nn.Linear:
        parts["reduce"] = nn.Conv2d(layer.in_channels, rank, layer.kernel_size, layer.stride, layer.padding, layer.dilation, bias=False,
                                    padding_mode=layer.padding_mode, device="meta")
        parts["expand"] = nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None, device="meta")
    else:
        parts["reduce"] = nn.Linear(layer.in_features, rank, bias=False, device="meta")
        parts["expand"] = nn.Linear(rank, layer.out_features, bias=layer.bias is not None, device="meta")
    for part, values in zip(parts.values(), (first, second), strict=True):
        shape = part.weight.shape
        part.weight = nn.Parameter(values.reshape(shape).to(layer.weight.dtype).contiguous())
    if layer.bias is not None:
        parts["expand"].bias = nn.Parameter(layer.bias.detach().clone())
    return nn.Sequential(parts)


def factors(weight: torch.Tensor, rank: int, moment: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """(first [rank, in], second [out, rank]) float64 with second @ first the best approximation of weight [out, in]; signs are fixed."""
    whitening = _factor(moment, weight.shape[1])
    left, values, right = torch.linalg.svd(weight @ whitening, full_matrices=False)
    largest = left.gather(0, left.abs().argmax(dim=0, keepdim=True))
    sign = torch.where(largest < 0, -1.0, 1.0)[0]
    root = values.sqrt() * sign
    second, scaled = (left * root)[:, :rank], (right * root[:, None])[:rank]
    first: torch.Tensor = torch.linalg.solve_triangular(whitening.T, scaled.T, upper=True).T
    return first, second


def _factor(moment: torch.Tensor | None, inputs: int) -> torch.Tensor:
    """Lower triangular L with L L^T = E[x x^T] + eps I, the identity without data."""
    if moment is None:
        return torch.eye(inputs, dtype=torch.float64)
    if moment.shape != (inputs, inputs):
        raise ConfigError(f"a second moment of shape {tuple(moment.shape)} does not fit a layer with {inputs} inputs")
    mean = float(moment.diagonal().double().mean())
    lower: torch.Tensor = torch.linalg.cholesky(moment.double() + max(_DAMPING * mean, 1e-12) * torch.eye(inputs, dtype=torch.float64))
    return lower


def _matrix(layer: nn.Module) -> torch.Tensor:
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach().double().flatten(1)


def input_moments(module: nn.Module, names: Iterable[str], x: torch.Tensor, batch_size: int = 64) -> dict[str, torch.Tensor]:
    """E[x x^T] float64 [in, in] of the inputs that layers of these names get for samples `x` (NCHW); of convolutions, of the patches under the kernel.

    The module runs in eval mode and stays as it is. Raises ConfigError for a layer that is not there, cannot be split or is never called.
    """
    wanted = list(names)
    check_names(module, wanted)
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}

    def collector(name: str) -> Callable[[Any, Any], None]:
        def collect(layer: Any, inputs: Any) -> None:
            rows = _patches(layer, inputs[0].detach()).double()
            sums[name] = sums.get(name, 0) + rows.T @ rows
            counts[name] = counts.get(name, 0) + len(rows)

        return collect

    modes = [(part, part.training) for part in module.modules()]
    hooks = []
    try:
        for name in wanted:
            layer = module.get_submodule(name)
            if not can_be_split(layer):
                raise ConfigError(f"layer '{name}' ({layer}) has no inputs to weigh; this takes an nn.Linear or an nn.Conv2d with groups=1")
            hooks.append(layer.register_forward_pre_hook(collector(name)))
        module.eval()
        with torch.no_grad():
            for start in range(0, len(x), batch_size):
                module(x[start : start + batch_size])
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in modes:
            part.training = training
    for name in wanted:
        if name not in sums:
            raise ConfigError(f"layer '{name}' is never called, so there are no inputs to weigh")
    return {name: sums[name] / counts[name] for name in wanted}


def _patches(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """[n, in]: the layer's inputs, a convolution's as the patches it multiplies with its kernel."""
    if not isinstance(layer, nn.Conv2d):
        return x.reshape(-1, x.shape[-1])
    left, right, top, bottom = layer._reversed_padding_repeated_twice
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    patches = functional.unfold(functional.pad(x, (left, right, top, bottom), mode=mode), layer.kernel_size, layer.dilation, 0, layer.stride)
    return patches.transpose(1, 2).reshape(-1, math.prod(layer.kernel_size) * layer.in_channels)
