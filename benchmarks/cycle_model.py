"""How far are our cycle estimates from another model of the same cores? Compares bench/pipeline.py with llvm-mca, block by block.

    python benchmarks/cycle_model.py [ARTIFACT ...] [--core cortex-m4]

For every artifact (default: the small network of the tests, lowered for both cores) one inference runs in the emulator; each basic block
is then costed by both models and weighted by how often it ran. llvm-mca (Debian package llvm) simulates a block as an endless loop without
pipeline refills, so ours are left out too; both exclude flash waits and caches. Of the M4 its model knows no cost of an address that was just
computed and no cycle that several registers at once take beyond one each, which Arm's manual does. This is a comparison of models, not a
measurement of a chip.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from edgecompress.bench.firmware import build_firmware
from edgecompress.bench.machines import machine_for
from edgecompress.bench.pipeline import MODELS, REFILL, decode
from edgecompress.bench.subject import load_subject, load_vectors
from edgecompress.bench.toolchain import select_compiler
from edgecompress.bench.transport import unicorn
from edgecompress.hw.target import load_target

ITERATIONS = 100
BLOCKS = 60  # the hottest ones; what follows is under a hundredth of the time


CONDITION = r"(eq|ne|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)"


def assembly(code: bytes) -> list[str]:
    """LLVM assembly of a block. Branches and calls go to the next line, IT blocks become their instructions without conditions, and several
    registers at once become single loads or stores: llvm-mca takes a call for a hundred cycles and any LDM for one."""
    import capstone

    machine = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    machine.detail = True  # conditions
    lines = []
    for instruction in machine.disasm(code, 0):
        mnemonic, operands = instruction.mnemonic, instruction.op_str
        if instruction.cc not in (0, 15) and not mnemonic.startswith("b"):
            mnemonic = re.sub(CONDITION + r"(\.w)?$", r"\2", mnemonic)
        if re.match(r"(bl|blx|bx)(\.|$)", mnemonic):
            lines.append("b 0f")
        elif re.match(r"(b|cbz|cbnz)(\.|$|" + CONDITION + ")", mnemonic):
            lines.append(f"{mnemonic} {re.sub(r'#0x[0-9a-f]+|#[0-9]+$', '0f', operands)}")
        elif mnemonic.startswith("it"):
            lines.append("nop")
        else:
            lines += _single_accesses(mnemonic, operands) or [f"{mnemonic} {operands}"]
    return lines


def _single_accesses(mnemonic: str, operands: str) -> list[str]:
    """LDM, STM, PUSH, POP, LDRD and STRD register by register; empty for any other."""
    found = re.match(r"(ldm|stm|push|pop|ldrd|strd)", mnemonic)
    if not found:
        return []
    kind = found.group(1)
    access = "ldr" if kind in ("ldm", "pop", "ldrd") else "str"
    if kind in ("ldrd", "strd"):
        first, second, place = operands.split(", ", 2)
        base = re.sub(r"\].*", "]", place).split(",")[0].rstrip("]") + "]"
        return [f"{access} {first}, {base}", f"{access} {second}, {place}"]
    listed = re.findall(r"\w+", operands[operands.index("{"):])
    base = "sp" if kind in ("push", "pop") else operands[:operands.index(",")].rstrip("!")
    listed = [register for register in listed if register not in (base, "pc")] + [register for register in listed if register in (base, "pc")]
    moved = ", #4" if "!" in operands or base == "sp" else ""
    return [f"{access} {register}, [{base}]" for register in listed[:-1]] + [f"{access} {listed[-1]}, [{base}]{moved}"]


def mca_cycles(code: bytes, core: str) -> float | None:
    """Cycles an iteration, or None where llvm-mca cannot read the block."""
    lines = assembly(code)
    text = ".syntax unified\n.thumb\n" + "\n".join(lines) + "\n0:\n"
    done = subprocess.run(["llvm-mca", "-mtriple=thumbv7em-none-eabihf", f"-mcpu={core}", f"-iterations={ITERATIONS}"], input=text,
                          capture_output=True, text=True, check=False)
    found = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    return int(found.group(1)) / ITERATIONS if found else None


def compare(folder: Path, core: str) -> None:
    """Prints one line for the artifact."""
    subject = load_subject(folder)
    target = load_target(core)
    firmware = build_firmware([subject], machine_for(target, "unicorn"), select_compiler(target))
    frames = [(0, frame) for frame in subject.encode(load_vectors(subject, 1).inputs)]
    count = unicorn.run(firmware, target.emulator.unicorn, frames, 1, core=core).counts[0]
    ours = theirs = instructions = skipped = 0.0
    for code, times in count.blocks[:BLOCKS]:
        block = decode(code)
        other = mca_cycles(code, core)
        if other is None:
            skipped += times * len(block)
            continue
        cost = MODELS[core](block)
        ours += times * (cost.cycles - (REFILL if block[-1].leaves and core != "cortex-m7" else 0))  # llvm-mca knows no refills
        theirs += times * other
        instructions += times * len(block)
    covered = instructions / count.total
    print(f"{subject.name:24} {core:10} {count.total:>12} instructions  {100 * covered:5.1f} % compared  ours {ours / instructions:.3f}  "
          f"llvm-mca {theirs / instructions:.3f} cycles an instruction  ratio {ours / theirs:.3f}  (unreadable: {100 * skipped / count.total:.1f} %)")


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="*", type=Path)
    parser.add_argument("--core", action="append", choices=["cortex-m4", "cortex-m7"])
    arguments = parser.parse_args()
    if shutil.which("llvm-mca") is None:
        raise SystemExit("llvm-mca is not installed: apt install llvm")
    version = subprocess.run(["llvm-mca", "--version"], capture_output=True, text=True, check=True).stdout
    print(next(line.strip() for line in version.splitlines() if "LLVM version" in line))
    with tempfile.TemporaryDirectory() as temporary:
        for core in arguments.core or ["cortex-m4", "cortex-m7"]:
            folders = arguments.artifacts
            if not folders:
                from graph_cases import small_network

                from edgecompress.lower import lower

                folders = [Path(temporary) / core]
                lower(small_network(), load_target(core)).write(folders[0])
            for folder in folders:
                compare(folder, core)


if __name__ == "__main__":
    main()
