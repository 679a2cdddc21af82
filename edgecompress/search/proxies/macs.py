"""Multiply-accumulates of one inference: the baseline that every other proxy has to beat."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import on_a_copy

_WEIGHTED = frozenset({functional.conv1d, functional.conv2d, functional.linear})
_PRODUCTS = frozenset({torch.matmul, torch.bmm, torch.Tensor.matmul, torch.Tensor.bmm, torch.Tensor.__matmul__})


class _Counter(TorchFunctionMode):
    total = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        output = function(*args, **named)
        if function in _WEIGHTED:
            weight = args[1] if len(args) > 1 else named["weight"]
            self.total += output.numel() * weight[0].numel()
        elif function in _PRODUCTS:
            self.total += output.numel() * args[0].shape[-1]
        elif function is functional.scaled_dot_product_attention:
            query, key = (args[0], args[1]) if len(args) > 1 else (named["query"], named["key"])
            self.total += (query.numel() + output.numel()) * key.shape[-2]
        return output


@on_a_copy
def macs(network: nn.Module, batch: Batch) -> float:
    """Multiply-accumulates of all convolutions, linear layers and matrix products, attention's included, for one sample."""
    with torch.no_grad(), _Counter() as counter:
        network.eval()(batch.x[:1])
    return float(counter.total)
