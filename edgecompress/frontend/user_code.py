"""Running a user's Python: what it prints, raises, seeds and changes stays inside; what it raises becomes one sentence."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from edgecompress.errors import ConfigError, EdgecompressError, ModelError, unknown_name

SEED = 0  # a factory that draws random weights gives the same ones in every process
PATIENCE_S = 10.0


@contextlib.contextmanager
def guarded(what: str) -> Iterator[None]:
    """Inside: the working directory is importable, generators are seeded, prints go to stderr. Afterwards torch's and Python's global state is as before.

    Raises ModelError, starting with `what`, for anything that the code inside raises (SystemExit too); only Ctrl-C and our own errors pass.
    """
    before = _global_state()
    try:
        with _importable(str(Path.cwd())), _same_seed(), contextlib.redirect_stdout(sys.stderr), _patience(what):
            yield
    except (EdgecompressError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the user's code runs here: anything can come out of it
        raise ModelError(f"{what} failed with {describe_error(error)}", *_place(error)) from error
    finally:
        _restore(before)


def import_factory(spec: str) -> Any:
    """The object that "pkg.module:factory" names. Run it inside `guarded`. Raises ConfigError for a spec, module or name that is not there."""
    name, _, attribute = spec.partition(":")
    if name.endswith(".py") or not all(part.isidentifier() for part in (*name.split("."), *attribute.split("."))):
        raise ConfigError(f"the model '{spec}' is neither package.module:factory nor the path of an .onnx file; {_format_hint(name, attribute)}")
    value: Any = _import(spec, name)
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise unknown_name(f"factory in {name}", part, _factories(value))
        value = getattr(value, part)
    return value


def describe_error(error: BaseException) -> str:
    """The kind of an exception and the start of its text, on one line."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _import(spec: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise ModelError(f"the model '{spec}' does not import: {error}; install what it needs into this Python", *_place(error)) from error
        raise ConfigError(f"the model '{spec}' does not import: there is no module '{error.name}' in {Path.cwd()} or among the installed packages",
                          "give the module as Python imports it from the folder in which the command runs, such as nets.tiny:factory") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a script without a main guard may do anything, sys.exit() included
        raise ModelError(f"the model '{spec}' does not import: {describe_error(error)}", *_place(error)) from error


def _format_hint(name: str, attribute: str) -> str:
    path = Path(name)
    if path.suffix == ".py" and all(part.isidentifier() for part in path.with_suffix("").parts):
        return f"try: {'.'.join(path.with_suffix('').parts)}:{attribute or 'factory'}"
    return f"the module is imported from {Path.cwd()} or from the installed packages, such as nets.tiny:make"


def _factories(value: Any) -> list[str]:
    """Names that a module, or class, offers itself; what it imported from elsewhere is left out."""
    own = [name for name, item in vars(value).items() if not name.startswith("_") and callable(item)
           and getattr(item, "__module__", None) in (getattr(value, "__name__", None), getattr(value, "__module__", None))]
    return own[:40]


def _place(error: BaseException) -> list[str]:
    """Where the exception was raised, the last line of code outside this file."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__ and not frame.filename.startswith("<")]
    return [f"raised in {frames[-1].filename}, line {frames[-1].lineno}, in {frames[-1].name}"] if frames else []


@contextlib.contextmanager
def _importable(folder: str) -> Iterator[None]:
    """As `python -m` has it: the working directory comes first."""
    before = list(sys.path)
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code may have taken it out itself
            sys.path.remove(folder)
        sys.path += [entry for entry in before if entry not in sys.path]  # what it took out, others need


@contextlib.contextmanager
def _same_seed() -> Iterator[None]:
    python, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        random.seed(SEED)
        np.random.seed(SEED)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)


@contextlib.contextmanager
def _patience(what: str) -> Iterator[None]:
    """Says on a terminal that the user's code is what takes so long."""
    def tell() -> None:
        print(f"{what} has been running for {PATIENCE_S:.0f} s; Ctrl-C ends it", file=sys.stderr, flush=True)

    timer = threading.Timer(PATIENCE_S, tell)
    timer.daemon = True
    if sys.stderr is not None and sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _global_state() -> dict[str, Any]:
    return {"folder": Path.cwd(), "threads": torch.get_num_threads(), "dtype": torch.get_default_dtype(), "gradients": torch.is_grad_enabled(),
            "deterministic": torch.are_deterministic_algorithms_enabled(), "device": torch.get_default_device()}


def _restore(state: dict[str, Any]) -> None:
    if not _is_here(state["folder"]):
        os.chdir(state["folder"])
    if torch.get_num_threads() != state["threads"]:
        torch.set_num_threads(state["threads"])
    if torch.get_default_dtype() != state["dtype"]:
        torch.set_default_dtype(state["dtype"])
    if torch.are_deterministic_algorithms_enabled() != state["deterministic"]:
        torch.use_deterministic_algorithms(state["deterministic"])
    if torch.get_default_device() != state["device"]:
        torch.set_default_device(state["device"])
    torch.set_grad_enabled(state["gradients"])


def _is_here(folder: Path) -> bool:
    try:
        return Path.cwd() == folder
    except FileNotFoundError:  # the user's code left for a folder and removed it
        return False
