"""Builds one bare-metal program from artifact folders and the bench harness, and takes its sizes apart."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecompress import resources
from edgecompress.bench.elf import ElfImage, parse_elf
from edgecompress.bench.machines import Machine
from edgecompress.bench.subject import Subject
from edgecompress.bench.toolchain import HARNESS_FLAGS, BuildError, Toolchain
from edgecompress.errors import DeviceError, ModelError
from edgecompress.units import format_bytes

HARNESS_SOURCES = {"cortex-m": ("startup.c", "harness_main.c", "harness_call.c", "harness_fault.c", "harness_semihosting.c"),
                   "riscv": ("riscv_startup.c", "harness_main.c", "harness_riscv_call.c", "harness_semihosting.c")}
FLASH_SECTIONS = (".vectors", ".text", ".rodata", ".data")  # .data is in flash too: its initial values
RAM_SECTIONS = (".data", ".bss")
HARNESS_SECTIONS = (".harness_text", ".harness_bss", ".stack")
MAX_MODEL_STACK, MAX_MAIN_STACK = 32 * 1024, 4 * 1024


@dataclass(frozen=True)
class Firmware:
    """A linked program that holds one or more models. Bytes are those of the models with kernels, startup and compiler runtime."""

    elf: bytes
    image: ElfImage
    machine: Machine
    subjects: tuple[Subject, ...]
    compiler: str
    flash_bytes: int
    static_ram_bytes: int
    harness_flash_bytes: int
    model_stack_bytes: int  # room, not use


def build_firmware(subjects: Sequence[Subject], machine: Machine, toolchain: Toolchain) -> Firmware:
    """Compiles and links `subjects` with the harness for `machine`. Raises BuildError when the compiler or linker refuses,
    DeviceError when the machine is too small."""
    harness = resources.data_dir("firmware_export") / "harness"
    model_stack, main_stack = min(MAX_MODEL_STACK, machine.ram_bytes // 8), min(MAX_MAIN_STACK, machine.ram_bytes // 16)
    with tempfile.TemporaryDirectory(prefix="edgecompress-bench-") as name:
        work = Path(name)
        table = work / "harness_models.c"
        table.write_text(model_table(subjects, machine))
        objects = toolchain.compile([*(harness / source for source in HARNESS_SOURCES[machine.family]), table], [harness], work, HARNESS_FLAGS)
        objects += compile_subjects(subjects, toolchain, work)
        script = work / "bench.ld"
        script.write_text(_linker_script((harness / "bench.ld.in").read_text(), machine, model_stack, main_stack))
        output = work / "bench.elf"
        _link(toolchain, objects, output, machine, ("-Wl,--gc-sections", "-Wl,-e,bench_reset", f"-Wl,-T,{script}"))
        elf = output.read_bytes()
    image = parse_elf(elf)
    for section in image.sections:
        assert section.name in (*FLASH_SECTIONS, *RAM_SECTIONS, *HARNESS_SECTIONS), f"the linker placed {section.name} by itself"
    return Firmware(elf, image, machine, tuple(subjects), toolchain.version, image.size_of(*FLASH_SECTIONS), image.size_of(*RAM_SECTIONS),
                    image.size_of(".harness_text"), model_stack)


def _link(toolchain: Toolchain, objects: Sequence[Path], output: Path, machine: Machine, flags: Sequence[str]) -> None:
    try:
        toolchain.link(objects, output, flags)
    except BuildError as error:
        if any("region" in line and "overflow" in line for line in error.details):  # both linkers say it this way
            raise DeviceError(f"the firmware does not fit the emulated board, which has {format_bytes(machine.flash_bytes)} of flash and "
                              f"{format_bytes(machine.ram_bytes)} of RAM", *error.details,
                              "try: --emulator unicorn, which has 16 MiB of both") from None
        raise


def compile_subjects(subjects: Sequence[Subject], toolchain: Toolchain, work: Path, extra_flags: Sequence[str] = ()) -> list[Path]:
    """Objects of all models; a kernel file that several artifacts hold is compiled once."""
    objects: list[Path] = []
    known: dict[str, bytes] = {}
    for index, subject in enumerate(subjects):
        wanted = []
        for source in subject.sources:
            content = source.read_bytes()
            if known.setdefault(source.name, content) != content:
                raise ModelError(f"'{source}' differs from another artifact's file of that name; bench them one by one")
            if not any(path.name == f"{source.stem}.o" for path in objects):
                wanted.append(source)
        folder = work / f"model{index}"
        folder.mkdir()
        objects += toolchain.compile(wanted, [subject.folder], folder, extra_flags)
    return objects


def model_table(subjects: Sequence[Subject], machine: Machine | None) -> str:
    """C source of the table the harness runs from; `machine=None` leaves the timer out (host)."""
    lines = ["/* Generated for one firmware. */", '#include "bench_harness.h"', ""]
    entries = []
    for subject in subjects:
        code, entry = _entry(subject)
        lines += [*code, *([f"void {_reset(subject)}(void);"] if subject.state_bytes else [])]
        entries.append(entry)
    lines += ["", "const struct bench_model bench_models[] = {"]
    lines += [f"    {{{entry}, {_reset(subject)}, {subject.input_bytes}u, {subject.output_bytes}u}}," for subject, entry in zip(subjects, entries, strict=True)]
    lines += ["};", f"const uint32_t bench_model_count = {len(subjects)}u;"]
    for buffer, size in (("input", max(s.input_bytes for s in subjects)), ("output", max(s.output_bytes for s in subjects))):
        lines.append(f"int8_t bench_{buffer}[{size}] __attribute__((aligned(16)));")
    if machine is not None:
        timer = machine.timer
        registers = ", ".join(f"(volatile uint32_t *)0x{address:08x}u" for address in (timer.control, timer.reload, timer.value))
        lines.append(f"const struct bench_timer bench_timer = {{{registers}, 0x{timer.enable:x}u, 0x{timer.mask:x}u}};")
    return "\n".join(lines) + "\n"


def _reset(subject: Subject) -> str:
    """The function that starts a new stream, for a model that remembers."""
    return f"{subject.name}_reset" if subject.state_bytes else "0"


def _entry(subject: Subject) -> tuple[list[str], str]:
    """Declaration of a model's run function, and what the table calls: run itself, or an adapter when it has several inputs or outputs."""
    run = f"{subject.name}_run"
    if len(subject.inputs) == len(subject.outputs) == 1:
        return [f"int {run}(const int8_t *input, int8_t *output);"], run
    kinds = ", ".join(["const int8_t *"] * len(subject.inputs) + ["int8_t *"] * len(subject.outputs))
    arguments = []
    for base, tensors in (("input", subject.inputs), ("output", subject.outputs)):
        offset = 0
        for tensor in tensors:
            arguments.append(f"{base} + {offset}")
            offset += tensor.size
    adapter = f"bench_adapter_{subject.name}"
    return [f"int {run}({kinds});",
            f"static int {adapter}(const int8_t *input, int8_t *output) {{ return {run}({', '.join(arguments)}); }}"], adapter


def _linker_script(template: str, machine: Machine, model_stack: int, main_stack: int) -> str:
    values: Mapping[str, int] = {"FLASH_ORIGIN": machine.flash_origin, "FLASH_BYTES": machine.flash_bytes, "RAM_ORIGIN": machine.ram_origin,
                                 "RAM_BYTES": machine.ram_bytes, "MODEL_STACK_BYTES": model_stack, "MAIN_STACK_BYTES": main_stack}
    for key, value in values.items():
        template = template.replace(f"@{key}@", f"0x{value:x}")
    return template
