"""Firmware that reports over a serial line: qemu's MPS2 board with its UART on a pseudo-terminal stands for a board on a desk."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import struct
import threading
import tty
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from graph_cases import small_network
from tools import require_tool

from edgecompress.bench import bench
from edgecompress.bench.board import machine_of, time_layers
from edgecompress.bench.elf import ElfImage
from edgecompress.bench.firmware import SerialImage, build_firmware
from edgecompress.bench.subject import load_subject
from edgecompress.bench.sweep import choose
from edgecompress.bench.toolchain import select_compiler
from edgecompress.bench.transport.serial import MAGIC, Report, example_board, flat_image, parse_serial
from edgecompress.cli.main import main
from edgecompress.errors import ConfigError, DeviceError, ExitCode
from edgecompress.hw.profile import load_profile
from edgecompress.hw.target import load_target
from edgecompress.lower import lower

TARGET = """base = "cortex-m4"
description = "qemu's MPS2 board with a Cortex-M4"
source = "qemu: info mtree"

[memory]
flash = "4MiB"
ram = "4MiB"
"""


@dataclass(frozen=True)
class Wire:
    """Two pseudo-terminals, connected: `port` is ours to open, `far` the board's."""

    folder: Path
    port: str
    far: str

    def command(self, boot: str = "") -> str:
        """A flash command: ends the qemu of before and starts one with the new firmware; `boot` is shell code that runs first."""
        script = self.folder / "flash.sh"
        script.write_text(f'#!/bin/sh\n[ -f {self.folder}/pid ] && kill $(cat {self.folder}/pid)\n{boot}\ncp "$1" {self.folder}/now.elf\n'
                          f"qemu-system-arm -M mps2-an386 -icount shift=0,sleep=off -display none -monitor none -serial {self.far} "
                          f"-kernel {self.folder}/now.elf </dev/null >/dev/null 2>&1 &\necho $! > {self.folder}/pid\n")
        return f"sh {script} {{elf}}"


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    require_tool("qemu", shutil.which("qemu-system-arm") is not None)
    require_tool("serial", importlib.util.find_spec("serial") is not None)
    ours, port = os.openpty()
    theirs, far = os.openpty()
    for end in (ours, port, theirs, far):
        tty.setraw(end)

    def pump() -> None:
        while True:
            try:
                data = os.read(theirs, 4096)
                while data:
                    data = data[os.write(ours, data):]
            except OSError:
                return

    threading.Thread(target=pump, daemon=True).start()
    yield Wire(tmp_path, os.ttyname(port), os.ttyname(far))
    if (tmp_path / "pid").exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    for end in (far, theirs, port, ours):
        os.close(end)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serial")
    (folder / "mps2.toml").write_text(TARGET)
    lower(small_network(), load_target(str(folder / "mps2.toml"))).write(folder / "artifact")
    return folder / "artifact"


def target_file(artifact: Path) -> str:
    return str(artifact.parent / "mps2.toml")


