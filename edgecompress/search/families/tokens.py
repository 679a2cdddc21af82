"""What mixer and attention share: the stem that turns an input into few tokens, and the step that mixes the channels of each token.

Batch normalisation stands wherever the published networks have layer normalisation. Its mean and variance are constants after training, so it
becomes part of the convolution before it; layer normalisation needs the mean and variance of every token at run time, in more than 8 bits.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from edgecompress.search.families.blocks import KeepWidth, Residual, Size, conv_unit, fit_stem_kernel, round_width, strided_size

FIRST_STRIDE = 4  # of the stem; what is left of larger patches is a second convolution


def fit_patch(size: Size, tokens: int) -> Size:
    """The smallest patch (powers of two) that leaves at most `tokens`: the longer side is halved first."""
    patch, grid = (1, 1), size
    while grid[0] * grid[1] > tokens:
        patch = (2 * patch[0], patch[1]) if grid[0] >= grid[1] else (patch[0], 2 * patch[1])
        grid = strided_size(size, patch)
    return patch


def token_stem(
    input_shape: tuple[int, int, int], width: int, tokens: int, activation: str, keep: KeepWidth, *, prune_tokens: bool = True
) -> tuple[nn.Sequential, Size]:
    """Convolutions from an input (height, width, channels) to at most `tokens` tokens of `width` channels, NCHW, and the grid they lie on.

    Patches overlap by a pixel. Those above 4 take two convolutions. `prune_tokens` says whether `keep` applies to the tokens' channels too.
    """
    size, patch = input_shape[:2], fit_patch(input_shape[:2], tokens)
    first = min(patch[0], FIRST_STRIDE), min(patch[1], FIRST_STRIDE)
    second = patch[0] // first[0], patch[1] // first[1]
    kept = keep(width) if prune_tokens else width
    channels = kept if second == (1, 1) else keep(round_width(width / 2))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["first"] = conv_unit(input_shape[2], channels, fit_stem_kernel(3, first, size), first, activation=activation)
    size = strided_size(size, first)
    if second != (1, 1):
        layers["second"] = conv_unit(channels, kept, fit_stem_kernel(1, second, size), second, activation=activation)
    return nn.Sequential(layers), strided_size(size, second)


def channel_mixing(width: int, hidden: int, activation: str) -> Residual:
    """Two 1x1 convolutions with a skip connection: the same small network on every token."""
    return Residual(nn.Sequential(OrderedDict(
        expand=conv_unit(width, hidden, (1, 1), activation=activation), project=conv_unit(hidden, width, (1, 1), activation=None),
    )))
