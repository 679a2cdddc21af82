"""Where a model to compress comes from, and the folder that the compressed one goes to, in a form that every verb can go on with."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecompress.data.parts import Dataset, Samples
from edgecompress.errors import ConfigError, EdgecompressError, ModelError
from edgecompress.run.files import read_json, write_atomic

if TYPE_CHECKING:
    from torch import nn

DOCUMENT, ONNX, WEIGHTS = "compress.json", "model.onnx", "model.pt"
FORMAT = "edgecompress-compressed"


def load_source(spec: str, data: Dataset) -> tuple[nn.Module, Dataset]:
    """(the module in eval mode, the data for it) of "pkg.module:factory", a model file, RUN/candidates/ID, or a folder that `compress` wrote.

    A folder that was derived for some classes gets the data of these only. Raises ConfigError or ModelError.
    """
    from edgecompress.frontend.factory import load_module

    folder = Path(spec)
    if not spec or not folder.is_dir():
        return load_module(spec, data.input_shape, len(data.classes)), data
    if (folder / DOCUMENT).is_file():
        document = read_json(folder / DOCUMENT)
        names = document.get("classes") if isinstance(document, dict) and document.get("format") == FORMAT else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"'{folder / DOCUMENT}' is damaged; compress the model again")
        if not set(names) <= set(data.classes):
            raise ConfigError(f"the model in '{folder}' tells {', '.join(names)} apart, the data '{data.name}' has the classes {', '.join(data.classes)}")
        restricted = data if tuple(names) == data.classes else restrict(data, [data.classes.index(name) for name in names])
        return load_module(str(folder / ONNX), data.input_shape, len(names)), restricted
    if (folder / "candidate.json").is_file():
        return _candidate(folder, data), data
    raise ConfigError(f"the folder '{folder}' holds no model: neither a trained candidate of a search (RUN/candidates/ID) nor what 'compress' writes")


def _candidate(folder: Path, data: Dataset) -> nn.Module:
    from edgecompress.hw.target import load_target
    from edgecompress.run.candidate import load_weights
    from edgecompress.run.config import from_mapping, load_values
    from edgecompress.run.problem import names_of
    from edgecompress.search.space import Candidate, SpaceSpec, build

    settings = folder.parent.parent / "config.toml"
    config = from_mapping(load_values(settings), f"configuration file '{settings}'")
    _check_same_data(folder, data)
    space = SpaceSpec(names_of(config.families), config.model, load_target(config.target).width_multiple).make(data.input_shape, len(data.classes))
    try:
        candidate = Candidate.from_json((folder / "candidate.json").read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"'{folder / 'candidate.json'}' cannot be read ({error}); resume the search to make it again") from None
    if not (folder / WEIGHTS).is_file():
        raise ConfigError(f"the candidate in '{folder}' is not trained yet: it has no {WEIGHTS}; resume the search")
    module = build(candidate, data.input_shape, len(data.classes), space=space)
    load_weights(module, folder / WEIGHTS)
    return module.eval()


def _check_same_data(folder: Path, data: Dataset) -> None:
    """A candidate's graph says which data it was trained on."""
    if not (folder / "graph.json").is_file():
        return
    from edgecompress.ir import serialize

    trained_on = serialize.load(folder / "graph.json").metadata
    if trained_on.get("data_hash", data.hash) != data.hash:
        raise ConfigError(f"the candidate in '{folder}' was trained on '{trained_on.get('data')}' ({str(trained_on.get('data_hash'))[:12]}), --data names "
                          f"other data, '{data.name}' ({data.hash[:12]}); give the same, and the --seed of that search, which splits it")


def restrict(data: Dataset, classes: Sequence[int]) -> Dataset:
    """The data of these classes only, renumbered in rising order; its hash is another one. Raises ConfigError where a part would be empty."""
    chosen = np.array(sorted(set(classes)))

    def part(name: str, samples: Samples) -> Samples:
        used = np.isin(samples.y, chosen)
        if not used.any():
            raise ConfigError(f"the {name} part of '{data.name}' has no sample of the classes {', '.join(data.classes[one] for one in chosen)}")
        return Samples(samples.x[used], np.searchsorted(chosen, samples.y[used]).astype(np.int64))

    digest = hashlib.sha256(f"{data.hash} {chosen.tolist()}".encode()).hexdigest()
    parts = {name: part(name, samples) for name, samples in data.parts.items()}
    names = tuple(data.classes[one] for one in chosen)
    return replace(data, train=parts["train"], validation=parts["validation"], test=parts["test"], classes=names, hash=digest)


