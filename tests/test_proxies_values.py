"""Every proxy against a straightforward computation of its formula: closed forms, finite differences, Jacobians made by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgecompress.search.proxies import PROXIES, Batch


def samples(count: int = 16, shape: tuple[int, ...] = (1, 4, 4), classes: int = 3) -> Batch:
    return Batch(torch.randn(count, *shape, generator=torch.Generator().manual_seed(3)), torch.arange(count) % classes)


def chain(*layers: nn.Module, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    for layer in layers:
        for child in layer.modules():
            if isinstance(child, nn.Conv2d | nn.Linear):
                child.reset_parameters()
    return nn.Sequential(*layers)


def small() -> nn.Sequential:
    """Tanh keeps the loss smooth, so that finite differences are exact enough."""
    return chain(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3))


def double_loss(module: nn.Module, batch: Batch) -> Callable[[], torch.Tensor]:
    return lambda: functional.cross_entropy(module(batch.x.double()), batch.y)


def numeric_gradients(module: nn.Module, value: Callable[[], torch.Tensor], step: float = 1e-5) -> list[np.ndarray]:
    """Central differences of `value` in every entry of the weights of at least two dimensions."""
    gradients = []
    with torch.no_grad():
        for weight in (p for p in module.parameters() if p.ndim >= 2):
            entries, gradient = weight.view(-1), np.zeros(weight.numel())
            for index in range(len(entries)):
                original = float(entries[index])
                entries[index] = original + step
                above = float(value())
                entries[index] = original - step
                gradient[index] = (above - float(value())) / (2 * step)
                entries[index] = original
            gradients.append(gradient)
    return gradients


def test_snip_and_gradient_norm_against_finite_differences() -> None:
    module, batch = small(), samples()
    exact = copy.deepcopy(module).double()
    gradients = numeric_gradients(exact, double_loss(exact, batch))
    weights = [p.detach().numpy().ravel() for p in exact.parameters() if p.ndim >= 2]
    saliencies = [float(np.abs(w * g).sum()) for w, g in zip(weights, gradients, strict=True)]
    norms = [float(np.sqrt((g**2).sum())) for g in gradients]
    assert PROXIES["snip"](module, batch, 0) == pytest.approx(sum(saliencies), rel=1e-4)
    assert PROXIES["snip_mean"](module, batch, 0) == pytest.approx(sum(saliencies) / 2, rel=1e-4)
    assert PROXIES["grad_norm"](module, batch, 0) == pytest.approx(sum(norms), rel=1e-4)
    assert PROXIES["grad_norm_mean"](module, batch, 0) == pytest.approx(sum(norms) / 2, rel=1e-4)


def test_grasp_against_finite_differences_of_the_gradient() -> None:
    """theta' H g = d/dt of theta' grad L(theta + t g)."""
    module, batch = small(), samples()
    exact = copy.deepcopy(module).double()
    weights = [p for p in exact.parameters() if p.ndim >= 2]
    start = [w.detach().clone() for w in weights]

    def gradient() -> list[torch.Tensor]:
        return [g.clone() for g in torch.autograd.grad(double_loss(exact, batch)(), weights)]

    direction, step = gradient(), 1e-4
    sides = []
    for sign in (1, -1):
        with torch.no_grad():
            for w, w0, g in zip(weights, start, direction, strict=True):
                w.copy_(w0 + sign * step * g)
        sides.append([float((w0 * g).sum()) for w0, g in zip(start, gradient(), strict=True)])
    expected = -sum((a - b) / (2 * step) for a, b in zip(*sides, strict=True))
    assert PROXIES["grasp"](module, batch, 0) == pytest.approx(expected, rel=1e-3)
    assert PROXIES["grasp_mean"](module, batch, 0) == pytest.approx(expected / 2, rel=1e-3)


class Once(nn.Module):
    """A hard sigmoid below torch's Python functions, where nobody can replace it; torch has no second derivative of it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.ops.aten.hardsigmoid(x)
        return result


