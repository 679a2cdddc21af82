"""From settings to the problem that is searched: devices with their profiles and limits, the space, the samples for the proxies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl

import numpy as np

from edgecompress.bench import check_tools
from edgecompress.bench.cache import cache_directory
from edgecompress.data.dataset import load_dataset
from edgecompress.errors import ConfigError, unknown_name
from edgecompress.hw.estimate import applies
from edgecompress.hw.profile import HardwareProfile, load_profile
from edgecompress.hw.target import Target, load_target
from edgecompress.processes import default_workers
from edgecompress.run.config import DEFAULT_PROXIES, SearchConfig
from edgecompress.search.objective import INHERITED, Device, Problem
from edgecompress.search.space import SpaceSpec

if TYPE_CHECKING:
    from edgecompress.data.parts import Dataset
    from edgecompress.search.calibration import Calibration


class Progress(Protocol):
    """Where the pipeline says how far it is."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` steps begins."""

    def step(self, done: int) -> None:
        """`done` steps of the stage are finished."""

    def say(self, text: str) -> None:
        """One line for people."""


DEVICE_KEYS = ("latency", "ram", "flash", "macs", "energy", "profile")
BATCH, INHERITED_BATCH = 32, 256  # training samples that proxies see


def make_devices(config: SearchConfig) -> tuple[Device, ...]:
    """The target, then the targets of --also, each with profile and limits. Raises ConfigError naming the one that cannot be used."""
    devices = [_device(config)]
    for text in filter(None, (part.strip() for part in config.also.split(";"))):
        name, _, query = text.partition("?")
        device = _further_device(config, name, query)
        if any(device.target.name == other.target.name for other in devices):
            raise ConfigError(f"--also names {device.target.name} again; name each target once")
        devices.append(device)
    return tuple(devices)


def _with_options(config: SearchConfig, name: str, query: str) -> SearchConfig:
    """The settings with one device's own limits. Limits of the first device say nothing about another one."""
    own: Mapping[str, str] = dict(parse_qsl(query, keep_blank_values=True, separator="&"))
    for key in own:
        if key not in DEVICE_KEYS:
            raise ConfigError(f"--also {name}: {unknown_name('key', key, DEVICE_KEYS).message}")
    macs = own.get("macs", "0")
    if not macs.isdecimal():
        raise ConfigError(f"--also {name}: macs is '{macs}'; it must be a whole number")
    return replace(config, target=name, also="", on="", macs=int(macs), latency=own.get("latency", ""), ram=own.get("ram", ""), flash=own.get("flash", ""),
                   energy=own.get("energy", ""), profile=own.get("profile", ""))


def _further_device(config: SearchConfig, name: str, query: str) -> Device:
    try:
        return _device(_with_options(config, name, query))
    except ConfigError as error:
        raise ConfigError(error.message if error.message.startswith("--also") else f"--also {name}: {error.message}", *error.details) from None


def _device(config: SearchConfig) -> Device:
    target = load_target(config.target)
    budget = config.budget(target)
    check_settings(config, target)
    profile = _profile(config, target)
    if budget.energy_j is not None and profile.power_w is None:
        raise ConfigError(f"--energy limits {target.name}, but its profile '{profile.name}' knows no power; measure the board's mean power while it computes "
                          f"and make the profile with 'edgecompress profile --target {config.target} --power 85mW'")
    return Device(target, profile, budget)


def check_settings(config: SearchConfig, target: Target) -> None:
    """What would fail after the training fails here: tools and names. Raises ConfigError or ToolMissingError."""
    from edgecompress.compress.quantize.config import QuantizeConfig

    QuantizeConfig(range_method=config.range_method)
    check_tools(target, config.cc or None, config.emulator or None, config.on or None)


def _profile(config: SearchConfig, target: Target) -> HardwareProfile:
    """The search's profile; a missing one or another target's is told with the command that makes the right one."""
    make = f"'edgecompress profile --target {config.target}' makes it (some minutes)"
    try:
        profile = load_profile(config.profile or target.profile)
    except ConfigError as error:
        if config.profile:
            raise
        raise ConfigError(f"target '{target.name}' has no usable latency profile yet: {error.message}", make) from None
    if not applies(profile, target):
        raise ConfigError(f"profile '{profile.name}' was made for {profile.target}, not for {target.name}; "
                          "name an own profile in the target's file or give --profile", make)
    return profile


def names_of(text: str) -> tuple[str, ...]:
    """A comma-separated list of names."""
    return tuple(name for name in text.replace(" ", "").split(",") if name)


def calibrations() -> Path:
    """Where verdicts about proxies are kept: in the user's cache, for all runs."""
    return cache_directory() / "calibrations"


def make_spec(config: SearchConfig, devices: tuple[Device, ...]) -> SpaceSpec:
    """The space in words. Further devices do not change it: widths that one of them does not like are still right.

    Raises ConfigError for an own model with families.
    """
    if config.model and config.families:
        raise ConfigError("--model searches variants of one network and --families among networks; give one of them")
    return SpaceSpec(names_of(config.families), config.model, devices[0].target.width_multiple)


def known_proxies(config: SearchConfig, data: Dataset, devices: tuple[Device, ...], say: Callable[[str], None]) -> tuple[str, ...] | None:
    """What a calibration for this data kept; None if there is none."""
    from edgecompress.search.calibration import load_calibration

    if config.proxies or config.model:
        return None
    found = load_calibration(data.without_test(), make_spec(config, devices), devices, calibrations(), say)
    return None if found is None else found.kept


def calibrate_proxies(config: SearchConfig, progress: Progress) -> Calibration:
    """Trains candidates of the search's space on its data and says which proxies rank them better than their multiply-accumulates.

    Raises ConfigError for an own model, whose proxy looks at its trained weights, and as `calibrate` does.
    """
    from edgecompress.search.calibration import CalibrationConfig, calibrate

    if config.model:
        raise ConfigError("--calibrate-proxies is for families of untrained networks; candidates of --model inherit trained weights and are judged by those")
    devices = make_devices(config)
    data = load_dataset(config.data, seed=config.seed)
    settings = CalibrationConfig(seed=config.seed)
    progress.stage("calibrate", settings.networks)
    return calibrate(data.without_test(), make_spec(config, devices), devices, settings, calibrations(), config.workers or default_workers(),
                     lambda done, _: progress.step(done), progress.say)


def make_problem(config: SearchConfig, data: Dataset, devices: tuple[Device, ...], proxies: tuple[str, ...] | None = None) -> Problem:
    """The search's view: training samples for the proxies, shapes, limits. No validation or test sample. Raises ConfigError for an unknown proxy."""
    from edgecompress.search.proxies import PROXIES

    known = {**PROXIES, INHERITED: None} if config.model else PROXIES
    default = (INHERITED,) if config.model else DEFAULT_PROXIES
    chosen = names_of(config.proxies) or (default if proxies is None else proxies)
    for name in chosen:
        if name not in known:
            raise unknown_name("proxy", name, known)
    count = INHERITED_BATCH if INHERITED in chosen else BATCH
    # in random order: some of the scores take the first few, and files are often sorted by class
    order = np.random.default_rng(config.seed).permutation(len(data.train.y))[:count]
    return Problem(data.input_shape, len(data.classes), devices, make_spec(config, devices), np.ascontiguousarray(data.train.x[order]),
                   np.ascontiguousarray(data.train.y[order]), tuple(name for name in chosen if name != "macs"), config.seed)
