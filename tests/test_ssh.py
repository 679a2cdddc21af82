"""Models as programs on another machine: a real sshd on this one stands for it; what is refused, lost or damaged on the way is told in a sentence."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from graph_cases import small_network
from ssh_server import AVAILABLE, Server, sshd
from tools import require_tool

from edgecompress.bench import bench
from edgecompress.bench.subject import count_differing, load_subject, load_vectors
from edgecompress.bench.sweep import choose
from edgecompress.bench.timing import Schedule
from edgecompress.bench.toolchain import program_compiler
from edgecompress.bench.transport.host import ThisMachine, build_program, run_program
from edgecompress.bench.transport.ssh import parse_ssh
from edgecompress.cli.main import main
from edgecompress.errors import ConfigError, DeviceError, ExitCode
from edgecompress.hw.profile import load_profile
from edgecompress.hw.target import load_target
from edgecompress.lower import lower


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ssh") / "artifact"
    lower(small_network(), load_target("host-x86")).write(folder)
    return folder


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    require_tool("sshd", AVAILABLE)
    require_tool("gcc", shutil.which("gcc") is not None)
    with sshd(tmp_path / "sshd") as running:
        monkeypatch.setenv("PATH", f"{running.path}:{os.environ['PATH']}")
        yield running


def folders() -> set[Path]:
    """Folders of programs that run."""
    return {path for path in Path("/tmp").glob("edgecompress-??????") if path.is_dir()}


def nothing_stays(before: set[Path]) -> bool:
    """Whether what is new goes within some seconds: other tests may be running programs at the same time."""
    new, deadline = folders() - before, time.monotonic() + 60
    while new & folders() and time.monotonic() < deadline:
        time.sleep(0.1)
    return not new & folders()


def test_an_artifact_is_benched_over_ssh_and_leaves_nothing(server: Server, artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = folders()
    seen = bench(artifact, on=server.url, samples=3)
    assert seen.matches_reference is True and (seen.where, seen.latency_basis) == ("ssh", "wall clock") and 1e-6 < seen.latency_s < 0.1
    manifest = json.loads((artifact / "manifest.json").read_text())
    assert (seen.ram_bytes, seen.flash_bytes, seen.stack_bytes) == (manifest["arena_bytes"], manifest["constant_bytes"], None)
    assert nothing_stays(before)
    assert main(["bench", str(artifact), "--on", server.url, "--samples", "1"]) == ExitCode.DONE
    assert f"ssh ({server.url.removeprefix('ssh://').partition(':')[0]} port {server.port}; " in capsys.readouterr().out


def test_wrong_outputs_are_seen_over_ssh(server: Server, artifact: Path, tmp_path: Path) -> None:
    shutil.copytree(artifact, tmp_path / "a")
    code = tmp_path / "a" / "small_net.c"
    code.write_text(code.read_text().replace("EC_LAYER_DONE(6);", "output[0] ^= 1; EC_LAYER_DONE(6);"))
    assert bench(tmp_path / "a", on=server.url, samples=3).mismatches == 3


def test_a_profile_is_made_over_ssh(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecompress.bench.timed_profiling.choose", lambda target, seed, layers, *rows: choose(target, seed, layers)[:2])
    path = tmp_path / "far.json"
    assert main(["profile", "--target", "host-x86", "--on", server.url, "--layers", "50", "--output", str(path)]) == ExitCode.DONE
    profile = load_profile(str(path))
    assert (profile.source, profile.unit, profile.board) == ("measured", "seconds", "a machine over ssh") and len(profile.layer_rows) >= 16
    assert "127.0.0.1" not in path.read_text()  # a profile may be passed on, the names in a network may not


@pytest.mark.parametrize(("url", "part"), [
    ("ssh://", "not a machine behind ssh"), ("ssh://a b", "not a machine behind ssh"), ("ssh://-oProxyCommand=x", "not a machine behind ssh"),
    ("ssh://-l@host", "not a machine behind ssh"), ("ssh://host:99999", "not a machine behind ssh"), ("ssh://host/path", "not a machine behind ssh"),
    ("sshx", "unknown place to bench on 'sshx'"),
])
def test_wrong_places_are_refused_before_anything_is_built(url: str, part: str, artifact: Path) -> None:
    with pytest.raises(ConfigError, match=part):
        bench(artifact, on=url)


def test_a_microcontroller_is_not_behind_ssh(artifact: Path) -> None:
    with pytest.raises(ConfigError, match="runs no programs over ssh"):
        bench(artifact, on="ssh://board", target=load_target("cortex-m4"))
    with pytest.raises(ConfigError, match="say how to reach it with --on ssh"):
        bench(artifact, target=load_target("raspberry-pi-4"))
    assert (parse_ssh("ssh://pi@10.0.0.7:2222").name, parse_ssh("ssh://[::1]").destination) == ("pi@10.0.0.7 port 2222", "::1")


def test_a_refused_login_is_one_sentence(server: Server, artifact: Path) -> None:
    server.forget_key()
    with pytest.raises(DeviceError, match="cannot be used: it refuses the login"):
        bench(artifact, on=server.url)


def test_an_unknown_host_key_is_one_sentence(server: Server, artifact: Path) -> None:
    (server.folder / "known_hosts").write_text("")
    with pytest.raises(DeviceError, match="cannot be used: its host key is not the known one or not known yet"):
        bench(artifact, on=server.url)


def test_nobody_there_is_one_sentence(server: Server, artifact: Path) -> None:
    with pytest.raises(DeviceError, match="cannot be used: nothing listens there"):
        bench(artifact, on="ssh://127.0.0.1:1")


@pytest.mark.parametrize(("command", "part"), [
    ("echo hello; exit 0", "sent back no readable results"),
    ("cat >/dev/null; exit 81", "cannot make a temporary folder"),
    ("cat >/dev/null; exit 82", "files could not be brought"),
    ("cat >/dev/null; exit 126", "cannot run the program"),
    ("cat >/dev/null; exit 7", "ended with code 7: the model's run function returned an error"),
    ("cat >/dev/null; tar cf - -T /dev/null", "left no file output.bin"),
])
def test_a_machine_that_answers_nonsense_is_one_sentence(command: str, part: str, server: Server, artifact: Path) -> None:
    server.force(command)
    with pytest.raises(DeviceError, match=part):
        bench(artifact, on=server.url, samples=1)


def test_a_connection_that_dies_is_one_sentence(server: Server, artifact: Path) -> None:
    """The session's own sshd is killed while the program is thought to run."""
    server.force("kill -9 $PPID; sleep 5")
    with pytest.raises(DeviceError, match=r"cannot be used: (the connection died|it closed the connection|ssh failed)"):
        bench(artifact, on=server.url, samples=1)