def class_numbers(text: str, classes: Sequence[str]) -> tuple[int, ...]:
    """Class numbers of a comma-separated list of names or numbers; a name wins over a number. Raises ConfigError."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    known = f"the classes are {', '.join(f'{number} {name}' if str(number) != name else name for number, name in enumerate(classes))}"
    numbers = []
    for word in words:
        if word in classes:
            numbers.append(list(classes).index(word))
        elif word.isascii() and word.isdigit() and int(word) < len(classes):
            numbers.append(int(word))
        else:
            raise ConfigError(f"--classes names '{word[:80]}', which does not exist; {known}")
    if len(set(numbers)) < 2:
        raise ConfigError(f"--classes '{text[:80]}' names fewer than two different classes, and there is nothing to tell apart then; {known}")
    return tuple(sorted(set(numbers)))


def load_weights_file(module: nn.Module, path: Path) -> None:
    """A state dictionary into the module. Raises ConfigError for a file that is not there, ModelError for one that does not fit."""
    import torch

    if not path.is_file():
        raise ConfigError(f"there is no weights file '{path}'")
    try:
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # the unpickler meets hostile bytes here: anything can come out of it
        raise ModelError(f"the weights in '{path}' do not fit the model, or are none: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
                         "write them with torch.save(module.state_dict(), file)") from None


def save_module(module: nn.Module, input_shape: tuple[int, int, int], folder: Path) -> str:
    """Writes model.pt (the state dictionary) and model.onnx (float32 [1, channels, height, width] to logits), which every verb reads.

    Returns "", or why there is no model.onnx.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    write_atomic(folder / WEIGHTS, buffer.getvalue())
    height, width, channels = input_shape
    written = folder / f"{ONNX}.partial"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces another exporter, which needs a further package
            torch.onnx.export(module.eval(), (torch.zeros(1, channels, height, width),), str(written), dynamo=False, input_names=["input"],
                              output_names=["logits"], opset_version=17)
    except Exception as error:  # the module's own code and torch's exporter run here
        written.unlink(missing_ok=True)
        return f"torch cannot write the module as ONNX ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    written.rename(folder / ONNX)
    return _differs(module, input_shape, folder / ONNX)


def _differs(module: nn.Module, input_shape: tuple[int, int, int], path: Path) -> str:
    """Reads the file back: a model that computes something else is not left there."""
    import torch

    from edgecompress.frontend.factory import load_module

    height, width, channels = input_shape
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((4, channels, height, width), dtype=np.float32))
    with torch.no_grad():
        expected = module.eval()(x)
        try:
            found = load_module(str(path), input_shape, expected.shape[1])(x)
        except EdgecompressError as error:
            path.unlink()
            return f"the ONNX file cannot be read back: {error.message}"
    if not torch.allclose(expected, found, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
        path.unlink()
        return "the ONNX file computes something else than the module"
    return ""


@contextmanager
def new_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside `folder` to fill, which takes its name in the end: nobody sees half a result.

    Raises ConfigError, before any work, for a folder that holds something; with `overwrite` only one that 'compress' wrote is replaced.
    """
    check_free(folder, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    staging.chmod(0o755)  # mkdtemp makes it private
    try:
        yield staging
        check_free(folder, overwrite)  # another process may have been faster
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            folder.rename(old / "compressed")
            staging.rename(folder)
            shutil.rmtree(old)
        else:
            staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_free(folder: Path, overwrite: bool) -> None:
    """Raises ConfigError unless the folder may be written."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"'{folder}' is a file, not a folder; choose another --output")
    if not any(folder.iterdir()):
        return
    if not (folder / DOCUMENT).is_file():
        raise ConfigError(f"the folder '{folder}' is not empty and holds nothing that 'compress' wrote; choose another --output")
    if not overwrite:
        raise ConfigError(f"'{folder}' holds a compressed model already; choose another --output, or replace it with --overwrite")
