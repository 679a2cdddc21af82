"""Selective depthwise-separable replacement: a dense k x k convolution becomes a depthwise k x k and a pointwise 1 x 1 one (methods: DSC-JSCC).

Form: for input channel c the slice W[:, c] is a matrix of k * k taps by output channels. Its best rank-1 approximation s * u * v^T (SVD) gives the
depthwise filter sqrt(s) * u and the column sqrt(s) * v of the pointwise layer. Where all slices have rank 1 the function stays the same. The work
falls from k*k*Cin*Cout to k*k*Cin + Cin*Cout multiply-accumulates a position.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from edgecompress.compress.replace import check_names, replaced
from edgecompress.errors import ConfigError


def can_be_separable(layer: nn.Module) -> bool:
    """Whether the layer is a plain, dense convolution with a kernel above 1 that the replacement makes cheaper."""
    if type(layer) is not nn.Conv2d or layer.groups != 1 or layer.in_channels == 1:
        return False
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    return taps > 1 and taps + layer.out_channels < taps * layer.out_channels


def make_separable(module: nn.Module, names: Iterable[str], *, norm: bool = False) -> nn.Module:
    """A copy of `module` whose convolutions of these names are depthwise-separable, initialised from their weights.

    A replaced layer has the parts `depthwise` (stride, padding, dilation and padding mode of the old layer, no bias) and `pointwise` (the bias); `norm`
    puts a batch norm between them, which training has to settle. Raises ConfigError for a layer that is not there or is no such convolution.
    """
    chosen = list(names)
    check_names(module, chosen)
    for name in chosen:
        layer = module.get_submodule(name)
        if not can_be_separable(layer):
            raise ConfigError(f"layer '{name}' ({layer}) cannot be made depthwise-separable; this takes an nn.Conv2d with groups=1, more than one input "
                              "channel and a kernel of more than 1x1")
    return replaced(module, {name: lambda layer: separable(layer, norm) for name in chosen})


def separable(layer: Any, norm: bool = False) -> nn.Sequential:
    """The two convolutions in place of one nn.Conv2d."""
    weight = layer.weight.detach()
    filters, columns = rank_one(weight)
    depthwise = nn.Conv2d(layer.in_channels, layer.in_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation,
                          layer.in_channels, bias=False, padding_mode=layer.padding_mode, device="meta")
    depthwise.weight = nn.Parameter(filters[:, None].to(weight.dtype))
    pointwise = nn.Conv2d(layer.in_channels, layer.out_channels, 1, bias=layer.bias is not None, device="meta")
    pointwise.weight = nn.Parameter(columns.T[:, :, None, None].contiguous().to(weight.dtype))
    if layer.bias is not None:
        pointwise.bias = nn.Parameter(layer.bias.detach().clone())
    parts: OrderedDict[str, nn.Module] = OrderedDict(depthwise=depthwise)
    if norm:
        parts["norm"] = nn.BatchNorm2d(layer.in_channels)
    parts["pointwise"] = pointwise
    return nn.Sequential(parts)


def rank_one(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(depthwise filters [Cin, kh, kw], pointwise columns [Cin, Cout]) float64 of a weight [Cout, Cin, kh, kw]; the largest tap is positive."""
    outputs, inputs, height, width = weight.shape
    slices = weight.detach().double().permute(1, 2, 3, 0).reshape(inputs, height * width, outputs)
    left, values, right = torch.linalg.svd(slices, full_matrices=False)
    taps, columns = left[:, :, 0], right[:, 0]
    largest = taps.gather(1, taps.abs().argmax(dim=1, keepdim=True))
    sign = torch.where(largest < 0, -1.0, 1.0) * values[:, :1].sqrt()  # the sign of an SVD is anybody's choice
    return (taps * sign).reshape(inputs, height, width), columns * sign


def rank_one_share(weight: torch.Tensor) -> float:
    """Share of the squared weights that the replacement keeps, 0 to 1: how well a layer takes it."""
    filters, columns = rank_one(weight)
    kept = float((filters.flatten(1).square().sum(1) * columns.square().sum(1)).sum())
    total = float(weight.detach().double().square().sum())
    return kept / total if total > 0 else 1.0
