"""Pareto filter, hypervolume and subset selection against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgecompress.errors import ConfigError
from edgecompress.search.pareto import REFERENCE, hypervolume, non_dominated, normalise, select

GRID = st.integers(0, 4).map(float)


def point_sets(objectives: int, most: int = 6) -> st.SearchStrategy[np.ndarray]:
    return st.integers(1, most).flatmap(lambda n: arrays(np.float64, (n, objectives), elements=GRID))


any_points = st.integers(1, 4).flatmap(point_sets)


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


@given(any_points)
def test_front_is_what_nothing_dominates(points: np.ndarray) -> None:
    front = non_dominated(points)
    assert front == sorted(front)
    for index, point in enumerate(points):
        beaten = any(dominates(other, point) for other in points)
        repeated = any((points[earlier] == point).all() for earlier in range(index))
        assert (index in front) == (not beaten and not repeated)


@given(any_points)
def test_hypervolume_counts_unit_cells(points: np.ndarray) -> None:
    objectives = points.shape[1]
    cells = sum(
        any((point <= cell).all() for point in points)
        for cell in (np.array(c, dtype=float) for c in itertools.product(range(4), repeat=objectives))
    )
    assert hypervolume(points, np.full(objectives, 4.0)) == pytest.approx(cells)


@given(point_sets(3), st.permutations(range(3)), st.randoms(use_true_random=False))
def test_hypervolume_ignores_the_order_of_points_and_objectives(points: np.ndarray, axes: list[int], random: object) -> None:
    reference = np.array([4.0, 5.0, 3.0])
    shuffled = points[::-1][:, axes]
    assert hypervolume(shuffled, reference[axes]) == pytest.approx(hypervolume(points, reference))


def test_hypervolume_of_random_points_agrees_with_sampling() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((12, 4))
    samples = rng.random((40_000, 4))
    share = (points[None] <= samples[:, None]).all(axis=2).any(axis=1).mean()
    assert hypervolume(points, np.ones(4)) == pytest.approx(share, abs=4 * math.sqrt(0.25 / 40_000))


def test_points_at_or_beyond_the_reference_add_nothing() -> None:
    points = np.array([[0.5, 0.5], [1.0, 0.0], [2.0, -5.0]])
    assert hypervolume(points, np.ones(2)) == pytest.approx(0.25)
    assert hypervolume(points[1:], np.ones(2)) == 0.0


@settings(max_examples=60)
@given(st.integers(1, 4).flatmap(lambda m: point_sets(m, 7)), st.integers(1, 4))
def test_greedy_choice_is_near_the_best_subset(points: np.ndarray, count: int) -> None:
    chosen = select(points, count)
    front = non_dominated(points)
    assert len(chosen) == len(set(chosen)) == min(count, len(front))
    assert set(chosen) <= set(front)
    scaled, reference = normalise(points), np.full(points.shape[1], REFERENCE)
    best = max(hypervolume(scaled[list(subset)], reference) for subset in itertools.combinations(front, len(chosen)))
    assert hypervolume(scaled[chosen], reference) >= (1 - 1 / math.e) * best - 1e-9
    assert chosen[0] == max(front, key=lambda index: (round(hypervolume(scaled[[index]], reference), 9), -index))


def test_choice_does_not_depend_on_units() -> None:
    points = np.random.default_rng(1).random((30, 3))
    assert select(points, 4) == select(points * [1e6, 1e-6, 3.0] + [5.0, -2.0, 0.0], 4)


def test_ties_go_to_the_lower_index_and_the_list_may_be_short_or_empty() -> None:
    assert select(np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), 1) == [0]
    assert select(np.array([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]), 3) == [1]
    assert select(np.empty((0, 2)), 3) == []


def test_normalise_handles_constant_and_infinite_objectives() -> None:
    points = np.array([[1.0, 7.0, -math.inf], [3.0, 7.0, 2.0], [math.inf, 7.0, 4.0]])
    assert normalise(points).tolist() == [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 1.0]]


@pytest.mark.parametrize("call", [
    lambda: non_dominated(np.array([[0.0, math.nan]])),
    lambda: hypervolume(np.zeros((1, 2)), np.zeros(3)),
    lambda: hypervolume(np.zeros(3), np.zeros(3)),
    lambda: select(np.zeros((2, 2)), 0),
])
def test_bad_input_is_named(call: object) -> None:
    with pytest.raises(ConfigError):
        call()  # type: ignore[operator]


def test_a_front_of_many_points_and_three_objectives_can_be_chosen_from() -> None:
    assert len(select(np.random.default_rng(2).random((300, 3)), 5)) == 5
