"""Plain convolutions (VGG): stages of full convolutions, each followed by batch normalisation and activation, no skip connections."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from edgecompress.search.families.blocks import (
    Choices,
    KeepWidth,
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
    Knob("width", (4, 8, 12, 16, 20, 24, 28, 32, 40, 48), "channels of the first stage"),
    Knob("growth", (1.0, 1.5, 2.0), "how much wider each stage is than the one before, up to 96 channels"),
    Knob("stages", (1, 2, 3, 4), "stages; each but the first halves the resolution"),
    Knob("depth", (1, 2, 3), "convolutions in a stage"),
    Knob("kernel", (3, 5), "kernel size of all convolutions but the first"),
    Knob("downsampling", ("stride", "pool"), "a stage halves the resolution by its first convolution's stride, or by max pooling before it"),
    Knob("stem_kernel", (3, 5), "kernel size of the first convolution, at least 5 where its stride is 4"),
    Knob("stem_stride", (1, 2, 4), "stride of the first convolution"),
)
# as VGG (Simonyan & Zisserman, arXiv 1409.1556), made small
DESIGNS = (
    {"growth": 2.0, "stages": 3, "depth": 1, "kernel": 3, "downsampling": "pool", "stem_kernel": 3, "stem_stride": 1},
    {"growth": 2.0, "stages": 3, "depth": 1, "kernel": 3, "downsampling": "stride", "stem_kernel": 3, "stem_stride": 2},
)


def build(choices: Choices, input_shape: tuple[int, int, int], classes: int, keep: KeepWidth) -> nn.Module:
    """Network for NCHW input of `input_shape` (height, width, channels); `keep` maps dense to pruned widths."""
    size: Size = input_shape[:2]
    activation = choices["activation"]
    widths = [keep(width) for width in stage_widths(choices["width"], choices["growth"], choices["stages"], WIDEST)]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    stride, channels = fit_stride(choices["stem_stride"], size), input_shape[2]
    for stage, width in enumerate(widths, start=1):
        for index in range(1, choices["depth"] + 1):
            if stage > 1:
                stride = fit_stride(2, size) if index == 1 else (1, 1)
            if stage > 1 and stride != (1, 1) and choices["downsampling"] == "pool":
                layers[f"pool{stage}"] = nn.MaxPool2d(stride)
                size, stride = (size[0] // stride[0], size[1] // stride[1]), (1, 1)
            is_stem = stage == index == 1
            kernel = fit_stem_kernel(choices["stem_kernel"], stride, size) if is_stem else fit_kernel(choices["kernel"], size)
            layers["stem" if is_stem else f"stage{stage}_conv{index}"] = conv_unit(channels, width, kernel, stride, activation=activation)
            size, channels, stride = strided_size(size, stride), width, (1, 1)
    return network(layers, channels, classes)
