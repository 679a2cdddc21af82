"""Fixed networks that search_quality.py scales to a budget by their width: what an engineer takes who does not search.

Shapes after MLPerf Tiny's and MCUNet's: DS-CNN for keywords (Zhang et al., arXiv 1711.07128), ResNet-8 for small images (Banbury et al., arXiv 2106.07597),
inverted residuals (Sandler et al., arXiv 1801.04381) for spectrograms. The one knob is the width; channels are multiples of 4.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from edgecompress.search.families.blocks import Choices, Family, KeepWidth, Residual, conv_unit, network
from edgecompress.search.knob import Knob

Shape = tuple[int, int, int]
WIDTHS = tuple(range(4, 132, 4))


def _ds_cnn(choices: Choices, input_shape: Shape, classes: int, keep: KeepWidth) -> nn.Module:
    """One 10x4 convolution of stride 2, four depthwise-separable 3x3 blocks of one width."""
    width = keep(choices["width"])
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=conv_unit(input_shape[2], width, (10, 4), (2, 2), activation="relu", padding=(4, 1)))
    for block in range(1, 5):
        layers[f"block{block}"] = nn.Sequential(OrderedDict(
            depthwise=conv_unit(width, width, (3, 3), activation="relu", groups=width), pointwise=conv_unit(width, width, (1, 1), activation="relu")))
    return network(layers, width, classes)


def _resnet8(choices: Choices, input_shape: Shape, classes: int, keep: KeepWidth) -> nn.Module:
    """A 3x3 stem and three stages of one residual block, widths 1, 2, 4, the last two with stride 2."""
    width = keep(choices["width"])
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=conv_unit(input_shape[2], width, (3, 3), activation="relu"))
    channels = width
    for stage in range(3):
        outputs, stride = width * 2**stage, (1, 1) if stage == 0 else (2, 2)
        body = nn.Sequential(OrderedDict(conv1=conv_unit(channels, outputs, (3, 3), stride, activation="relu"),
                                         conv2=conv_unit(outputs, outputs, (3, 3), activation=None)))
        shortcut = conv_unit(channels, outputs, (1, 1), stride, activation=None) if stage else None
        layers[f"stage{stage + 1}"] = Residual(body, shortcut, "relu")
        channels = outputs
    return network(layers, channels, classes)


def _mobilenet(choices: Choices, input_shape: Shape, classes: int, keep: KeepWidth) -> nn.Module:
    """MobileNetV2 in small: a 3x3 stem of stride 2, blocks of widths 1, 1.5, 2 with two blocks a stage, expansion 4, a 1x1 head."""
    def rounded(factor: float) -> int:
        return max(4, int(choices["width"] * factor / 4 + 0.5) * 4)

    channels = rounded(1.0)
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=conv_unit(input_shape[2], channels, (3, 3), (2, 2), activation="relu6"))
    for stage, factor in enumerate((1.0, 1.5, 2.0)):
        for block in range(2):
            outputs, hidden, stride = rounded(factor), channels * 4, (2, 2) if stage and block == 0 else (1, 1)
            body = nn.Sequential(OrderedDict(
                expand=conv_unit(channels, hidden, (1, 1), activation="relu6"),
                depthwise=conv_unit(hidden, hidden, (3, 3), stride, activation="relu6", groups=hidden),
                project=conv_unit(hidden, outputs, (1, 1), activation=None)))
            layers[f"stage{stage + 1}_block{block + 1}"] = Residual(body) if stride == (1, 1) and channels == outputs else body
            channels = outputs
    layers["head"] = conv_unit(channels, channels * 4, (1, 1), activation="relu6")
    return network(OrderedDict((("tail" if name == "head" else name), layer) for name, layer in layers.items()), channels * 4, classes)


WIDTH = (Knob("width", WIDTHS, "channels"),)
DS_CNN = Family(WIDTH, _ds_cnn, common_knobs=False)
RESNET8 = Family(WIDTH, _resnet8, common_knobs=False)
MOBILENET = Family(WIDTH, _mobilenet, common_knobs=False)