@pytest.mark.parametrize("name", PROXIES)
def test_functions_without_second_derivative_matter_to_grasp_alone(name: str) -> None:
    module = chain(nn.Conv2d(1, 4, 3), nn.ReLU(), Once(), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(16, 3))
    assert math.isfinite(PROXIES[name](module, samples(), 0)) == (name not in ("grasp", "grasp_mean"))


def test_fisher_of_a_linear_classifier_in_closed_form() -> None:
    """The logits a = W x + b have dL/da = (softmax(a) - onehot) / n."""
    module, batch = chain(nn.Flatten(), nn.Linear(16, 3)), samples()
    logits = module(batch.x).detach().numpy().astype(np.float64)
    error = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(3)[batch.y.numpy()]) / 16
    expected = ((logits * error) ** 2).mean(0).sum() / 2
    assert PROXIES["fisher"](module, batch, 0) == pytest.approx(expected, rel=1e-5)


def test_fisher_sums_over_positions_before_it_squares() -> None:
    """A sum over positions as classifier: every position of the map has the same gradient."""
    module, batch = chain(nn.Conv2d(1, 3, 1), nn.AvgPool2d(4, divisor_override=1), nn.Flatten()), samples()
    maps = module[0](batch.x).detach().numpy().astype(np.float64)
    logits = maps.sum((2, 3))
    error = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(3)[batch.y.numpy()]) / 16
    assert PROXIES["fisher"](module, batch, 0) == pytest.approx(((maps.sum((2, 3)) * error) ** 2).mean(0).sum() / 2, rel=1e-4)


def test_zico_of_a_linear_classifier_in_closed_form() -> None:
    module, batch = chain(nn.Flatten(), nn.Linear(16, 3)), samples()
    x = batch.x.flatten(1).double().numpy()
    logits = module(batch.x).detach().double().numpy()
    error = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(3)[batch.y.numpy()]
    gradients = np.stack([error[part].T @ x[part] / 4 for part in np.arange(16).reshape(4, 4)])
    expected = np.log((np.abs(gradients).mean(0) / gradients.std(0)).sum())
    assert PROXIES["zico"](module, batch, 0) == pytest.approx(expected, rel=1e-4)
    assert PROXIES["zico_mean"](module, batch, 0) == pytest.approx(expected, rel=1e-4)


def test_zico_of_batches_that_agree_has_nothing_to_divide_by() -> None:
    batch = samples(4)
    same = Batch(batch.x.repeat(4, 1, 1, 1), batch.y.repeat(4))
    assert PROXIES["zico"](chain(nn.Flatten(), nn.Linear(16, 3)), same, 0) == -math.inf
    assert PROXIES["zico"](chain(nn.Flatten(), nn.Linear(16, 3)), samples(3), 0) == -math.inf


def test_synflow_of_a_chain_is_the_logarithm_of_the_product_of_absolute_weights() -> None:
    module = chain(nn.Flatten(), nn.Linear(16, 8), nn.ReLU6(), nn.Linear(8, 5), nn.GELU(), nn.Linear(5, 3))
    reach = np.ones(16)
    for layer in (module[1], module[3], module[5]):
        reach = np.abs(layer.weight.detach().double().numpy()) @ reach
    flow = float(reach.sum())
    assert PROXIES["synflow"](module, samples(), 0) == pytest.approx(math.log(3 * flow), abs=1e-9)
    assert PROXIES["synflow_mean"](module, samples(), 0) == pytest.approx(math.log(flow) / 3, abs=1e-9)


