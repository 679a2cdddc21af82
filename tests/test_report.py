"""The report: a page and a card from `report.json`, with what was not done said, and nothing that a name could inject."""

from __future__ import annotations

import copy
import hashlib
import html
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
from tools import require_tool

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
    ("scratch:stem", 4096, 36, 0, 0), ("scratch:softmax", 16, 40, 9, 9),
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
            "number": index, "id": hashlib.sha256(str(index).encode()).hexdigest()[:12], "choices": choices, "picked": False,
            "proxies": {"naswot": float(90 * np.log10(macs) - 260 + rng.normal(0, 14))}, "macs": macs,
            "parameters": int(flash * 0.9), "latency_s": latency, "ram_bytes": ram, "flash_bytes": flash,
            "seconds": 0.2,
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
        "ram_bytes": arena + 8 + stack, "stack_bytes": stack, "arena_bytes": arena, "matches_reference": True, "samples": 16, "mismatches": 0,
        "vectors_source": "16 validation samples of digits", "compiler": "zig 0.15.1 (clang 20.1.2)", "emulator": "unicorn 2.1.4 (CORTEX_M7)",
        "overhead_instructions": 40, "date": "2026-01-05T10:00:00+00:00",
        "layers": [{"node": node, "kernel": kernel, "instructions": count} for node, _, kernel, *_, count in LAYERS if count is not None],
    }


def make_document(trial_count: int = 200, classes: tuple[str, ...] = tuple("0123456789"), seed: int = 0) -> dict[str, Any]:
    """A report as the pipeline writes it: figures are made up but hang together."""
    rng = np.random.default_rng(seed)
    trials = _trials(rng, trial_count)
    feasible = sorted((t for t in trials if max(t["violations"].values()) <= 0 and t["macs"] > 2.5e5), key=lambda t: -t["proxies"]["naswot"])[:3]
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
        noise = [{"node": row[0], "kind": row[1], "cumulative_db": 31.0 - number, "local_db": float(34 + 4 * np.sin(3 * number)),
                  "activation_scale": 0.02, "weight_bits": 8, "weight_min": -1.0, "weight_max": 1.0} for number, row in enumerate(LAYERS)]
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
            "ram_bytes": seen["ram_bytes"], "flash_bytes": seen["flash_bytes"], "stack_bytes": seen["stack_bytes"], "parameters": 5012,
            "macs": 196064, "matches_reference": True, "within_budget": True, "budget": BUDGET,
            "artifact": f"runs/search/candidates/{chosen['id']}/artifact",
            "confusion": confusion.tolist(),
        },
        "config": {**asdict(SearchConfig()), "trials": trial_count, "epochs": 12, "bias_correction": False},
        "data": {"name": "digits", "kind": "image", "source": "scikit-learn load_digits", "hash": "ab" * 32, "classes": list(classes),
                 "input_shape": [16, 16, 1], "samples": {"train": 1222, "validation": 215, "test": samples},
                 "normalization": {"mean": 5.0, "scale": 0.1664, "raw_dtype": "uint8", "raw_min": 0.0, "raw_max": 16.0,
                                   "front_end": "8x8 pixel counts"}},
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


