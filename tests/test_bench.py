"""Bench on a hand-written artifact: exact counts, sizes, proofs, and every way in which a firmware can fail."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from handwritten_artifact import KERNEL, SIZE, hand_graph, write_artifact
from op_cases import CASES
from tools import require_tool

from edgecompress.bench import Measurement, bench, run_frames, toolchain
from edgecompress.bench.subject import load_subject
from edgecompress.bench.toolchain import BuildError
from edgecompress.bench.transport import host
from edgecompress.errors import ConfigError, DataError, DeviceError, EdgecompressError, ModelError, ToolMissingError
from edgecompress.hw.target import load_target
from edgecompress.ir import reference
from edgecompress.lower import lower

TARGETS = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
BAD_WRITE = "*(volatile int *)0x60000000 = 1;"
HANG = "for (;;) { __asm__ volatile(\"nop\"); }"

# 5 instructions a loop and the return; it jumps back to its own entry, which must not look like another call
ASSEMBLY_KERNEL = """#include "hand.h"
static int8_t arena[SIZE];
int8_t *hand_arena(void) { return arena; }
__asm__(".syntax unified\\n.thumb\\n.section .text.lookup,\\"ax\\",%progbits\\n.balign 4\\n.global lookup\\n.type lookup,%function\\n.thumb_func\\n"
        "lookup:\\n"
        "    nop\\n"
        "    nop\\n"
        "    adds r3, #1\\n"
        "    subs r2, #1\\n"
        "    bne lookup\\n"
        "    bx lr\\n"
        ".size lookup, .-lookup\\n");
"""


def has(program: str) -> bool:
    return shutil.which(program) is not None


@pytest.mark.parametrize("target", TARGETS)
def test_bench_proves_and_counts_on_every_core(target: str, tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", target)
    seen = bench(tmp_path / "a")
    assert seen.matches_reference is True and seen.samples == 10 and seen.mismatches == 0
    assert (seen.target, seen.where, seen.vectors_source) == (target, "unicorn", "random bytes")
    assert seen.instructions is not None and seen.overhead_instructions is not None and seen.instruction_spread is not None
    assert seen.instructions == seen.overhead_instructions + sum(layer.instructions for layer in seen.layers)
    assert seen.instruction_spread.minimum == seen.instruction_spread.maximum == seen.instructions
    assert [layer.node for layer in seen.layers] == ["first", "second"]
    assert all(4 * SIZE < layer.instructions < 12 * SIZE for layer in seen.layers)
    assert seen.ram_bytes is not None and seen.stack_bytes is not None and seen.flash_bytes is not None
    assert seen.ram_bytes == SIZE + seen.stack_bytes and 0 < seen.stack_bytes < 100
    assert 512 < seen.flash_bytes < 1200
    assert Measurement.from_document(json.loads(json.dumps(seen.to_document()))) == seen


def test_layer_counts_are_exact(tmp_path: Path) -> None:
    """The kernel's third argument is the number of its loops."""
    write_artifact(tmp_path / "a", "cortex-m4", kernel=ASSEMBLY_KERNEL)
    calls = "lookup(table_a, input, (int8_t *)7); lookup(table_b, input, (int8_t *)64); output[0] = 0;"
    model = (tmp_path / "a" / "hand.c").read_text().split("lookup(table_a")[0]
    (tmp_path / "a" / "hand.c").write_text(model + calls + " return 0; }\n")
    seen = bench(tmp_path / "a")
    assert seen.matches_reference is False and seen.mismatches == seen.samples
    first, second = (layer.instructions for layer in seen.layers)
    assert 5 * 7 + 1 <= first <= 5 * 7 + 10  # plus what run does between its calls
    assert 5 * 64 + 1 <= second <= 5 * 64 + 10


