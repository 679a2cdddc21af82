"""Runs a firmware on a real board: the user's own command programs it, and what it has to say comes over a serial line.

The inputs are part of the firmware (a board may have no way to be asked), so each set of inputs is a firmware of its own. Its first frame holds the
number that it was built with: what an earlier firmware still sends is not taken for this one's."""

from __future__ import annotations

import re
import shlex
import struct
import subprocess
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecompress import resources
from edgecompress.bench.elf import ElfImage
from edgecompress.bench.firmware import Firmware
from edgecompress.bench.protocol import EXIT_REASONS, Execution, Frame, decode_execution, failed_exit
from edgecompress.errors import ConfigError, DeviceError, ToolMissingError

SCHEME = "serial:"
DEFAULT_BAUD = 115200
FLASH_TIMEOUT_S = 180.0
MAX_FRAME_BYTES, MAX_BYTES = 1 << 24, 1 << 26  # of one frame, and of all that a board sends
MAGIC, HEAD, TAIL = b"ECF", 8, 4
START, EXIT = 0, 255
FILES = {2: "output.bin", 3: "ticks.bin", 4: "stack.bin", 5: "layers.bin", 6: "fault.bin"}
_URL = re.compile(r"serial:(?P<port>[^?\s-][^?\s]*)(?:\?baud=(?P<baud>\d{3,8}))?\Z")


@dataclass(frozen=True)
class Board:
    """How a board is programmed and which C file starts it and sends bytes (bench_board_start, bench_board_put)."""

    port: str
    baud: int
    flash_command: str  # {elf} and {bin} stand for the firmware's file
    source: Path


