"""The one exception family and the process exit codes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says when it ends; documented in docs/cli.md."""

    DONE = 0
    ANSWER_IS_NO = 1  # the work was done, but the budget was missed or outputs differ
    USAGE = 2  # bad arguments, configuration, data or model
    TOOL_MISSING = 3
    DEVICE_FAILED = 4  # an emulator or board crashed, hung or answered nonsense
    INTERRUPTED = 130


def printable(text: str) -> str:
    """`text` with its control characters as escapes: names from files and the command line must not steer a terminal or begin a new line."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


class EdgecompressError(Exception):
    """A failure the user can act on: one sentence (made `printable`), optional detail lines. The CLI prints it without a traceback."""

    exit_code: ExitCode = ExitCode.USAGE

    def __init__(self, message: str, *details: str) -> None:
        self.message = printable(message)
        super().__init__(self.message)
        self.details = details

    def __str__(self) -> str:
        return "\n  ".join((self.message, *self.details))


class ConfigError(EdgecompressError):
    """A wrong argument, key, name or value."""


class DataError(EdgecompressError):
    """A data set that cannot be used as it is."""


class ModelError(EdgecompressError):
    """A model or graph that is malformed or holds something that is not supported."""


class BudgetError(EdgecompressError):
    """Nothing meets the budget."""

    exit_code = ExitCode.ANSWER_IS_NO


class ToolMissingError(EdgecompressError):
    """A compiler, emulator or optional package is not there."""

    exit_code = ExitCode.TOOL_MISSING


class TrainingError(EdgecompressError):
    """The training of one network failed; others may do."""

    exit_code = ExitCode.ANSWER_IS_NO


class DeviceError(EdgecompressError):
    """The emulator or board failed: fault, hang, or output that makes no sense."""

    exit_code = ExitCode.DEVICE_FAILED


def unknown_name(what: str, name: str, known: Iterable[str]) -> ConfigError:
    """ConfigError for a name that is not in a table, with the nearest known one."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return ConfigError(f"unknown {what} '{name}'.{hint} Known: {', '.join(choices)}")
