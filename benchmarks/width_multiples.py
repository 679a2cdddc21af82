"""Which widths a core's kernels like: predicted time of one layer at each number of channels, from the core's profile.

A 12x12 convolution with as many outputs as inputs (1x1 and 3x3), a depthwise one, and a dense layer with four times as many outputs as inputs. Each
cell is the predicted time over that of the layer with 32 channels.

    python benchmarks/width_multiples.py > benchmarks/output/width_multiples.txt
"""

from __future__ import annotations

import argparse

from torch import nn

from edgecompress.compress.quantize.structure import quantize_structure
from edgecompress.frontend.torch_import import from_torch
from edgecompress.hw.estimate import estimate
from edgecompress.hw.profile import load_profile
from edgecompress.hw.target import Target, load_target
from edgecompress.lower import plan

WIDTHS = (17, 18, 20, 22, 24, 26, 28, 30, 31, 32)
Layer = tuple[nn.Module, tuple[int, int, int]]

LAYERS = {
    "conv 1x1": lambda width: (nn.Conv2d(width, width, 1), (12, 12, width)),
    "conv 3x3": lambda width: (nn.Conv2d(width, width, 3, padding=1), (12, 12, width)),
    "depthwise": lambda width: (nn.Conv2d(width, width, 3, padding=1, groups=width), (12, 12, width)),
    "dense": lambda width: (nn.Sequential(nn.Flatten(), nn.Linear(width, 4 * width)), (1, 1, width)),
}


def seconds(layer: Layer, target: Target) -> float:
    """Predicted time of the layer's int8 version."""
    module, shape = layer
    return estimate(plan(quantize_structure(from_torch(module, shape), 8), target), load_profile(target.profile), target).latency_s


def main() -> None:
    """Prints a row a target and kind of layer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", default=["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imc"])
    print("predicted time of a layer over that at 32 channels, by channels")
    print(f"{'target':14} {'layer':10} {'multiple':>8} " + " ".join(f"{width:>5}" for width in WIDTHS))
    for name in parser.parse_args().targets:
        target = load_target(name)
        for kind, make in LAYERS.items():
            whole = seconds(make(WIDTHS[-1]), target)
            shares = " ".join(f"{seconds(make(width), target) / whole:5.2f}" for width in WIDTHS)
            print(f"{name:14} {kind:10} {target.width_multiple:8} {shares}")


if __name__ == "__main__":
    main()
