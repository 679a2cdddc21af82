"""Bench: builds an artifact folder, runs it on an emulator or this machine, and says what it cost and whether its bytes are right."""

from __future__ import annotations

from edgecompress.bench.measurement import InstructionSpread, LayerMeasurement, Measurement
from edgecompress.bench.runner import bench, check_tools, run_frames

__all__ = ["InstructionSpread", "LayerMeasurement", "Measurement", "bench", "check_tools", "run_frames"]
