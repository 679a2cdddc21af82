"""Cycle estimates of single blocks against what the manuals' tables say, counted by hand."""

from __future__ import annotations

import importlib.util

import pytest
from tools import require_tool

from edgecompress.bench.pipeline import MODELS, block_cost, decode
from edgecompress.bench.transport.counting import thumb_instructions_in
from edgecompress.errors import DeviceError


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
    "a load from an address just computed": ("00f104000168", 4, 0, 2, 1),
    "a load from an address that came from the FPU": ("10ee100a0168", 4, 0, 4, 1),
    "a load behind a store": ("08601a68", 3, 0, 1, 2),
    "a store with an index": ("8850", 2, 0, 1, 1),
    "a store with an index behind a load": ("23688850", 3, 0, 1, 2),
    "a store of what was just loaded": ("08681060", 3, 0, 3, 2),
    "a load that moves its address behind a load": ("086853f8042b", 4, 0, 1, 2),
    "a load behind two words at once": ("d2e900012368", 5, 0, 2, 3),
    "table branch": ("d0e801f0", 4, 0, 1, 0),
    "load of the program counter": ("d0f800f0", 4, 0, 1, 1),
    "call": ("00f002f8", 3, 0, 1, 0),
    "compare with zero and branch": ("10b1", 1, 2, 1, 0),
    "pop of two double registers": ("bdec048b", 5, 0, 2, 4),
    "push of three single registers": ("2ded038a", 4, 0, 2, 3),
    "load of a double register": ("90ed000b", 3, 0, 1, 2),
    "a float used at once": ("20ee810a71ee801a", 3, 0, 4, 0),
    "a float not used at once": ("20ee810a71ee821a", 2, 0, 2, 0),
    "float products into one sum": ("00ee810a01ee820a", 7, 0, 4, 0),
    "to the FPU and back": ("00ee100a10ee901a", 2, 0, 2, 0),
    "extend, then extend and add that": ("2ffa83f321fa83f0", 2, 0, 3, 0),
    "pack, then shift and pack that": ("c3ea0403c1ea0340", 2, 0, 3, 0),
    "long dual products into one sum": ("c2fbc301c4fbc501", 2, 0, 2, 0),
    "saturate and store": ("20f3c70081f80000", 2, 0, 3, 1),
    "prefetch": ("90f800f0", 1, 0, 1, 0),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_costs_of_small_blocks(name: str) -> None:
    code, m4, taken, m7, words = BLOCKS[name]
    block = decode(bytes.fromhex(code))
    assert sum(2 if one.narrow else 4 for one in block) == len(code) // 2
    assert len(block) == thumb_instructions_in(bytes.fromhex(code))
    slow, fast = MODELS["cortex-m4"](block), MODELS["cortex-m7"](block)
    assert (slow.cycles, slow.taken_cycles, fast.cycles) == (m4, taken, m7)
    assert slow.memory_words == fast.memory_words == words


SMALL_CORES = {  # code, cycles of the M0+ and M3, and on top when taken
    "load": ("0868", (2, 0), (2, 0)),
    "two loads": ("08681a68", (4, 0), (3, 0)),
    "store": ("0860", (2, 0), (1, 0)),
    "push of three": ("30b5", (4, 0), (4, 0)),
    "pop of three into pc": ("30bd", (6, 0), (6, 0)),
    "count down and branch": ("0138fed1", (2, 1), (2, 2)),
    "call": ("00f002f8", (3, 0), (3, 0)),
    "return": ("7047", (2, 0), (3, 0)),
    "product": ("4843", (1, 0), (1, 0)),
    "product and sum": ("01fb0230", (1, 0), (2, 0)),  # not on the M0+
    "long product": ("a2fb0301", (1, 0), (4, 0)),
    "long product and sum": ("c2fb0301", (1, 0), (5, 0)),
}


@pytest.mark.parametrize("name", SMALL_CORES)
def test_costs_on_the_small_cores(name: str) -> None:
    code, m0plus, m3 = SMALL_CORES[name]
    costs = [MODELS[core](decode(bytes.fromhex(code))) for core in ("cortex-m0plus", "cortex-m3")]
    assert [(cost.cycles, cost.taken_cycles) for cost in costs] == [m0plus, m3]


@pytest.mark.parametrize("code", ["0868ffffffff0868", "ffffffff", "086800f1"])
def test_code_that_cannot_be_read_is_an_error_and_not_free(code: str) -> None:
    with pytest.raises(DeviceError, match=r"does not know the instruction [0-9a-f]{4}"):
        decode(bytes.fromhex(code))


def test_cores_without_a_model_have_no_estimate() -> None:
    assert block_cost("rv32imc") is None
    cost = block_cost("cortex-m3")
    assert cost is not None and cost(bytes.fromhex("a2fb0301")).cycles == 4  # UMULL takes 3 to 5 there