def test_an_artifact_is_benched_over_a_serial_line(wire: Wire, artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = load_target(target_file(artifact))
    seen = bench(artifact, on=f"serial:{wire.port}", samples=3, target=target, flash_command=wire.command(), board=example_board(), timeout_s=20.0)
    emulated = bench(artifact, samples=3, target=load_target("cortex-m4"))
    assert seen.matches_reference is True and (seen.where, seen.samples) == ("serial", 3)
    assert (seen.flash_bytes, seen.ram_bytes, seen.stack_bytes) == (emulated.flash_bytes, emulated.ram_bytes, emulated.stack_bytes)
    assert emulated.instructions is not None and seen.latency_s == pytest.approx(emulated.instructions * 1e-9, rel=0.02, abs=1e-7)  # one ns each
    arguments = ["bench", str(artifact), "--target", target_file(artifact), "--on", f"serial:{wire.port}?baud=9600", "--samples", "1",
                 "--flash-command", wire.command(), "--board", str(example_board())]
    assert main(arguments) == ExitCode.DONE and "serial (board on" in capsys.readouterr().out


def test_layers_are_timed_over_a_serial_line(wire: Wire, artifact: Path) -> None:
    """Against instructions: with -icount one takes a nanosecond, a tick of the board's timer is 40 of them."""
    target = load_target(target_file(artifact))
    board = parse_serial(f"serial:{wire.port}", wire.command(), example_board())
    _, stack, costs, outside, unit = time_layers(lower(small_network(), target), target, None, board, 20.0)
    exact = bench(artifact, samples=1, target=load_target("cortex-m4"))
    assert unit == "seconds" and stack == exact.stack_bytes and 0 < outside < 1e-6
    for cost, layer in zip(costs, exact.layers, strict=True):
        assert cost == pytest.approx(layer.instructions * 1e-9, rel=0.05, abs=80e-9), layer.node


def test_a_profile_is_made_over_a_serial_line(wire: Wire, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two graphs of the sweep: each is a firmware of its own."""
    monkeypatch.setattr("edgecompress.bench.profiling.choose", lambda target, seed, layers: choose(target, seed, layers)[:2])
    path = tmp_path / "board.json"
    assert main(["profile", "--target", target_file(artifact), "--on", f"serial:{wire.port}", "--flash-command", wire.command(), "--board",
                 str(example_board()), "--layers", "50", "--output", str(path)]) == ExitCode.DONE
    profile = load_profile(str(path))
    assert (profile.source, profile.unit, profile.target) == ("measured", "seconds", "mps2")  # the example has a timer of its own
    assert len(profile.layer_rows) >= 14 and len(profile.firmware_rows) == 2
    assert all(row.code_bytes > 100 and row.stack_bytes > 50 for row in profile.firmware_rows)
    assert all(0 < row.cost < 1.0 for row in profile.layer_rows)


def test_what_a_boot_loader_prints_is_passed_over(wire: Wire, artifact: Path) -> None:
    boot = b"U-Boot ECF ready\r\n" + frame(0, struct.pack("<4I", 1, 0, 0xFFFF, 0)) + frame(255, b"\7\0\0\0") + b"ECF\2\5\0\0\0 no CRC here"
    (wire.folder / "boot.bin").write_bytes(boot)
    command = wire.command(f"cat {wire.folder}/boot.bin > {wire.far}")
    seen = bench(artifact, on=f"serial:{wire.port}", samples=1, target=load_target(target_file(artifact)), flash_command=command,
                 board=example_board(), timeout_s=20.0)
    assert seen.matches_reference is True


def frame(file: int, content: bytes) -> bytes:
    """As harness_serial.c writes it."""
    body = struct.pack("<BI", file, len(content)) + content
    return MAGIC + body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize(("words", "part"), [
    ("", "sent nothing within 1 s"), ("hello", "sent 5 bytes, but not the start of this firmware"),
])
def test_silence_is_one_sentence(words: str, part: str, wire: Wire, artifact: Path) -> None:
    with pytest.raises(DeviceError, match=part):
        bench(artifact, on=f"serial:{wire.port}", samples=1, target=load_target(target_file(artifact)), 
              flash_command=f"sh -c 'printf %s \"{words}\" > {wire.far}' {{elf}}", board=example_board(), timeout_s=1.0)


def test_a_damaged_line_is_one_sentence(wire: Wire, artifact: Path) -> None:
    """One byte of the first output is another one than the firmware sent."""
    source = example_board().read_text().replace("UART[0] = byte;", "static uint32_t sent; UART[0] = ++sent == 55u ? (uint8_t)~byte : byte;")
    (wire.folder / "bad.c").write_text(source)
    with pytest.raises(DeviceError, match="is damaged; is 115200 baud the board's rate"):
        bench(artifact, on=f"serial:{wire.port}", samples=3, target=load_target(target_file(artifact)), flash_command=wire.command(),
              board=wire.folder / "bad.c", timeout_s=5.0)


def test_a_board_that_stops_in_the_middle_is_one_sentence(wire: Wire, artifact: Path) -> None:
    source = example_board().read_text().replace("UART[0] = byte;", "static uint32_t sent; while (++sent > 70u) { } UART[0] = byte;")
    (wire.folder / "stops.c").write_text(source)
    with pytest.raises(DeviceError, match="stopped in the middle: nothing for 2 s"):
        bench(artifact, on=f"serial:{wire.port}", samples=3, target=load_target(target_file(artifact)), flash_command=wire.command(),
              board=wire.folder / "stops.c", timeout_s=2.0)


@pytest.mark.parametrize(("url", "command", "board", "part"), [
    ("serial:", "x {elf}", True, "is not a serial port"), ("serial:/dev/x?speed=9", "x {elf}", True, "is not a serial port"),
    ("serial:/dev/x", None, True, "needs --flash-command"), ("serial:/dev/x", "openocd", True, "needs --flash-command with {elf}"),
    ("serial:/dev/x", "x {elf}", False, "needs --board FILE.c"),
])
def test_what_is_missing_is_told_before_anything_is_built(url: str, command: str | None, board: bool, part: str, artifact: Path) -> None:
    with pytest.raises(ConfigError, match=part):
        bench(artifact, on=url, flash_command=command, board=example_board() if board else None)


def test_failing_commands_and_ports_are_one_sentence(artifact: Path, wire: Wire) -> None:
    target = load_target(target_file(artifact))
    for command, error, part in (("sh -c 'echo no probe; exit 3' {elf}", DeviceError, "ended with code 3"), ("/no/such {elf}", ConfigError, "cannot be run")):
        with pytest.raises(error, match=part):
            bench(artifact, on=f"serial:{wire.port}", samples=1, target=target, flash_command=command, board=example_board())
    with pytest.raises(DeviceError, match="serial port '/dev/no-such-port' cannot be opened"):
        bench(artifact, on="serial:/dev/no-such-port", samples=1, target=target, flash_command="true {elf}", board=example_board())
    with pytest.raises(ConfigError, match="cannot be run over a serial port yet"):
        bench(artifact, on=f"serial:{wire.port}", samples=1, target=load_target("rv32imc"), flash_command="true {elf}", board=example_board())


@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m4", "cortex-m33"])
def test_a_board_without_a_timer_of_its_own_is_built_with_the_cores(name: str, tmp_path: Path) -> None:
    """SysTick where there is no cycle counter. That the counter counts is for a real board to show: qemu has none."""
    (tmp_path / "board.c").write_text("#include <stdint.h>\nvoid bench_board_start(void);\nvoid bench_board_put(uint8_t byte);\n"
                                      "void bench_board_start(void) { }\n"
                                      "void bench_board_put(uint8_t byte) { *(volatile uint32_t *)0x40011004u = byte; }\n")
    target = load_target(name)
    lower(small_network(), target).write(tmp_path / "a")
    subject = load_subject(tmp_path / "a")
    firmware = build_firmware([subject], machine_of(target), select_compiler(target), True, SerialImage(tmp_path / "board.c", 77, b"abc"))
    (timer,) = (struct.unpack_from("<5I", content, firmware.image.symbols["bench_timer"] - address) for address, content in firmware.image.segments
                if address <= firmware.image.symbols["bench_timer"] < address + len(content))
    assert timer == ((0xE000E010, 0xE000E014, 0xE000E018, 5, 0xFFFFFF) if name == "cortex-m0plus" else
                     (0xE0001000, 0xE0001004, 0xE0001004, 1, 0xFFFFFFFF))


def test_ticks_of_timers_that_count_up_and_down() -> None:
    """The harness takes the later value from the earlier one, as for a timer that counts down."""
    down, up = Report(25_000_000, 0xFFFFFF, False, {}), Report(0, 0xFFFFFFFF, True, {})
    assert down.elapsed(struct.pack("<2I", 300, 5)) == [300, 5]
    assert up.elapsed(struct.pack("<2I", (1000 - 1300) & 0xFFFFFFFF, (0xFFFFFFFF - 4) & 0xFFFFFFFF)) == [300, 5]


def test_the_plain_image_has_every_segment_at_its_place() -> None:
    image = ElfImage((), {}, ((0x0800_0010, b"cd"), (0x0800_0000, b"ab")), {}, {})
    assert flat_image(image) == b"ab" + bytes(14) + b"cd"
    assert parse_serial("serial:COM3?baud=921600", "x {bin}", example_board()).baud == 921600
