"""What is benched: the facts of an artifact folder that building and running it needs."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecompress.errors import DataError, ModelError
from edgecompress.ir import reference, serialize
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower.artifact import read_manifest


@dataclass(frozen=True)
class Layer:
    """A layer with code: its node and the kernel's entry symbol."""

    node: str
    kernel: str


@dataclass(frozen=True)
class Subject:
    """An artifact folder as `lower` wrote it."""

    folder: Path
    name: str  # prefix of its C names
    target: str
    sources: tuple[Path, ...]
    layers: tuple[Layer, ...]  # in call order
    arena_bytes: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def input_bytes(self) -> int:
        """Bytes of one frame in."""
        return math.prod(self.input_shape)

    @property
    def output_bytes(self) -> int:
        """Bytes of one frame out."""
        return math.prod(self.output_shape)
