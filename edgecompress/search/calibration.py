"""Proxies on trial: random networks of the space are trained briefly on the user's data, and those proxies stay that rank them better than MACs.

docs/proxies.md tells how the verdict is found and what it is worth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecompress.data.parts import TrainingData
from edgecompress.errors import BudgetError, ConfigError, TrainingError
from edgecompress.search.calibration_statistics import BASELINE, Verdict, judge
from edgecompress.search.calibration_store import Say, Store, fingerprint, source_version
from edgecompress.search.evaluator import Answer, LocalEvaluator, Task, local_evaluator
from edgecompress.search.objective import Device, costs, structure_of, violations
from edgecompress.search.space import Candidate, Space, SpaceSpec, build, random_candidate

if TYPE_CHECKING:
    from torch import nn

    from edgecompress.compress.training import TrainConfig
    from edgecompress.search.proxies import Batch

Progress = Callable[[int, int], None]
LEAST_NETWORKS = 8  # with fewer, no rank correlation says anything
EPOCH_SHARE = 0.25  # of the recipe's epochs
_LEAST_EPOCHS = 3
_DRAWS = 20  # candidates looked at for each network that is wanted
_SAMPLES = 32
_DAMAGE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, ConfigError)  # whatever a file may hold


@dataclass(frozen=True)
class CalibrationConfig:
    """How much a calibration spends. `seconds` of CPU time for each training, else `epochs`, else a quarter of the data's recipe.

    `keep`: most proxies to keep, as each becomes an objective of the search. Raises ConfigError for values out of range.
    """

    networks: int = 20
    seconds: float = 0.0
    epochs: int = 0
    keep: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in {"networks": LEAST_NETWORKS, "seconds": 0, "epochs": 0, "keep": 1}.items():
            if not getattr(self, name) >= low:
                raise ConfigError(f"calibration: {name} is {getattr(self, name)}; it must be at least {low}")


@dataclass(frozen=True)
class Network:
    """A network that was trained: `accuracy` on the validation part, `depth` its convolutions and linear layers, `seconds` of its training."""

    candidate: str
    family: str
    depth: int
    accuracy: float
    seconds: float
    proxies: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain values; -inf is null."""
        return {**asdict(self), "proxies": {name: value if math.isfinite(value) else None for name, value in self.proxies.items()}}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Network:
        """Inverse of to_json. Raises KeyError, TypeError or ValueError."""
        from edgecompress.search.proxies import PROXIES

        network = cls(**{**document, "proxies": {name: -math.inf if value is None else float(value) for name, value in document["proxies"].items()}})
        if not (0 <= network.accuracy <= 1 and network.depth >= 0 and network.seconds >= 0):
            raise ValueError("values out of range")
        if set(network.proxies) != set(PROXIES):
            raise ValueError("its proxies are not those of this version")
        Candidate.from_json(network.candidate)
        return network


