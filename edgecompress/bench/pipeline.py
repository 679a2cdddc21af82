"""Cycle estimates of basic blocks from documented pipeline costs. An estimate: buses, caches and flash waits of a chip come on top.

Cortex-M0+, M3, M4: one instruction at a time, costs from the "processor instructions" tables of Arm's Technical Reference Manuals
(DDI 0484C section 3.3, 100165_0201 section 3.3, 100166_0001 sections 3.3 and 7.2) and what their sections on load and store timings say of
neighbours. A pipeline refill P is given there as 1 to 3 cycles; 2 is taken.
Cortex-M7: Arm publishes no table. The model issues up to two instructions a cycle in order: two loads or a load and a store, one multiply
(SMLAD among them), one shift or SIMD operation and one branch a cycle, two plain additions or moves. A loaded word can be used two cycles
later, a loaded byte or halfword three, a post-incremented address two, a product two (one as the accumulator of the next one), a saturated
number or bit field two; an operand that is shifted first is needed a cycle early. A float takes three (a product with a sum six, three as the
accumulator of the next one) and issues alone or beside an integer product. A branch costs its slot only, as if it were always predicted. These
rules are what LLVM's scheduling model of the core answers to single pairs of instructions. `benchmarks/cycle_model.py` compares both models
with llvm-mca block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from edgecompress.errors import DeviceError, ToolMissingError

REFILL = 2
LOADS, STORES, MULTIPLIES, DIVIDES, BRANCHES, FLOATS, PLAIN = "load", "store", "multiply", "divide", "branch", "float", "plain"
SIMD = ("sxt", "uxt", "pkh", "sadd", "ssub", "uadd", "usub", "shadd", "ssat", "usat", "qadd", "qsub", "rev", "sel", "bfi", "bfx", "sbfx", "ubfx",
        "lsl", "lsr", "asr", "ror", "rrx", "clz")


@dataclass(frozen=True)
class Instruction:
    """What a pipeline model must know of one instruction."""

    mnemonic: str  # without condition and width suffix
    kind: str
    words: int  # memory accesses: registers moved by loads and stores
    reads: frozenset[str]
    writes: frozenset[str]
    address: frozenset[str]  # registers that a load's or store's address is made of
    indexed: bool  # two of them
    accumulator: str  # register a multiply adds to, else empty
    narrow: bool  # 16 bits long
    leaves: bool  # always leaves the block: unconditional branch, call, return
    shifts: bool  # needs the shifter or the SIMD unit
    early: str  # register that is shifted or extended before the operation itself, else empty


@dataclass(frozen=True)
class BlockCost:
    """One execution of a block."""

    cycles: int  # falling through
    taken_cycles: int  # on top when its branch is taken
    memory_words: int


@cache
def _disassembler() -> Any:
    try:
        import capstone
    except ImportError:
        raise ToolMissingError("the disassembler capstone is not installed, which cycle estimates need", "try: pip install capstone") from None
    machine = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    machine.detail = True
    return machine


def decode(code: bytes, address: int = 0) -> tuple[Instruction, ...]:
    """Thumb instructions of a block. Raises ToolMissingError without capstone, DeviceError for code that capstone cannot read."""
    decoded = list(_disassembler().disasm(code, address))
    known = sum(raw.size for raw in decoded)
    if known != len(code):  # capstone ends at the first word it does not know, and what follows would cost nothing
        raise DeviceError(f"the disassembler does not know the instruction {code[known:known + 4].hex(' ', 2)}, so cycles cannot be estimated",
                          "try: pip install --upgrade capstone")
    return tuple(map(_instruction, decoded))


def _instruction(raw: Any) -> Instruction:
    name = raw.mnemonic.split(".")[0]
    if raw.cc not in (0, 15) and name.endswith(_CONDITIONS):  # capstone appends the condition; 15 is "always"
        name = name[:-2]
    read, written = (frozenset(raw.reg_name(number) for number in numbers) for numbers in raw.regs_access())
    kind = _kind(name)
    operands = [raw.reg_name(operand.reg) for operand in raw.operands if operand.type == 1]
    if kind in (PLAIN, MULTIPLIES) and not name.startswith(LONG_PRODUCTS):  # capstone 5 forgets last operands (SSAT, PKHBT, SXTAB16)
        read |= frozenset(operands[1:])
    memory = [operand.mem for operand in raw.operands if operand.type == MEMORY_OPERAND]
    parts = [number for place in memory for number in (place.base, place.index) if number]
    address = frozenset(map(raw.reg_name, parts)) if memory else frozenset(operands[:1] if name.startswith(BLOCKS) else ())
    accumulator = operands[-1] if kind == MULTIPLIES and len(operands) == 4 and not name.startswith(LONG_PRODUCTS) else ""
    accumulator = operands[0] if name in FLOAT_SUMS else accumulator
    shifts = any(operand.type == 1 and operand.shift.type for operand in raw.operands) and not name.startswith(PLAIN_SHIFTS)
    early = operands[-1] if len(operands) > 2 and (shifts or name.startswith(EXTEND_AND_ADD)) else ""
    return Instruction(name, kind, _words(name, kind, operands), read, written - {"cpsr"}, address, len(parts) == 2, accumulator, raw.size == 2,
                       _leaves(raw, name, written), name.startswith(SIMD) or shifts, early)


PLAIN_SHIFTS, EXTEND_AND_ADD = ("lsl", "lsr", "asr", "ror", "rrx"), ("sxta", "uxta")
MEMORY_OPERAND = 3  # capstone's ARM_OP_MEM
LONG_PRODUCTS = ("smull", "umull", "smlal", "umlal", "umaal", "smlsld")
BLOCKS = ("ldm", "stm", "vldm", "vstm")  # they begin with the register that holds the address
_CONDITIONS = ("eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al")


def _kind(name: str) -> str:
    if name.startswith(("ldr", "ldm", "pop", "vldr", "vldm", "vpop", "ldrex")):
        return LOADS
    if name.startswith(("str", "stm", "push", "vstr", "vstm", "vpush")):
        return STORES
    if name in ("sdiv", "udiv"):
        return DIVIDES
    if name in ("b", "bl", "bx", "blx", "cbz", "cbnz", "tbb", "tbh"):
        return BRANCHES
    if name.startswith(("mul", "mla", "mls", "sml", "smm", "smu", "umull", "umlal", "umaal", "smull")):
        return MULTIPLIES
    return FLOATS if name.startswith("v") else PLAIN


def _words(name: str, kind: str, operands: Sequence[str]) -> int:
    if kind not in (LOADS, STORES):
        return 0
    if name.startswith(("ldrd", "strd")):
        return 2
    listed = 0 if name.startswith(("push", "pop", "vpush", "vpop")) else 1 if name.startswith(BLOCKS) else None
    moved = operands[:1] if listed is None else operands[listed:]
    return sum(2 if name.startswith("v") and register.startswith("d") else 1 for register in moved)


def _leaves(raw: Any, name: str, written: frozenset[str]) -> bool:
    return name in ("bl", "bx", "blx", "tbb", "tbh") or (name == "b" and raw.cc in (0, 15)) or ("pc" in written and _kind(name) != BRANCHES)


FLOAT_CYCLES = {"vdiv": 14, "vsqrt": 14, "vmla": 3, "vmls": 3, "vfma": 3, "vfms": 3, "vnmla": 3, "vnmls": 3}  # M4 manual, table 7-1
FLOAT_ARITHMETIC = (*FLOAT_CYCLES, "vadd", "vsub", "vmul", "vnmul", "vcvt")


def in_order_cost(block: Sequence[Instruction], divide: int = 7, accumulate: int = 1, multiply_long: int = 1) -> BlockCost:
    """Cortex-M3 and M4. `divide` is 2 to 12 by the operands, the middle is taken; `accumulate`: a product with a sum; `multiply_long`: 64 bits."""
    cycles, before = 0, None
    for instruction in block:
        if instruction.kind in (LOADS, STORES):
            cycles += _access_cycles(instruction, before)
        elif instruction.kind == DIVIDES:
            cycles += divide
        elif instruction.kind == MULTIPLIES:
            cycles += multiply_long if instruction.mnemonic.startswith(LONG_PRODUCTS) else 1
            cycles += accumulate - 1 if instruction.accumulator or instruction.mnemonic.startswith(("smlal", "umlal", "umaal")) else 0
        else:
            folded = instruction.mnemonic.startswith("it") and before is not None and before.narrow  # into the 16-bit instruction before it
            cycles += 0 if folded else {"tbb": 2, "tbh": 2, **FLOAT_CYCLES}.get(instruction.mnemonic, 1)
        cycles += _waits(instruction, before) + (REFILL if instruction.leaves else 0)
        before = instruction
    return BlockCost(cycles, REFILL if _is_conditional(block[-1]) else 0, sum(instruction.words for instruction in block))


def _is_conditional(last: Instruction) -> bool:
    return last.kind == BRANCHES and not last.leaves


def _access_cycles(instruction: Instruction, before: Instruction | None) -> int:
    """Several registers take a cycle each and one more. A load takes two, one behind another load whose result is not in its address unless it
    moves its own address; a store takes one, two with an index and no load before it."""
    if instruction.words > 1:
        return 1 + instruction.words
    piped = before is not None and before.kind == LOADS and before.words == 1 and not before.writes & instruction.address
    if instruction.kind == LOADS:
        return 1 if piped and not instruction.address & instruction.writes else 2
    return 2 if instruction.indexed and not piped else 1


def _waits(instruction: Instruction, before: Instruction | None) -> int:
    """One cycle for an address that the instruction before computed, or for a float that it computed."""
    if before is None or before.kind in (LOADS, STORES):
        return 0
    late_float = before.mnemonic in FLOAT_ARITHMETIC and before.writes & instruction.reads
    return int(bool(late_float or before.writes & instruction.address))


def m0plus_cost(block: Sequence[Instruction]) -> BlockCost:
    """Cortex-M0+ with the fast multiplier: loads and stores take two cycles, nothing overlaps; a refill takes one, behind BL and into PC two."""
    cycles = 0
    for instruction in block:
        cycles += 1 if instruction.kind not in (LOADS, STORES) else 2 if instruction.words == 1 else 1 + instruction.words
        cycles += (2 if instruction.mnemonic in ("bl", "pop") else 1) if instruction.leaves else 0
    return BlockCost(cycles, int(_is_conditional(block[-1])), sum(instruction.words for instruction in block))


LOAD_LATENCY, NARROW_LOAD_LATENCY, WRITE_BACK_LATENCY, MULTIPLY_LATENCY, SATURATED_LATENCY, FLOAT_LATENCY = 2, 3, 2, 2, 2, 3
SATURATED = ("ssat", "usat", "qadd", "qsub", "ubfx", "sbfx")
FLOAT_SUMS = ("vmla", "vmls", "vfma", "vfms", "vnmla", "vnmls")
M7_FLOAT_LATENCY = {"vdiv": 13, "vsqrt": 13, **dict.fromkeys(FLOAT_SUMS, 6)}


def dual_issue_cost(block: Sequence[Instruction]) -> BlockCost:
    """The Cortex-M7 model of the module's head."""
    ready: dict[str, int] = {}
    accumulator_ready: dict[str, int] = {}
    cycle = 0
    issued: list[Instruction] = []
    for instruction in block:
        needed = max(((accumulator_ready if name == instruction.accumulator else ready).get(name, 0) + (name == instruction.early)
                      for name in instruction.reads), default=0)
        while cycle < needed or not _may_join(issued, instruction):
            cycle, issued = cycle + 1, []
        issued.append(instruction)
        latency = _latency(instruction)
        for name in instruction.writes:
            ready[name] = cycle + (WRITE_BACK_LATENCY if instruction.kind in (LOADS, STORES) and name in instruction.reads else latency)
            sums = 1 if instruction.kind == MULTIPLIES else FLOAT_LATENCY if instruction.mnemonic in FLOAT_SUMS else latency
            accumulator_ready[name] = cycle + sums
        if instruction.words > 2:  # LDM and STM move two words a cycle
            cycle, issued = cycle + (instruction.words + 1) // 2 - 1, []
    return BlockCost(cycle + 1, 0, sum(instruction.words for instruction in block))


