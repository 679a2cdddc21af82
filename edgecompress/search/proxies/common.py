"""What proxies share: a private copy to work on, weights and their gradients, layer outputs, feature maps."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from edgecompress.search.proxies.batch import Batch

Proxy = Callable[[nn.Module, Batch, int], float]  # module, samples with labels, seed
SAMPLES = 32  # of the batch that a proxy looks at
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)


def on_a_copy(measure: Callable[[nn.Module, Batch], float]) -> Proxy:
    """A proxy that gives `measure` a copy of the module to spoil: in training mode (normalisation by the batch), every parameter with a gradient.

    The module, its gradients and torch's random state stay as they are; random numbers come from the seed. Not finite becomes -inf.
    """
    @functools.wraps(measure)
    def proxy(module: nn.Module, batch: Batch, seed: int) -> float:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            network = copy.deepcopy(module).train().requires_grad_(True)
            network.zero_grad(set_to_none=True)
            value = float(measure(network, batch.first(SAMPLES)))
        return value if math.isfinite(value) else -math.inf

    return proxy


def weights(network: nn.Module) -> list[nn.Parameter]:
    """Parameters of at least two dimensions: what convolutions, linear layers and embeddings multiply with. One is one "layer"."""
    return [parameter for parameter in network.parameters() if parameter.ndim >= 2]


def loss(network: nn.Module, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of the logits."""
    return functional.cross_entropy(network(batch.x).flatten(1), batch.y)


def weight_gradients(network: nn.Module, batch: Batch, create_graph: bool = False) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """(weight, gradient of the loss) for every weight that the loss depends on."""
    found = weights(network)
    gradients = torch.autograd.grad(loss(network, batch), found, create_graph=create_graph, allow_unused=True) if found else ()
    return [(weight, gradient) for weight, gradient in zip(found, gradients, strict=True) if gradient is not None]


def mean(values: list[float]) -> float:
    """Mean over layers; nan, which becomes -inf, when there is none."""
    return math.fsum(values) / len(values) if values else math.nan


def total(values: list[float]) -> float:
    """Sum over layers; nan, which becomes -inf, when there is none."""
    return math.fsum(values) if values else math.nan


@contextmanager
def outputs_of(modules: list[nn.Module]) -> Iterator[list[torch.Tensor]]:
    """The outputs of these modules, call by call, as they are before anything downstream changes them in place."""
    outputs: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> object:
        if not isinstance(output, torch.Tensor):
            return output
        outputs.append(output)
        return output.clone()

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def layers(network: nn.Module) -> list[nn.Module]:
    """Convolutions and linear layers, in the order in which the network holds them."""
    return [layer for layer in network.modules() if isinstance(layer, LAYERS)]


def freeze_statistics(network: nn.Module, x: torch.Tensor) -> None:
    """Batch normalisation uses the statistics of `x` from now on, so that no sample's output depends on the others; evaluation mode."""
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_running_stats()
            layer.momentum = None  # a cumulative average, whose first value is the batch's own
    with torch.no_grad():
        network.train()(x)
    network.eval()


def blocks(network: nn.Module) -> list[nn.Module]:
    """The network's direct children, those of lists opened; a network that only wraps one child is opened too."""
    children = [inner for child in network.children() for inner in (child if isinstance(child, nn.ModuleList) else [child])]
    return blocks(children[0]) if len(children) == 1 and any(children[0].children()) else children


def features(network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Feature maps that the blocks hand on, [n, channels, height, width] or [n, tokens, channels], with more than one position, in the order of the
    calls; when there are fewer than two of them, everything but the last output (the logits). They belong to one graph.
    """
    with outputs_of(blocks(network)) as outputs:
        network(x)
    maps = [output for output in outputs if output.ndim in (3, 4) and as_map(output).shape[2:].numel() > 1]
    return maps if len(maps) >= 2 else outputs[:-1]


def as_map(feature: torch.Tensor) -> torch.Tensor:
    """[n, channels, height, width]: tokens become a column, plain features a single position."""
    if feature.ndim == 4:
        return feature
    return feature.reshape(len(feature), -1, feature.shape[-1]).transpose(1, 2).unsqueeze(3)