def test_synflow_passes_normalisation_and_pooling_and_does_not_overflow() -> None:
    module = chain(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(2), nn.Linear(2, 3))
    with torch.no_grad():
        module[1].running_mean.fill_(5.0)
    first, last = (np.abs(layer.weight.detach().double().numpy()) for layer in (module[0], module[6]))
    assert PROXIES["synflow"](module, samples(), 0) == pytest.approx(math.log(2 * float((last @ first.reshape(2, 1)).sum())), abs=1e-9)
    deep = nn.Sequential(nn.Flatten(), *[nn.Linear(16, 16) for _ in range(100)])
    with torch.no_grad():
        for layer in deep[1:]:
            layer.weight.fill_(50.0)
    assert PROXIES["synflow"](deep, samples(), 0) == pytest.approx(math.log(100 * 16) + 100 * math.log(50 * 16))


def test_jacob_cov_from_jacobians_made_by_hand() -> None:
    module, batch = chain(nn.Flatten(), nn.Linear(16, 30), nn.ReLU(), nn.Linear(30, 3)), samples()
    inner, outer = (layer.weight.detach().double().numpy() for layer in (module[1], module[3]))
    active = module[1](module[0](batch.x)).detach().numpy() > 0
    jacobians = np.stack([outer.sum(0) @ (mask[:, None] * inner) for mask in active])
    values = np.clip(np.linalg.eigvalsh(np.corrcoef(jacobians)), 0, None) + 1e-5
    assert PROXIES["jacob_cov"](module, batch, 0) == pytest.approx(-(np.log(values) + 1 / values).sum(), rel=1e-3)


