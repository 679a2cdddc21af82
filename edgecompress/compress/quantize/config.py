"""Settings of one quantization and the table of weight bits that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgecompress.compress.quantize.equalize import EQUALIZATIONS
from edgecompress.compress.quantize.ranges import METHODS
from edgecompress.errors import ConfigError, unknown_name
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.ir.packing import WEIGHT_RANGE

ROUNDINGS = ("nearest", "adaptive")
WeightBits = int | Mapping[str, int]


@dataclass(frozen=True)
class QuantizeConfig:
    """How to quantize.

    `range_method` is a name in ranges.METHODS; `percentile` is for the method of that name. `weight_bits` is 8, 4 or 2 (ternary) for all
    layers, or a mapping from layer name to bits (8 for layers it leaves out). `input_range` is the input's range where it was fixed before
    training (input_range.py). `equalize` is a name in EQUALIZATIONS (equalize.py), `rounding` one in ROUNDINGS (rounding.py), which only
    layers below 8 bits use. `metadata` goes into the graph as it is (plain JSON values).
    """

    range_method: str = "mse"
    percentile: float = 99.99
    bias_correction: bool = True
    weight_bits: WeightBits = 8
    input_range: tuple[float, float] | None = None
    equalize: str = "none"
    rounding: str = "nearest"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.range_method not in METHODS:
            raise unknown_name("range method", self.range_method, METHODS)
        if self.equalize not in EQUALIZATIONS:
            raise unknown_name("equalisation", self.equalize, EQUALIZATIONS)
        if self.rounding not in ROUNDINGS:
            raise unknown_name("rounding", self.rounding, ROUNDINGS)
        if not 50.0 < self.percentile <= 100.0:
            raise ConfigError(f"percentile {self.percentile} must be above 50 and at most 100")
        if self.input_range is not None and not self.input_range[0] <= 0.0 <= self.input_range[1]:
            raise ConfigError(f"input range {self.input_range} must hold 0")
        if self.batch_size < 1:
            raise ConfigError(f"batch size {self.batch_size} must be at least 1")


def layer_bits(graph: FloatGraph, weight_bits: WeightBits) -> dict[str, int]:
    """Bits of every layer with weights. Raises ConfigError for a width that is not supported or a layer that the graph does not have.

    A module that is called twice is two layers ("conv" and "conv:2"), which the name of the module sets both.
    """
    layers = [node.name for node in graph.weighted]
    if isinstance(weight_bits, Mapping):
        origins = {name.split(":")[0] for name in layers}
        for name in weight_bits:
            if name not in layers and name not in origins:
                raise unknown_name("layer", name, layers)
        table = {name: weight_bits.get(name, weight_bits.get(name.split(":")[0], 8)) for name in layers}
    else:
        table = dict.fromkeys(layers, weight_bits)
    for name, bits in table.items():
        if bits not in WEIGHT_RANGE:
            raise ConfigError(f"layer '{name}': {bits} weight bits are not supported; allowed: 8, 4, 2 (ternary)")
    return table
