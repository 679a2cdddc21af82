"""Runs a program on a machine that the system's `ssh` reaches: one connection carries the program and its input there, runs it, brings the
results back and leaves nothing behind."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgecompress.bench.transport.host import PROGRAM_NAME, RESULTS, failed_program, too_slow
from edgecompress.errors import ConfigError, DeviceError, ToolMissingError

SCHEME = "ssh://"
_URL = re.compile(r"ssh://(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.\-]*)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9_.\-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?/?\Z")
CONNECT_S, ALIVE_S, ALIVE_TRIES = 15, 5, 3
OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}", "-o", f"ServerAliveInterval={ALIVE_S}",
           "-o", f"ServerAliveCountMax={ALIVE_TRIES}", "-o", "ForwardX11=no", "-o", "ClearAllForwardings=yes")
FAILED_SSH = 255  # exit code of ssh itself
ENDED_ITSELF = 128 + 14  # the alarm that the program sets itself
NO_FOLDER, NO_ARCHIVE = 81, 82  # exit codes of _SCRIPT; none that the program has
MAX_RESULT_BYTES = 1 << 30
# a folder of its own that goes with the shell, however that ends; the exit code is the program's
_SCRIPT = f"""umask 077
d=$(mktemp -d "${{TMPDIR:-/tmp}}/edgecompress-XXXXXX") || exit {NO_FOLDER}
trap 'cd /; rm -rf "$d"' EXIT
trap 'exit 129' HUP INT TERM PIPE
cd "$d" && tar xf - || exit {NO_ARCHIVE}
./{PROGRAM_NAME} @ARGUMENTS@ </dev/null 1>&2
s=$?
f=
for n in {' '.join(RESULTS)}; do [ -f $n ] && f="$f $n"; done
[ $s -ne 0 ] || tar cf - $f || s={NO_ARCHIVE}
exit $s"""
# what ssh says, and what it means
_REASONS = (
    ("host key verification failed", "its host key is not the known one or not known yet: connect once with ssh by hand and check the key"),
    ("permission denied", "it refuses the login: a key without a passphrase, or one in ssh-agent, is needed, since nobody can be asked"),
    ("too many authentication failures", "it refuses the login: too many keys were tried, name one in ~/.ssh/config"),
    ("could not resolve hostname", "the name is not known"),
    ("connection refused", "nothing listens there; is sshd running, is the port right?"),
    ("no route to host", "there is no way to it in the network"),
    ("network is unreachable", "there is no way to it in the network"),
    ("not responding", "the connection died"),
    ("connection timed out", "it did not answer"),
    ("operation timed out", "it did not answer"),
    ("closed by", "it closed the connection"),
    ("connection reset", "the connection died"),
    ("broken pipe", "the connection died"),
)


@dataclass(frozen=True)
class SshPlace:
    """A machine behind ssh; keys, known hosts and everything else come from the user's own ssh configuration."""

    destination: str  # "pi@10.0.0.7", "board"
    port: int | None = None

    @property
    def name(self) -> str:
        """For people."""
        return self.destination if self.port is None else f"{self.destination} port {self.port}"

    def execute(self, program: bytes, arguments: Sequence[str], files: Mapping[str, bytes], timeout_s: float) -> dict[str, bytes]:
        """See Place. Raises ToolMissingError without an ssh client; DeviceError for one that cannot be reached, refuses, hangs or fails."""
        if shutil.which("ssh") is None:
            raise ToolMissingError("the program ssh was not found", "try: apt install openssh-client")
        script = _SCRIPT.replace("@ARGUMENTS@", " ".join(shlex.quote(argument) for argument in arguments))
        command = ["ssh", *OPTIONS, *(() if self.port is None else ("-p", str(self.port))), "--", self.destination, f"exec sh -c {shlex.quote(script)}"]
        try:
            done = subprocess.run(command, input=_packed(program, files), capture_output=True, timeout=timeout_s + CONNECT_S, check=False)
        except subprocess.TimeoutExpired:
            raise too_slow(self.name, timeout_s) from None
        except OSError as error:
            raise DeviceError(f"ssh cannot be run: {error.strerror or error}") from None
        words = done.stderr.decode(errors="replace")
        if done.returncode != 0:
            raise too_slow(self.name, timeout_s) if done.returncode == ENDED_ITSELF else self._failure(done.returncode, words)
        return self._unpacked(done.stdout)

    def _failure(self, code: int, words: str) -> DeviceError:
        lines = [line for line in words.replace("\r", "").strip().splitlines() if line][-6:]
        if code == FAILED_SSH:
            reason = next((text for sign, text in _REASONS if sign in words.lower()), "ssh failed")
            return DeviceError(f"{self.name} cannot be used: {reason}", *lines)
        if code == NO_FOLDER:
            return DeviceError(f"{self.name} cannot make a temporary folder; is its disk full?", *lines)
        if code == NO_ARCHIVE:
            return DeviceError(f"files could not be brought to or from {self.name}; is its disk full, has it got tar?", *lines)
        if code == 126 or "exec format error" in words.lower():
            return DeviceError(f"{self.name} cannot run the program; is it the machine that the target's file describes, may its /tmp hold programs?",
                               *lines)
        return failed_program(self.name, code, words)

    def _unpacked(self, archive: bytes) -> dict[str, bytes]:
        """Only the files we know, wherever the archive says they lie."""
        results: dict[str, bytes] = {}
        try:
            with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as reader:
                for member in reader:
                    if member.name in RESULTS and member.isfile() and member.size <= MAX_RESULT_BYTES:
                        content = reader.extractfile(member)
                        results[member.name] = b"" if content is None else content.read()
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            raise DeviceError(f"{self.name} sent back no readable results: {error}", "does its shell print something when it starts?") from None
        return results


def _packed(program: bytes, files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in ((PROGRAM_NAME, program), *files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o700
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def parse_ssh(url: str) -> SshPlace:
    """ssh://[user@]host[:port]. Raises ConfigError."""
    match = _URL.match(url)
    if match is None or (match["port"] is not None and not 0 < int(match["port"]) < 65536):
        raise ConfigError(f"'{url}' is not a machine behind ssh; write ssh://user@host or ssh://user@host:port")
    host = match["host"].strip("[]")
    return SshPlace(f"{match['user']}@{host}" if match["user"] else host, None if match["port"] is None else int(match["port"]))