def test_jacob_cov_sees_one_sample_at_a_time() -> None:
    """With frozen statistics the Jacobian of a sample is the network's, with the batch's mean and variance as constants."""
    module, batch = chain(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)), samples()
    maps = module[0](batch.x)
    mean, deviation = maps.mean((0, 2, 3), keepdim=True), (maps.var((0, 2, 3), keepdim=True) + module[1].eps).sqrt()

    def alone(x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = module[4]((((module[0](x.unsqueeze(0)) - mean) / deviation).relu()).flatten(1)).sum()
        return result

    mean, deviation = mean.detach(), deviation.detach()
    rows = np.stack([torch.autograd.functional.jacobian(alone, x).flatten().double().numpy() for x in batch.x])  # type: ignore[no-untyped-call]
    values = np.clip(np.linalg.eigvalsh(np.corrcoef(rows)), 0, None) + 1e-5
    assert PROXIES["jacob_cov"](module, batch, 0) == pytest.approx(-(np.log(values) + 1 / values).sum(), rel=1e-2)


def test_ntk_of_a_linear_function_is_the_condition_of_its_inputs() -> None:
    module, batch = chain(nn.Flatten(), nn.Linear(36, 1)), samples(16, (1, 6, 6), 1)
    x = batch.x.flatten(1).double().numpy()
    assert PROXIES["ntk"](module, batch, 0) == pytest.approx(-math.log(np.linalg.cond(x @ x.T)), rel=1e-4)
    assert PROXIES["ntk"](chain(nn.Flatten(), nn.Linear(4, 1)), samples(16, (1, 2, 2), 1), 0) == -math.inf  # 16 samples span 4 dimensions


def test_linear_regions_counts_the_thresholds_that_a_line_crosses() -> None:
    thresholds = torch.linspace(-0.9, 0.9, 10)
    module = nn.Sequential(nn.Flatten(), nn.Linear(1, 10), nn.ReLU(), nn.Linear(10, 2))
    with torch.no_grad():
        module[1].weight.fill_(1.0)
        module[1].bias.copy_(-thresholds)
    x = torch.tensor([-1.0, 1.0, 0.0, 0.25, -1.0])
    crossed = [10, 5, 1, 6]
    batch = Batch(x.view(-1, 1, 1, 1), torch.zeros(5, dtype=torch.int64))
    assert PROXIES["linear_regions"](module, batch, 0) == pytest.approx(math.log(1 + float(np.mean(crossed))))
    assert PROXIES["linear_regions_mean"](module, batch, 0) == pytest.approx(float(np.mean(crossed)) / 10)
    module[2] = nn.Hardtanh(-0.33, 0.0)  # bends where a threshold is reached, and 0.33 before it
    again = sum(int(((lower < thresholds - 0.33) & (thresholds - 0.33 < upper)).sum()) for lower, upper in
                ((min(a, b), max(a, b)) for a, b in zip(x.tolist(), x.tolist()[1:], strict=False)))
    assert PROXIES["linear_regions"](module, batch, 0) == pytest.approx(math.log(1 + float(np.mean(crossed)) + again / 4))


def test_naswot_mean_is_naswot_of_shares() -> None:
    module, batch = chain(nn.Flatten(), nn.Linear(16, 40), nn.ReLU(), nn.Linear(40, 3)), samples()
    assert PROXIES["naswot_mean"](module, batch, 0) == pytest.approx(PROXIES["naswot"](module, batch, 0) - 16 * math.log(40))


def test_naswot_takes_smooth_rectifiers_by_the_sign_of_their_input() -> None:
    values = []
    for activation in (nn.ReLU(), nn.GELU(), nn.Hardswish(), nn.ReLU6(), nn.SiLU()):
        values.append(PROXIES["naswot"](chain(nn.Flatten(), nn.Linear(16, 40), activation, nn.Linear(40, 3)), samples(), 0))
    assert values == [values[0]] * 5


def test_zen_of_a_linear_map_is_the_expected_reaction() -> None:
    """y = sum over 64 channels of w x: each of 16 x 8 outputs moves by N(0, 64 * 0.01^2)."""
    expected = math.log(16 * 8 * 0.01 * 8 * math.sqrt(2 / math.pi))
    batch = samples(16, (64, 4, 4))
    plain = chain(nn.Conv2d(64, 8, 1), nn.Identity(), nn.Flatten(), nn.Linear(128, 3))
    assert PROXIES["zen"](plain, batch, 0) == pytest.approx(expected, abs=0.1)
    normalised = chain(nn.Conv2d(64, 8, 1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(128, 3))
    assert PROXIES["zen"](normalised, batch, 0) == pytest.approx(PROXIES["zen"](plain, batch, 0), abs=0.05)  # what is divided out is added again
    assert PROXIES["zen_mean"](normalised, batch, 0) == pytest.approx(PROXIES["zen"](normalised, batch, 0) / 2)


def test_zen_does_not_depend_on_the_weights() -> None:
    first, second = (chain(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(32, 3), seed=seed) for seed in (0, 1))
    assert PROXIES["zen"](first, samples(), 0) == PROXIES["zen"](second, samples(), 0) != PROXIES["zen"](first, samples(), 1)


def test_meco_against_numpy_and_by_rank() -> None:
    module = chain(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 12, 3), nn.Flatten(), nn.Linear(192, 3))
    batch = samples(8, (1, 8, 8))
    torch.manual_seed(5)
    x = torch.randn(8, 1, 8, 8)
    first = module[0](x).detach()
    second = module[2](first.relu()).detach()
    smallest = [float(np.linalg.eigvalsh(np.corrcoef(maps[0].flatten(1).double().numpy()))[0]) for maps in (first, second)]
    assert PROXIES["meco"](module, batch, 5) == pytest.approx(sum(smallest), abs=1e-6)
    assert PROXIES["meco_mean"](module, batch, 5) == pytest.approx(sum(smallest) / 2, abs=1e-6)
    # fewer channels of the same layer have a smallest eigenvalue at least as large (Cauchy's interlacing)
    assert PROXIES["meco_opt"](module, batch, 5) >= smallest[0] + 12 / 8 * smallest[1]
    wide = chain(nn.Conv2d(1, 40, 3), nn.Flatten(), nn.Linear(1440, 3))
    assert PROXIES["meco"](wide, batch, 5) == 0.0  # 40 channels over 36 positions


def test_meco_of_copied_channels_is_zero() -> None:
    module = chain(nn.Conv2d(1, 6, 3), nn.Flatten(), nn.Linear(216, 3))
    with torch.no_grad():
        module[0].weight[1] = module[0].weight[0]
    assert PROXIES["meco"](module, samples(8, (1, 8, 8)), 0) == pytest.approx(0, abs=1e-6)


def entropy_of(channels: np.ndarray) -> float:
    values = np.clip(np.linalg.eigvalsh(np.cov(channels)), 1e-300, None)
    share = values / values.sum()
    return float(-(share * np.log(share)).sum())


def test_expressivity_and_progressivity_against_numpy() -> None:
    blocks = [nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()), nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU()), nn.Conv2d(8, 5, 3)]
    module, batch = chain(*blocks, nn.Sequential(nn.Flatten(), nn.Linear(20, 3))), samples()
    maps, x = [], batch.x
    for block in module[:3]:
        x = block(x)
        maps.append(x.detach().double().numpy())
    entropies = [entropy_of(m.transpose(1, 0, 2, 3).reshape(m.shape[1], -1)) for m in maps]
    assert PROXIES["expressivity"](module, batch, 0) == pytest.approx(sum(entropies), rel=1e-5)
    assert PROXIES["expressivity_mean"](module, batch, 0) == pytest.approx(sum(entropies) / 3, rel=1e-5)
    assert PROXIES["progressivity"](module, batch, 0) == pytest.approx(min(entropies[1] - entropies[0], entropies[2] - entropies[1]), rel=1e-5)


