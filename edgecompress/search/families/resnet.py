"""ResNet-8-like: a stem and stages of plain residual blocks; MLPerf Tiny's image classifier is one of these."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from edgecompress.search.families.blocks import (
    Choices,
    KeepWidth,
    Residual,
    Size,
    conv_unit,
    fit_kernel,
    fit_stem_kernel,
    fit_stride,
    network,
    stage_widths,
    strided_size,
)
from edgecompress.search.knob import Knob

WIDEST = 96  # channels at which stages stop to grow
KNOBS = (
    Knob("width", (4, 8, 12, 16, 20, 24, 28, 32), "channels of the stem and of the first stage"),
    Knob("growth", (1.0, 1.5, 2.0), "how much wider each stage is than the one before, up to 96 channels"),
    Knob("stages", (1, 2, 3, 4), "stages; each but the first halves the resolution"),
    Knob("depth", (1, 2), "residual blocks of two convolutions in a stage"),
    Knob("kernel", (3, 5), "kernel size inside the blocks"),
    Knob("stem_kernel", (3, 5), "kernel size of the first convolution, at least 5 where its stride is 4"),
    Knob("stem_stride", (1, 2, 4), "stride of the first convolution"),
)
# Banbury et al., arXiv 2106.07597 (MLPerf Tiny's ResNet-8), and the same for larger inputs or tighter limits
DESIGNS = (
    {"growth": 2.0, "stages": 3, "depth": 1, "kernel": 3, "stem_kernel": 3, "stem_stride": 1},
    {"growth": 2.0, "stages": 3, "depth": 1, "kernel": 3, "stem_kernel": 3, "stem_stride": 2},
)


def build(choices: Choices, input_shape: tuple[int, int, int], classes: int, keep: KeepWidth) -> nn.Module:
    """Network for NCHW input of `input_shape` (height, width, channels); `keep` maps dense to pruned widths."""
    size: Size = input_shape[:2]
    activation = choices["activation"]
    widths = [keep(width) for width in stage_widths(choices["width"], choices["growth"], choices["stages"], WIDEST)]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    stride = fit_stride(choices["stem_stride"], size)
    layers["stem"] = conv_unit(input_shape[2], widths[0], fit_stem_kernel(choices["stem_kernel"], stride, size), stride, activation=activation)
    size, channels = strided_size(size, stride), widths[0]
    for stage, width in enumerate(widths, start=1):
        for index in range(1, choices["depth"] + 1):
            changes = stage > 1 and index == 1
            stride = fit_stride(2, size) if changes else (1, 1)
            after = strided_size(size, stride)
            body = nn.Sequential(OrderedDict(
                conv1=conv_unit(channels, width, fit_kernel(choices["kernel"], size), stride, activation=activation),
                conv2=conv_unit(width, width, fit_kernel(choices["kernel"], after), activation=None),
            ))
            shortcut = conv_unit(channels, width, (1, 1), stride, activation=None) if changes else None
            layers[f"stage{stage}_block{index}"] = Residual(body, shortcut, activation)
            size, channels = after, width
    return network(layers, channels, classes)
