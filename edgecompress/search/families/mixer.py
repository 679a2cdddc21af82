"""MLP-mixer (Tolstikhin et al. 2021): patches become tokens, blocks mix the tokens of each channel, then the channels of each token."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from edgecompress.search.families.blocks import Choices, KeepWidth, Size, conv_unit, fixed, network
from edgecompress.search.families.tokens import channel_mixing, token_stem
from edgecompress.search.knob import Knob

KNOBS = (
    Knob("width", (16, 24, 32, 48, 64, 96), "channels of a token"),
    Knob("tokens", (16, 36, 64), "most tokens; the patches are the smallest powers of two that make no more"),
    Knob("depth", (1, 2, 3, 4), "blocks of token mixing and channel mixing"),
    Knob("token_hidden", (16, 32, 64), "hidden units that mix the tokens"),
    Knob("expansion", (1, 2, 4), "how much wider a token is inside channel mixing"),
)
# as the smallest of Tolstikhin et al., arXiv 2105.01601, made smaller
DESIGNS = ({"tokens": 36, "depth": 2, "token_hidden": 32, "expansion": 2},)


class TokenMixing(nn.Module):
    """Two 1x1 convolutions over the transposed image, in which tokens are channels, and a skip connection; NCHW in and out."""

    def __init__(self, grid: Size, hidden: int, activation: str) -> None:
        super().__init__()
        tokens = grid[0] * grid[1]
        self.grid = grid
        self.gather = fixed(conv_unit(tokens, hidden, (1, 1), activation=activation), "in")
        self.spread = fixed(conv_unit(hidden, tokens, (1, 1), activation=None), "out")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """NCHW -> NCHW."""
        transposed = x.flatten(2).transpose(1, 2).unsqueeze(3)
        result: torch.Tensor = x + self.spread(self.gather(transposed)).squeeze(3).transpose(1, 2).unflatten(2, self.grid)
        return result


def build(choices: Choices, input_shape: tuple[int, int, int], classes: int, keep: KeepWidth) -> nn.Module:
    """Network for NCHW input of `input_shape` (height, width, channels); `keep` maps dense to pruned widths.

    Only what is hidden inside a step is pruned: the channels and the number of the tokens run through transpositions, which tie them to each other.
    """
    activation, width = choices["activation"], choices["width"]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["stem"], grid = token_stem(input_shape, width, choices["tokens"], activation, keep, prune_tokens=False)
    for index in range(1, choices["depth"] + 1):
        layers[f"block{index}"] = nn.Sequential(OrderedDict(
            tokens=TokenMixing(grid, keep(choices["token_hidden"]), activation),
            channels=channel_mixing(width, keep(width * choices["expansion"]), activation),
        ))
    return network(layers, width, classes)
