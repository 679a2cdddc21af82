"""A real sshd on a free local port, with keys of its own, for tests of what goes over ssh."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
AVAILABLE = Path(SSHD).exists() and shutil.which("ssh") is not None and shutil.which("ssh-keygen") is not None


@dataclass(frozen=True)
class Server:
    """A running server; `folder` holds its files, `path` a folder with an `ssh` that uses the test's key and known hosts."""

    folder: Path
    port: int
    path: Path

    @property
    def url(self) -> str:
        """For --on."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    def force(self, command: str) -> None:
        """Every login from now on runs `command` in place of what it asked for (in $SSH_ORIGINAL_COMMAND)."""
        key = (self.folder / "user.pub").read_text()
        (self.folder / "authorized").write_text(f'restrict,command="{command}" {key}' if command else key)

    def forget_key(self) -> None:
        """Refuses the user from now on."""
        (self.folder / "authorized").write_text("")


@contextmanager
def sshd(folder: Path) -> Iterator[Server]:
    """Starts a server and ends it."""
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists on it when root starts it
    (folder / "config").write_text(f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\nAuthorizedKeysFile {folder / 'authorized'}\n"
                                   "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n"
                                   f"PidFile {folder / 'pid'}\n")
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    client = folder / "bin"
    client.mkdir()
    (client / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F none -o IdentitiesOnly=yes -i {folder / "user"} '
                                f'-o UserKnownHostsFile={known} -o GlobalKnownHostsFile=/dev/null "$@"\n')
    (client / "ssh").chmod(0o755)
    server = Server(folder, port, client)
    server.force("")
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.DEVNULL)
    try:
        _await(port, process)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert process.poll() is None, "sshd ended by itself"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("sshd did not listen within 10 s")
