"""torch.nn.Module to FloatGraph by symbolic tracing; nothing is executed on data, so hundreds of candidates a minute can be imported."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn

from edgecompress.errors import EdgecompressError, ModelError
from edgecompress.frontend.float_graph import FloatGraph, FloatGraphBuilder, Shape
from edgecompress.frontend.torch_ops import FUNCTIONS, METHODS, MODULES
from edgecompress.frontend.torch_values import Emitter, Value

_ONE_DIMENSIONAL = (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d)


def from_torch(module: nn.Module, input_shape: Shape, name: str = "model") -> FloatGraph:
    """Imports a module as it behaves in eval mode; the module is left as it was and shares no memory with the graph.

    `input_shape` is (h, w, c) for a module that takes [n, c, h, w], (1, l, c) for one that takes [n, c, l] (found out by its first layer),
    or (features,). Raises ModelError naming the layer and what is supported.
    """
    if len(input_shape) not in (1, 3) or min(input_shape) < 1:
        raise ModelError(f"an input shape is (height, width, channels) or (features,), each at least 1; got {tuple(input_shape)}")
    graph = _trace(module)
    builder = FloatGraphBuilder(name, tuple(int(size) for size in input_shape))
    return _Importer(module, graph, builder).run()


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """The module and its parts in eval mode; afterwards each is in its own mode again."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _trace(module: nn.Module) -> fx.Graph:
    try:
        with eval_mode(module):
            return fx.Tracer().trace(module)
    except EdgecompressError:
        raise
    except Exception as error:  # the module's own code runs here: anything can come out of it
        raise ModelError(f"{type(module).__name__} cannot be traced: {type(error).__name__}: {str(error)[:300]}",
                         "forward() must be the same for every input: no if or loop that depends on tensor values, no numpy or .item()") from error


class _Importer:
    """One walk over the traced graph. Tensors are Values; sizes and parameters stay Python and torch objects and are computed on the spot."""

    def __init__(self, module: nn.Module, graph: fx.Graph, builder: FloatGraphBuilder) -> None:
        self.module = module
        self.graph = graph
        self.builder = builder
        self.emitter = Emitter(builder)
        self.values: dict[fx.Node, Any] = {}

    def run(self) -> FloatGraph:
        for node in self.graph.nodes:
            if node.op == "output":
                return self._finish(self._resolve(node.args[0]))
            try:
                self.values[node] = self._value(node)
            except ModelError as error:
                raise ModelError(f"{self._describe(node)}: {error.message}", *error.details) from None
        raise ModelError(f"{type(self.module).__name__} returns nothing")

    def _finish(self, result: Any) -> FloatGraph:
        if not isinstance(result, Value):
            raise ModelError(f"{type(self.module).__name__} must return one tensor that depends on its input, not {type(result).__name__}")
        self.emitter.name = "output"
        try:
            return self.builder.build(self.emitter.canonical(result))
        except ModelError as error:
            raise ModelError(f"the output of {type(self.module).__name__}: {error.message}") from None

    def _value(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._placeholder(node)
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self.module)
        args, kwargs = self._resolve(node.args), self._resolve(node.kwargs)
        has_tensor = any(isinstance(leaf, Value) for leaf in _leaves((args, kwargs)))
        self.emitter.name = str(node.target) if node.op == "call_module" else node.name
        handler, target = self._handler(node, has_tensor)
        if not has_tensor:
            with torch.no_grad():
                return target(*args, **kwargs)
        try:
            return handler(self.emitter, *args, **kwargs)
        except (TypeError, IndexError, ValueError, RuntimeError) as error:
            raise ModelError(f"cannot be imported with these arguments: {error}") from error

    def _handler(self, node: fx.Node, has_tensor: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
        if node.op == "call_module":
            module = self.module.get_submodule(str(node.target))
            for base in type(module).__mro__:
                # a subclass with a forward of its own, such as a fake-quantized convolution, computes something else
                if base in MODULES and type(module).forward is base.forward:
                    return _bound(MODULES[base], module), module
            supported = ", ".join(sorted(known.__name__ for known in MODULES))
            raise ModelError(f"module {type(module).__name__} is not supported; supported: {supported}")
        if node.op == "call_method":
            method = str(node.target)
            if method not in METHODS and has_tensor:
                raise ModelError(f"method .{method}() is not supported; supported: {', '.join(sorted(METHODS))}")
            return METHODS.get(method, _unreachable), lambda first, *args, **kwargs: getattr(first, method)(*args, **kwargs)
        function: Any = node.target
        if function not in FUNCTIONS and has_tensor:
            supported = ", ".join(sorted({known.__name__.rstrip("_") for known in FUNCTIONS}))
            raise ModelError(f"function {getattr(function, '__name__', function)}() is not supported; supported: {supported}")
        return FUNCTIONS.get(function, _unreachable), function

    def _placeholder(self, node: fx.Node) -> Any:
        first = next(other for other in self.graph.nodes if other.op == "placeholder")
        if node is not first:
            if not node.args:
                raise ModelError("the module takes more than one input; only one tensor is supported")
            return node.args[0]  # an optional argument keeps its default
        shape = self.builder.shapes[self.builder.input]
        if len(shape) == 1:
            return Value(self.builder.input, shape)
        height, width, channels = shape
        if not any(self._is_one_dimensional(user) for user in node.users):
            return Value(self.builder.input, (channels, height, width))
        if height != 1:
            raise ModelError(f"the first layer is one-dimensional, so the input shape must be (1, length, channels), got {shape}")
        return Value(self.builder.input, (channels, width))

    def _is_one_dimensional(self, user: fx.Node) -> bool:
        if user.op == "call_module":
            return isinstance(self.module.get_submodule(str(user.target)), _ONE_DIMENSIONAL)
        return user.op == "call_function" and user.target is torch.nn.functional.conv1d

    def _resolve(self, argument: Any) -> Any:
        if isinstance(argument, fx.Node):
            return self.values[argument]
        if isinstance(argument, (tuple, list)):
            return type(argument)(self._resolve(item) for item in argument)
        if isinstance(argument, dict):
            return {key: self._resolve(item) for key, item in argument.items()}
        if isinstance(argument, slice):
            return slice(self._resolve(argument.start), self._resolve(argument.stop), self._resolve(argument.step))
        return argument

    def _describe(self, node: fx.Node) -> str:
        kind = {"call_module": "layer", "call_function": "operation", "call_method": "operation"}.get(node.op, "input")
        return f"{kind} '{node.target if node.op == 'call_module' else node.name}'"


def _bound(handler: Callable[..., Any], module: nn.Module) -> Callable[..., Any]:
    return lambda emitter, *args, **kwargs: handler(emitter, module, *args, **kwargs)


def _leaves(argument: Any) -> list[Any]:
    if isinstance(argument, (tuple, list)):
        return [leaf for item in argument for leaf in _leaves(item)]
    return [leaf for item in argument.values() for leaf in _leaves(item)] if isinstance(argument, dict) else [argument]


def _unreachable(*_: Any) -> Any:
    raise AssertionError("only called when an argument is a tensor, and then it was found in the table")


