"""Target files: all load, and what they say fits the compilers and emulators."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tools import require_tool
from unicorn import arm_const, riscv_const

from edgecompress import resources
from edgecompress.bench import bench
from edgecompress.bench.machines import MACHINES
from edgecompress.bench.sweep import random_layers
from edgecompress.bench.toolchain import select_compiler
from edgecompress.cli.main import main
from edgecompress.errors import ConfigError, ExitCode
from edgecompress.hw.estimate import applies, estimate
from edgecompress.hw.profile import load_profile
from edgecompress.hw.target import Target, load_target, target_names
from edgecompress.lower import lower, plan
from edgecompress.units import format_bytes

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m33", "cortex-m4", "cortex-m7", "host", "rv32imc")
PACKAGED = sorted(path.stem for path in resources.data_dir("targets").glob("*.toml"))
CHIPS = [name for name in PACKAGED if load_target(name).bases]
MICROCONTROLLERS = ("stm32f103", "stm32f411", "stm32f446", "stm32f746", "stm32f767", "stm32h743", "stm32h7a3", "stm32l4r5", "stm32l476",
                    "stm32u575", "stm32u585", "stm32wb55", "stm32g474", "stm32l552", "nrf52840", "nrf5340", "nrf54l15", "rp2040", "rp2350",
                    "imxrt1062", "imxrt1176", "lpc55s69", "samd51", "samd21", "efr32mg24", "apollo3", "apollo4p", "ra6m5", "ra4m1", "ra8d1",
                    "alif-e7", "max78000", "psoc62", "gd32vf103", "ch32v307", "esp32c3", "esp32c6", "k64f")
DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "targets.md"


def test_the_cores_and_chips_are_there() -> None:
    assert set(CORES) | set(MICROCONTROLLERS) <= set(PACKAGED) and set(MICROCONTROLLERS) <= set(CHIPS)


@pytest.mark.parametrize("name", PACKAGED)
def test_figures_make_sense(name: str) -> None:
    target = load_target(name)
    assert target.lowering == "c" and target.source and target.description
    assert target.ram_bytes > 0 and target.flash_bytes > 0
    assert target.defaults.ram_bytes <= target.ram_bytes and target.defaults.flash_bytes <= target.flash_bytes
    assert target.seconds(target.clock_hz) == pytest.approx(target.cycles_per_instruction)


@pytest.mark.parametrize("name", CHIPS)
def test_chips_say_where_their_figures_come_from(name: str) -> None:
    target = load_target(name)
    base = load_target(target.bases[-1])
    assert target.core == base.core and target.emulator == base.emulator and target.compiler == base.compiler
    assert set(base.extensions) <= set(target.extensions)
    assert target.source != base.source and target.description != base.description and target.verified
    assert {region.kind for region in target.regions} & {"flash", "external"} and "ram" in {region.kind for region in target.regions}
    largest = max(region.size for region in target.regions if region.kind == "ram")
    assert target.ram_bytes >= largest * 5 // 8  # the largest block with its neighbours, or what a vendor's system leaves of it
    assert len((resources.data_dir("targets") / f"{name}.toml").read_text().splitlines()) <= 24


def row(target: Target) -> str:
    """The target's line of docs/targets.md."""
    regions = ", ".join(f"{region.name} {format_bytes(region.size)}" for region in target.regions)
    cells = (f"`{target.name}`", target.core, f"{target.clock_hz / 1e6:g} MHz", ", ".join(target.extensions) or "none",
             format_bytes(target.flash_bytes), format_bytes(target.ram_bytes), regions, target.verified or "general knowledge only")
    return f"| {' | '.join(cells)} |"


def test_the_document_lists_what_the_files_say() -> None:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `") and line.split("`")[1] in CHIPS]
    assert lines == [row(load_target(name)) for name in CHIPS]


