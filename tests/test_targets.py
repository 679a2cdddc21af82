"""Target files: all load, and what they say fits the compilers and emulators."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tools import require_tool
from unicorn import arm_const

from edgecompress import resources
from edgecompress.bench.machines import MACHINES
from edgecompress.bench.toolchain import select_compiler
from edgecompress.errors import ConfigError
from edgecompress.hw.target import load_target, target_names

C_TARGETS = ("cortex-m0plus", "cortex-m3", "cortex-m33", "cortex-m4", "cortex-m7", "host")


def test_the_c_targets_are_there() -> None:
    assert set(C_TARGETS) <= set(target_names())


@pytest.mark.parametrize("name", C_TARGETS)
def test_figures_make_sense(name: str) -> None:
    target = load_target(name)
    assert target.lowering == "c" and target.source and target.description
    assert 0 < target.ram_bytes <= target.flash_bytes
    assert target.defaults.ram_bytes <= target.ram_bytes and target.defaults.flash_bytes <= target.flash_bytes
    assert target.seconds(target.clock_hz) == pytest.approx(target.cycles_per_instruction)


@pytest.mark.parametrize("name", [name for name in C_TARGETS if name != "host"])
def test_emulators_know_the_core(name: str) -> None:
    target = load_target(name)
    assert hasattr(arm_const, f"UC_CPU_ARM_{target.emulator.unicorn}")
    machine = MACHINES[target.emulator.qemu_machine]
    assert (machine.flash_origin, machine.ram_origin) == (target.flash_origin, target.ram_origin)
    assert target.core.removeprefix("cortex-") in "".join(target.compiler.gcc)
    assert target.core.replace("-", "_") in "".join(target.compiler.zig)


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