def _latency(instruction: Instruction) -> int:
    if instruction.kind == LOADS:
        return NARROW_LOAD_LATENCY if instruction.mnemonic.startswith(("ldrb", "ldrsb", "ldrh", "ldrsh")) else LOAD_LATENCY
    if instruction.kind == MULTIPLIES:
        return MULTIPLY_LATENCY
    if instruction.kind == DIVIDES:
        return 7
    if instruction.kind == FLOATS:
        return M7_FLOAT_LATENCY.get(instruction.mnemonic, FLOAT_LATENCY)
    return SATURATED_LATENCY if instruction.mnemonic in SATURATED else 1


def _may_join(issued: Sequence[Instruction], instruction: Instruction) -> bool:
    """Whether the instruction can issue beside the one that did in this cycle."""
    if not issued:
        return True
    if len(issued) == 2:
        return False
    first = issued[0]
    units = {_unit(first), _unit(instruction)}
    if FLOATS in units:
        return units == {FLOATS, MULTIPLIES}
    return len(units) == 2 or units == {PLAIN} or (units == {"memory"} and {first.kind, instruction.kind} != {STORES} and
                                                   first.words == instruction.words == 1)


def _unit(instruction: Instruction) -> str:
    if instruction.kind in (LOADS, STORES):
        return "memory"
    if instruction.kind == PLAIN and instruction.shifts:
        return "shift"
    return MULTIPLIES if instruction.kind == DIVIDES else instruction.kind


def _m3(block: Sequence[Instruction]) -> BlockCost:
    return in_order_cost(block, accumulate=2, multiply_long=4)  # 3 to 5 by the operands


MODELS: dict[str, Callable[[Sequence[Instruction]], BlockCost]] = {
    "cortex-m0plus": m0plus_cost,
    "cortex-m3": _m3,
    "cortex-m4": in_order_cost,
    "cortex-m7": dual_issue_cost,
}


def block_cost(core: str) -> Callable[[bytes], BlockCost] | None:
    """Cost of a block's code on a core, or None where there is no model of it."""
    model = MODELS.get(core)
    return None if model is None else lambda code: model(decode(code))