@pytest.mark.parametrize("name", [name for name in CORES if name.startswith("cortex")])
def test_emulators_know_the_core(name: str) -> None:
    target = load_target(name)
    assert hasattr(arm_const, f"UC_CPU_ARM_{target.emulator.unicorn}")
    machine = MACHINES[target.emulator.qemu_machine]
    assert (machine.flash_origin, machine.ram_origin) == (target.flash_origin, target.ram_origin)
    assert target.core.removeprefix("cortex-") in "".join(target.compiler.gcc)
    assert target.core.replace("-", "_") in "".join(target.compiler.zig)


def test_the_emulator_knows_the_riscv_core() -> None:
    assert hasattr(riscv_const, f"UC_CPU_RISCV32_{load_target('rv32imc').emulator.unicorn}")


def _changed(tmp_path: Path, old: str, new: str) -> str:
    text = (resources.data_dir("targets") / "cortex-m4.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new))
    return str(path)


@pytest.mark.parametrize(("old", "new", "message"), [
    ("channel_multiple", "chanel_multiple", "Did you mean 'channel_multiple'"),
    ("[memory]", "[memry]", "memry"),
    ('flash = "2MiB"', "", "lacks the key 'flash'"),
    ('clock = "120MHz"', 'clock = "fast"', "frequency"),
    ("channel_multiple = 4", 'channel_multiple = "x"', "whole number"),
    ("[memory]", "[memory", "cannot be read"),
    ('ram = "640KiB"', 'ram = "0.3B"', "whole number"),
    ('clock = "120MHz"', "clock = 120", "clock"),
    ('flash = "2MiB"', 'flash = "-2MiB"', "size"),
    ('clock = "120MHz"', 'clock = "0MHz"', "clock"),
    ('ram = "640KiB"', "ram = 0", "ram"),
    ('zig = ["-target"', 'zig = [3, "-target"', "zig"),
    ('gcc = ["-mcpu=cortex-m4", ', 'gcc = "-mcpu=cortex-m4"\nother = [', "other"),
    ("cycles_per_instruction = 1.0", "cycles_per_instruction = 0", "cycles_per_instruction"),
    ('family = "cortex-m"', 'family = "cortex-n"', "Did you mean 'cortex-m'"),
    ("flash_origin = 0x00000000", "flash_origin = -4", "flash_origin"),
    ('core = "cortex-m4"', "core = 4", "core"),
])
def test_wrong_files_are_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_target(_changed(tmp_path, old, new))


def test_an_own_target_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(_changed(tmp_path, "120MHz", "80MHz"))
    assert load_target(str(path)).clock_hz == 80e6
    (tmp_path / "targets").mkdir()
    path.rename(tmp_path / "targets" / "my-board.toml")
    monkeypatch.chdir(tmp_path)
    assert load_target("my-board").name == "my-board" and "my-board" in target_names()
    with pytest.raises(ConfigError, match="Did you mean 'cortex-m4'"):
        load_target("cortex-4")
    with pytest.raises(ConfigError, match="no target file"):
        load_target("nowhere/x.toml")


@pytest.mark.parametrize(("name", "dsp", "fpu"), [("cortex-m0plus", False, False), ("cortex-m3", False, False), ("cortex-m4", True, True),
                                                  ("cortex-m7", True, True), ("cortex-m33", True, True)])
@pytest.mark.parametrize("choice", ["zig", "gcc"])
def test_both_compilers_see_the_same_core(name: str, dsp: bool, fpu: bool, choice: str) -> None:
    if choice == "gcc":
        require_tool("arm-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    compiler = select_compiler(load_target(name), choice)
    command = [*compiler.command, *compiler.machine, *compiler.compiling, "-dM", "-E", "-x", "c", "-"]
    macros = subprocess.run(command, input="", capture_output=True, text=True, check=True).stdout
    assert ("__ARM_FEATURE_DSP 1" in macros) is dsp
    assert ("#define __ARM_FP " in macros) is fpu


BOARD = """base = "stm32f411"
description = "my board"
clock = "50MHz"
source = "my measurement"
"""


def _board(folder: Path, text: str = BOARD, name: str = "board") -> str:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return str(path)


def test_a_board_takes_from_its_bases_what_it_leaves_out(tmp_path: Path) -> None:
    board, chip, core = load_target(_board(tmp_path)), load_target("stm32f411"), load_target("cortex-m4")
    assert board.bases == ("stm32f411", "cortex-m4") and chip.bases == ("cortex-m4",) and core.bases == ()
    assert (board.clock_hz, board.source, board.description, board.verified) == (50e6, "my measurement", "my board", "")
    assert (board.ram_bytes, board.regions) == (chip.ram_bytes, chip.regions) and board.compiler == core.compiler
    smaller = load_target(_board(tmp_path, BOARD + '[memory]\nram = "16KiB"\n'))
    assert smaller.ram_bytes == 16 * 1024 and smaller.flash_bytes == chip.flash_bytes and smaller.regions == ()
    assert smaller.defaults.ram_bytes == 16 * 1024  # not the base's 64 KiB, which it has not got


def test_a_base_is_found_beside_the_file_and_before_the_packaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _board(tmp_path, BOARD.replace("50MHz", "40MHz"), "mine")
    assert load_target(_board(tmp_path, BOARD.replace('base = "stm32f411"', 'base = "mine.toml"').replace('clock = "50MHz"\n', ""))).clock_hz == 40e6
    (tmp_path / "targets").mkdir()
    text = (resources.data_dir("targets") / "cortex-m4.toml").read_text()
    (tmp_path / "targets" / "cortex-m4.toml").write_text(text.replace("channel_multiple = 4", "channel_multiple = 8"))
    monkeypatch.chdir(tmp_path)
    assert load_target("stm32f411").channel_multiple == 8


@pytest.mark.parametrize(("text", "message"), [
    (BOARD.replace("stm32f411", "stm32f41"), r"board\.toml.*unknown base target 'stm32f41'. Did you mean 'stm32f411'"),
    (BOARD.replace("stm32f411", "nowhere/x.toml"), "no base target file"),
    (BOARD.replace('"stm32f411"', "3"), "'base' must be the name of a target"),
    (BOARD.replace("stm32f411", "board.toml"), r"circle \(board -> board\)"),
    (BOARD.replace('source = "my measurement"\n', ""), "lacks the key 'source'"),
    (BOARD + '[memory]\nrma = "16KiB"\n', "Did you mean 'ram'"),
    (BOARD + "[base]\n", "cannot be read"),
    (BOARD + "[clock]\nx = 1\n", "cannot be read"),
    (BOARD + '[memory]\nregions = ["x"]\n', "must be tables"),
    (BOARD + '[[memory.regions]]\nname = "A"\nkind = "rom"\nsize = "1KiB"\n', "unknown kind of memory region 'rom'"),
    (BOARD + '[[memory.regions]]\nname = "A"\nkind = "ram"\n', "lacks the key 'size'"),
    (BOARD + '[[memory.regions]]\nname = "A"\nkind = "ram"\nsize = "1KiB"\nnot = ""\n', "Did you mean 'note'"),
    (BOARD + '[[memory.regions]]\nname = "A"\nkind = "ram"\nsize = "1KiB"\n', "its regions have 0 B together"),
    (BOARD + '[memory]\nram = "2KiB"\nflash = "1KiB"\n' + '[[memory.regions]]\nname = "A"\nkind = "external"\nsize = "1KiB"\n' * 2, "same name"),
])
def test_wrong_boards_are_refused_in_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_target(_board(tmp_path, text))
    assert "board.toml" in caught.value.message and "\n" not in caught.value.message


def test_bases_in_a_circle_are_refused(tmp_path: Path) -> None:
    _board(tmp_path, BOARD.replace("stm32f411", "b.toml"), "a")
    _board(tmp_path, BOARD.replace("stm32f411", "a.toml"), "b")
    with pytest.raises(ConfigError, match=r"circle \(a -> b -> a\)"):
        load_target(str(tmp_path / "a.toml"))


def test_a_profile_of_the_base_holds_at_the_boards_clock_until_it_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board, core, profile = load_target(_board(tmp_path)), load_target("cortex-m4"), load_profile("cortex-m4-emulated")
    assert board.profile == "cortex-m4-emulated" and board.own_profile == "board" and core.own_profile == "cortex-m4-emulated"
    assert applies(profile, board) and not applies(profile, load_target("stm32f746"))
    assert not applies(dataclasses.replace(profile, target="board"), core)
    chain = next(graph for graph in (random_layers(1, index) for index in range(50))
                 if {layer.kernel for layer in plan(graph, core).layers} <= profile.coefficients.keys())
    lowered = plan(chain, core)
    assert estimate(lowered, profile, board).latency_s == pytest.approx(estimate(lowered, profile, core).latency_s * core.clock_hz / board.clock_hz)
    measured = dataclasses.replace(profile, unit="seconds", clock_hz=100e6)
    assert estimate(lowered, measured, board).latency_s == pytest.approx(2 * estimate(lowered, measured, core).latency_s)
    (tmp_path / "hw_profiles").mkdir()
    dataclasses.replace(profile, target="board").save(tmp_path / "hw_profiles" / "board.json")
    monkeypatch.chdir(tmp_path)
    assert load_target(str(tmp_path / "board.toml")).profile == "board"
    assert load_target(_board(tmp_path, BOARD + 'profile = "cortex-m4-emulated"\n')).profile == "cortex-m4-emulated"


def test_a_chip_is_benched_like_its_core(tmp_path: Path) -> None:
    chip, core = load_target("samd51"), load_target("cortex-m4")
    lower(random_layers(5, 4), chip).write(tmp_path / "a")
    seen, reference = bench(tmp_path / "a"), bench(tmp_path / "a", target=core)
    assert seen.target == "samd51" and seen.matches_reference is True and seen.instructions == reference.instructions
    assert seen.latency_s == pytest.approx(reference.latency_s * core.clock_hz / chip.clock_hz)


def test_flash_timing_belongs_to_a_clock(tmp_path: Path) -> None:
    (tmp_path / "same.toml").write_text('base = "stm32l4r5"\ndescription = "x"\nsource = "x"\n[memory]\nram = "64KiB"\n')
    (tmp_path / "slow.toml").write_text('base = "stm32l4r5"\ndescription = "x"\nsource = "x"\nclock = "24MHz"\n')
    assert load_target(str(tmp_path / "same.toml")).flash_timing == load_target("stm32l4r5").flash_timing
    assert load_target(str(tmp_path / "slow.toml")).flash_timing is None


def test_the_verb_shows_one_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets", "stm32h743"]) == ExitCode.DONE
    shown = capsys.readouterr().out
    for part in ("480 MHz", "AXI SRAM", "DTCM", "DS12110", "stm32h743.dtsi", "fpu64"):
        assert part in shown
    assert main(["targets", "stm32h743", "--format", "json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["regions"][1] == {"name": "AXI SRAM", "kind": "ram", "bytes": 512 * 1024, "note": "D1 domain"}
    assert main(["targets", "stm32h74"]) == ExitCode.USAGE


def test_a_search_for_a_chip_uses_its_cores_profile() -> None:
    from edgecompress.run.config import SearchConfig
    from edgecompress.run.problem import _profile

    assert _profile(SearchConfig(target="stm32f411"), load_target("stm32f411")).name == "cortex-m4-emulated"
    with pytest.raises(ConfigError, match="was made for cortex-m7, not for stm32f411"):
        _profile(SearchConfig(target="stm32f411", profile="cortex-m7-emulated"), load_target("stm32f411"))
