"""Zero-shot proxies: scores of an untrained network, larger meaning more capable."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from edgecompress.search.proxies.macs import macs
from edgecompress.search.proxies.naswot import naswot
from edgecompress.search.proxies.params import params

Proxy = Callable[[nn.Module, torch.Tensor, int], float]  # module, NCHW batch, seed

PROXIES: dict[str, Proxy] = {"naswot": naswot, "macs": macs, "params": params}
