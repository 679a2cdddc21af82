"""Rounding learned by gradient descent through the activation (Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from edgecompress.compress.quantize.rounding import _Problem

Array = np.ndarray

STEPS, BATCH, LEARNING_RATE = 600, 512, 2e-2
STRETCH_LOW, STRETCH_HIGH = -0.1, 1.1  # of the rectified sigmoid, as published
REGULARIZATION = 0.02
BETA_START, BETA_END, WARMUP = 20.0, 2.0, 0.2


def learn_rounding(problem: _Problem, values: Array, scales: Array, clamp: tuple[float, float]) -> tuple[Array, Array]:
    """Better integers near `values` [groups, outputs, taps] for the error *after* the clamp; scales stay. Keeps `values` where it wins nothing."""
    x, y = torch.from_numpy(problem.data.inputs), torch.from_numpy(problem.data.targets)
    scale = torch.from_numpy(scales.astype(np.float32))[..., None]
    real = torch.from_numpy((problem.target / scales[..., None]).astype(np.float32))
    start = torch.from_numpy(values.astype(np.float32))
    # the weight between the integer chosen so far and its neighbour on the other side of the real weight
    direction = torch.where(real >= start, 1.0, -1.0)
    other = (start + direction).clamp(problem.low, problem.high)
    share = ((real - start) * direction).clamp(0.02, 0.48)
    logits = torch.logit((share - STRETCH_LOW) / (STRETCH_HIGH - STRETCH_LOW)).requires_grad_()
    bias = _bias(problem, x, y, values, scales)
    optimizer = torch.optim.Adam([logits], LEARNING_RATE)
    generator = torch.Generator().manual_seed(0)
    deviation = y.clamp(*clamp).var().clamp_min(1e-12)
    with torch.enable_grad():
        for step in range(STEPS):
            chosen = torch.randint(0, x.shape[1], (min(BATCH, x.shape[1]),), generator=generator)
            soft = (torch.sigmoid(logits) * (STRETCH_HIGH - STRETCH_LOW) + STRETCH_LOW).clamp(0, 1)
            weights = (start + (other - start) * soft) * scale
            result = (x[:, chosen] @ weights.transpose(1, 2) + bias).clamp(*clamp)
            loss = (result - y[:, chosen].clamp(*clamp)).square().mean() / deviation
            progress = (step / STEPS - WARMUP) / (1 - WARMUP)
            if progress > 0:
                beta = BETA_END + 0.5 * (BETA_START - BETA_END) * (1 + np.cos(np.pi * progress))
                loss = loss + REGULARIZATION * (1 - (2 * soft - 1).abs().pow(beta)).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    learned = torch.where(logits.detach() > 0, other, start).double().numpy()
    return _better(problem, x, y, clamp, scales, values, learned), scales


def _bias(problem: _Problem, x: torch.Tensor, y: torch.Tensor, values: Array, scales: Array) -> torch.Tensor:
    """[groups, 1, outputs]: what the bias will be after correction, as the mean error of these weights."""
    weights = torch.from_numpy((values * scales[..., None]).astype(np.float32))
    return (y - x @ weights.transpose(1, 2)).mean(dim=1, keepdim=True)


def _better(problem: _Problem, x: torch.Tensor, y: torch.Tensor, clamp: tuple[float, float], scales: Array, *choices: Array) -> Array:
    """For every output channel the choice of integers with the least error after the clamp."""
    errors = []
    for values in choices:
        weights = torch.from_numpy((values * scales[..., None]).astype(np.float32))
        result = (x @ weights.transpose(1, 2) + _bias(problem, x, y, values, scales)).clamp(*clamp)
        errors.append((result - y.clamp(*clamp)).double().square().mean(dim=1).numpy())
    best = np.argmin(np.stack(errors), axis=0)
    return np.asarray(np.take_along_axis(np.stack(choices), best[None, ..., None], axis=0)[0])
