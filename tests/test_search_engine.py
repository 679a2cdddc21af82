"""Rungs, the surrogate and the picks that stand before training; and the study under every sampler."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecompress.errors import ConfigError
from edgecompress.search.evaluator import Answer, LocalEvaluator, More, Task, local_evaluator, no_more
from edgecompress.search.halving import Halving, extrapolated, pick, rungs
from edgecompress.search.neighbourhood import distinct, neighbours
from edgecompress.search.objective import Score
from edgecompress.search.space import SPACE, Candidate, SpaceSpec, random_candidate
from edgecompress.search.study import SAMPLERS, Study, StudySettings, Trial, score_task
from edgecompress.search.surrogate import Observation, Surrogate, expected_improvement


def _score(candidate: Candidate, macs: int, latency: float) -> Score:
    return Score({"naswot": float(np.log(macs) * 10)}, macs, macs // 50, 8, latency, 4000, 20_000, {"latency": latency / 0.01 - 1}, latency / 0.01, 0.1, {})


def _trials(count: int, seed: int = 0) -> list[Trial]:
    rng = np.random.default_rng(seed)
    found: dict[str, Trial] = {}
    while len(found) < count:
        candidate = random_candidate(rng)
        macs = int(10 ** rng.uniform(4, 6))
        found[candidate.id] = Trial(len(found), candidate, _score(candidate, macs, macs * rng.uniform(4e-9, 8e-9)))
    return list(found.values())


def _truth(trial: Trial) -> float:
    """An accuracy that grows with the logarithm of the multiply-accumulates, and prefers one family."""
    return 0.6 + 0.05 * np.log10(trial.score.macs / 1e4) + 0.1 * (trial.candidate.family == "ds_cnn")


@given(st.integers(1, 200), st.integers(1, 40))
def test_rungs_narrow_down_to_top_k_and_grow_in_length(screen: int, top_k: int) -> None:
    found = rungs(screen, top_k)
    counts, shares = [rung.count for rung in found], [rung.share for rung in found]
    assert counts[-1] == top_k and shares[-1] == 1.0
    assert counts == sorted(counts, reverse=True) and len(set(counts)) == len(counts)
    assert shares == sorted(shares) and shares[0] > 0
    if screen > top_k:
        assert counts[0] == screen
        assert sum(rung.count * rung.share for rung in found[:-1]) <= sum(rung.count * rung.share for rung in found[-1:]) * 1.01


def _seen(trials: Sequence[Trial], share: float) -> list[Observation]:
    return [Observation(trial, share, _truth(trial)) for trial in trials]


def test_the_first_rung_covers_families_and_then_follows_the_surrogate() -> None:
    trials = _trials(120)
    halving = Halving(SPACE, 16, 3, "hypervolume", 0)
    first = halving.first(trials)
    assert len(first) in (7, 8) and {t.candidate.family for t in first} == {t.candidate.family for t in trials}
    second = halving.second(trials, _seen(first, halving.rungs[0].share), first)
    assert len(first) + len(second) == 16 and not {t.candidate.id for t in first} & {t.candidate.id for t in second}
    guided, blind = np.mean([_truth(t) for t in second]), np.mean([_truth(t) for t in trials])
    assert guided > blind + 0.02  # it learned something from eight trainings
    assert halving.second(trials, _seen(first, halving.rungs[0].share), first) == second  # a resumed run asks the same


def test_a_candidate_that_did_not_train_is_no_observation() -> None:
    trials = _trials(30)
    halving = Halving(SPACE, 12, 2, "hypervolume", 0)
    first = halving.first(trials)
    assert len(halving.second(trials, _seen(first[:1], 0.1), first)) == len(halving.second(trials, [], first)) == 12 - len(first)


@pytest.mark.parametrize(("screen", "families"), [(4, 4), (7, 7), (10, 7), (16, 7)])
def test_a_short_first_rung_is_for_the_families(screen: int, families: int) -> None:
    first = Halving(SPACE, screen, 1, "hypervolume", 0).first(_trials(120))
    assert len({t.candidate.family for t in first}) == families and len(first) in (families, max(families, screen // 2))


def test_neighbours_are_new_candidates_of_the_space_near_their_parents() -> None:
    parents = [trial.candidate for trial in _trials(3)]
    known = {parents[0].id}
    found = neighbours(parents, SPACE, known, 40, 7)
    assert len(found) == 40 == len({c.id for c in found}) and not known & {c.id for c in found}
    for candidate in found:
        SPACE.check(candidate)
        nearest = min(sum(candidate.choices[k] != p.choices[k] for k in p.choices) for p in parents if p.family == candidate.family)
        assert nearest <= 3
    assert neighbours(parents, SPACE, known, 40, 7) == found != neighbours(parents, SPACE, known, 40, 8)


def test_promotion_takes_the_best_as_the_surrogate_sees_them() -> None:
    trials = _trials(80)
    halving = Halving(SPACE, 12, 3, "hypervolume", 0)
    screened = trials[:12]
    standing = halving.next(1, trials, _seen(screened, halving.rungs[0].share), screened)
    assert len(standing) == halving.rungs[1].count
    ranks = sorted((_truth(trial) for trial in screened), reverse=True)
    assert np.mean([_truth(trial) for trial in standing]) >= np.mean(ranks[: len(standing)]) - 0.02


def test_a_middle_rung_keeps_different_families() -> None:
    trials = _trials(40)
    halving = Halving(SPACE, 12, 1, "hypervolume", 0)
    screened = [trial for trial in trials if trial.candidate.family in ("ds_cnn", "plain", "mixer")][:12]
    standing = halving.next(1, trials, _seen(screened, halving.rungs[0].share), screened)
    assert len({trial.candidate.family for trial in standing}) == 3 and len(standing) == halving.rungs[1].count


def test_the_last_rung_goes_to_whom_the_curves_lead() -> None:
    early, late = _trials(2)
    seen = [Observation(early, 0.05, 0.80), Observation(late, 0.05, 0.60), Observation(early, 0.2, 0.85), Observation(late, 0.2, 0.84)]
    found = extrapolated(seen, [early, late])
    assert found[late.candidate.id] > found[early.candidate.id] > 0.85
    assert extrapolated(seen[:3], [early, late]).keys() == {early.candidate.id}, "one training makes no curve"
    halving = Halving(SPACE, 4, 1, "hypervolume", 0)
    assert halving.next(len(halving.rungs) - 1, [early, late], seen, [early, late]) == [late]


def test_the_surrogate_predicts_what_it_did_not_see_better_than_the_mean() -> None:
    trials = _trials(60)
    surrogate = Surrogate(trials, SPACE, 0)
    seen = [Observation(trial, 1.0, _truth(trial)) for trial in trials[:30]]
    mean, deviation = surrogate.predict(seen, trials[30:])
    truth = np.array([_truth(trial) for trial in trials[30:]])
    assert np.abs(mean - truth).mean() < 0.6 * np.abs(truth - np.mean([o.accuracy for o in seen])).mean()
    assert (deviation > 0).all()


def test_proxies_that_are_not_finite_do_not_break_the_surrogate() -> None:
    trials = [replace(t, score=replace(t.score, proxies={"naswot": float("-inf")})) for t in _trials(20)]
    mean, _ = Surrogate(trials, SPACE, 0).predict([Observation(t, 1.0, _truth(t)) for t in trials[:8]], trials[8:])
    assert np.isfinite(mean).all()


def test_expected_improvement_prefers_better_and_less_sure() -> None:
    gain = expected_improvement(np.array([0.8, 0.9, 0.8]), np.array([0.01, 0.01, 0.1]), 0.85)
    assert gain[1] > gain[2] > gain[0] >= 0


def test_picks() -> None:
    trials = _trials(40)
    most = pick(trials, 4, "macs", 0)
    assert [t.score.macs for t in most] == sorted((t.score.macs for t in trials), reverse=True)[:4]
    assert pick(trials, 4, "random", 1) == pick(trials, 4, "random", 1) != pick(trials, 4, "random", 2)
    assert len(pick(trials, 100, "random", 0)) == 40
    for trial in pick(trials, 5, "hypervolume", 0):
        family = [o for o in trials if o.candidate.family == trial.candidate.family and o is not trial]
        assert not any(all(a <= b for a, b in zip(o.score.capacity, trial.score.capacity, strict=True)) for o in family)


class _Here:
    """Answers in this process, with made-up scores; the last task first, or the first with place 0: the order of answers must not matter."""

    def __init__(self, broken: bool = False, place: int = -1) -> None:
        self.asked: list[str] = []
        self._broken, self._place = broken, place

    def answers(self, tasks: Sequence[Task], more: More = no_more) -> Iterator[tuple[Task, Answer]]:
        waiting = list(tasks)
        while waiting:
            task = waiting.pop(self._place)
            self.asked.append(task.key)
            yield task, self._answer(Candidate.from_json(task.payload["candidate"]))
            waiting += more()

    def _answer(self, candidate: Candidate) -> Answer:
        if self._broken and int(candidate.id, 16) % 3 == 0:
            return Answer({}, error="cannot be lowered")
        macs = 10_000 + int(candidate.id[:6], 16) % 1_000_000
        return Answer(_score(candidate, macs, macs * 5e-9).to_json())


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_study_resumes_to_the_same_questions(tmp_path: Path, sampler: str) -> None:
    settings = StudySettings(sampler, 8, 5, 3)
    whole = Study(tmp_path / "whole.log", SPACE, settings).run(_Here(), 24, lambda done, total: None)
    again = Study(tmp_path / "parts.log", SPACE, settings)
    again.run(_Here(), 11, lambda done, total: None)
    resumed = Study(tmp_path / "parts.log", SPACE, settings).run(_Here(), 24, lambda done, total: None)
    assert [t.candidate for t in resumed] == [t.candidate for t in whole] and len(whole) == 24
    first = Study(tmp_path / "first.log", SPACE, settings).run(_Here(place=0), 24, lambda done, total: None)
    assert first == whole, "the order of answers does not matter"
    other = Study(tmp_path / "other.log", SPACE, replace(settings, seed=6)).run(_Here(), 24, lambda done, total: None)
    assert [t.candidate for t in other] != [t.candidate for t in whole]


def test_further_candidates_are_scored_behind_the_questions(tmp_path: Path) -> None:
    settings = StudySettings("nsga2", 8, 5, 3)
    study = Study(tmp_path / "study.log", SPACE, settings)
    trials = study.run(_Here(), 8, lambda done, total: None)
    more = neighbours([trials[0].candidate], SPACE, {t.candidate.id for t in trials}, 5, 0)
    found = study.score_also(_Here(), more, 8, lambda done, total: None)
    assert [t.candidate for t in found] == more and [t.number for t in found] == [8, 9, 10, 11, 12]
    again = _Here()
    assert Study(tmp_path / "study.log", SPACE, settings).score_also(again, more, 8, lambda done, total: None) == found and not again.asked
    starts = [trials[3].candidate, trials[5].candidate]
    begun = Study(tmp_path / "starts.log", SPACE, settings, starts).run(_Here(), 8, lambda done, total: None)
    assert [t.candidate for t in begun[:2]] == starts


def test_more_starts_than_questions_do_not_disturb_further_candidates(tmp_path: Path) -> None:
    settings = StudySettings("nsga2", 8, 5, 3)
    starts, more = [t.candidate for t in _trials(20)], [t.candidate for t in _trials(4, seed=9)]
    study = Study(tmp_path / "study.log", SPACE, settings, starts)
    assert [t.candidate for t in study.run(_Here(), 10, lambda done, total: None)] == starts[:10]
    assert [t.candidate for t in study.score_also(_Here(), more, 10, lambda done, total: None)] == more


def test_every_family_gets_its_share_and_later_questions_are_neighbours(tmp_path: Path) -> None:
    trials = Study(tmp_path / "study.log", SPACE, StudySettings("nsga2", 14, 0, 3)).run(_Here(), 56, lambda done, total: None)
    assert {name: sum(t.candidate.family == name for t in trials) for name in SPACE.families} == dict.fromkeys(SPACE.families, 8)
    late = [t for t in trials if t.number >= 42]

    def changes(trial: Trial) -> int:
        before = [t.candidate.choices for t in trials if t.number < 42 and t.candidate.family == trial.candidate.family]
        return min(sum(choices[name] != value for name, value in trial.candidate.choices.items()) for choices in before)

    assert late and all(1 <= changes(trial) <= 3 for trial in late), "one to three knobs from a candidate that was scored before"


def test_known_designs_are_of_the_space_and_come_first(tmp_path: Path) -> None:
    designs = SPACE.designs()
    assert {candidate.family for candidate in designs} == set(SPACE.families) and len({candidate.id for candidate in designs}) == len(designs)
    for candidate in designs:
        SPACE.check(candidate)
    trials = [Trial(n, candidate, _score(candidate, 1000 * (n + 1), 1e-3)) for n, candidate in enumerate(designs)]
    rivals = [Trial(100 + n, t.candidate, replace(t.score, macs=10**7)) for n, t in enumerate(_trials(40))]
    picked = pick([*trials, *rivals], 7, "hypervolume", 0, {candidate.id for candidate in designs})
    largest = {name: max((t for t in trials if t.candidate.family == name), key=lambda t: t.score.macs) for name in SPACE.families}
    assert {t.candidate.id for t in picked} == {t.candidate.id for t in largest.values()}
    narrowest = {t.candidate.family: t for t in reversed(trials)}
    busy = [replace(t, score=replace(t.score, macs=10**8, parameters=1, proxies=dict.fromkeys(t.score.proxies, -9.0)))
            if t is narrowest[t.candidate.family] else t for t in trials]
    picked = pick(busy, 7, "hypervolume", 0, {candidate.id for candidate in designs})
    assert {t.candidate.id for t in picked} == {t.candidate.id for t in largest.values()}, "more multiply-accumulates alone do not make a design the better one"


def test_networks_that_differ_in_activation_or_bits_alone_are_picked_once() -> None:
    first = _trials(1)[0]
    other = Candidate({**first.candidate.choices, "bits": 12 - int(first.candidate["bits"])})
    twin = Trial(1, other, replace(first.score, flash_bytes=first.score.flash_bytes - 1, network="other"))
    assert pick([first, twin], 2, "hypervolume", 0) == [first]


def test_knobs_without_effect_make_one_network() -> None:
    trials = _trials(4)
    same = [Trial(n, t.candidate, replace(t.score, network="one")) for n, t in enumerate(trials[:3])]
    assert distinct([*same, trials[3]]) == [same[0], trials[3]] and distinct([same[1], trials[3]], known=[same[0]]) == [trials[3]]


def test_failed_questions_are_told_and_not_asked_again(tmp_path: Path) -> None:
    settings = StudySettings("nsga2", 8, 0, 3)
    study = Study(tmp_path / "study.log", SPACE, settings)
    here = _Here(broken=True)
    trials = study.run(here, 16, lambda done, total: None)
    assert trials and study.failures() and len(trials) + len(study.failures()) == 16
    assert set(study.failures()) == {"cannot be lowered"}
    once = _Here(broken=True)
    Study(tmp_path / "study.log", SPACE, settings).run(once, 16, lambda done, total: None)
    assert once.asked == []


def test_a_candidate_that_failed_is_no_new_task_in_a_later_generation(tmp_path: Path) -> None:
    plain = SPACE.families["plain"]
    few = replace(SPACE, families={"plain": replace(plain, knobs=plain.knobs[:1], common_knobs=False, designs=())})
    candidates = [Candidate({"family": "plain", few.knobs("plain")[0].name: choice}) for choice in few.knobs("plain")[0].choices]
    study, here = Study(tmp_path / "study.log", few, StudySettings("random", 4, 0, 3)), _Here(broken=True)
    trials = study.run(here, 60, lambda done, total: None)
    assert study.failures() and len(trials) + len(study.failures()) == 60
    assert sorted(here.asked) == sorted(f"score/{candidate.id}" for candidate in candidates), "machines that share a study know a task by its key"


def test_a_family_that_has_its_answers_asks_on(tmp_path: Path) -> None:
    families = len(SPACE.families)
    here = _Here(place=-1)  # the family asked last is answered first, and then what it asks next
    Study(tmp_path / "study.log", SPACE, StudySettings("nsga2", 2 * families, 0, 3)).run(here, 6 * families, lambda done, total: None)
    log = [Candidate.from_json(json.loads(line)["user_attrs"]["candidate"]).family for line in (tmp_path / "study.log").read_text().splitlines()
           if "candidate" in line]
    assert len(set(log[:6])) == 1 and len(log) == 6 * families, "nobody waits for the other families' generations"


def _double(context: int, payload: Mapping[str, Any], files: Mapping[str, bytes]) -> Answer:
    if payload["x"] < 0:
        raise ConfigError(f"{payload['x']} is negative")
    return Answer({"y": context * payload["x"]}, {"same": files["given"]} if files else {})


def test_the_local_evaluator_shares_its_context_and_turns_errors_into_answers() -> None:
    tasks = [Task(f"double/{x}", _double, {"x": x}, {"given": bytes([x])} if x > 0 else {}) for x in (3, 4, -1)]
    with local_evaluator(10, 2) as evaluator:
        assert isinstance(evaluator, LocalEvaluator)
        found = {task.key: answer for task, answer in evaluator.answers(tasks)}
        later = [[Task("double/9", _double, {"x": 9})], [], [Task("double/7", _double, {"x": 7}), Task("double/8", _double, {"x": 8})]]
        came_up = {task.key: answer.values for task, answer in evaluator.answers(tasks[:1], lambda: later.pop(0) if later else [])}
    assert came_up == {"double/3": {"y": 30}, "double/9": {"y": 90}}, "nobody is asked for more after the last answer"
    assert found["double/3"] == Answer({"y": 30}, {"same": b"\x03"}) and found["double/4"].values == {"y": 40}
    assert found["double/-1"].error == "-1 is negative" and not found["double/-1"].values


def test_a_bug_of_ours_is_no_answer_but_one_of_the_users_is() -> None:
    with local_evaluator(1, 1) as evaluator:
        ((_, answer),) = evaluator.answers([Task("theirs", _double, {})])
    assert answer.error.startswith("your code raised KeyError in ") and Path(__file__).name in answer.error
    with pytest.raises(KeyError), local_evaluator(1, 1) as evaluator:
        list(evaluator.answers([Task("ours", score_task, {})]))


def test_a_user_model_that_views_its_features_trains() -> None:
    import torch
    from torch import nn

    from edgecompress.compress.finetune import train
    from edgecompress.compress.training import TrainConfig
    from edgecompress.data.parts import Samples

    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4 * 36, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.linear(torch.relu(self.conv(x)).view(x.shape[0], -1))
            return result

    rng = np.random.default_rng(0)
    samples = Samples(rng.normal(size=(64, 6, 6, 1)).astype(np.float32), np.arange(64) % 3)
    result = train(Views(), samples, samples, TrainConfig(epochs=2), 0)
    assert len(result.history) == 2


@pytest.mark.parametrize(("name", "content"), [(".json", b"{}"), (".json", b"[1]"), (".json", b'{"accuracy": 2.5, "seconds": 1, "weights_sha256": ""}'),
                                               (".json", b'{"accuracy": NaN, "seconds": 1, "weights_sha256": ""}'), (".pt", b"junk"), (".pt", b"")])
def test_a_damaged_short_training_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    from edgecompress.run.kept import keep, kept

    place = tmp_path / "abc-0"
    assert kept(place) is None
    keep(place, {"accuracy": 0.5, "seconds": 1.0}, b"weights")
    found = kept(place)
    assert found is not None and found[0]["accuracy"] == 0.5 and found[1] == b"weights"
    (tmp_path / f"abc-0{name}").write_bytes(content)
    with pytest.raises(ConfigError, match=f"abc-0{name}"):
        kept(place)


def test_scoring_for_two_devices_holds_both_budgets() -> None:
    from edgecompress.data.dataset import load_dataset
    from edgecompress.run.config import SearchConfig
    from edgecompress.run.problem import make_devices, make_problem

    config = SearchConfig(latency="3ms", ram="16KiB", flash="40KiB", also="cortex-m4?latency=9ms&ram=8KiB; cortex-m33")
    devices = make_devices(config)
    assert [device.target.name for device in devices] == ["cortex-m7", "cortex-m4", "cortex-m33"]
    assert devices[1].budget.ram_bytes == 8 * 1024 and devices[2].budget.ram_bytes == devices[2].target.defaults.ram_bytes
    problem = make_problem(config, load_dataset("digits"), devices)
    candidate = Candidate({**random_candidate(np.random.default_rng(3), SPACE.restricted(("ds_cnn",))).choices, "width": 16, "stages": 2, "depth": 1})

    class Context:
        pass

    context = Context()
    context.problem = problem  # type: ignore[attr-defined]
    found = Score(**score_task(context, {"candidate": candidate.to_json()}, {}).values)  # type: ignore[arg-type]
    assert set(found.also) == {"cortex-m4", "cortex-m33"}
    assert found.violations["cortex-m4: ram"] == pytest.approx(found.also["cortex-m4"]["ram_bytes"] / 8192 - 1)
    assert found.pressure == pytest.approx(max(found.latency_s / 3e-3, found.also["cortex-m4"]["latency_s"] / 9e-3,
                                               found.also["cortex-m33"]["latency_s"] / devices[2].budget.latency_s))
    assert found.also["cortex-m4"]["latency_s"] > found.latency_s  # 100 MHz against 216


@pytest.mark.parametrize(("also", "message"), [
    ("cortex-m4; cortex-m4", "again"), ("cortex-m7", "again"), ("cortex-m4?lattency=3ms", "lattency"), ("cortex-m99", "cortex-m99"),
    ("cortex-m4?macs=many", "whole number"), ("cortex-m4?ram=10GiB", "RAM budget"), ("host", "host"),
])
def test_further_devices_that_cannot_be_used(also: str, message: str) -> None:
    from edgecompress.run.config import SearchConfig
    from edgecompress.run.problem import make_devices

    with pytest.raises(ConfigError, match=message):
        make_devices(SearchConfig(also=also))


OWN_FAMILY = """
from collections import OrderedDict
from edgecompress.search.families.blocks import Family, conv_unit, network
from edgecompress.search.knob import Knob
def build(choices, input_shape, classes, keep):
    width = keep(choices["width"])
    return network(OrderedDict(stem=conv_unit(input_shape[2], width, (3, 3), activation="relu")), width, classes)
