"""Third-party models that tests use where the shared data folder is mounted."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from tools import require_tool

from edgecompress.compress.quantize.structure import quantize_uncalibrated
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.frontend.model_file import load_model
from edgecompress.ir.graph import QuantizedGraph
from edgecompress.lower.passes import optimize
