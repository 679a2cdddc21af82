"""Zero-shot proxies on small networks with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgecompress.search.proxies import LABELLED, PROXIES
from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.naswot import naswot
from edgecompress.search.space import SPACE, Candidate, build, random_candidate

DATA_FREE = {"macs", "params", "synflow", "synflow_mean", "zen", "zen_mean", "meco", "meco_mean", "meco_opt", "meco_opt_mean"}


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
    codes = torch.cat([(first > 0).flatten(1), (second > 0).flatten(1), (functional.relu(second) > 0).flatten(1)], dim=1)
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


def test_macs_count_attention_products() -> None:
    torch.manual_seed(0)
    tokens, width = 16, 8
    qkv = 3 * tokens * width * width
    products = 2 * tokens * tokens * width
    assert PROXIES["macs"](Attending(), batch(), 0) == tokens * 4 * width + qkv + products + width * 3


class Attending(nn.Module):
    """Patches, one attention head, GELU and layer normalisation: neither batch normalisation nor ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Conv2d(1, 8, 2, stride=2), nn.LayerNorm(8)
        self.qkv, self.head = nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        query, key, value = self.qkv(functional.gelu(self.norm(tokens))).chunk(3, dim=2)
        mixed = tokens + functional.scaled_dot_product_attention(query, key, value)
        return self.head(mixed.mean(dim=1))  # type: ignore[no-any-return]


class Gate(nn.Module):
    """Squeeze and excite."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * functional.hardsigmoid(self.excite(functional.relu(self.squeeze(x.mean(dim=(2, 3), keepdim=True)))))


def gated() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Hardswish(), Gate(8), nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12),
        nn.ReLU6(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(12, 3),
    )


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.Linear(20, 3))


def weightless() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d((1, 3)), nn.Flatten())


ODD = {"gated": gated, "attending": Attending, "linear": linear, "weightless": weightless, "reusing": Reusing}
NEED_RECTIFIERS = {"naswot", "naswot_mean", "linear_regions", "linear_regions_mean"}
NEED_MAPS = {"meco", "meco_mean", "meco_opt", "meco_opt_mean"}
WITHOUT_WEIGHTS = {"macs", "params", "jacob_cov", "zen", "zen_mean", "expressivity", "expressivity_mean"}
MINUS_INFINITY = {
    "gated": set[str](),
    "attending": set[str](),
    "linear": NEED_RECTIFIERS | NEED_MAPS,
    "weightless": set(PROXIES) - WITHOUT_WEIGHTS,
    "reusing": set[str](),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", PROXIES)
def test_odd_networks_have_a_defined_value(name: str, kind: str) -> None:
    torch.manual_seed(0)
    value = PROXIES[name](ODD[kind]().eval(), batch(), 0)
    assert (value == -math.inf) == (name in MINUS_INFINITY[kind]) and not math.isnan(value)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", PROXIES)
def test_proxies_are_repeatable_and_leave_everything_alone(name: str, kind: str) -> None:
    torch.manual_seed(1)
    module = ODD[kind]().eval()
    list(module.modules())[-1].train()  # modes may differ inside
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
        parameter.requires_grad_(parameter.ndim > 1)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    modes = [layer.training for layer in module.modules()]
    random_state, samples = torch.get_rng_state(), batch()
    x = samples.x.clone()
    scores = [PROXIES[name](module, samples, 7) for _ in range(2)]
    assert scores[0] == scores[1]
    assert torch.equal(torch.get_rng_state(), random_state) and torch.equal(samples.x, x)
    assert modes == [layer.training for layer in module.modules()] and not any(layer._forward_hooks for layer in module.modules())
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    for parameter in module.parameters():
        assert parameter.grad is not None and bool((parameter.grad == 1).all()) and parameter.requires_grad == (parameter.ndim > 1)


@pytest.mark.parametrize("name", PROXIES)
def test_candidates_of_the_space_have_finite_scores(name: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(4):
        torch.manual_seed(0)
        assert math.isfinite(PROXIES[name](build(random_candidate(rng), (8, 8, 1), 10), batch(), 0))


@pytest.mark.parametrize("name", PROXIES)
def test_only_the_labelled_look_at_labels(name: str) -> None:
    torch.manual_seed(0)
    module, samples = Reusing(), batch()
    other = Batch(samples.x, (samples.y + 1) % 3)
    assert (PROXIES[name](module, samples, 0) != PROXIES[name](module, other, 0)) == (name in LABELLED)


@pytest.mark.parametrize("name", sorted(DATA_FREE))
def test_data_free_proxies_do_not_look_at_data(name: str) -> None:
    torch.manual_seed(0)
    module, samples = gated(), batch()
    assert PROXIES[name](module, samples, 0) == PROXIES[name](module, Batch(samples.x * 3 - 1, samples.y), 0)


@pytest.mark.parametrize("name", ["naswot", "macs", "params", "synflow", "synflow_mean", "snip", "grad_norm", "zico", "zico_mean", "expressivity",
                                  "linear_regions"])
def test_wider_networks_score_higher(name: str) -> None:
    choices = {knob.name: knob.choices[0] for knob in SPACE.knobs("resnet")}
    scores = []
    for width in (8, 16, 32):
        torch.manual_seed(0)
        module = build(Candidate({"family": "resnet", **choices, "stages": 2, "width": width}), (28, 28, 1), 10)
        scores.append(PROXIES[name](module, batch(32, (1, 28, 28)), 0))
    assert scores == sorted(scores) and scores[0] < scores[-1]
