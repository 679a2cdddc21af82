"""Zero-shot proxies: scores of an untrained network, larger meaning more capable."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.macs import macs
from edgecompress.search.proxies.naswot import naswot
from edgecompress.search.proxies.params import params

Proxy = Callable[[nn.Module, Batch, int], float]  # module, samples with labels, seed

PROXIES: dict[str, Proxy] = {"naswot": naswot, "macs": macs, "params": params}
LABELLED: frozenset[str] = frozenset()  # those that look at labels
