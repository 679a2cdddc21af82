"""1-D residual convolutions along time: height is time, width x channels are features; an image's rows are its time steps.

The first kernel spans the whole width without padding, so the result is (time, 1, channels): everything stays conv2d, nothing is transposed.
"""

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
    Knob("width", (8, 12, 16, 24, 32, 48, 64, 96), "channels of the stem and of the first stage"),
    Knob("growth", (1.0, 1.5, 2.0), "how much wider each stage is than the one before, up to 256 channels"),
    Knob("stages", (1, 2, 3, 4), "stages; each but the first halves the time resolution"),
    Knob("depth", (1, 2, 3), "residual blocks in a stage"),
    Knob("kernel", (3, 5, 7, 9), "kernel length along time inside the blocks"),
    Knob("convolution", ("dense", "separable"), "full convolutions, or depthwise followed by 1x1"),
    Knob("stem_kernel", (3, 5), "kernel length along time of the first convolution, at least 5 where its stride is 4"),
    Knob("stem_stride", (1, 2, 4), "stride along time of the first convolution"),
)
# as TC-ResNet8 (Choi et al., arXiv 1904.03814), made small
DESIGNS = (
    {"growth": 1.5, "stages": 3, "depth": 1, "kernel": 9, "convolution": "dense", "stem_kernel": 3, "stem_stride": 1},
)


def build(choices: Choices, input_shape: tuple[int, int, int], classes: int, keep: KeepWidth) -> nn.Module:
    """Network for NCHW input of `input_shape` (height, width, channels); `keep` maps dense to pruned widths."""
    time, span, inputs = input_shape
    activation = choices["activation"]
    widths = [keep(width) for width in stage_widths(choices["width"], choices["growth"], choices["stages"], WIDEST)]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    stride = fit_stride(choices["stem_stride"], (time, 1))
    kernel = fit_stem_kernel(choices["stem_kernel"], stride, (time, 1))[0]
    layers["stem"] = conv_unit(inputs, widths[0], (kernel, span), stride, activation=activation, padding=(kernel // 2, 0))
    size, channels = strided_size((time, 1), stride), widths[0]
    for stage, width in enumerate(widths, start=1):
        for index in range(1, choices["depth"] + 1):
            changes = stage > 1 and index == 1
            stride = fit_stride(2, size) if changes else (1, 1)
            body = _body(choices["convolution"], channels, width, fit_kernel(choices["kernel"], size), stride, activation)
            shortcut = conv_unit(channels, width, (1, 1), stride, activation=None) if changes else None
            layers[f"stage{stage}_block{index}"] = Residual(body, shortcut, activation)
            size, channels = strided_size(size, stride), width
    return network(layers, channels, classes)


def _body(convolution: str, inputs: int, outputs: int, kernel: Size, stride: Size, activation: str) -> nn.Sequential:
    if convolution == "dense":
        return nn.Sequential(OrderedDict(conv=conv_unit(inputs, outputs, kernel, stride, activation=None)))
    return nn.Sequential(OrderedDict(
        depthwise=conv_unit(inputs, inputs, kernel, stride, activation=activation, groups=inputs),
        pointwise=conv_unit(inputs, outputs, (1, 1), activation=None),
    ))