class _Page(HTMLParser):
    """Tags, their attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else self._inside

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_first_screen_answers_the_four_questions(tmp_path: Path) -> None:
    document = make_document()
    text = _Page(write(tmp_path, document)[0]).text
    assert "Fits the budget" in text and "Bit-exact" in text and "Emulated, not a board" in text
    assert "instructions / clock; emulated in unicorn, not on a board" in text
    assert f"{100 * document['summary']['accuracy_int8']:.2f} %" in text and "98.61 %" in text and "first 200 test samples" in text
    assert "RAM 5.3 KiB of 64.0 KiB (8 %)" in text and "of 256.0 KiB" in text and "of 20.00 ms" in text
    assert "arena 5.0 KiB" in text and "stack 312 B" in text and "other static data 8 B" in text
    assert "196,064" in text and "5,012" in text
    assert "All 200 test outputs of the core equal the integer reference" in text


def test_every_candidate_is_drawn_once_in_each_chart(tmp_path: Path) -> None:
    document = make_document()
    document["trials"].append({**document["trials"][5], "number": 200})  # the same candidate asked again
    page = _Page(write(tmp_path, document)[0])
    marks = [attributes for tag, attributes in page.tags if tag == "use" and "data-i" in attributes]
    assert len(marks) == 400 and {mark["data-i"] for mark in marks} == {str(index) for index in range(200)}
    rings = [attributes["class"] for tag, attributes in page.tags if tag == "circle" and {"class", "cy"} <= attributes.keys()]
    assert sorted(rings) == ["ring chosen"] * 2 + ["ring picked"] * 4
    over = sum(max(trial["violations"].values()) > 0 for trial in document["trials"][:200])
    assert sum(mark["class"].endswith(" over") for mark in marks) == 2 * over > 0
    assert "201 candidates evaluated without training, 200 of them distinct" in page.text


def test_front_is_what_no_feasible_candidate_beats(tmp_path: Path) -> None:
    write(tmp_path, make_document())
    trials = load_report(tmp_path / "report.json").trials
    front = front_ids(trials)
    feasible = [trial for trial in trials if trial.feasible]
    for trial in feasible:
        beaten = any(other.proxies["naswot"] >= trial.proxies["naswot"] and other.macs >= trial.macs and other.latency_s <= trial.latency_s
                     and (other.proxies, other.macs, other.latency_s) != (trial.proxies, trial.macs, trial.latency_s) for other in feasible)
        assert (trial.id in front) == (not beaten)


def test_estimates_and_measurements_are_labelled_columns(tmp_path: Path) -> None:
    page, _ = write(tmp_path, make_document())
    trained = page[page.index('id="trained"') : page.index('id="layers"')]
    heads = re.findall(r'<th class="(estimate|measured)">(\w+)</th>', trained)
    assert heads == [("estimate", "estimated"), ("measured", "measured")] * 3
    row = trained[trained.index("<tbody>") :].split("</tr>")[0]
    assert re.findall(r'<td class="(estimate|measured)">', row) == ["estimate", "measured"] * 3
    layers = page[page.index('id="layers"') : page.index('id="memory"')]
    assert "estimated" not in layers


def test_layers_show_shares_and_the_worst_sqnr(tmp_path: Path) -> None:
    document = make_document()
    page, _ = write(tmp_path, document)
    layers = page[page.index('id="layers"') : page.index('id="memory"')]
    rows = layers.split("<tr>")
    for node, op, kernel, *_ in LAYERS:
        assert sum(f"<b>{node}</b>" in row and op in row and kernel in row for row in rows) == 1
    noise = document["trained"][0]["layers_sqnr"]
    worst = min(noise, key=lambda row: row["local_db"])["node"]
    assert [row for row in rows if "worst" in row and f"<b>{worst}</b>" in row] and layers.count(">worst<") == 1
    assert "43.8 %" in layers and "1,797,172" in layers and "1,650" in layers and "no code" in layers


def test_memory_plan_draws_every_buffer_to_scale(tmp_path: Path) -> None:
    page = _Page(write(tmp_path, make_document())[0])
    tips = [attributes["data-tip"] for tag, attributes in page.tags if tag == "g"]
    blocks = [attributes for tag, attributes in page.tags if tag == "rect" and "block" in (attributes.get("class") or "")]
    assert len(tips) == len(blocks) == len(MEMORY)
    assert "4,096 bytes at 0 to 4,095" in tips[0] and "alive from stem to block1.depthwise" in tips[0]
    assert [row[0] for row, block in zip(MEMORY, blocks, strict=True) if "scratch" in block["class"]] == ["scratch:stem", "scratch:softmax"]
    heights = {row[0]: float(block["height"]) + 1 for row, block in zip(MEMORY, blocks, strict=True)}
    assert heights["stem.out"] / heights["block1.depthwise.out"] == pytest.approx(4, rel=0.01)
    assert "arena 5.0 KiB = lower bound" in page.text
    assert "Most is alive during block1.depthwise and block2.pointwise: 5.0 KiB (5,120 bytes)" in page.text


def test_memory_steps_keep_their_names_when_nodes_without_code_are_left_out(tmp_path: Path) -> None:
    document = make_document()
    document["manifest"]["layers"] = [row for row in document["manifest"]["layers"] if row["node"] != "flatten"]
    page, _ = write(tmp_path, document)
    steps = re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="middle">(\d+)</text><text transform="translate\(([\d.]+) [^>]*>([^<]*)</text>',
                       page[page.index('id="memory"') : page.index('id="confusion"')])
    assert [(number, name) for _, number, _, name in steps][-3:] == [("7", "pool"), ("8", "classifier"), ("9", "softmax")]
    assert ">flatten</text>" in page and "SQNR of nodes that need no code: flatten" in page
    document["trained"] = []  # no list of all nodes: better no name than a wrong one
    page, _ = write(tmp_path, document)
    assert "Most is alive during step 2 and step 5" in page and ">classifier</text>" not in page


def test_lower_bound_has_its_own_line_when_the_plan_needs_more(tmp_path: Path) -> None:
    document = make_document()
    document["manifest"]["lower_bound_bytes"] = 4608
    page = _Page(write(tmp_path, document)[0])
    assert any(attributes.get("class") == "bound" for tag, attributes in page.tags if tag == "line")
    assert "lower bound 4.5 KiB (dashed)" in page.text and "no plan can need less" not in page.text


def test_confusion_rows_are_true_classes(tmp_path: Path) -> None:
    page, card = write(tmp_path, make_document())
    text = _Page(page).text
    assert "9 taken for 1: 4 of 40" in text and "1 taken for 0: 1 of 36" in text
    assert "| 9 | 40 | 90.00 % | 100.00 % |" in card and "| 0 | 36 | 100.00 % | 97.30 % |" in card


def test_many_classes_stay_readable_and_small(tmp_path: Path) -> None:
    names = tuple(f"class number {index}" for index in range(120))
    page, _ = write(tmp_path, make_document(classes=names))
    assert len(page) < 400_000
    assert '<svg class="largematrix" viewBox="0 0 120 120"' in page and page.count('class="miss"') == 2


def test_three_thousand_candidates_stay_below_two_megabytes(tmp_path: Path) -> None:
    page, _ = write(tmp_path, make_document(trial_count=3_000))
    assert len(page) < 2_000_000 and len(write(tmp_path, make_document())[0]) < 200_000


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    page = _Page(write(tmp_path, make_document())[0])
    references = [attributes.get(key) for tag, attributes in page.tags for key in ("src", "href", "action", "data") if attributes.get(key)]
    assert references and all(reference.startswith("#") for reference in references)
    assert not any(tag in ("link", "img", "iframe", "object", "base") for tag, _ in page.tags)
    identities = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(identities) == len(set(identities)) and {reference[1:] for reference in references} <= set(identities)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    document = make_document()
    document["data"].update(name=HOSTILE, source=HOSTILE, classes=[f"{HOSTILE}{index}" for index in range(10)])
    document["data"]["normalization"]["front_end"] = HOSTILE
    document["summary"].update(target=HOSTILE, latency_basis=HOSTILE, artifact=HOSTILE)
    document["config"]["data"] = HOSTILE
    document["profile"].update(name=HOSTILE, runner=HOSTILE)
    document["manifest"]["name"] = document["manifest"]["header"] = HOSTILE
    for row in document["manifest"]["layers"]:
        row["node"] = row["kernel"] = row["op"] = HOSTILE
    for row in document["manifest"]["memory"] + document["manifest"]["inputs"]:
        row["name"] = HOSTILE
    for trial in document["trials"]:
        trial["choices"].update(family=HOSTILE, kernel=HOSTILE)
        trial["violations"] = {HOSTILE: 0.5, **trial["violations"]}
    for result in document["trained"]:
        result["measurement"].update(compiler=HOSTILE, emulator=HOSTILE, where=HOSTILE, vectors_source=HOSTILE)
    page, card = write(tmp_path, document)
    parsed = _Page(page)
    assert [attributes.get("type") for tag, attributes in parsed.tags if tag == "script"] == ["application/json", None]
    assert not any(tag == "img" or any(key.startswith("on") for key in attributes) for tag, attributes in parsed.tags)
    assert HOSTILE in parsed.text and "<script>alert" not in page
    assert HOSTILE in json.loads(re.search(r'id="tips">(.*?)</script>', page, re.S).group(1))[0]
    outside_code = re.sub(r"(?s)```.*?```", "", re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", card))
    assert "<script" not in outside_code and "<img" not in outside_code and "[x](" not in outside_code
    assert '#include "scriptalert1scriptimgsrcxonerroralert2_xjavascript1.h"' in card


def test_what_was_not_run_is_said_and_never_zero(tmp_path: Path) -> None:
    document = make_document()
    for key in document["summary"]:
        if key not in ("chosen", "target", "data", "seed", "budget"):
            document["summary"][key] = None
    document.update(trials=[], trained=[], manifest=None, profile=None)
    del document["data"]["normalization"]
    page, card = write(tmp_path, document)
    text = _Page(page).text
    for said in ("not run: the test part was not evaluated", "not run: nothing ran on the core", "not run: no candidate was evaluated",
                 "not run: no candidate was trained", "not run: this run holds no lowered model", "not run: this run holds no memory plan",
                 "Not run: no bench compared outputs", "Not run: budget check", "not run: no float evaluation"):
        assert said in text, said
    assert not re.search(r"(?<![\d.,])0(\.0+)? ?(%|ms|us|KiB|B)(?!\w)", text)
    assert "*not run: nothing ran on the core*" in card and "Not run: no C was generated" in card
    assert not re.search(r"\| 0(\.0+)? (\||%|ms|us|KiB|B)", card.replace("| seed | 0 |", ""))


def test_a_missed_budget_and_differing_outputs_are_plain(tmp_path: Path) -> None:
    document = make_document()
    document["summary"].update(ram_bytes=70_000, within_budget=False, on_core_mismatches=3)
    page, _ = write(tmp_path, document)
    text = _Page(page).text
    assert "Misses the budget" in text and "over the limit" in text and "Fits the budget" not in text
    assert "3 of 200 test outputs of the core differ" in text and "Bit-exact" not in text
    document["summary"].update(ram_bytes=7_000)
    assert "Not accepted: outputs differ" in write(tmp_path, document)[0]


def test_a_run_on_the_host_is_not_called_emulated(tmp_path: Path) -> None:
    document = make_document()
    for result in document["trained"]:
        result["measurement"].update(where="host", latency_basis="wall clock", instructions=None, layers=[])
    document["summary"].update(latency_basis="wall clock", instructions=None)
    text = _Page(write(tmp_path, document)[0]).text
    assert "wall clock; ran on host" in text and "mulated in" not in text and "not run: no instructions were counted" in text


def test_non_finite_figures_are_said(tmp_path: Path) -> None:
    document = make_document()
    document["trials"][0]["proxies"]["naswot"] = float("-inf")
    document["profile"]["fit_error"].update(rows=0, mean_absolute_percent=float("nan"), worst_percent=float("nan"))
    document["trained"][0]["layers_sqnr"][7]["local_db"] = 120.0
    text = _Page(write(tmp_path, document)[0]).text
    assert "1 candidate without a finite score cannot be drawn" in text and "no held-back rows judge the latency profile" in text
    assert "exact" in text and not re.search(r"\b(nan|inf)\b", text)


def test_the_card_says_how_to_feed_the_model(tmp_path: Path) -> None:
    document = make_document()
    _, card = write(tmp_path, document)
    assert "`real = (raw - 5) * 0.1664`" in card and "`q = round(real / 0.0213) + (-128)`" in card
    assert "`real = 0.00390625 * (q - (-128))`" in card and '#include "model.h"' in card and "model_run(input, output);" in card
    assert "| train samples | 1,222 |" in card and "Apache-2.0" in card and "Not run on a board" in card
    assert f"`edgecompress bench candidates/{document['summary']['chosen']}/artifact`" in card
    assert "`edgecompress search --data digits --seed 0 --target cortex-m7 --no-bias-correction --epochs 12 --trials 200 --output runs/again`" in card


def test_same_document_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert write(tmp_path, make_document()) == write(tmp_path / "elsewhere", make_document())


@pytest.mark.parametrize(("path", "value", "said"), [
    ("summary", None, "'summary'"),
    ("summary.chosen", 7, "'summary.chosen' must be text, got 7"),
    ("summary.accuracy_int8", 98.6, "'summary.accuracy_int8' must be a number from 0 to 1"),
    ("summary.ram_bytes", "5 KiB", "'summary.ram_bytes' must be a number"),
    ("summary.matches_reference", 1, "'summary.matches_reference' must be true, false or null"),
    ("summary.confusion", [[1, 2], [3, 4]], "'summary.confusion' must be 10 rows of 10 counts"),
    ("data.classes", ["only"], "'data.classes' must be a list of at least two names"),
    ("trials", {}, "'trials' must be a list"),
    ("trials.3.latency_s", True, "'trials[3].latency_s' must be a number"),
    ("trials.3.choices", [], "'trials[3].choices' must be an object"),
    ("trained.0.measurement.stack_bytes", -1, "'trained[0].measurement.stack_bytes' must be a whole number"),
    ("manifest.layers.2.input_shapes", [3], "'manifest.layers[2].input_shapes' must be a list of shapes"),
    ("manifest.memory.1.last", -5, "'manifest.memory[1].last' must be at least 'first'"),
    ("profile.fit_error", None, "'profile.fit_error' must be an object"),
])
def test_a_wrong_value_is_named_and_nothing_is_written(tmp_path: Path, path: str, value: Any, said: str) -> None:
    document = make_document(20 if path.startswith("trials") else 200)
    place: Any = document
    *parents, last = path.split(".")
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    place[last] = value
    with pytest.raises(ConfigError) as caught:
        write(tmp_path, document)
    assert said in str(caught.value) and str(tmp_path / "report.json") in str(caught.value)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["report.json"]


@pytest.mark.parametrize("key", ["summary", "config", "data", "profile", "trials", "trained", "manifest"])
def test_a_missing_part_is_named(tmp_path: Path, key: str) -> None:
    document = copy.deepcopy(make_document())
    del document[key]
    with pytest.raises(ConfigError, match=f"lacks '{key}'"):
        write(tmp_path, document)


@pytest.mark.parametrize("content", [b"", b'{"summary": ', b"[1, 2]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report.json").write_bytes(content)
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "report.json" in error and "Traceback" not in error


def test_the_verb_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "is this a finished run?" in capsys.readouterr().err
    (tmp_path / "report.json").write_text(json.dumps(make_document()))
    assert main(["report", str(tmp_path), "--format", "json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert Path(written["report"]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert Path(written["model_card"]).read_text(encoding="utf-8").startswith("# Model card: digits on cortex-m7")


def test_axes_place_and_mark_round_values() -> None:
    axis = axis_over([0.001, 0.1], 0, 100, log=True)
    assert axis.place(0.01) == pytest.approx(50) and [tick.label for tick in axis.ticks(lambda v: f"{v:g}")] == [
        "0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1"]
    assert len(Axis(1, 1e12, 0, 100, True).ticks(str)) >= 7
    flat = axis_over([5.0, 5.0], 0, 100)
    assert flat.place(5.0) == 50 and len(flat.ticks(str)) >= 2
    assert len(axis_over([7.0, 7.01], 0, 100, log=True).ticks(str)) >= 2


def test_intervals_and_text() -> None:
    assert wilson(0.9, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)  # Wilson (1927), as statsmodels' proportion_confint gives it
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4) and wilson(0.0, 10)[0] == pytest.approx(0.0)
    assert shortened("abcdefghij", 5) == "ab…ij" and shortened("abc", 5) == "abc"
    assert markdown("a|b_c\n<d>") == "a\\|b\\_c &lt;d&gt;" and not Figure("x", False).known


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROBE = """<script>
const svg = document.querySelector(".scatter"), mark = svg.querySelector("use[data-i]");
const place = new DOMPoint(mark.x.baseVal.value, mark.y.baseVal.value).matrixTransform(svg.getScreenCTM());
svg.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: place.x, clientY: place.y }));
const seen = [document.getElementById("tip").textContent, [...document.querySelectorAll(".cursor")].map((c) => c.style.visibility).join()];
document.querySelector("button[data-style]").click();
seen.push(document.querySelector(".plots").className, document.documentElement.scrollWidth <= innerWidth);
document.title = JSON.stringify(seen);
</script>"""


def chromium(folder: Path, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Opens a page headless; its console goes to stderr."""
    require_tool("chromium", CHROMIUM is not None)
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", f"--user-data-dir={folder / 'profile'}",
               "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars",
               "--enable-logging=stderr", "--v=0", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True, env={**os.environ, "HOME": str(folder)})


