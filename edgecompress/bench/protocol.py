"""What the harness and the Python side say to each other: the files in `firmware_export/harness/harness_main.c`, and exit codes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from edgecompress.bench.elf import ElfImage
from edgecompress.bench.subject import Subject
from edgecompress.errors import DeviceError

Frame = tuple[int, bytes]  # which model of the firmware, its input

EXIT_REASONS = {
    2: "it could not open input.bin",
    3: "it could not open an output file",
    4: "a frame names a model that the firmware does not hold",
    5: "input.bin ends inside a frame",
    6: "it could not write a file; is the disk full?",
    7: "the model's run function returned an error",
    8: "the core took a fault",
    9: "the model calls EC_LAYER_DONE more or less often than its manifest lists layers; lower it again",
}


@dataclass(frozen=True)
class FrameCount:
    """Executed guest instructions of one call of a model's run function."""

    total: int
    overhead: int  # in run itself before the first kernel
    layers: tuple[int, ...]  # from a kernel's entry to the next one's
    cycles: tuple[int, ...] = ()  # estimated: overhead first, then the layers; empty where there is no model of the core's pipeline
    memory_words: tuple[int, ...] = ()  # registers loaded and stored, in the same order
    flash_waits: tuple[int, ...] = ()  # cycles, in the same order; empty where the target's flash timing is not known
    blocks: tuple[tuple[bytes, int], ...] = ()  # (code, times executed) of every basic block, most executed instructions first


@dataclass(frozen=True)
class Execution:
    """What came back from one run of a firmware."""

    outputs: tuple[bytes, ...]  # one a frame
    ticks: tuple[int, ...]  # of the board's timer, one a frame
    stack_bytes: int  # deepest of all frames
    counts: tuple[FrameCount, ...]  # of the first frames, as many as were asked for; empty where the transport cannot count


def encode_input(frames: Sequence[Frame]) -> bytes:
    """Contents of input.bin."""
    return b"".join(struct.pack("<I", index) + data for index, data in frames)


def decode_execution(subjects: Sequence[Subject], frames: Sequence[Frame], files: dict[str, bytes], counts: Sequence[FrameCount] = ()) -> Execution:
    """Splits the files a finished firmware wrote. Raises DeviceError when their lengths do not fit the frames."""
    lengths = [subjects[index].output_bytes for index, _ in frames]
    expected = {"output.bin": sum(lengths), "ticks.bin": 4 * len(frames), "stack.bin": 4}
    for name, size in expected.items():
        if len(files.get(name, b"")) != size:
            raise DeviceError(f"the firmware wrote {len(files.get(name, b''))} bytes to {name}, expected {size}")
    outputs, start = [], 0
    for length in lengths:
        outputs.append(files["output.bin"][start : start + length])
        start += length
    ticks = struct.unpack(f"<{len(frames)}I", files["ticks.bin"])
    return Execution(tuple(outputs), ticks, struct.unpack("<I", files["stack.bin"])[0], tuple(counts))


def failed_exit(code: int, image: ElfImage, files: dict[str, bytes]) -> DeviceError:
    """The error for an exit code other than 0, with where a fault happened."""
    details = []
    report = files.get("fault.bin", b"")
    if len(report) == 16:
        counter, link, status, address = struct.unpack("<4I", report)
        where = f"in {image.symbol_at(counter & ~1)} (link register: {image.symbol_at(link & ~1)})" if counter else "and the stack overflowed"
        details.append(f"fault {where}; CFSR 0x{status:08x}, address 0x{address:08x}")
    return DeviceError(f"the firmware ended with code {code}: {EXIT_REASONS.get(code, 'unknown reason')}", *details)