@pytest.mark.parametrize("gain", [0.5, 1.0, 3.0])
def test_trainability_of_orthogonal_blocks_is_that_of_their_gain(gain: float) -> None:
    """Between two maps lies gain * Q: E[(J' g) g'] = gain * Q', whose singular values are all `gain`."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 1, bias=False), nn.Flatten(), nn.Linear(8 * 1024, 3))
    with torch.no_grad():
        module[1].weight.copy_(gain * torch.linalg.qr(torch.randn(8, 8))[0].view(8, 8, 1, 1))
    score = PROXIES["trainability"](module, samples(16, (1, 32, 32)), 0)
    assert score == pytest.approx(2 - gain - 1 / gain, abs=0.1)


def test_trainability_of_a_strided_block_gathers_the_positions_that_one_output_sees() -> None:
    """Stride 2 and a 2x2 kernel: as a matrix from one output to its 4 x C inputs the convolution is its own weight, at odd sizes too."""
    for size in (32, 31):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 6, 2, stride=2, padding=size % 2, bias=False), nn.Flatten(), nn.Linear(6 * 256, 3))
        largest = float(torch.linalg.svdvals(module[1].weight.detach().flatten(1))[0])
        score = PROXIES["trainability"](module, samples(16, (1, size, size)), 0)
        if size == 32:
            assert score == pytest.approx(2 - largest - 1 / largest, abs=0.1)
        assert math.isfinite(score)


def test_trainability_of_a_block_that_does_nothing_is_minus_infinity() -> None:
    module = chain(nn.Conv2d(1, 4, 1), nn.Identity(), nn.Flatten(), nn.Linear(64, 3))
    assert PROXIES["trainability"](module, samples(), 0) == -math.inf


def test_a_wrapped_network_has_the_feature_maps_of_what_it_wraps() -> None:
    inner, batch = small(), samples()
    assert PROXIES["expressivity"](nn.Sequential(inner), batch, 0) == PROXIES["expressivity"](inner, batch, 0)


@pytest.mark.parametrize("name", PROXIES)
def test_networks_that_overflow_score_minus_infinity_or_a_number(name: str) -> None:
    module = chain(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        for index in (0, 2, 4):
            module[index].weight.fill_(1e30)
    value = PROXIES[name](module, samples(), 0)
    assert value == -math.inf or math.isfinite(value)