@dataclass(frozen=True)
class Report:
    """What a firmware sent: its timer's ticks a second (0: cycles of the core), mask and direction, and its files."""

    hertz: int
    mask: int
    up: bool
    files: dict[str, bytes]

    def elapsed(self, values: bytes) -> list[int]:
        """Ticks of words that the harness wrote, which takes timers to count down."""
        return [(-value if self.up else value) & self.mask for (value,) in struct.iter_unpack("<I", values[: len(values) // 4 * 4])]


def parse_serial(url: str, flash_command: str | None, source: Path | None) -> Board:
    """serial:PORT[?baud=N]. Raises ConfigError for a wrong one, or without a command that programs the board."""
    match = _URL.match(url)
    if match is None:
        raise ConfigError(f"'{url}' is not a serial port; write serial:/dev/ttyACM0 or serial:/dev/ttyACM0?baud=115200")
    if not flash_command or not ("{elf}" in flash_command or "{bin}" in flash_command):
        raise ConfigError("a board on a serial port needs --flash-command with {elf} or {bin} in it, such as 'openocd -f board/st_nucleo_f4.cfg -c "
                          "\"program {elf} verify reset exit\"'")
    if source is None:
        raise ConfigError("a board on a serial port needs --board FILE.c with its bench_board_start and bench_board_put; "
                          "firmware_export/harness/board_mps2.c is an example")
    if not source.is_file():
        raise ConfigError(f"--board '{source}' is not a file")
    return Board(match["port"], int(match["baud"] or DEFAULT_BAUD), flash_command, source)


def example_board() -> Path:
    """The board file for Arm's MPS2 boards and qemu's."""
    return resources.data_dir("firmware_export") / "harness" / "board_mps2.c"


def run(firmware: Firmware, board: Board, number: int, frames: Sequence[Frame], timeout_s: float) -> tuple[Execution, Report]:
    """Programs the board with a firmware of that number and reads its report; the execution's ticks count up. `timeout_s` is the longest silence.

    Raises ToolMissingError without pyserial; DeviceError for a port that cannot be opened, a failing command, silence, damaged frames or a wrong exit.
    """
    line = _open(board)
    try:
        _flash(firmware, board)
        report = _Reader(line, board, firmware.image, number, timeout_s).read()
    finally:
        line.close()
    ticks = struct.pack(f"<{len(report.files.get('ticks.bin', b'')) // 4}I", *report.elapsed(report.files.get("ticks.bin", b"")))
    return decode_execution(firmware.subjects, frames, {**report.files, "ticks.bin": ticks}), report


def _open(board: Board) -> Any:
    try:
        import serial
    except ImportError:
        raise ToolMissingError("the package pyserial is not installed", "try: pip install 'edgecompress[serial]'") from None
    try:
        return serial.Serial(board.port, board.baud, timeout=0.2)
    except (OSError, ValueError) as error:  # serial.SerialException is an OSError
        raise DeviceError(f"the serial port '{board.port}' cannot be opened: {error}") from None


def _flash(firmware: Firmware, board: Board) -> None:
    with tempfile.TemporaryDirectory(prefix="edgecompress-flash-") as name:
        paths = {"elf": Path(name) / "bench.elf", "bin": Path(name) / "bench.bin"}
        paths["elf"].write_bytes(firmware.elf)
        paths["bin"].write_bytes(flat_image(firmware.image))
        try:
            words = shlex.split(board.flash_command)
            command = [word.replace("{elf}", str(paths["elf"])).replace("{bin}", str(paths["bin"])) for word in words]
            with tempfile.TemporaryFile() as log:  # not a pipe: a command may leave something running that holds its ends
                done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, timeout=FLASH_TIMEOUT_S, check=False)
                log.seek(0)
                said = log.read().decode(errors="replace")
        except subprocess.TimeoutExpired:
            raise DeviceError(f"the flash command did not end within {FLASH_TIMEOUT_S:g} s") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"the flash command cannot be run: {error}") from None
        if done.returncode != 0:
            raise DeviceError(f"the flash command ended with code {done.returncode}", *said.strip().splitlines()[-6:])


def flat_image(image: ElfImage) -> bytes:
    """The load segments as they lie in flash, from the lowest address on."""
    first = min(address for address, _ in image.segments)
    flat = bytearray()
    for address, content in sorted(image.segments):
        flat += bytes(max(0, address - first - len(flat)))
        flat[address - first : address - first + len(content)] = content
    return bytes(flat)


class _Reader:
    """Takes frames out of what the line brings."""

    def __init__(self, line: Any, board: Board, image: ElfImage, number: int, timeout_s: float) -> None:
        self.line, self.board, self.image, self.number, self.timeout_s = line, board, image, number, timeout_s
        self.buffer = bytearray()
        self.facts: tuple[int, int, int] | None = None  # hertz, mask, up of the started firmware
        self.files: dict[str, bytes] = {}

    def read(self) -> Report:
        """All frames up to the exit."""
        heard, last = 0, time.monotonic()
        while True:
            found = self._next()
            if found is not None:
                code = self._take(*found)
                if code is None:
                    continue
                if code != 0:
                    raise self._ended(code)
                assert self.facts is not None  # frames before the start are not taken
                return Report(self.facts[0], self.facts[1], bool(self.facts[2]), self.files)
            more = self._receive()
            heard += len(more)
            last = time.monotonic() if more else last
            self.buffer += more
            if time.monotonic() - last > self.timeout_s or heard > MAX_BYTES:
                raise self._silence(heard)

    def _receive(self) -> bytes:
        try:
            return bytes(self.line.read(max(1, min(self.line.in_waiting, 65536))))
        except OSError as error:
            raise DeviceError(f"the serial port '{self.board.port}' went away: {error}") from None

    def _next(self) -> tuple[int, bytes] | None:
        """The next whole frame. Before the firmware's start, what looks like a damaged one is anything else."""
        while True:
            start = self.buffer.find(MAGIC)
            if start < 0:
                del self.buffer[: max(0, len(self.buffer) - len(MAGIC) + 1)]
                return None
            del self.buffer[:start]
            if len(self.buffer) < HEAD:
                return None
            file, length = struct.unpack_from("<BI", self.buffer, len(MAGIC))
            if length <= MAX_FRAME_BYTES and len(self.buffer) < HEAD + length + TAIL:
                return None
            if length <= MAX_FRAME_BYTES:
                (told,) = struct.unpack_from("<I", self.buffer, HEAD + length)
                if zlib.crc32(self.buffer[len(MAGIC) : HEAD + length]) == told:
                    content = bytes(self.buffer[HEAD : HEAD + length])
                    del self.buffer[: HEAD + length + TAIL]
                    return file, content
            if self.facts is not None:
                raise DeviceError(f"a frame from '{self.board.port}' is damaged; is {self.board.baud} baud the board's rate, is the cable good?")
            del self.buffer[:1]

    def _take(self, file: int, content: bytes) -> int | None:
        """Keeps a frame; the exit code if it is the last one."""
        if file == START and len(content) == 16:
            number, hertz, mask, up = struct.unpack("<4I", content)
            if number == self.number:
                self.facts, self.files = (hertz, mask, up), {}
        elif self.facts is None:
            return None  # of an earlier firmware
        elif file == EXIT and len(content) == 4:
            return int(struct.unpack("<I", content)[0])
        elif file in FILES:
            self.files[FILES[file]] = self.files.get(FILES[file], b"") + content
        return None

    def _ended(self, code: int) -> DeviceError:
        if code in EXIT_REASONS:
            return failed_exit(code, self.image, self.files)
        return DeviceError(f"the firmware on '{self.board.port}' ended with code {code}")

    def _silence(self, heard: int) -> DeviceError:
        place = f"'{self.board.port}'"
        if heard > MAX_BYTES:
            return DeviceError(f"{place} sent more than {MAX_BYTES} bytes and no end")
        if self.facts is not None:
            return DeviceError(f"the board on {place} stopped in the middle: nothing for {self.timeout_s:g} s",
                               "a hang, or a model that takes longer: try a longer time-out")
        if heard:
            return DeviceError(f"the board on {place} sent {heard} bytes, but not the start of this firmware; is {self.board.baud} baud its rate, was "
                               "it programmed and reset?")
        return DeviceError(f"the board on {place} sent nothing within {self.timeout_s:g} s; is it the right port, was the board reset?")
