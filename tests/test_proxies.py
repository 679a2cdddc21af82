"""Zero-shot proxies on small networks with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgecompress.search.proxies import PROXIES
from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.naswot import naswot
from edgecompress.search.space import SPACE, Candidate, build, random_candidate


def batch(samples: int = 16, shape: tuple[int, int, int] = (1, 8, 8)) -> Batch:
    x = torch.randn(samples, *shape, generator=torch.Generator().manual_seed(0))
    return Batch(x, torch.arange(samples) % 3)


class Reusing(nn.Module):
    """One ReLU module called twice, once more as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(64, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.second(self.relu(self.first(x))))
        return self.third(functional.relu(x.flatten(1)) + 0)  # type: ignore[no-any-return]


def codes_kernel(codes: np.ndarray) -> np.ndarray:
    """K[i, j] = units - Hamming distance, straight from the definition."""
    return np.array([[float((a == b).sum()) for b in codes] for a in codes])


def test_naswot_is_the_log_determinant_of_the_hamming_kernel() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU6(), nn.Linear(30, 3))
    samples = batch()
    x = samples.x
    hidden = module[1](module[0](x))
    second = module[3](module[2](hidden))
    kernel = codes_kernel(torch.cat([hidden > 0, second > 0], dim=1).numpy())
    expected = np.linalg.slogdet(kernel + 1e-3 * 70 * np.eye(len(x)))[1]
    assert naswot(module, samples, 0) == pytest.approx(expected)


def test_naswot_counts_every_call_of_a_reused_relu() -> None:
    torch.manual_seed(0)
    module, samples = Reusing(), batch()
    x = samples.x
    first = module.first(x)
    second = module.second(first.relu())
    codes = torch.cat([(first > 0).flatten(1), (second > 0).flatten(1), (second.relu() > 0).flatten(1)], dim=1)
    kernel = codes_kernel(codes.detach().numpy())
    expected = np.linalg.slogdet(kernel + 1e-3 * codes.shape[1] * np.eye(len(x)))[1]
    assert naswot(module, samples, 0) == pytest.approx(expected)


def test_naswot_of_equal_samples_is_finite_and_lower_than_of_different_ones() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 3))
    same = naswot(module, Batch(batch(1).x.repeat(16, 1, 1, 1), batch().y), 0)
    assert math.isfinite(same)
    assert naswot(module, batch(), 0) > same + 10


def test_naswot_without_relu_or_with_nan_is_minus_infinity() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    assert naswot(linear, batch(), 0) == -math.inf
    broken = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        broken[3].bias[0] = math.nan
    assert naswot(broken, batch(), 0) == -math.inf


def test_macs_and_params_agree_with_hand_counts() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )
    assert PROXIES["macs"](module, batch(), 0) == 4 * 4 * 8 * 9 + 4 * 4 * 8 * 9 + 8 * 5
    assert PROXIES["params"](module, batch(), 0) == (8 * 9 + 8) + (8 * 9 + 8) + (8 * 5 + 5)


@pytest.mark.parametrize("name", PROXIES)
def test_proxies_are_repeatable_and_leave_the_module_alone(name: str) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(5)
    for _ in range(4):
        module = build(random_candidate(rng), (8, 8, 1), 10).train()
        before = {key: value.clone() for key, value in module.state_dict().items()}
        scores = [PROXIES[name](module, batch(), 0) for _ in range(2)]
        assert scores[0] == scores[1] and math.isfinite(scores[0])
        assert module.training and not any(layer._forward_hooks for layer in module.modules())
        assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("name", PROXIES)
def test_wider_networks_score_higher(name: str) -> None:
    choices = {knob.name: knob.choices[0] for knob in SPACE.knobs("resnet")}
    scores = []
    for width in (8, 16, 32):
        torch.manual_seed(0)
        module = build(Candidate({"family": "resnet", **choices, "stages": 2, "width": width}), (28, 28, 1), 10)
        scores.append(PROXIES[name](module, batch(32, (1, 28, 28)), 0))
    assert scores == sorted(scores) and scores[0] < scores[-1]
