"""Layers of a module exchanged by name, in a copy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping

from torch import nn

from edgecompress.errors import unknown_name


def replaced(module: nn.Module, makers: Mapping[str, Callable[[nn.Module], nn.Module]]) -> nn.Module:
    """A copy of `module` in which the layers of these names are what their maker makes of them; a layer that has several names is exchanged in all.

    A new layer is in the mode (train or eval) of the old one, its parameters are trainable as the old weight is. Raises ConfigError for an unknown name.
    """
    check_names(module, makers)
    result = copy.deepcopy(module)
    old = {name: result.get_submodule(name) for name in makers}
    for name, make in makers.items():
        layer = make(old[name]).train(old[name].training)
        trainable = all(parameter.requires_grad for parameter in old[name].parameters())
        layer.requires_grad_(trainable)
        for parent in list(result.modules()):
            for place, child in list(parent._modules.items()):
                if child is old[name]:
                    parent.add_module(place, layer)
    return result


def check_names(module: nn.Module, names: Iterable[str]) -> None:
    """Raises ConfigError for a name that no layer of the module has; the module itself is none."""
    known = {name for name, _ in module.named_modules(remove_duplicate=False) if name}
    for name in names:
        if name not in known:
            raise unknown_name("layer", name, known)
