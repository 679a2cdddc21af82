"""The search space: candidates, suggestions, and networks of every family on every kind of input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from torch import fx, nn

from edgecompress.compress.prune.widths import FIXED_CHANNELS
from edgecompress.errors import ConfigError
from edgecompress.search.space import (
    FAMILIES,
    SPACE,
    Candidate,
    build,
    describe,
    random_candidate,
    space_table,
    suggest,
    trial_parameters,
    weight_bits,
)

SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3), (96, 96, 3), (49, 10, 1), (128, 9, 1), (128, 1, 9), (1, 1, 1), (2, 3, 5), (1, 40, 1), (7, 1, 1)]
DOCUMENT = Path(__file__).parents[1] / "docs" / "search-space.md"


def candidates(family: str, count: int, seed: int = 0) -> list[Candidate]:
    rng = np.random.default_rng(seed)
    return [random_candidate(rng, SPACE.restricted((family,))) for _ in range(count)]


def extremes(family: str) -> list[Candidate]:
    """The smallest and the largest choice of every knob."""
    return [Candidate({"family": family, **{knob.name: knob.choices[end] for knob in SPACE.knobs(family)}}) for end in (0, -1)]


def convolutions(module: nn.Module, x: torch.Tensor) -> list[tuple[nn.Conv2d, torch.Size, torch.Size]]:
    """Every convolution with the shapes it got and made."""
    seen: list[tuple[nn.Conv2d, torch.Size, torch.Size]] = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda conv, given, made: seen.append((conv, given[0].shape, made.shape)))
    module(x)
    return seen


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_networks_give_finite_logits_and_trace(family: str, shape: tuple[int, int, int]) -> None:
    x = torch.randn(2, shape[2], shape[0], shape[1], generator=torch.Generator().manual_seed(0))
    for candidate in [*candidates(family, 3), *extremes(family)]:
        module = build(candidate, shape, 5).eval()
        with torch.no_grad():
            logits = module(x)
        assert logits.shape == (2, 5)
        assert torch.isfinite(logits).all()
        traced = fx.symbolic_trace(module)
        with torch.no_grad():
            assert torch.equal(traced(x), logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_widths_are_multiples_of_four_and_no_tap_is_useless(family: str) -> None:
    for candidate in [*candidates(family, 10), *extremes(family)]:
        module = build(candidate, (9, 5, 2), 3).eval()
        for conv, given, made in convolutions(module, torch.zeros(1, 2, 9, 5)):
            assert conv.out_channels % 4 == 0 or getattr(conv, FIXED_CHANNELS, "") == "out", "tokens are as many as there are"
            assert all(kernel <= 2 * size - 1 or kernel <= size for kernel, size in zip(conv.kernel_size, given[2:], strict=True))
            assert all(after >= min(2, before) or kernel == before for kernel, before, after in
                       zip(conv.kernel_size, given[2:], made[2:], strict=True))


def test_temporal_networks_stay_one_dimensional_after_the_first_layer() -> None:
    for candidate in candidates("temporal", 5):
        module = build(candidate, (49, 10, 2), 3).eval()
        assert {made[3] for _, _, made in convolutions(module, torch.zeros(1, 2, 49, 10))} == {1}


def test_same_torch_seed_same_weights() -> None:
    (candidate,) = candidates("ds_cnn", 1)
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(build(candidate, (8, 8, 1), 10).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_suggestions_reproduce_candidates_through_fixed_trials() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        candidate = random_candidate(rng)
        assert suggest(optuna.trial.FixedTrial(trial_parameters(candidate))) == candidate


def test_a_study_explores_all_families_and_queued_candidates_come_first() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.NSGAIISampler(seed=1, population_size=20))
    wanted = candidates("resnet", 1)[0]
    study.enqueue_trial(trial_parameters(wanted))
    seen: list[Candidate] = []

    def objective(trial: optuna.Trial) -> float:
        seen.append(suggest(trial))
        SPACE.check(seen[-1])
        return float(seen[-1]["prune"])

    study.optimize(objective, n_trials=60)
    assert seen[0] == wanted
    assert {candidate.family for candidate in seen} == set(FAMILIES)


def test_ids_are_stable_and_json_round_trips() -> None:
    choices = {"family": "resnet", "width": 16, "growth": 2.0, "stages": 3, "depth": 1, "kernel": 3, "stem_kernel": 3, "stem_stride": 1,
               "activation": "relu", "prune": 0.25, "bits": 8}
    candidate = Candidate(choices)
    assert candidate.id == "f1119753605c"
    assert Candidate(dict(reversed(choices.items()))) == candidate
    assert len({candidate, Candidate(dict(choices))}) == 1
    assert Candidate.from_json(candidate.to_json()) == candidate
    assert Candidate({**choices, "width": 24}).id != candidate.id
    assert describe(candidate).startswith("resnet width=16 growth=2.0")


def test_four_bits_are_for_the_body_only() -> None:
    candidate = Candidate({**extremes("inverted_residual")[0].choices, "bits": 4})
    module = build(candidate, (8, 8, 1), 10)
    bits = weight_bits(candidate, module)
    modules = dict(module.named_modules())
    assert set(bits) == {name for name, layer in modules.items() if isinstance(layer, nn.Conv2d | nn.Linear)}
    assert bits["stem.conv"] == 8 and bits["head.linear"] == 8
    four = {name for name, value in bits.items() if value == 4}
    assert four and all(modules[name].groups == 1 and name.startswith("stage") for name in four)  # type: ignore[union-attr]
    assert set(weight_bits(Candidate({**candidate.choices, "bits": 8}), module).values()) == {8}


@pytest.mark.parametrize(("change", "words"), [
    ({"family": "resmet"}, "Did you mean 'resnet'"),
    ({"width": 17}, "'width'"),
    ({"widht": 16}, "Did you mean 'width'"),
])
def test_candidates_outside_the_space_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(Candidate({**extremes("resnet")[0].choices, **change}), (8, 8, 1), 10)


def test_missing_knobs_bad_shapes_and_bad_json_are_refused() -> None:
    candidate = extremes("resnet")[0]
    lacking = Candidate({name: value for name, value in candidate.choices.items() if name != "depth"})
    with pytest.raises(ConfigError, match="lacks the knob 'depth'"):
        build(lacking, (8, 8, 1), 10)
    with pytest.raises(ConfigError, match="input shape"):
        build(candidate, (8, 0, 1), 10)
    with pytest.raises(ConfigError, match="2 classes"):
        build(candidate, (8, 8, 1), 1)
    for text in ("{", "[]", "{}", json.dumps({"family": "resnet", "width": [1]}), json.dumps({"family": "resnet", "width": True})):
        with pytest.raises(ConfigError):
            Candidate.from_json(text)
    with pytest.raises(ConfigError, match="no family"):
        SPACE.restricted(())


def test_the_document_holds_the_tables() -> None:
    assert space_table() in DOCUMENT.read_text()


def test_size_counts_every_candidate() -> None:
    assert SPACE.restricted(("resnet",)).size == int(np.prod([len(knob.choices) for knob in SPACE.knobs("resnet")]))
    assert SPACE.size == sum(SPACE.restricted((name,)).size for name in FAMILIES)