@dataclass(frozen=True)
class Calibration:
    """The verdict on all proxies, best first, and the networks that it rests on. `limits` says what the networks had to fit, "" for nothing."""

    data: str
    limits: str
    settings: CalibrationConfig
    networks: tuple[Network, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the proxies to search with, best first; ("macs",) when none beats it."""
        return tuple(verdict.name for verdict in self.verdicts if verdict.kept)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "networks": [network.to_json() for network in self.networks]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Calibration:
        """Inverse of to_json; the verdicts follow from the networks anew. Raises KeyError, TypeError, ValueError or ConfigError for anything else."""
        settings = CalibrationConfig(**document["settings"])
        return make_calibration(str(document["data"]), str(document["limits"]), settings, [Network.from_json(n) for n in document["networks"]])


def make_calibration(data: str, limits: str, settings: CalibrationConfig, networks: Sequence[Network]) -> Calibration:
    """The verdict that these networks give."""
    proxies = {name: [network.proxies[name] for network in networks] for name in networks[0].proxies}
    verdicts = judge(proxies, [n.accuracy for n in networks], [n.depth for n in networks], [n.family for n in networks], settings.keep, settings.seed)
    return Calibration(data, limits, settings, tuple(networks), verdicts)


@dataclass(frozen=True, eq=False)
class _Context:
    data: TrainingData
    space: SpaceSpec
    devices: tuple[Device, ...]
    settings: CalibrationConfig
    recipe: TrainConfig

    def make_space(self) -> Space:
        return self.space.make(self.data.input_shape, len(self.data.classes))


def calibrate(data: TrainingData, space: SpaceSpec, devices: tuple[Device, ...], settings: CalibrationConfig, folder: Path, workers: int,
              progress: Progress = lambda done, of: None, say: Say = lambda text: None) -> Calibration:
    """The stored verdict for these arguments, else a new one, kept in `folder`.

    Random candidates of the space that keep the limits of all `devices` (none: any candidate) are trained in `workers` processes; each finished
    training is kept, so a killed calibration goes on where it was. `progress` is told trainings done and wanted.
    Raises BudgetError when too few candidates fit, TrainingError when too few can be trained, DeviceError when a worker dies.
    """
    context = _Context(data, space, devices, settings, _recipe(data, settings))
    store = Store(folder, say)
    place = f"{_base_key(context)}/{_own_key(context)}"
    known = _read(store, f"{place}/verdict")
    if known is not None:
        progress(len(known.networks), len(known.networks))
        return known
    with local_evaluator(context, workers) as evaluator:
        chosen = _chosen(store, f"{place}/candidates", context, evaluator)
        networks = _trained(store, place, context, chosen, evaluator, progress, say)
    found = make_calibration(data.name, _limits(devices), settings, networks)
    store.write(f"{place}/verdict", found.to_json())
    return found


def load_calibration(data: TrainingData, space: SpaceSpec, devices: tuple[Device, ...], folder: Path, say: Say = lambda text: None) -> Calibration | None:
    """The latest verdict for this data, space and version of the proxies, if there is one: for these devices' limits before one for others."""
    context = _Context(data, space, devices, CalibrationConfig(), _recipe(data, CalibrationConfig()))
    store, base = Store(folder, say), _base_key(context)
    found = [verdict for name in store.names(f"{base}/*/verdict") if (verdict := _read(store, name)) is not None]
    return next(iter(sorted(found, key=lambda verdict: verdict.limits != _limits(devices))), None)


def calibration_table(calibration: Calibration) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Column titles and one row of text for each proxy, best first."""
    titles = ("proxy", "tau", "95 % interval", "p", "above MACs", "tau with depth", "tau in family", "no value", "verdict")
    rows: list[tuple[str, ...]] = []
    for v in calibration.verdicts:
        interval = f"{_signed(v.low)} to {_signed(v.high)}" if v.low is not None else "-"
        rows.append((v.name, _signed(v.tau), interval, "-" if v.p_value is None else f"{v.p_value:.3f}",
                     "-" if v.beats is None or v.name == BASELINE else f"{v.beats:.0%}", _signed(v.tau_depth), _signed(v.tau_family),
                     str(v.undefined or "-"), v.reason))
    return titles, rows


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _recipe(data: TrainingData, settings: CalibrationConfig) -> TrainConfig:
    from edgecompress.compress.quantize.input_range import choose_input_range
    from edgecompress.compress.recipes import recipe

    found = recipe(data.kind, data.name, data.input_shape, len(data.train))
    epochs = settings.epochs or max(_LEAST_EPOCHS, round(EPOCH_SHARE * found.epochs))
    return replace(found, epochs=epochs, seconds=settings.seconds, input_range=choose_input_range(data.train.x, data.normalization.raw_dtype, data.kind))


def _base_key(context: _Context) -> str:
    """Names what a verdict is about: data, space, version of the proxies and of the families."""
    space = context.make_space()
    knobs = {name: [[knob.name, list(knob.choices)] for knob in space.knobs(name)] for name in space.families}
    return fingerprint([context.data.hash, context.data.input_shape, len(context.data.classes), knobs, space.width_multiple, context.space.model,
                        source_version("edgecompress.search.proxies", "edgecompress.search.families")])


def _own_key(context: _Context) -> str:
    """Names how it was found: settings, recipe, and the limits with the profiles that latencies are estimated from."""
    return fingerprint([asdict(context.settings), asdict(context.recipe), [asdict(device) for device in context.devices]])


def _limits(devices: tuple[Device, ...]) -> str:
    return "; ".join(f"{device.target.name}: {device.budget.describe()}" for device in devices)


def _read(store: Store, name: str) -> Calibration | None:
    content = store.read(name)
    if content is None:
        return None
    try:
        return Calibration.from_json(content)
    except _DAMAGE as error:
        store.damaged(name, f"{type(error).__name__}: {error}")
        return None


def _draws(context: _Context) -> Iterator[Candidate]:
    """Different random candidates."""
    rng, space = np.random.default_rng(context.settings.seed), context.make_space()
    seen: set[str] = set()
    for _ in range(_DRAWS * context.settings.networks):
        candidate = random_candidate(rng, space)
        if candidate.id not in seen:
            seen.add(candidate.id)
            yield candidate


def _chosen(store: Store, name: str, context: _Context, evaluator: LocalEvaluator) -> list[Candidate]:
    """The first candidates that fit all devices, in the order in which they were drawn."""
    stored = _read_candidates(store, name)
    if stored:
        return stored
    draws, wanted = list(_draws(context)), context.settings.networks
    chosen: list[Candidate] = []
    position = 0
    while position < len(draws) and len(chosen) < wanted:
        part = draws[position : position + 2 * wanted]
        tasks = [Task(candidate.id, _fits, {"candidate": candidate.to_json()}) for candidate in part]
        fitting = {task.key for task, answer in evaluator.answers(tasks) if answer.values.get("fits")}
        chosen += [candidate for candidate in part if candidate.id in fitting]
        position += len(part)
    if len(chosen) < LEAST_NETWORKS:
        raise BudgetError(f"only {len(chosen)} of {len(draws)} random candidates fit {_limits(context.devices)}; a calibration needs {LEAST_NETWORKS}",
                          "raise the budget, or search without --calibrate-proxies")
    chosen = chosen[:wanted]
    store.write(name, {"candidates": [candidate.to_json() for candidate in chosen]})
    return chosen


def _read_candidates(store: Store, name: str) -> list[Candidate]:
    content = store.read(name)
    try:
        return [Candidate.from_json(text) for text in content["candidates"]] if content is not None else []
    except _DAMAGE as error:
        store.damaged(name, f"{type(error).__name__}: {error}")
        return []


def _fits(context: _Context, payload: Mapping[str, Any], _files: Mapping[str, bytes]) -> Answer:
    candidate, space = Candidate.from_json(payload["candidate"]), context.make_space()
    module = build(candidate, context.data.input_shape, len(context.data.classes), space=space).eval()
    if not context.devices:
        return Answer({"fits": True})
    structure = structure_of(module, candidate, context.data.input_shape, space)
    found = tuple(cost for _, cost in costs(structure, context.devices))
    return Answer({"fits": all(excess <= 0 for excess in violations(found, context.devices).values())})


def _trained(store: Store, place: str, context: _Context, chosen: Sequence[Candidate], evaluator: LocalEvaluator, progress: Progress,
             say: Say) -> list[Network]:
    known = {candidate.id: network for candidate in chosen if (network := _read_network(store, f"{place}/{candidate.id}")) is not None}
    tasks = [Task(c.id, _train_and_measure, {"candidate": c.to_json()}) for c in chosen if c.id not in known]
    progress(len(known), len(chosen))
    failed = 0
    for task, answer in evaluator.answers(tasks):
        if answer.error:
            failed += 1
            say(f"note: a network of the calibration could not be trained: {answer.error}")
        else:
            store.write(f"{place}/{task.key}", answer.values)
            known[task.key] = Network.from_json(answer.values)
        progress(len(known) + failed, len(chosen))
    if len(known) < LEAST_NETWORKS:
        raise TrainingError(f"only {len(known)} of {len(chosen)} networks could be trained; a calibration needs {LEAST_NETWORKS}")
    return [known[candidate.id] for candidate in chosen if candidate.id in known]


def _read_network(store: Store, name: str) -> Network | None:
    content = store.read(name)
    if content is None:
        return None
    try:
        return Network.from_json(content)
    except _DAMAGE as error:
        store.damaged(name, f"{type(error).__name__}: {error}")
        return None


def _train_and_measure(context: _Context, payload: Mapping[str, Any], _files: Mapping[str, bytes]) -> Answer:
    """A Network as JSON: proxies of the untrained module, as a search sees it, then the accuracy of a short training."""
    import torch

    from edgecompress.compress.finetune import train

    candidate, data, seed = Candidate.from_json(payload["candidate"]), context.data, context.settings.seed
    torch.manual_seed(seed)
    module = build(candidate, data.input_shape, len(data.classes), space=context.make_space()).eval()
    proxies = _measure(module, _batch(data, seed), seed)
    result = train(module, data.train, data.validation, context.recipe, (seed * 1_000_003 + int(candidate.id[:8], 16)) % 2**31)
    return Answer(Network(candidate.to_json(), candidate.family, _depth(module), result.accuracy, result.seconds, proxies).to_json())


def _batch(data: TrainingData, seed: int) -> Batch:
    import torch

    from edgecompress.search.proxies import Batch

    order = np.sort(np.random.default_rng(seed).permutation(len(data.train))[:_SAMPLES])
    return Batch(torch.from_numpy(data.train.x[order]).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(data.train.y[order]))


def _measure(module: nn.Module, batch: Batch, seed: int) -> dict[str, float]:
    from edgecompress.search.proxies import PROXIES

    return {name: proxy(module, batch, seed) for name, proxy in PROXIES.items()}


def _depth(module: nn.Module) -> int:
    from edgecompress.search.proxies.common import layers

    return len(layers(module))