MINE = Family((Knob("width", (8, 16), "channels"),), build, common_knobs=False)
NOT_ONE = 3
"""


def test_a_family_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_families_for_test.py").write_text(OWN_FAMILY)
    monkeypatch.chdir(tmp_path)
    space = SpaceSpec(("own_families_for_test:MINE", "resnet")).make((8, 8, 1), 10)
    assert list(space.families) == ["own_families_for_test_MINE", "resnet"]
    assert [knob.name for knob in space.knobs("own_families_for_test_MINE")] == ["width"]
    trials = Study(tmp_path / "study.log", space, StudySettings("nsga2", 8, 0, 3)).run(_Here(), 16, lambda done, total: None)
    assert {t.candidate.family for t in trials} == set(space.families)
    for spec, message in (("own_families_for_test:NOT_ONE", "is of type int"), ("own_families_for_test:GONE", "cannot be imported"), ("nowhere:X", "nowhere")):
        with pytest.raises(ConfigError, match=message):
            SpaceSpec((spec,)).make((8, 8, 1), 10)


def test_energy_is_a_limit_where_the_profile_knows_the_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecompress.data.dataset import load_dataset
    from edgecompress.hw.profile import load_profile
    from edgecompress.run.config import SearchConfig
    from edgecompress.run.problem import make_devices, make_problem
    from edgecompress.search.objective import score

    with pytest.raises(ConfigError, match="--power"):
        make_devices(SearchConfig(energy="1mJ"))
    replace(load_profile("cortex-m7-emulated"), power_w=0.1).save(tmp_path / "board.json")
    monkeypatch.chdir(tmp_path)
    config = SearchConfig(energy="50uJ", profile="./board.json")
    devices = make_devices(config)
    assert devices[0].budget.energy_j == pytest.approx(50e-6) and "50 uJ" in devices[0].budget.describe()
    found = score(random_candidate(np.random.default_rng(3), SPACE.restricted(("plain",))), make_problem(config, load_dataset("digits"), devices))
    assert found.violations["energy"] == pytest.approx(found.latency_s * 0.1 / 50e-6 - 1)
