"""Compilers: finds them, and turns C files into objects and linked programs, with every warning an error."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from edgecompress.bench.cache import cache_directory, fetch, object_key, store
from edgecompress.errors import ConfigError, DeviceError, ToolMissingError
from edgecompress.hw.target import Target

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror")
FREESTANDING = ("-ffreestanding", "-ffunction-sections", "-fdata-sections", "-fomit-frame-pointer",
                "-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-g0")
HARNESS_FLAGS = ("-Os", "-fno-builtin")
# without -O2 zig links its own runtime unoptimised, with -Os it strips the symbols that the emulator looks for
ZIG_LINKING = ("-O2",)
GCC_LINKING = ("-nostartfiles", "-nostdlib", "-Wl,--start-group", "-lc_nano", "-lgcc", "-Wl,--end-group")
CROSS_GCC = "aarch64-linux-gnu-gcc"
COMPILE_TIMEOUT_S = 900

INSTALL = {
    "zig": "pip install ziglang",
    "gcc": "apt install gcc-arm-none-eabi libnewlib-arm-none-eabi, or Arm's GNU toolchain from developer.arm.com on the PATH",
    "host": "apt install gcc, or pip install ziglang",
    "cross": "apt install gcc-aarch64-linux-gnu, or pip install ziglang",
}


@dataclass(frozen=True)
class Toolchain:
    """A compiler with the flags of one target."""

    name: str  # zig, gcc or host
    command: tuple[str, ...]
    version: str
    machine: tuple[str, ...]  # for compiling and linking
    compiling: tuple[str, ...]
    linking: tuple[str, ...] = ()

    def compile(self, sources: Sequence[Path], include_folders: Sequence[Path], folder: Path, extra_flags: Sequence[str] = ()) -> list[Path]:
        """Objects `<folder>/<stem>.o`, from the cache where they are known. Raises DeviceError with the compiler's own words."""
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            return list(pool.map(lambda source: self._compile_one(source, include_folders, folder, extra_flags), sources))

    def _compile_one(self, source: Path, include_folders: Sequence[Path], folder: Path, extra_flags: Sequence[str]) -> Path:
        flags = (*WARNINGS, *self.machine, *self.compiling, *extra_flags)
        key = object_key(source, include_folders, (self.version, *flags))
        target = folder / f"{source.stem}.o"
        known = fetch(key)
        if known is None:
            includes = [f"-I{path.resolve()}" for path in include_folders]
            _run([*self.command, *flags, *includes, "-c", str(source.resolve()), "-o", str(target.resolve())], f"compiling '{source.name}'", folder)
            if not target.is_file():
                raise ConfigError(f"'{self.command[0]}' says that it compiled '{source.name}', but there is no object; it is not a C compiler")
            store(key, target.read_bytes())
        else:
            target.write_bytes(known)
        return target

    def link(self, objects: Sequence[Path], output: Path, extra_flags: Sequence[str] = ()) -> None:
        """Links `objects` into `output`. Raises DeviceError with the linker's own words."""
        files = [str(path.resolve()) for path in objects]
        command = [*self.command, *self.machine, *extra_flags, *files, *self.linking, "-o", str(output.resolve())]
        _run(command, f"linking '{output.name}'", output.parent)


def select_compiler(target: Target, choice: str | None = None) -> Toolchain:
    """The compiler for `target`: `zig` (the default), `gcc`, or the path of a gcc. Raises ToolMissingError with the install command."""
    common = (*target.compiler.common, *FREESTANDING)
    if target.family in ("host", "linux"):
        return program_compiler(target, choice, target.family == "linux")
    if choice in (None, "zig"):
        zig = _find_zig()
        if zig is None:
            raise ToolMissingError("the compiler zig is not installed", f"try: {INSTALL['zig']}", "or: --cc gcc with arm-none-eabi-gcc on the PATH")
        return Toolchain("zig", (zig, "cc"), _zig_version(zig), target.compiler.zig, common, ZIG_LINKING)
    if target.family != "cortex-m":
        raise ConfigError(f"target '{target.name}' ({target.family}) is built with zig; --cc {choice} is for Cortex-M only")
    command = _find_gcc("arm-none-eabi-gcc" if choice == "gcc" else str(choice), "gcc")
    machine = _output([command, "-dumpmachine"])
    if not machine.startswith("arm"):
        raise ConfigError(f"'{command}' compiles for {machine or 'an unknown machine'}, not for Arm; give an arm-none-eabi-gcc to --cc")
    if not Path(_output([command, "-print-file-name=libc_nano.a"])).is_absolute():
        raise ToolMissingError(f"'{command}' comes without newlib", f"try: {INSTALL['gcc']}")
    return Toolchain("gcc", (command,), _gcc_version(command), target.compiler.gcc, common, GCC_LINKING)


