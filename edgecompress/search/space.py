"""The search space: families with their knobs, candidates drawn from it, and networks built from candidates."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from torch import nn

from edgecompress.compress.prune.widths import kept_width
from edgecompress.errors import ConfigError, unknown_name
from edgecompress.search.families import attention, ds_cnn, inverted_residual, mixer, plain, resnet, temporal
from edgecompress.search.families.blocks import Family
from edgecompress.search.knob import Choice, Knob

if TYPE_CHECKING:
    import numpy as np
    import optuna

COMMON_KNOBS = (
    Knob("activation", ("relu", "relu6"), "activation after every convolution but linear ones"),
    Knob("prune", (0.0, 0.25, 0.5), "share of each layer's channels that structured pruning removes"),
    Knob("bits", (8, 4), "stored bits of the body's weights; the first convolution, depthwise convolutions and the classifier keep 8"),
)


@dataclass(frozen=True)
class Candidate:
    """A point of the space: a flat mapping from `family` and its knobs to choices. Equal choices have equal `id`s on every machine."""

    choices: Mapping[str, Choice]

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", MappingProxyType(dict(sorted(self.choices.items()))))

    def __getitem__(self, name: str) -> Choice:
        return self.choices[name]

    def __reduce__(self) -> tuple[type[Candidate], tuple[dict[str, Choice]]]:
        return Candidate, (dict(self.choices),)  # a mapping proxy does not pickle, and worker processes get candidates

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def family(self) -> str:
        """Name of the architecture family."""
        return str(self.choices["family"])

    @property
    def id(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks."""
        return json.dumps(dict(self.choices), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Candidate:
        """The candidate whose `to_json` this is; raises ConfigError when the text is no flat JSON object with a family."""
        try:
            choices = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"a candidate is not valid JSON: {error}") from None
        if not isinstance(choices, dict) or not isinstance(choices.get("family"), str):
            raise ConfigError("a candidate must be a JSON object with a 'family'")
        if any(isinstance(value, bool) or not isinstance(value, int | float | str) for value in choices.values()):
            raise ConfigError("a candidate's values must be numbers or text")
        return cls(choices)


@dataclass(frozen=True)
class Space:
    """Families to choose from. `common` knobs apply to all of them; pruned widths are multiples of `width_multiple`."""

    families: Mapping[str, Family]
    common: tuple[Knob, ...] = COMMON_KNOBS
    width_multiple: int = 4

    def knobs(self, family: str) -> tuple[Knob, ...]:
        """Knobs that a candidate of this family has, common ones last; raises ConfigError for an unknown family."""
        if family not in self.families:
            raise unknown_name("family", family, self.families)
        found = self.families[family]
        return (*found.knobs, *(self.common if found.common_knobs else ()))

    def restricted(self, names: tuple[str, ...]) -> Space:
        """The space with only these families; raises ConfigError for an unknown or empty list."""
        if not names:
            raise ConfigError(f"no family is left to search; name at least one of {', '.join(sorted(self.families))}")
        for name in names:
            self.knobs(name)
        return replace(self, families={name: family for name, family in self.families.items() if name in names})

    def check(self, candidate: Candidate) -> None:
        """Raises ConfigError, naming the knob, unless the candidate lies in this space."""
        knobs = {knob.name: knob for knob in self.knobs(candidate.family)}
        for name, value in candidate.choices.items():
            if name == "family":
                continue
            if name not in knobs:
                raise unknown_name(f"knob of family '{candidate.family}'", name, knobs)
            if value not in knobs[name].choices:
                raise ConfigError(f"knob '{name}' of family '{candidate.family}' is {value!r}; choose one of {knobs[name].choices}")
        for name in knobs.keys() - candidate.choices.keys():
            raise ConfigError(f"the candidate lacks the knob '{name}' of family '{candidate.family}'")

    def designs(self) -> tuple[Candidate, ...]:
        """The families' known designs at every width, common knobs at their first choices; one family after the other in turn, narrow ones first."""
        rows: list[list[Candidate]] = []
        for name, family in self.families.items():
            first = {knob.name: knob.choices[0] for knob in self.common if family.common_knobs}
            widths = next((knob.choices for knob in family.knobs if knob.name == "width"), ())
            rows += [[Candidate({"family": name, **first, **design, "width": width}) for width in widths] for design in family.designs]
        return tuple(candidate for turn in itertools.zip_longest(*rows) for candidate in turn if candidate is not None)

    @property
    def size(self) -> int:
        """Number of different candidates."""
        total = 0
        for name in self.families:
            count = 1
            for knob in self.knobs(name):
                count *= len(knob.choices)
            total += count
        return total