def test_a_program_that_hangs_is_ended_there_too(server: Server, artifact: Path, tmp_path: Path) -> None:
    shutil.copytree(artifact, tmp_path / "a")
    code = tmp_path / "a" / "small_net.c"
    code.write_text(code.read_text().replace("EC_LAYER_DONE(6);", "for (volatile int stay = 1; stay != 0;) { } EC_LAYER_DONE(6);"))
    before, started = folders(), time.monotonic()
    with pytest.raises(DeviceError, match="did not end within 1 s"):
        bench(tmp_path / "a", on=server.url, samples=1, timeout_s=1.0)
    assert time.monotonic() - started < 15.0
    assert nothing_stays(before)  # the shell over there cleans up when the program has ended itself


def test_two_benches_at_a_time_do_not_meet(server: Server, artifact: Path) -> None:
    results: list[bool | None] = []
    threads = [threading.Thread(target=lambda: results.append(bench(artifact, on=server.url, samples=2).matches_reference)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True, True]


def test_programs_for_64_bit_arm_compute_the_same_bytes(tmp_path: Path) -> None:
    """With gcc: zig compiles a C library for the first such program, which takes minutes."""
    require_tool("qemu-aarch64", shutil.which("qemu-aarch64") is not None)
    require_tool("aarch64-gcc", shutil.which("aarch64-linux-gnu-gcc") is not None)
    target = load_target("raspberry-pi-4")
    lower(small_network(), target).write(tmp_path / "a")
    subject = load_subject(tmp_path / "a")
    vectors = load_vectors(subject, 3)
    program = build_program([subject], program_compiler(target, "gcc", True), time_layers=True)
    frames = [(0, frame) for frame in subject.encode(vectors.inputs)]
    done = run_program(program, [subject], frames, Schedule(1, 3), True, 60.0, ThisMachine(("qemu-aarch64",), "emulated aarch64"))
    assert count_differing(subject.decode(done.outputs), vectors.outputs) == 0
    assert done.records[0].seconds.shape == (3, len(subject.layers)) and np.isfinite(done.records[0].seconds).all()
