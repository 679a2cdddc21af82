"""A torch module made of named layers and plain functions in a list: what a FloatGraph becomes. It copies, pickles, traces and prunes like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgecompress.frontend.expression import Steps, evaluate
from edgecompress.frontend.float_run import BINARY, FUNCTIONS


@dataclass(frozen=True)
class Step:
    """Writes `output` from `inputs` with the submodule of that name, or with a function and its fixed arguments."""

    inputs: tuple[str, ...]
    output: str
    layer: str = ""
    function: Callable[..., torch.Tensor] | None = None
    arguments: tuple[Any, ...] = ()


class GraphModule(nn.Module):
    """Runs its steps in order. Layers are looked up by name in every call, so that they can be replaced as in any module."""

    def __init__(self, layers: Iterable[tuple[str, nn.Module]], steps: Sequence[Step], input_name: str, output_name: str) -> None:
        super().__init__()
        for name, layer in layers:
            self._insert(name, layer)
        self.steps, self.input_name, self.output_name = tuple(steps), input_name, output_name
        last = {name: index for index, step in enumerate(self.steps) for name in step.inputs}
        self.dead = tuple(tuple(name for name in set(step.inputs) if last[name] == index and name != output_name) for index, step in enumerate(self.steps))

    def _insert(self, name: str, layer: nn.Module) -> None:
        *path, leaf = name.split(".")
        parent: nn.Module = self
        for part in path:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(leaf, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [n, c, h, w] or [n, features] in, the graph's output with its batch axis out, images as [n, c, h, w]."""
        values = {self.input_name: x}
        for step, dead in zip(self.steps, self.dead, strict=True):
            arguments = [values[name] for name in step.inputs]
            result = self.get_submodule(step.layer)(*arguments) if step.function is None else step.function(*arguments, *step.arguments)
            for name in dead:
                del values[name]
            values[step.output] = result
        return values[self.output_name]


# ---- functions of steps; images are [n, c, h, w], all other tensors are row-major behind the batch


def row_major(x: torch.Tensor, is_image: bool) -> torch.Tensor:
    """[n, c, h, w] as [n, h, w, c]."""
    return x.permute(0, 2, 3, 1) if is_image else x


def channels_first(x: torch.Tensor, is_image: bool) -> torch.Tensor:
    """[n, h, w, c] as [n, c, h, w]."""
    return x.permute(0, 3, 1, 2) if is_image else x


def flatten(x: torch.Tensor) -> torch.Tensor:
    """[n, ...] as [n, features]."""
    return x.flatten(1)


def unflatten(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """[n, features] as [n, *shape]."""
    return x.unflatten(1, shape) if len(shape) > 1 else x


def reshape(x: torch.Tensor, was_image: bool, shape: tuple[int, ...], is_image: bool) -> torch.Tensor:
    """A row-major reshape; `shape` is row-major too."""
    return channels_first(unflatten(row_major(x, was_image).flatten(1), shape), is_image)


def respace(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """[n, c, h, w] with the same pixels in rows of another length."""
    result: torch.Tensor = x.flatten(2).unflatten(2, size)
    return result


def transpose(x: torch.Tensor, is_image: bool, permutation: tuple[int, ...]) -> torch.Tensor:
    """A permutation of the row-major axes, all but the batch."""
    return channels_first(row_major(x, is_image).permute(0, *(axis + 1 for axis in permutation)), is_image)


def take(x: torch.Tensor, cuts: tuple[tuple[int, int, int, int], ...]) -> torch.Tensor:
    """(axis, begin, size, step) of each axis that is cut."""
    for axis, begin, size, step in cuts:
        x = x.index_select(axis, begin + step * torch.arange(size))
    return x


def swap_last(x: torch.Tensor) -> torch.Tensor:
    """[n, l, c] as [n, c, l] and back."""
    return x.transpose(1, 2)


def affine(x: torch.Tensor, scale: float, offset: float) -> torch.Tensor:
    """x * scale + offset with constants."""
    product = x if scale == 1.0 else x * scale
    return product if offset == 0.0 else product + offset


def clamp(x: torch.Tensor, low: float | None, high: float | None) -> torch.Tensor:
    """Bounds that may be missing."""
    return torch.clamp(x, low, high)


def add(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a + b."""
    return a + b


def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a * b; b may be [n, c, 1, 1]."""
    return a * b


def matmul(a: torch.Tensor, b: torch.Tensor, is_image: bool, transpose_left: bool, transpose_right: bool, factor: float) -> torch.Tensor:
    """Product of the last two row-major axes, times a factor."""
    left, right = row_major(a, is_image), row_major(b, is_image)
    left, right = (left.transpose(-1, -2) if transpose_left else left), (right.transpose(-1, -2) if transpose_right else right)
    product: torch.Tensor = torch.matmul(left, right)
    return channels_first(product if factor == 1.0 else product * factor, is_image)


def concatenate(*arguments: Any) -> torch.Tensor:
    """Tensors, then the axis."""
    *tensors, axis = arguments
    return torch.cat(tensors, axis)


def expression(x: torch.Tensor, steps: Steps) -> torch.Tensor:
    """A function of one number as in frontend/expression.py."""
    result: torch.Tensor = evaluate(steps, x, FUNCTIONS, BINARY)
    return result
