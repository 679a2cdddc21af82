"""What networks compute between their layers, seen call by call: a module that is used twice counts twice, functions count as modules do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]

CLIPPED: frozenset[Function] = frozenset({functional.relu6, functional.hardtanh, functional.hardtanh_})
RECTIFIERS: frozenset[Function] = CLIPPED | {
    functional.relu, functional.relu_, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_, functional.leaky_relu, functional.leaky_relu_,
    functional.prelu, functional.elu, functional.elu_, functional.selu, functional.celu, functional.gelu, functional.silu, functional.mish,
    functional.hardswish, functional.softplus,
}
"""Activations that pass large inputs on and hold small ones back; gates such as sigmoid are none."""
NORMALISATIONS: frozenset[Function] = frozenset({
    functional.batch_norm, functional.layer_norm, functional.group_norm, functional.instance_norm, torch.layer_norm, torch.group_norm, torch.batch_norm,
})


class Watching(TorchFunctionMode):
    """Calls `see` with the input of every rectifier before it is applied, and the levels at which its slope changes."""

    def see(self, before: torch.Tensor, kinks: tuple[float, ...]) -> None:
        """To be filled by the proxy."""
        raise NotImplementedError

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if function in RECTIFIERS:
            self.see(args[0] if args else named["input"], _kinks(function, args, named))
        return function(*args, **named)


def _kinks(function: Function, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[float, ...]:
    if function is functional.relu6:
        return 0.0, 6.0
    if function not in CLIPPED:
        return (0.0,)
    low = args[1] if len(args) > 1 else named.get("min_val", -1.0)
    high = args[2] if len(args) > 2 else named.get("max_val", 1.0)
    return float(low), float(high)


class Linear(TorchFunctionMode):
    """Rectifiers and normalisations do nothing: what is left of a convolutional network is linear in each of its weights."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if function in RECTIFIERS or function in NORMALISATIONS:
            return args[0] if args else named["input"]
        return function(*args, **named)
