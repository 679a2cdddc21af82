"""NASWOT (Mellor et al., arXiv 2006.04647): how differently an untrained network's ReLUs see different samples."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from edgecompress.search.proxies.batch import Batch

BATCH = 32
_JITTER = 1e-3  # of the mean diagonal: equal codes of two samples must not make the score -inf
_RECTIFIERS: frozenset[Callable[..., Any]] = frozenset({
    functional.relu, functional.relu_, functional.relu6, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_, functional.hardtanh,
})


class _Codes(TorchFunctionMode):
    """Adds up, over every call of a rectifier, how many units agree for each pair of samples. Calls count, not modules, so one may be reused."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.agreeing = torch.zeros(samples, samples, dtype=torch.float64)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in _RECTIFIERS:
            before = args[0] if args else kwargs["input"]
            # +1 / -1 codes: their product is (agreeing - differing), an exact integer in float32 up to 2^24 units
            codes = torch.where(before > 0, 1.0, -1.0).flatten(1)
            self.agreeing += (codes.shape[1] + (codes @ codes.T).double()) / 2
        return function(*args, **(kwargs or {}))


def naswot(module: nn.Module, batch: Batch, seed: int) -> float:
    """Log-determinant of the samples' agreement matrix over binary ReLU codes; the first 32 samples are used.

    The module stays as it is: a copy runs with the batch's own normalisation statistics. `seed` is not used, the weights hold the
    randomness. -inf when the network has no ReLU or computes something that is not finite.
    """
    x = batch.x[:BATCH]
    network = copy.deepcopy(module).train()
    codes = _Codes(len(x))
    with torch.no_grad(), codes:
        logits = network(x)
    units = float(codes.agreeing.diagonal().mean())
    if units == 0 or not bool(torch.isfinite(logits).all()):
        return float("-inf")
    jitter = _JITTER * units * torch.eye(len(x), dtype=torch.float64)
    sign, value = torch.linalg.slogdet(codes.agreeing + jitter)
    return float(value) if sign > 0 else float("-inf")
