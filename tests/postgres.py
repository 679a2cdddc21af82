"""A private PostgreSQL server in a temporary folder, for tests: nothing is shared with a server of the machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = "postgres"  # the user that Debian's package makes; the server refuses to run as root


def _programs() -> Path | None:
    """Folder of initdb and pg_ctl: Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return folders[-1] if folders and (folders[-1] / "pg_ctl").exists() else None


def available() -> bool:
    """Whether a server can be started here, with the Python driver to reach it."""
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        return False
    return _programs() is not None and (os.geteuid() != 0 or shutil.which("setpriv") is not None)


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """A server with one user and a password."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"postgresql+psycopg2://tester:s%40cret@127.0.0.1:{self.port}/postgres"

    def _run(self, program: str, *words: str) -> None:
        programs = _programs()
        assert programs is not None
        command = [str(programs / program), *words]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--init-groups", *command]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, timeout=60)

    def create(self) -> None:
        """Makes the cluster's files."""
        password = self.folder / "password"
        password.write_text("s@cret")
        if os.geteuid() == 0:
            for path in (self.folder, password):
                shutil.chown(path, NOBODY, NOBODY)
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "tester", f"--pwfile={password}", "-A", "scram-sha-256", "--no-sync", "--no-instructions")

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = f"-p {self.port} -k '' -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=40 -c shared_buffers=16MB"
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-o", options, "-l", str(self.folder / "log"), "-w", "-t", "30", "start")

    def stop(self) -> None:
        """Stops the server at once, cutting all connections; its files stay."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "-t", "30", "stop")


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server; stopped and deleted at the end."""
    # pytest's own folders are closed to other users, which the server's user is here
    with tempfile.TemporaryDirectory(prefix="edgecompress-postgres-", ignore_cleanup_errors=True) as name:
        server = Postgres(Path(name))
        server.create()
        server.start()
        try:
            yield server
        finally:
            if (server.folder / "data" / "postmaster.pid").exists():
                server.stop()