def test_a_browser_shows_the_page_without_an_error(tmp_path: Path) -> None:
    write(tmp_path, make_document())
    picture = tmp_path / "page.png"
    result = chromium(tmp_path, tmp_path / "report.html", f"--screenshot={picture}", "--window-size=1280,2400")
    assert "CONSOLE" not in result.stderr, result.stderr
    header = picture.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(header[16:20], "big") == 1280
    assert picture.stat().st_size > 60_000  # an empty page is far smaller


@pytest.mark.parametrize("width", [1280, 400])
def test_hovering_shows_the_candidate_in_both_charts(tmp_path: Path, width: int) -> None:
    page, _ = write(tmp_path, make_document())
    changed = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace("</body>", PROBE + "</body>")
    (tmp_path / "probe.html").write_text(changed, encoding="utf-8")
    result = chromium(tmp_path, tmp_path / "probe.html", "--dump-dom", f"--window-size={width},2400")
    assert "CONSOLE" not in result.stderr, result.stderr
    tip, cursors, plots, no_sideways_scroll = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", result.stdout, re.S).group(1)))
    assert "estimated latency" in tip and "naswot" in tip
    assert cursors == "visible,visible" and "hide-0" in plots and no_sideways_scroll


def test_the_policy_stops_other_scripts(tmp_path: Path) -> None:
    page, _ = write(tmp_path, make_document(classes=tuple(f"{HOSTILE}{index}" for index in range(10))))
    (tmp_path / "probe.html").write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    result = chromium(tmp_path, tmp_path / "probe.html", "--dump-dom")
    console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    assert len(console) == 1 and "Content Security Policy" in console[0]  # the probe's one script, and nothing that came from a name
    assert "digits on cortex-m7" in re.search(r"<title>(.*?)</title>", result.stdout, re.S).group(1)