@pytest.mark.parametrize("compiler", ["zig", "gcc"])
@pytest.mark.parametrize("target", TARGETS)
def test_qemu_agrees_with_unicorn(target: str, compiler: str, tmp_path: Path) -> None:
    require_tool("qemu", has("qemu-system-arm"))
    if compiler == "gcc":
        require_tool("arm-gcc", has("arm-none-eabi-gcc"))
    write_artifact(tmp_path / "a", target, extra="for (volatile int i = 0; i < 3000; ++i) { }")
    exact, timed = bench(tmp_path / "a", cc=compiler), bench(tmp_path / "a", emulator="qemu", cc=compiler)
    assert exact.matches_reference is True and timed.matches_reference is True
    assert (exact.flash_bytes, exact.ram_bytes, exact.stack_bytes) == (timed.flash_bytes, timed.ram_bytes, timed.stack_bytes)
    assert exact.instructions is not None and timed.instructions is not None and exact.instructions > 10_000
    assert abs(exact.instructions - timed.instructions) <= 65  # one tick is 40 to 62.5 instructions


def test_host_measures_wall_clock(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", "cortex-m4")
    seen = bench(tmp_path / "a", on="host")
    assert seen.matches_reference is True and seen.latency_basis == "wall clock"
    assert seen.instructions is None and seen.flash_bytes is None and seen.layers == ()
    assert seen.latency_spread_s is not None and seen.latency_spread_s[0] <= seen.latency_s <= seen.latency_spread_s[1]
    assert 1e-9 < seen.latency_s < 1e-3
    assert Measurement.from_document(seen.to_document()) == seen


@pytest.mark.parametrize("on", ["unicorn", "host"])
def test_several_inputs_and_layers(on: str, tmp_path: Path) -> None:
    (case,) = (case for case in CASES["concat"] if case.name == "concat-mixed")
    lower(case.graph, load_target("cortex-m33"), case.inputs, "corner cases").write(tmp_path / "a")
    seen = bench(tmp_path / "a", on=on)
    assert seen.matches_reference is True and seen.samples == 6 and seen.vectors_source == "corner cases"
    with pytest.raises(ModelError, match="3 inputs and 1 outputs"):
        run_frames(tmp_path / "a", np.zeros((1, 3, 3, 4), dtype=np.int8), on=on)


def test_a_board_that_is_too_small_is_named(tmp_path: Path) -> None:
    require_tool("qemu", has("qemu-system-arm"))
    write_artifact(tmp_path / "a", "cortex-m0plus", extra="static volatile int8_t big[20000]; big[input[0] & 15] = 1;")
    with pytest.raises(DeviceError, match=r"does not fit the emulated board, which has 256.0 KiB of flash and 16.0 KiB of RAM"):
        bench(tmp_path / "a", emulator="qemu")


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_artifact(tmp_path / "a", "cortex-m4")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/tmp/x")

    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    for on in ("unicorn", "host"):
        with pytest.raises(EdgecompressError, match=r"cannot use '/tmp/x': No space left on device"):
            bench(tmp_path / "a", on=on)


def test_sanitizers_find_what_the_output_does_not_show(tmp_path: Path) -> None:
    require_tool("gcc", has("gcc"))
    write_artifact(tmp_path / "a", "host", kernel=KERNEL.replace("return arena;", "return arena + 1;"))
    subject = load_subject(tmp_path / "a")
    frames = [(0, frame) for frame in subject.encode({"x": np.ones((2, SIZE), dtype=np.int8)})]
    with pytest.raises(DeviceError, match=r"(?s)ended with code.*AddressSanitizer"):
        host.run([subject], toolchain.host_compiler(), frames, sanitize=True)


@pytest.mark.parametrize("on", ["unicorn", "host"])
def test_run_frames_pushes_many_inputs(on: str, tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", "cortex-m33")
    inputs = np.random.default_rng(3).integers(-128, 128, (500, SIZE)).astype(np.int8)
    assert np.array_equal(run_frames(tmp_path / "a", inputs, on=on), reference.run(hand_graph(), inputs))
    assert run_frames(tmp_path / "a", inputs[:0], on=on).shape == (0, SIZE)
    with pytest.raises(DataError, match="int8"):
        run_frames(tmp_path / "a", inputs.astype(np.float32), on=on)
    with pytest.raises(DataError, match=r"\[n, 40\]"):
        run_frames(tmp_path / "a", inputs[:, :3], on=on)


def test_wrong_output_is_seen(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", "cortex-m4", kernel=KERNEL.replace("output[i] =", "output[i] = i == 7 ? 1 :"))
    for on in ("unicorn", "host"):
        seen = bench(tmp_path / "a", on=on, samples=12)
        assert seen.matches_reference is False and seen.mismatches is not None and 0 < seen.mismatches <= 12


def test_sizes_are_the_models_alone(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", "cortex-m4")
    plain = bench(tmp_path / "a")
    extra = "static const volatile int8_t more[1000] = {1}; static volatile int8_t scratch[200]; volatile int8_t deep[640]; " \
            "deep[0] = 1; __asm__ volatile(\"\" : : \"r\"(deep) : \"memory\"); scratch[0] = (int8_t)(more[input[0] & 7] + deep[0]);"
    write_artifact(tmp_path / "b", "cortex-m4", extra=extra)
    grown = bench(tmp_path / "b")
    assert plain.flash_bytes and plain.stack_bytes and plain.ram_bytes and grown.flash_bytes and grown.stack_bytes and grown.ram_bytes
    assert 1000 <= grown.flash_bytes - plain.flash_bytes < 1100
    assert 640 <= grown.stack_bytes - plain.stack_bytes < 700
    assert grown.ram_bytes - plain.ram_bytes == 200 + grown.stack_bytes - plain.stack_bytes
    assert grown.harness_flash_bytes == plain.harness_flash_bytes


def test_floating_point_unit_is_on(tmp_path: Path) -> None:
    extra = "volatile float a = 3.0f; volatile float b = a * 2.5f; if (b != 7.5f) { return 1; }"
    for target in ("cortex-m4", "cortex-m33"):
        write_artifact(tmp_path / target, target, extra=extra)
        assert bench(tmp_path / target).matches_reference is True
        if has("qemu-system-arm"):
            assert bench(tmp_path / target, emulator="qemu").matches_reference is True


def test_a_hang_ends_with_an_error(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", "cortex-m4", extra=HANG)
    with pytest.raises(DeviceError, match=r"frame 0 did not end within 1 s after \d+\.\d million instructions .* in hand_run"):
        bench(tmp_path / "a", timeout_s=1.0)
    with pytest.raises(DeviceError, match="did not end within 1 s"):
        bench(tmp_path / "a", on="host", timeout_s=1.0)


def test_a_hang_in_qemu_ends_with_an_error(tmp_path: Path) -> None:
    require_tool("qemu", has("qemu-system-arm"))
    write_artifact(tmp_path / "a", "cortex-m4", extra=HANG)
    with pytest.raises(DeviceError, match="frame 0 did not end"):
        bench(tmp_path / "a", emulator="qemu", timeout_s=1.0)


def test_faults_name_the_place(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", "cortex-m4", extra=BAD_WRITE)
    with pytest.raises(DeviceError, match=r"frame 0: the core stopped in hand_run.*write to 4 bytes at 0x60000000"):
        bench(tmp_path / "a")
    write_artifact(tmp_path / "b", "cortex-m4", extra="*(volatile int8_t *)table_a = 3;")
    with pytest.raises(DeviceError, match="write to flash at 1 bytes"):
        bench(tmp_path / "b")
    write_artifact(tmp_path / "c", "cortex-m4", extra="__asm__ volatile(\".short 0xde00\");")
    with pytest.raises(DeviceError, match=r"(?i)invalid instruction"):
        bench(tmp_path / "c")


def test_faults_in_qemu_name_the_place(tmp_path: Path) -> None:
    require_tool("qemu", has("qemu-system-arm"))
    write_artifact(tmp_path / "a", "cortex-m4", extra=BAD_WRITE)
    with pytest.raises(DeviceError, match=r"(?s)the core took a fault.*fault in hand_run.*0x60000000"):
        bench(tmp_path / "a", emulator="qemu")


@pytest.mark.parametrize("emulator", ["unicorn", "qemu"])
def test_stack_overflow_faults(emulator: str, tmp_path: Path) -> None:
    if emulator == "qemu":
        require_tool("qemu", has("qemu-system-arm"))
    write_artifact(tmp_path / "a", "cortex-m4", extra="volatile int8_t deep[40000]; for (int i = 0; i < 40000; ++i) { deep[i] = 1; } (void)deep[3];")
    with pytest.raises(DeviceError, match="stack overflowed" if emulator == "unicorn" else "fault"):
        bench(tmp_path / "a", emulator=emulator)


def test_a_failing_model_is_reported(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", "cortex-m4", extra="if (input[0] + output[0] > -1000) { return 5; }")
    for on in ("unicorn", "host"):
        with pytest.raises(DeviceError, match="run function returned an error"):
            bench(tmp_path / "a", on=on)
    write_artifact(tmp_path / "b", "cortex-m4", extra="__builtin_trap();")
    with pytest.raises(DeviceError, match="crashed"):
        bench(tmp_path / "b", on="host")


def test_code_that_does_not_compile_is_shown(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", "cortex-m4", extra="int unused;")
    with pytest.raises(BuildError, match=r"(?s)compiling 'hand.c'.*unused"):
        bench(tmp_path / "a")


def test_manifest_and_firmware_must_agree(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", "cortex-m4")
    path = tmp_path / "a" / "manifest.json"
    manifest = json.loads(path.read_text())
    layers = manifest["layers"]
    for wrong, message in ((layers[:1], "call 1 .* not what its manifest lists"), (layers * 2, "called 2 kernels.* lists 4")):
        path.write_text(json.dumps({**manifest, "layers": wrong}))
        with pytest.raises(DeviceError, match=message):
            bench(tmp_path / "a")
    path.write_text(json.dumps({**manifest, "layers": [{**manifest["layers"][0], "kernel": "nowhere"}]}))
    with pytest.raises(DeviceError, match="no kernel 'nowhere'"):
        bench(tmp_path / "a")


@pytest.mark.parametrize("change", [
    {"name": "a b"}, {"inputs": []}, {"inputs": [{"name": "x", "shape": [0]}]}, {"inputs": [{"name": "x", "shape": "ab"}]}, {"outputs": [3]},
    {"layers": [3]}, {"layers": [{"node": "n", "kernel": "x;y"}]}, {"sources": ["../x.c"]}, {"sources": ["gone.c"]}, {"arena_bytes": "12"},
    {"inputs": [{"name": "x", "shape": [41]}]}, {"inputs": [{"name": "z", "shape": [40]}]}, {"inputs": [{"name": "x", "shape": [40]}] * 2},
])
def test_damaged_manifests_are_refused(change: dict[str, object], tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", "cortex-m4")
    path = tmp_path / "a" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError):
        bench(tmp_path / "a")


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not an artifact"):
        bench(tmp_path / "nowhere")
    write_artifact(tmp_path / "a", "cortex-m4")
    vectors = tmp_path / "a" / "vectors.npz"
    good = dict(np.load(vectors))
    np.savez(vectors, inputs=good["inputs"], outputs=good["outputs"] ^ np.int8(1))
    with pytest.raises(ModelError, match=r"disagrees with the graph beside it on 10 of 10"):
        bench(tmp_path / "a")
    for bad in ({"inputs": good["inputs"]}, {"inputs": good["inputs"][:0], "outputs": good["outputs"][:0]},
                {"inputs": good["inputs"].astype(np.int16), "outputs": good["outputs"]}, {"inputs": good["inputs"], "outputs": good["outputs"][:3]}):
        np.savez(vectors, **bad)  # type: ignore[arg-type]  # as in ir/serialize.py
        with pytest.raises(ModelError, match=r"vectors\.npz"):
            bench(tmp_path / "a")
    vectors.write_bytes(b"PK\x03\x04 rubbish")
    with pytest.raises(ModelError, match=r"vectors\.npz"):
        bench(tmp_path / "a")
    write_artifact(tmp_path / "a", "cortex-m4")
    (tmp_path / "a" / "graph.json").unlink()
    with pytest.raises(ModelError, match=r"graph\.json"):
        bench(tmp_path / "a")


def test_unknown_choices_get_a_hint(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", "cortex-m4")
    with pytest.raises(ConfigError, match="Did you mean 'unicorn'"):
        bench(tmp_path / "a", emulator="unicorm")
    with pytest.raises(ConfigError, match="unknown place"):
        bench(tmp_path / "a", on="board")
    with pytest.raises(ConfigError, match="contradict"):
        bench(tmp_path / "a", on="unicorn", emulator="qemu")
    with pytest.raises(ConfigError, match="samples"):
        bench(tmp_path / "a", samples=0)
    write_artifact(tmp_path / "h", "host")
    with pytest.raises(ConfigError, match="cannot be emulated with qemu"):
        bench(tmp_path / "h", emulator="qemu")
    assert bench(tmp_path / "h").where == "host"


def test_missing_tools_name_the_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_artifact(tmp_path / "a", "cortex-m4")
    with pytest.raises(ToolMissingError, match="gcc-arm-none-eabi"):
        bench(tmp_path / "a", cc="no-such-gcc")
    monkeypatch.setattr(toolchain, "_find_zig", lambda: None)
    with pytest.raises(ToolMissingError, match="pip install ziglang"):
        bench(tmp_path / "a")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="qemu-system-arm"):
        bench(tmp_path / "a", emulator="qemu", cc=None)
    with pytest.raises(ToolMissingError, match="C compiler"):
        bench(tmp_path / "a", on="host")


def test_a_compiler_for_another_machine_is_refused(tmp_path: Path) -> None:
    require_tool("gcc", has("gcc"))
    write_artifact(tmp_path / "a", "cortex-m4")
    with pytest.raises(ConfigError, match="not for Arm"):
        bench(tmp_path / "a", cc=shutil.which("gcc"))
    with pytest.raises(ConfigError, match="true"):
        bench(tmp_path / "a", on="host", cc=shutil.which("true"))


def test_objects_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    real = toolchain._run

    def spy(command: list[str], what: str, folder: Path) -> None:
        compiled.append(what)
        real(command, what, folder)

    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", toolchain._environment()["ZIG_GLOBAL_CACHE_DIR"])  # compiler-rt need not be built again
    monkeypatch.setenv("EDGECOMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(toolchain, "_run", spy)
    write_artifact(tmp_path / "a", "cortex-m4")
    first = bench(tmp_path / "a")
    assert len(compiled) == 9  # eight sources and the link
    compiled.clear()
    assert dataclasses.replace(bench(tmp_path / "a"), date=first.date) == first
    assert compiled == ["linking 'bench.elf'"]
    compiled.clear()
    (tmp_path / "a" / "hand.h").write_text((tmp_path / "a" / "hand.h").read_text() + "/* changed */\n")
    bench(tmp_path / "a")
    assert sorted(compiled) == ["compiling 'hand.c'", "compiling 'lookup.c'", "linking 'bench.elf'"]
    for entry in (tmp_path / "cache" / "objects").iterdir():
        entry.write_bytes(entry.read_bytes()[:40])
    assert bench(tmp_path / "a").matches_reference is True


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", toolchain._environment()["ZIG_GLOBAL_CACHE_DIR"])
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("EDGECOMPRESS_CACHE", str(tmp_path / "file"))
    write_artifact(tmp_path / "a", "cortex-m4")
    assert bench(tmp_path / "a").matches_reference is True
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "file"]


def test_a_long_frame_runs_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unicorn that is stopped by a time-out and started again goes on with wrong registers now and then, so it must not be sliced."""
    import unicorn

    starts = []
    start = unicorn.Uc.emu_start

    def counted(self: object, *arguments: object, **named: object) -> None:
        starts.append(arguments)
        start(self, *arguments, **named)

    monkeypatch.setattr(unicorn.Uc, "emu_start", counted)
    write_artifact(tmp_path / "a", "cortex-m4", extra="for (volatile int i = 0; i < 20000000; ++i) { }")
    inputs = np.zeros((2, SIZE), dtype=np.int8)
    assert np.array_equal(run_frames(tmp_path / "a", inputs), reference.run(hand_graph(), inputs))
    assert len(starts) == 3  # two frames and the exit


def test_ctrl_c_is_seen_between_frames(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", "cortex-m4", extra="for (volatile int i = 0; i < 20000; ++i) { }")
    run_frames(tmp_path / "a", np.zeros((1, SIZE), dtype=np.int8))  # compiles
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the test run is a shell's background job
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_frames(tmp_path / "a", np.zeros((8_000, SIZE), dtype=np.int8))
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 10
