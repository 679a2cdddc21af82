"""Entry point: builds the parser, runs the verb, turns errors into one sentence and an exit code."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence

from edgecompress import __version__
from edgecompress.cli import bench, compress, data, inspect, lower, profile, report, search, targets
from edgecompress.errors import EdgecompressError, ExitCode

VERBS = {"search": search, "compress": compress, "lower": lower, "bench": bench, "inspect": inspect, "profile": profile, "report": report,
         "targets": targets, "data": data}

EPILOG = "exit codes: 0 done, 1 done but the answer is no, 2 usage or data, 3 a tool is missing, 4 the device failed, 130 interrupted"


class Parser(argparse.ArgumentParser):
    """argparse with our exit code and a pointer to --help."""

    def error(self, message: str) -> None:  # type: ignore[override]  # ends the process like the original
        self.exit(ExitCode.USAGE, f"error: {message}; see '{self.prog} --help'\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(prog="edgecompress", description="Search, compress and lower neural networks for one device.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"edgecompress {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    for module in VERBS.values():
        module.register(subparsers)
    return parser


def _say(error: BaseException, text: str, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    print(f"error: {text}", file=sys.stderr)


def _open_streams() -> None:
    """Makes printing safe: a closed stream swallows what is printed, and names that the terminal's encoding lacks are escaped."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  # for the rest of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _interrupted(error: BaseException) -> bool:
    """Whether this is Ctrl-C, or what went wrong in a library that cleaned up after it (Optuna's lock removes a file that is gone)."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, KeyboardInterrupt):
        found = found.__cause__ or found.__context__
    return found is not None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line; returns the exit code."""
    _open_streams()
    arguments_list = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments_list  # accepted before and after the verb
    arguments = build_parser().parse_args([word for word in arguments_list if word != "--debug"])
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
        return code
    except BaseException as error:
        return int(_ended(error, arguments.verb, debug))


def _ended(error: BaseException, verb: str, debug: bool) -> ExitCode:
    """Says why it ended; what is nobody's mistake but ours is raised again."""
    if _interrupted(error):
        print(f"interrupted{'; what was finished is kept, go on with --resume' if verb == 'search' else ''}", file=sys.stderr)
        return ExitCode.INTERRUPTED
    if isinstance(error, EdgecompressError):
        _say(error, str(error), debug)
        return error.exit_code
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("edgecompress"):
        _say(error, f"the Python package '{error.name}' is not installed\n  try: pip install {error.name}", debug)
        return ExitCode.TOOL_MISSING
    if isinstance(error, BrokenPipeError):
        # the reader of our output went away (| head); Python would complain again at shutdown
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    if not isinstance(error, OSError):
        raise error
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        resume = " with --resume" if verb == "search" else ""
        _say(error, f"cannot write {error.filename or 'a file'}: {error.strerror}; free some space and run again{resume}", debug)
    elif error.filename is not None:
        _say(error, f"cannot use '{error.filename}': {error.strerror}", debug)
    else:
        _say(error, str(error), debug)
    return ExitCode.USAGE


if __name__ == "__main__":
    sys.exit(main())
