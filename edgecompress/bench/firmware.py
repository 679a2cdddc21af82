"""Builds one bare-metal program from artifact folders and the bench harness, and takes its sizes apart."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecompress import resources
from edgecompress.bench.elf import ElfImage, parse_elf
from edgecompress.bench.machines import Machine
from edgecompress.bench.model_table import model_table
from edgecompress.bench.subject import Subject
from edgecompress.bench.toolchain import HARNESS_FLAGS, BuildError, Toolchain
from edgecompress.errors import DeviceError, ModelError
from edgecompress.units import format_bytes

HARNESS_SOURCES = {"cortex-m": ("startup.c", "harness_main.c", "harness_call.c", "harness_fault.c", "harness_semihosting.c"),
                   "riscv": ("riscv_startup.c", "harness_main.c", "harness_riscv_call.c", "harness_semihosting.c")}
LAYER_SOURCES = ("harness_layers.c",)  # only for cortex-m: there is a qemu board of it
SEMIHOSTING = "harness_semihosting.c"
COUNT_LAYERS = ("-DBENCH_COUNT_LAYERS",)
LAYER_SYMBOL = "bench_layer_done"  # linked only where a model calls it
LAYER_HOOK = (f"-DEC_LAYER_DONE={LAYER_SYMBOL}",)
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


@dataclass(frozen=True)
class SerialImage:
    """What a firmware holds that talks over a serial line: the board's C file, a number to know it by, and its inputs (as in input.bin)."""

    board: Path
    number: int
    inputs: bytes

    def source(self) -> str:
        """C of number and inputs."""
        rows = [", ".join(map(str, self.inputs[start:start + 32])) for start in range(0, len(self.inputs), 32)] or ["0"]
        return ("#include <stdint.h>\n\nextern const uint32_t bench_serial_number, bench_serial_input_bytes;\nextern const uint8_t bench_serial_input[];\n"
                f"const uint32_t bench_serial_number = {self.number}u, bench_serial_input_bytes = {len(self.inputs)}u;\n"
                "const uint8_t bench_serial_input[] = {\n" + ",\n".join(rows) + "};\n")


def build_firmware(subjects: Sequence[Subject], machine: Machine, toolchain: Toolchain, count_layers: bool = False,
                   serial: SerialImage | None = None) -> Firmware:
    """Compiles and links `subjects` with the harness for `machine`. `count_layers`: of the only subject, it reads the timer after each layer.
    `serial`: for a board on a serial line in place of semihosting.

    Raises BuildError when the compiler or linker refuses, DeviceError when the machine is too small."""
    harness = resources.data_dir("firmware_export") / "harness"
    model_stack, main_stack = min(MAX_MODEL_STACK, machine.ram_bytes // 8), min(MAX_MAIN_STACK, machine.ram_bytes // 16)
    with tempfile.TemporaryDirectory(prefix="edgecompress-bench-") as name:
        work = Path(name)
        table = work / "harness_models.c"
        table.write_text(model_table(subjects, machine, count_layers, serial is None))
        sources = [harness / source for source in HARNESS_SOURCES[machine.family] + (LAYER_SOURCES if count_layers else ())]
        if serial is not None:
            sources = [path for path in sources if path.name != SEMIHOSTING] + _serial_sources(serial, harness, work)
        objects = toolchain.compile([*sources, table], [harness], work,
                                    HARNESS_FLAGS + (COUNT_LAYERS if count_layers else ()))
        objects += compile_subjects(subjects, toolchain, work, model_flags=LAYER_HOOK if count_layers else ())
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


def _serial_sources(serial: SerialImage, harness: Path, work: Path) -> list[Path]:
    """Sources of what replaces semihosting; the board's file by a name that the linker script knows as the harness's."""
    inputs, board = work / "harness_input.c", work / "harness_board.c"
    inputs.write_text(serial.source())
    board.write_bytes(serial.board.read_bytes())
    return [harness / "harness_serial.c", inputs, board]


def _link(toolchain: Toolchain, objects: Sequence[Path], output: Path, machine: Machine, flags: Sequence[str]) -> None:
    try:
        toolchain.link(objects, output, flags)
    except BuildError as error:
        if any("region" in line and "overflow" in line for line in error.details):  # both linkers say it this way
            raise DeviceError(f"the firmware does not fit the emulated board, which has {format_bytes(machine.flash_bytes)} of flash and "
                              f"{format_bytes(machine.ram_bytes)} of RAM", *error.details,
                              "try: --emulator unicorn, which has 16 MiB of both") from None
        raise


def compile_subjects(subjects: Sequence[Subject], toolchain: Toolchain, work: Path, extra_flags: Sequence[str] = (),
                     model_flags: Sequence[str] = ()) -> list[Path]:
    """Objects of all models; a kernel file that several artifacts hold is compiled once. `model_flags` are for the files that call the kernels."""
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
        flags = (*extra_flags, *_default_sections(subject))
        callers = [source for source in wanted if model_flags and source.stem == subject.name]
        objects += toolchain.compile([source for source in wanted if source not in callers], [subject.folder], folder, flags)
        objects += toolchain.compile(callers, [subject.folder], folder, (*flags, *model_flags))
    return objects


def _default_sections(subject: Subject) -> tuple[str, ...]:
    """Emulated boards have one flash and one RAM: sections of the user's own board are left to the linker."""
    return tuple(f"-D{subject.name.upper()}_{kind.upper()}_SECTION=" for kind in subject.sections)


def _linker_script(template: str, machine: Machine, model_stack: int, main_stack: int) -> str:
    vectors = machine.vectors_origin
    template = template.replace("@VECTORS_REGION@", "FLASH" if vectors is None else "VECTORS")
    values: Mapping[str, int] = {"VECTORS_ORIGIN": machine.flash_origin if vectors is None else vectors, "FLASH_ORIGIN": machine.flash_origin,
                                 "FLASH_BYTES": machine.flash_bytes, "RAM_ORIGIN": machine.ram_origin, "RAM_BYTES": machine.ram_bytes,
                                 "MODEL_STACK_BYTES": model_stack, "MAIN_STACK_BYTES": main_stack}
    for key, value in values.items():
        template = template.replace(f"@{key}@", f"0x{value:x}")
    return template