FAMILIES: dict[str, Family] = {
    "ds_cnn": Family(ds_cnn.KNOBS, ds_cnn.build, designs=ds_cnn.DESIGNS),
    "inverted_residual": Family(inverted_residual.KNOBS, inverted_residual.build, designs=inverted_residual.DESIGNS),
    "resnet": Family(resnet.KNOBS, resnet.build, designs=resnet.DESIGNS),
    "temporal": Family(temporal.KNOBS, temporal.build, designs=temporal.DESIGNS),
    "plain": Family(plain.KNOBS, plain.build, designs=plain.DESIGNS),
    "mixer": Family(mixer.KNOBS, mixer.build, designs=mixer.DESIGNS),
    "attention": Family(attention.KNOBS, attention.build, designs=attention.DESIGNS),
}
SPACE = Space(FAMILIES)


@dataclass(frozen=True)
class SpaceSpec:
    """What a space is made from, in words that processes and machines can hand on: families by name (none: all of them), or an own model."""

    families: tuple[str, ...] = ()
    model: str = ""
    width_multiple: int = 4

    def make(self, input_shape: tuple[int, int, int], classes: int) -> Space:
        """The space. Raises ConfigError for unknown families, ConfigError or ModelError for a model that cannot be used."""
        return _make_space(self, input_shape, classes)

    def sources(self) -> list[bytes]:
        """The files that define the user's own families: with other code in them it is another space."""
        modules = [importlib.import_module(name.partition(":")[0]) for name in self.families if ":" in name]
        return [Path(module.__file__).read_bytes() for module in modules if module.__file__]


@lru_cache(maxsize=4)  # an own model is loaded once a process
def _make_space(spec: SpaceSpec, input_shape: tuple[int, int, int], classes: int) -> Space:
    if spec.model:
        from edgecompress.search.own_model import own_model_space

        return own_model_space(spec.model, input_shape, classes, width_multiple=spec.width_multiple)
    known = {name: _imported_family(name) if ":" in name else SPACE.families.get(name) for name in spec.families}
    for name, family in known.items():
        if family is None:
            raise unknown_name("family", name, SPACE.families)
    families = {name.replace(".", "_").replace(":", "_"): family for name, family in known.items() if family is not None}
    return replace(SPACE, width_multiple=spec.width_multiple, families=families or SPACE.families)


def _imported_family(name: str) -> Family:
    """A family of the user's: "pkg.module:NAME", imported with the working directory on the path."""
    module, _, attribute = name.partition(":")
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever the user's module raises
        raise ConfigError(f"the family '{name}' cannot be imported ({type(error).__name__}: {error}); write pkg.module:NAME, importable from here") from error
    finally:
        sys.path[:] = before
    if not isinstance(found, Family):
        raise ConfigError(f"'{name}' is of type {type(found).__name__}; a family is an edgecompress.search.families.blocks.Family")
    for knob in found.knobs:
        if not isinstance(knob, Knob) or not knob.choices or any(type(choice) not in (int, float, str) for choice in knob.choices):
            raise ConfigError(f"the family '{name}' has the knob {knob!r}; a knob is an edgecompress.search.knob.Knob with a name and at least one choice "
                              "that is a number or text")
    return found


