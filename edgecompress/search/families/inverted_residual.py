"""Inverted residuals (MobileNetV2 and V3): expand with a 1x1, depthwise, squeeze-and-excite if wanted, project with a linear 1x1, skip where
the shape is kept."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from edgecompress.search.families.blocks import (
    Choices,
    KeepWidth,
    Residual,
    Size,
    SqueezeExcite,
    conv_unit,
    fit_kernel,
    fit_stem_kernel,
    fit_stride,
    network,
    round_width,
    stage_widths,
    strided_size,
)
from edgecompress.search.knob import Knob

WIDEST = 96  # channels at which stages stop to grow
KNOBS = (
    Knob("width", (4, 8, 12, 16, 20, 24, 32), "channels between the blocks of the first stage"),
    Knob("growth", (1.0, 1.5, 2.0), "how much wider each stage is than the one before, up to 96 channels"),
    Knob("stages", (1, 2, 3, 4), "stages; each but the first halves the resolution"),
    Knob("depth", (1, 2, 3), "blocks in a stage"),
    Knob("expansion", (2, 3, 4, 6), "how much wider a block is inside"),
    Knob("kernel", (3, 5, 7), "depthwise kernel size"),
    Knob("squeeze", (0, 4, 8), "squeeze-and-excite in every block, narrower inside by this factor; 0 leaves it out"),
    Knob("stem_kernel", (3, 5), "kernel size of the first convolution, at least 5 where its stride is 4"),
    Knob("stem_stride", (1, 2, 4), "stride of the first convolution"),
    Knob("head_factor", (1, 2, 4), "widening by a 1x1 convolution before pooling; 1 leaves it out"),
)
# Sandler et al., arXiv 1801.04381, made small
DESIGNS = (
    {"growth": 1.5, "stages": 3, "depth": 2, "expansion": 4, "kernel": 3, "squeeze": 0, "stem_kernel": 3, "stem_stride": 2, "head_factor": 4},
)


def build(choices: Choices, input_shape: tuple[int, int, int], classes: int, keep: KeepWidth) -> nn.Module:
    """Network for NCHW input of `input_shape` (height, width, channels); `keep` maps dense to pruned widths."""
    size: Size = input_shape[:2]
    activation = choices["activation"]
    dense_widths = stage_widths(choices["width"], choices["growth"], choices["stages"], WIDEST)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    stride = fit_stride(choices["stem_stride"], size)
    dense = dense_widths[0]
    layers["stem"] = conv_unit(input_shape[2], keep(dense), fit_stem_kernel(choices["stem_kernel"], stride, size), stride, activation=activation)
    size = strided_size(size, stride)
    for stage, width in enumerate(dense_widths, start=1):
        for index in range(1, choices["depth"] + 1):
            stride = fit_stride(2, size) if stage > 1 and index == 1 else (1, 1)
            hidden = dense * choices["expansion"]
            squeezed = keep(round_width(hidden / choices["squeeze"])) if choices["squeeze"] else 0
            block = _block(keep(dense), keep(hidden), keep(width), fit_kernel(choices["kernel"], size), stride, activation, squeezed)
            keeps_shape = stride == (1, 1) and dense == width and (stage == 1 or index > 1)
            layers[f"stage{stage}_block{index}"] = Residual(block) if keeps_shape else block
            size, dense = strided_size(size, stride), width
    features = dense
    if choices["head_factor"] > 1:
        features = dense * choices["head_factor"]
        layers["expand"] = conv_unit(keep(dense), keep(features), (1, 1), activation=activation)
    return network(layers, keep(features), classes)


def _block(inputs: int, hidden: int, outputs: int, kernel: Size, stride: Size, activation: str, squeezed: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        expand=conv_unit(inputs, hidden, (1, 1), activation=activation),
        depthwise=conv_unit(hidden, hidden, kernel, stride, activation=activation, groups=hidden),
    )
    if squeezed:
        layers["squeeze"] = SqueezeExcite(hidden, squeezed)
    layers["project"] = conv_unit(hidden, outputs, (1, 1), activation=None)
    return nn.Sequential(layers)
