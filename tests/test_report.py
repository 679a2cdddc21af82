"""The report: a page and a card from `report.json`, with what was not done said, and nothing that a name could inject."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecompress.cli.main import main
from edgecompress.errors import ConfigError
from edgecompress.report import write_report
from edgecompress.report.axis import Axis, axis_over
from edgecompress.report.document import load_report
from edgecompress.report.pareto_chart import front_ids
from edgecompress.report.render import markdown
from edgecompress.report.text import Figure, shortened, wilson
from edgecompress.run.config import SearchConfig

BUDGET = {"latency_s": 0.02, "ram_bytes": 65536, "flash_bytes": 262144, "macs": None}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>|`*_[x](javascript:1)"
LAYERS = (  # node, op, kernel, in, out, macs, constants, scratch, instructions
    ("stem", "conv2d", "ec_conv2d_s8", (16, 16, 1), (16, 16, 16), 36864, 272, 36, 331776),
    ("block1.depthwise", "depthwise_conv2d", "ec_depthwise_conv2d_s8", (16, 16, 16), (8, 8, 16), 9216, 272, 0, 129024),
    ("block1.pointwise", "conv2d", "ec_conv2d_s8", (8, 8, 16), (8, 8, 32), 32768, 768, 16, 229376),
    ("block2.depthwise", "depthwise_conv2d", "ec_depthwise_conv2d_s8", (8, 8, 32), (8, 8, 32), 18432, 544, 0, 258048),
    ("block2.pointwise", "conv2d", "ec_conv2d_s4", (8, 8, 32), (8, 8, 48), 98304, 1152, 64, 786432),
    ("block2.add", "add", "ec_add", (8, 8, 48), (8, 8, 48), 0, 0, 0, 43008),
    ("pool", "global_average_pool", "ec_global_average_pool", (8, 8, 48), (1, 1, 48), 0, 0, 192, 12288),
    ("flatten", "reshape", "", (1, 1, 48), (48,), 0, 0, 0, None),
    ("classifier", "dense", "ec_dense_s8", (48,), (10,), 480, 600, 0, 3360),
    ("softmax", "softmax", "ec_softmax", (10,), (10,), 0, 1024, 40, 2210),
)
MEMORY = (  # name, offset, size, first, last
    ("stem.out", 0, 4096, 0, 1), ("block1.depthwise.out", 4096, 1024, 1, 2), ("block1.pointwise.out", 0, 2048, 2, 3),
    ("block2.depthwise.out", 3072, 2048, 3, 4), ("block2.pointwise.out", 0, 3072, 4, 6), ("pool.out", 3072, 48, 6, 8), ("logits", 0, 10, 8, 9),
    ("stem.scratch", 4096, 36, 0, 0), ("softmax.scratch", 16, 40, 9, 9),
)


def _trials(rng: np.random.Generator, number: int) -> list[dict[str, Any]]:
    trials = []
    for index in range(number):
        family = ("ds_cnn", "inverted_residual", "resnet", "temporal")[int(rng.integers(4))]
        macs = int(10 ** rng.uniform(4.5, 6.6))
        latency = macs * rng.uniform(5, 11) / 216e6 + 1e-4
        ram, flash = int(2000 + macs**0.75 * rng.uniform(0.5, 1.5)), int(14000 + macs * rng.uniform(0.02, 0.12))
        choices = {"family": family, "depth": int(rng.integers(2, 6)), "width": int(rng.choice([8, 16, 24, 32])), "kernel": 3, "activation": "relu",
                   "prune": float(rng.choice([0.0, 0.25, 0.5])), "bits": int(rng.choice([4, 8]))}
        trials.append({
            "number": index, "id": hashlib.sha256(str(index).encode()).hexdigest()[:12], "choices": choices, "picked": False, "naswot": float(90 * np.log10(macs) - 260 + rng.normal(0, 14)),
            "macs": macs, "parameters": int(flash * 0.9), "latency_s": latency, "ram_bytes": ram, "flash_bytes": flash, "seconds": 0.2,
            "violations": {"latency": latency / 0.02 - 1, "ram": ram / 65536 - 1, "flash": flash / 262144 - 1},
        })
    return trials


def _measurement(trial: dict[str, Any], factor: float) -> dict[str, Any]:
    instructions = round(trial["latency_s"] * factor * 216e6)
    stack, arena = 312, trial["ram_bytes"] - 320
    return {
        "target": "cortex-m7", "where": "unicorn", "instructions": instructions, "latency_s": instructions / 216e6,
        "instruction_spread": {"minimum": instructions, "median": instructions, "maximum": instructions, "frames": 3}, "latency_spread_s": None,
        "latency_basis": "instructions / clock", "flash_bytes": round(trial["flash_bytes"] * 1.02), "harness_flash_bytes": 1800,
        "ram_bytes": arena + 96 + stack, "stack_bytes": stack, "arena_bytes": arena, "matches_reference": True, "samples": 16, "mismatches": 0,
        "vectors_source": "16 validation samples of digits", "compiler": "zig 0.15.1 (clang 20.1.2)", "emulator": "unicorn 2.1.4 (CORTEX_M7)",
        "overhead_instructions": 40, "date": "2026-01-05T10:00:00+00:00",
        "layers": [{"node": node, "kernel": kernel, "instructions": count} for node, _, kernel, *_, count in LAYERS if count is not None],
    }


def make_document(trial_count: int = 200, classes: tuple[str, ...] = tuple("0123456789"), seed: int = 0) -> dict[str, Any]:
    """A report as the pipeline writes it: figures are made up but hang together."""
    rng = np.random.default_rng(seed)
    trials = _trials(rng, trial_count)
    feasible = sorted((t for t in trials if max(t["violations"].values()) <= 0 and 2.5e5 < t["macs"]), key=lambda t: -t["naswot"])[:3]
    for trial in feasible:
        trial["picked"] = True
    chosen = feasible[0]
    total = sum(count for *_, count in LAYERS if count is not None) + 1650
    chosen["latency_s"] = total * 0.96 / 216e6
    trained = []
    for index, trial in enumerate(feasible):
        trial["ram_bytes"] = 5120 + 320 + 512 * index
        measurement = _measurement(trial, 1.0 + 0.02 * index)
        if trial is chosen:
            measurement.update(instructions=total, latency_s=total / 216e6)
        noise = [{"node": row[0], "kind": row[1], "cumulative_db": 31.0 - number, "local_db": float(34 + 4 * np.sin(3 * number)), "activation_scale": 0.02,
                  "weight_bits": 8, "weight_min": -1.0, "weight_max": 1.0} for number, row in enumerate(LAYERS)]
        trained.append({"id": trial["id"], "accuracy_float": 0.989 - 0.004 * index, "accuracy_pruned_float": 0.985 - 0.004 * index,
                        "accuracy_int8": 0.983 - 0.005 * index, "parameters": 5012 + 800 * index, "macs": 196064 + 50000 * index,
                        "train_seconds": 21.5, "layers_sqnr": noise, "measurement": measurement})
    seen = trained[0]["measurement"]
    confusion = np.diag([36 - index % 3 for index in range(len(classes))])
    confusion[1, 0] += 1
    confusion[-1, 1] += 4
    samples = int(confusion.sum())
    return {
        "summary": {
            "chosen": chosen["id"], "target": "cortex-m7", "data": "digits", "seed": 0, "accuracy_float": 0.9861,
            "accuracy_int8": float(np.trace(confusion) / samples), "accuracy_on_core": 0.98, "test_samples": samples, "test_samples_on_core": 200,
            "on_core_mismatches": 0, "latency_s": seen["latency_s"], "latency_basis": seen["latency_basis"], "instructions": seen["instructions"],
            "ram_bytes": seen["ram_bytes"], "flash_bytes": seen["flash_bytes"], "stack_bytes": seen["stack_bytes"], "parameters": 5012, "macs": 196064,
            "matches_reference": True, "within_budget": True, "budget": BUDGET, "artifact": f"runs/search/candidates/{chosen['id']}/artifact",
            "confusion": confusion.tolist(),
        },
        "config": {**asdict(SearchConfig()), "trials": trial_count, "epochs": 12, "bias_correction": False},
        "data": {"name": "digits", "kind": "image", "source": "scikit-learn load_digits", "hash": "ab" * 32, "classes": list(classes),
                 "input_shape": [16, 16, 1], "samples": {"train": 1222, "validation": 215, "test": samples},
                 "normalization": {"mean": 5.0, "scale": 0.1664, "raw_dtype": "uint8", "raw_min": 0.0, "raw_max": 16.0, "front_end": "8x8 pixel counts"}},
        "profile": {"name": "cortex-m7-emulated", "source": "simulated", "date": "2026-01-04", "runner": "unicorn 2.1.4", "compiler": "zig 0.15.1",
                    "fit_error": {"rows": 84, "mean_absolute_percent": 2.9, "worst_percent": 11.4, "kernels": {"ec_add": 1.2}}},
        "trials": trials,
        "trained": trained,
        "manifest": {
            "format": "edgecompress-artifact", "version": 1, "tool_version": "0.1.0", "name": "model", "target": "cortex-m7", "graph_hash": "cd" * 32,
            "inputs": [{"name": "input", "shape": [16, 16, 1], "scale": 0.0213, "zero_point": -128}],
            "outputs": [{"name": "output", "shape": [10], "scale": 0.00390625, "zero_point": -128}],
            "arena_bytes": 5120, "lower_bound_bytes": 5120, "constant_bytes": 4632, "header": "model.h",
            "layers": [{"node": node, "op": op, "kernel": kernel, "macs": macs, "features": {"call": 1}, "constant_bytes": constants,
                        "scratch_bytes": scratch, "input_shapes": [list(before)], "output_shape": list(after)}
                       for node, op, kernel, before, after, macs, constants, scratch, _ in LAYERS],
            "memory": [dict(zip(("name", "offset", "size", "first", "last"), row, strict=True)) for row in MEMORY],
        },
    }


def write(folder: Path, document: dict[str, Any]) -> tuple[str, str]:
    """(page, card) of a document."""
    (folder / "report.json").write_text(json.dumps(document))
    write_report(folder)
    return (folder / "report.html").read_text(encoding="utf-8"), (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