def suggest(trial: optuna.trial.BaseTrial, space: Space = SPACE) -> Candidate:
    """The trial's candidate. Parameters are named `family`, `<family>.<knob>` and, for common knobs, `<knob>` (see `trial_parameters`)."""
    family = str(trial.suggest_categorical("family", list(space.families)))
    choices: dict[str, Choice] = {"family": family}
    for knob in space.families[family].knobs:
        choices[knob.name] = _suggest(trial, f"{family}.{knob.name}", knob)
    for knob in space.common:
        choice = _suggest(trial, knob.name, knob)
        if space.families[family].common_knobs:
            choices[knob.name] = choice
    return Candidate(choices)


def _suggest(trial: optuna.trial.BaseTrial, name: str, knob: Knob) -> Choice:
    choice = trial.suggest_categorical(name, knob.choices)
    assert choice is not None
    return choice


def trial_parameters(candidate: Candidate, space: Space = SPACE) -> dict[str, Choice]:
    """The optuna parameters that make `suggest` return this candidate: for `enqueue_trial` and `FixedTrial`."""
    space.check(candidate)
    common = {knob.name for knob in space.common} | {"family"}
    return {name if name in common else f"{candidate.family}.{name}": value for name, value in candidate.choices.items()}


def random_candidate(rng: np.random.Generator, space: Space = SPACE) -> Candidate:
    """Uniform over families, then uniform over each knob."""
    family = list(space.families)[int(rng.integers(len(space.families)))]
    choices: dict[str, Choice] = {"family": family}
    for knob in space.knobs(family):
        choices[knob.name] = knob.choices[int(rng.integers(len(knob.choices)))]
    return Candidate(choices)


def build(
    candidate: Candidate, input_shape: tuple[int, int, int], classes: int, *, dense: bool = False, space: Space = SPACE
) -> nn.Module:
    """Network of the candidate: float32 NCHW in, logits [n, classes] out. Weights come from torch's global generator.

    `input_shape` is (height, width, channels). The layers have their pruned widths already, equal to what
    `prune(build(..., dense=True), ..., candidate["prune"])` makes; `dense=True` builds the network before pruning.
    Raises ConfigError for a candidate outside the space, an impossible shape or fewer than two classes.
    """
    space.check(candidate)
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ConfigError(f"the input shape is {input_shape}; it must be (height, width, channels), each at least 1")
    if classes < 2:
        raise ConfigError(f"a classifier needs at least 2 classes, got {classes}")
    ratio = 0.0 if dense else float(candidate.choices.get("prune", 0.0))
    module = space.families[candidate.family].build(candidate.choices, input_shape, classes, lambda width: kept_width(width, ratio, space.width_multiple))
    if not isinstance(module, nn.Module):
        raise ConfigError(f"the family '{candidate.family}' built a {type(module).__name__}; its function must return an nn.Module")
    return module


def weight_bits(candidate: Candidate, module: nn.Module, space: Space = SPACE) -> dict[str, int]:
    """Stored weight bits of every convolution and linear layer by module name: the family's own choice, or by the knob `bits`."""
    own = space.families[candidate.family].bits
    if own is not None:
        return own(candidate.choices, module)
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    body = int(candidate.choices.get("bits", 8))

    def is_body(layer: nn.Module) -> bool:
        return isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer is not layers[0][1]

    return {name: body if is_body(layer) else 8 for name, layer in layers}


def describe(candidate: Candidate, space: Space = SPACE) -> str:
    """One line for people, such as "temporal width=64 growth=1.5 ... prune=0.25 bits=8"; raises ConfigError for an unknown family."""
    names = (knob.name for knob in space.knobs(candidate.family))
    return " ".join([candidate.family, *(f"{name}={candidate.choices.get(name, '?')}" for name in names)])


def space_table(space: Space = SPACE) -> str:
    """The knobs as Markdown tables; docs/search-space.md holds this text."""
    parts = []
    for title, knobs in [*((f"`{name}`", family.knobs) for name, family in space.families.items()), ("All families", space.common)]:
        rows = [f"| `{knob.name}` | {', '.join(str(choice) for choice in knob.choices)} | {knob.meaning} |" for knob in knobs]
        parts.append("\n".join([f"### {title}", "", "| knob | choices | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"