def host_compiler(common: Sequence[str] = ("-O2",), choice: str | None = None) -> Toolchain:
    """This machine's compiler: gcc or cc when present, else zig; or the one named. Raises ToolMissingError."""
    if choice not in (None, "zig"):
        command = _find_gcc(str(choice), "host")
        return Toolchain("host", (command,), _gcc_version(command), (), tuple(common))
    native = None if choice == "zig" else shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if native:
        return Toolchain("host", (native,), _gcc_version(native), (), tuple(common))
    zig = _find_zig()
    if zig is None:
        raise ToolMissingError("there is no C compiler for this machine", f"try: {INSTALL['host']}")
    return Toolchain("host", (zig, "cc"), _zig_version(zig), (), tuple(common))


def program_compiler(target: Target, choice: str | None, elsewhere: bool) -> Toolchain:
    """The compiler for a program of an operating system: of this machine, or where it runs `elsewhere` of the target's, linked statically.
    Raises ToolMissingError, ConfigError for a compiler that makes no programs for the target."""
    common = target.compiler.common if target.family in ("host", "linux") else ("-O2",)
    if not elsewhere:
        return host_compiler(common, choice)
    if target.family == "host":
        native = host_compiler(common, choice)
        return replace(native, machine=target.compiler.zig if native.command[-1] == "cc" else (), linking=("-static", "-s"))
    if choice == "zig" or (choice is None and shutil.which(CROSS_GCC) is None):  # zig compiles its C library first: minutes, once
        zig = _find_zig()
        if zig is None:
            raise ToolMissingError("there is no C compiler for 64-bit Arm with Linux", f"try: {INSTALL['cross']}")
        return Toolchain("zig", (zig, "cc"), _zig_version(zig), target.compiler.zig, tuple(common), ("-static", "-s"))
    command = _find_gcc(CROSS_GCC if choice in (None, "gcc") else str(choice), "cross")
    machine = _output([command, "-dumpmachine"])
    if not machine.startswith("aarch64") or "linux" not in machine:
        raise ConfigError(f"'{command}' compiles for {machine or 'an unknown machine'}, not for 64-bit Arm with Linux; give an {CROSS_GCC} to --cc")
    return Toolchain("gcc", (command,), _gcc_version(command), target.compiler.gcc, tuple(common), ("-static", "-s"))


@cache
def _find_zig() -> str | None:
    spec = importlib.util.find_spec("ziglang")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for name in ("zig", "zig.exe"):
            if (Path(folder) / name).is_file():
                return str(Path(folder) / name)  # the wheel's own program: `python -m ziglang` would start Python for every file
    return shutil.which("zig")


def _find_gcc(choice: str, kind: str) -> str:
    found = shutil.which(choice)
    if found is None:
        raise ToolMissingError(f"the compiler '{choice}' was not found", f"try: {INSTALL[kind]}")
    return found


@cache
def _zig_version(zig: str) -> str:
    clang = re.search(r"clang version \S+", _output([zig, "cc", "--version"]))
    return f"zig {_output([zig, 'version'])}" + (f" ({clang.group(0)})" if clang else "")


@cache
def _gcc_version(command: str) -> str:
    lines = _output([command, "--version"]).splitlines()
    if not lines:
        raise ConfigError(f"'{command}' did not answer --version; it is not a C compiler")
    return lines[0]


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    if "ZIG_GLOBAL_CACHE_DIR" not in environment:
        environment["ZIG_GLOBAL_CACHE_DIR"] = str(cache_directory() / "zig")
    environment.setdefault("ZIG_LOCAL_CACHE_DIR", environment["ZIG_GLOBAL_CACHE_DIR"])
    return environment


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=_environment(), check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"'{command[0]}' cannot be run: {error}") from None


def _run(command: Sequence[str], what: str, folder: Path) -> None:
    try:
        with tempfile.TemporaryFile() as log:
            status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, timeout=COMPILE_TIMEOUT_S, env=_environment(),
                                    check=False)
            log.seek(0)
            text = log.read().decode(errors="replace").strip()
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{what} with {command[0]} did not end within {COMPILE_TIMEOUT_S} s") from None
    except OSError as error:
        raise ConfigError(f"'{command[0]}' cannot be run: {error}") from None
    if status.returncode != 0:
        raise BuildError(f"{what} with {Path(command[0]).name} failed", *text.splitlines()[:12])


class BuildError(DeviceError):
    """The compiler or linker refused the code; its first lines are the details."""
