"""DS-CNN: a full convolution, then depthwise-separable blocks; the keyword-spotting reference network is one of these."""

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

WIDEST = 256  # channels at which stages stop to grow
KNOBS = (
    Knob("width", (4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 80), "channels of the stem and of the first stage"),
    Knob("growth", (1.0, 1.5, 2.0), "how much wider each stage is than the one before, up to 256 channels"),
    Knob("stages", (1, 2, 3, 4), "stages; each but the first halves the resolution"),
    Knob("depth", (1, 2, 3, 4), "depthwise-separable blocks in a stage"),
    Knob("kernel", (3, 5, 7), "depthwise kernel size"),
    Knob("stem_kernel", (3, 5), "kernel size of the first convolution, at least 5 where its stride is 4"),
    Knob("stem_stride", (1, 2, 4), "stride of the first convolution"),
    Knob("residual", (0, 1), "1 adds a skip connection around blocks that keep shape"),
)
# Zhang et al., arXiv 1711.07128, for keywords (MLPerf Tiny's has these four blocks), and Howard et al., arXiv 1704.04861, made small
# with two blocks a stage and with one
DESIGNS = (
    {"growth": 1.0, "stages": 1, "depth": 4, "kernel": 3, "stem_kernel": 5, "stem_stride": 2, "residual": 0},
    {"growth": 2.0, "stages": 3, "depth": 2, "kernel": 3, "stem_kernel": 3, "stem_stride": 2, "residual": 0},
    {"growth": 2.0, "stages": 3, "depth": 1, "kernel": 3, "stem_kernel": 3, "stem_stride": 2, "residual": 0},
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
            stride = fit_stride(2, size) if stage > 1 and index == 1 else (1, 1)
            block = _block(channels, width, fit_kernel(choices["kernel"], size), stride, activation)
            keeps_shape = stride == (1, 1) and index > 1
            layers[f"stage{stage}_block{index}"] = Residual(block) if choices["residual"] and keeps_shape else block
            size, channels = strided_size(size, stride), width
    return network(layers, channels, classes)


def _block(inputs: int, outputs: int, kernel: Size, stride: Size, activation: str) -> nn.Sequential:
    return nn.Sequential(OrderedDict(
        depthwise=conv_unit(inputs, inputs, kernel, stride, activation=activation, groups=inputs),
        pointwise=conv_unit(inputs, outputs, (1, 1), activation=activation),
    ))
