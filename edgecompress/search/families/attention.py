"""Self-attention over few tokens (a small vision transformer): every token looks at all others, then its channels are mixed.

A depthwise 3x3 convolution with a skip connection goes before each attention: its padding tells border from middle, which is all that a token
knows of its place (conditional positional encoding, Chu et al. 2021), and it mixes neighbours cheaply.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from edgecompress.search.families.blocks import Choices, KeepWidth, Residual, Size, conv_unit, fit_kernel, fixed, network
from edgecompress.search.families.tokens import channel_mixing, token_stem
from edgecompress.search.knob import Knob

KNOBS = (
    Knob("width", (16, 24, 32, 48, 64, 96), "channels of a token"),
    Knob("tokens", (16, 36, 64), "most tokens; the patches are the smallest powers of two that make no more"),
    Knob("depth", (1, 2, 3), "blocks of attention and channel mixing"),
    Knob("heads", (1, 2), "attentions side by side, each over its share of the channels"),
    Knob("expansion", (1, 2, 4), "how much wider a token is inside channel mixing"),
)
# as the smallest of Dosovitskiy et al., arXiv 2010.11929, made smaller
DESIGNS = ({"tokens": 36, "depth": 2, "heads": 2, "expansion": 2},)


class Attention(nn.Module):
    """`project(softmax(Q K' / sqrt(d)) V)` with Q, K and V of `inner` channels from 1x1 convolutions, d channels a head; NCHW in and out."""

    def __init__(self, width: int, inner: int, grid: Size, heads: int) -> None:
        super().__init__()
        self.grid = grid
        self.split = (heads, inner // heads)
        self.factor = (inner // heads) ** -0.5
        self.query, self.key, self.value = (fixed(conv_unit(width, inner, (1, 1), activation=None), "out") for _ in range(3))
        self.project = fixed(conv_unit(inner, width, (1, 1), activation=None), "in")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """NCHW -> NCHW."""
        # each [n, heads, d, tokens]
        query, key, value = (made.flatten(2).unflatten(1, self.split) for made in (self.query(x), self.key(x), self.value(x)))
        weights = torch.softmax(torch.matmul(query.transpose(2, 3), key) * self.factor, dim=-1)
        mixed = torch.matmul(weights, value.transpose(2, 3)).transpose(2, 3)
        result: torch.Tensor = self.project(mixed.flatten(1, 2).unflatten(2, self.grid))
        return result


def build(choices: Choices, input_shape: tuple[int, int, int], classes: int, keep: KeepWidth) -> nn.Module:
    """Network for NCHW input of `input_shape` (height, width, channels); `keep` maps dense to pruned widths.

    Queries, keys and values are not pruned: their channels run through products of activations and are shared out to the heads.
    """
    activation, dense = choices["activation"], choices["width"]
    width, hidden = keep(dense), keep(dense * choices["expansion"])
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["stem"], grid = token_stem(input_shape, dense, choices["tokens"], activation, keep)
    for index in range(1, choices["depth"] + 1):
        layers[f"block{index}"] = nn.Sequential(OrderedDict(
            place=Residual(conv_unit(width, width, fit_kernel(3, grid), activation=None, groups=width)),
            attention=Residual(Attention(width, dense, grid, choices["heads"])),
            channels=channel_mixing(width, hidden, activation),
        ))
    return network(layers, width, classes)
