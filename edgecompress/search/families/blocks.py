"""Pieces that all families share: fitted kernels and strides, conv units, residual blocks, the classifier head."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgecompress.compress.prune.widths import FIXED_CHANNELS
from edgecompress.search.knob import Knob

Size = tuple[int, int]
Choices = Mapping[str, Any]
KeepWidth = Callable[[int], int]  # channels of a dense layer -> channels left after pruning

Builder = Callable[[Choices, tuple[int, int, int], int, KeepWidth], nn.Module]  # choices, (height, width, channels), classes, keep

WIDTH_MULTIPLE = 4
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "relu6": nn.ReLU6}


@dataclass(frozen=True)
class Family:
    """An architecture family: its own knobs, and how a network is made from their choices.

    `bits` gives the stored weight bits of layers by name; None: by the common knob `bits`. `inherits` says that built networks come with
    trained weights, which training goes on from. `common_knobs` says whether the space's knobs for all families apply. `designs` are shapes that people
    take without a search, as choices of all own knobs but `width`: the search begins with them at every width.
    """

    knobs: tuple[Knob, ...]
    build: Builder
    bits: Callable[[Choices, nn.Module], dict[str, int]] | None = None
    inherits: bool = False
    common_knobs: bool = True
    designs: tuple[Choices, ...] = ()


def round_width(width: float) -> int:
    """Nearest multiple of 4 (halves go up), at least 4."""
    return max(WIDTH_MULTIPLE, int(width / WIDTH_MULTIPLE + 0.5) * WIDTH_MULTIPLE)


def stage_widths(width: int, growth: float, stages: int, widest: int) -> list[int]:
    """Channels of each stage before pruning: geometric growth up to `widest`, multiples of 4."""
    return [min(round_width(width * growth**stage), widest) for stage in range(stages)]


def fit_kernel(kernel: int, size: Size) -> Size:
    """Odd kernel, cut per axis so that every tap can meet real data: at most 2 * size - 1."""
    return min(kernel, 2 * size[0] - 1), min(kernel, 2 * size[1] - 1)


def fit_stride(stride: int, size: Size) -> Size:
    """Stride per axis (a power of two), halved until the axis has twice as many positions: no axis ends below 2 because of a stride."""
    height, width = (next(step for step in (stride, stride // 2, 1) if 2 * step <= positions or step == 1) for positions in size)
    return height, width


def fit_stem_kernel(kernel: int, stride: Size, size: Size) -> Size:
    """As fit_kernel for the first convolution; where the stride is not 1, kernels of at least stride + 1: neighbouring windows share a pixel."""
    height, width = (min(max(kernel, step + 1 if step > 1 else 1), 2 * positions - 1) for step, positions in zip(stride, size, strict=True))
    return height, width


def strided_size(size: Size, stride: Size) -> Size:
    """Size after a convolution padded by half its odd kernel."""
    return -(-size[0] // stride[0]), -(-size[1] // stride[1])


def conv_unit(
    inputs: int, outputs: int, kernel: Size, stride: Size = (1, 1), *, activation: str | None, groups: int = 1, padding: Size | None = None
) -> nn.Sequential:
    """Conv2d without bias, BatchNorm2d and, unless None, an activation; padded by half the kernel when `padding` is None."""
    pad = (kernel[0] // 2, kernel[1] // 2) if padding is None else padding
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(inputs, outputs, kernel, stride, pad, groups=groups, bias=False)
    layers["norm"] = nn.BatchNorm2d(outputs)
    if activation is not None:
        layers["activation"] = ACTIVATIONS[activation]()
    return nn.Sequential(layers)


def fixed(unit: nn.Sequential, side: str) -> nn.Sequential:
    """The same conv_unit, its convolution marked: channels on that side ("in" or "out") are not for pruning."""
    setattr(unit.get_submodule("conv"), FIXED_CHANNELS, side)
    return unit


class Residual(nn.Module):
    """`body(x) + shortcut(x)`, then the activation if there is one; NCHW in and out."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, activation: str | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut if shortcut is not None else nn.Identity()
        self.activation = ACTIVATIONS[activation]() if activation is not None else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """NCHW -> NCHW."""
        result: torch.Tensor = self.activation(self.body(x) + self.shortcut(x))
        return result


class SqueezeExcite(nn.Module):
    """Every channel times a factor in (0, 1) that two 1x1 convolutions compute from the means of all channels (Hu et al. 2018); NCHW in and out."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, inner, 1)
        self.activation = nn.ReLU()
        self.expand = nn.Conv2d(inner, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """NCHW -> NCHW."""
        result: torch.Tensor = x * self.gate(self.expand(self.activation(self.reduce(self.pool(x)))))
        return result


def classifier(inputs: int, classes: int) -> nn.Sequential:
    """Global average pool, flatten, linear: [n, inputs, h, w] -> logits [n, classes]."""
    return nn.Sequential(OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), linear=nn.Linear(inputs, classes)))


def network(layers: OrderedDict[str, nn.Module], features: int, classes: int) -> nn.Sequential:
    """The layers, then the classifier; convolutions are initialised for ReLU networks from torch's global generator."""
    layers["head"] = classifier(features, classes)
    module = nn.Sequential(layers)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out" if layer.groups == 1 else "fan_in", nonlinearity="relu")
    return module
