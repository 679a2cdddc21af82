"""Cycle estimates of single blocks against what the manuals' tables say, counted by hand."""

from __future__ import annotations

import importlib.util

import pytest
from tools import require_tool

from edgecompress.bench.pipeline import MODELS, block_cost, decode


@pytest.fixture(autouse=True)
def _capstone() -> None:
    require_tool("capstone", importlib.util.find_spec("capstone") is not None)


# code, cycles of the M4 falling through, cycles on top when taken, cycles of the M7, memory words
BLOCKS = {
    "one load": ("0868", 2, 0, 1, 1),
    "two loads in the pipeline, then a sum": ("08681a681044", 4, 0, 3, 2),
    "a load that needs the one before": ("08680268", 4, 0, 3, 2),
    "two words at once": ("f3e80245", 3, 0, 1, 2),
    "four words at once": ("f0c8", 5, 0, 2, 4),
    "push of three": ("30b5", 4, 0, 2, 3),
    "pop of three into pc": ("30bd", 6, 0, 2, 3),
    "three products": ("22fb046622fb057720fb0488", 3, 0, 3, 0),
    "a sum of a product": ("22fb046606f10100", 2, 0, 3, 0),
    "count down and branch": ("0138fed1", 2, 2, 1, 0),
    "branch always": ("fee7", 3, 0, 1, 0),
    "division": ("91fbf2f0", 7, 0, 1, 0),
    "long product": ("a2fb0301", 1, 0, 1, 0),
    "float multiply and add": ("00ee810a", 3, 0, 1, 0),
    "float division": ("80ee810a", 14, 0, 1, 0),
    "an IT block behind a narrow instruction": ("002818bf0131", 2, 0, 2, 0),
    "byte load and use": ("91f9000000f10102", 3, 0, 4, 1),
    "two stores": ("08601a60", 2, 0, 2, 2),
    "two sums": ("01eb020004eb0503", 2, 0, 1, 0),
    "expand and multiply": ("2ffa80f222fb0466", 2, 0, 2, 0),
    "a load behind a post-increment": ("51f8040b0a68", 4, 0, 3, 2),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_costs_of_small_blocks(name: str) -> None:
    code, m4, taken, m7, words = BLOCKS[name]
    block = decode(bytes.fromhex(code))
    assert sum(2 if one.narrow else 4 for one in block) == len(code) // 2
    slow, fast = MODELS["cortex-m4"](block), MODELS["cortex-m7"](block)
    assert (slow.cycles, slow.taken_cycles, fast.cycles) == (m4, taken, m7)
    assert slow.memory_words == fast.memory_words == words


def test_cores_without_a_model_have_no_estimate() -> None:
    assert block_cost("rv32imc") is None
    cost = block_cost("cortex-m3")
    assert cost is not None and cost(bytes.fromhex("a2fb0301")).cycles == 4  # UMULL takes 3 to 5 there
