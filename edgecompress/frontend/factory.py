"""The user's own model by name: `package.module:factory` or a model file, checked until the search can rely on it."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from edgecompress.errors import ConfigError, EdgecompressError, ModelError
from edgecompress.frontend.float_graph import FloatGraph, FloatNode, Shape
from edgecompress.frontend.user_code import guarded, import_factory

FILE_SUFFIXES = (".onnx", ".tflite")
PROBES = 3  # samples of the trial run; more than one, so that a model with a fixed batch is found out
TOLERANCE = 1e-3  # of the largest output, between the module and what was traced of it


def load_module(spec: str, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The user's module in eval mode: float32 NCHW in, finite logits [n, classes] out, importable by `from_torch`.

    `spec` is "package.module:factory", found in the working directory or among installed packages, or the path of a float .onnx or .tflite
    file. The factory is a function or an nn.Module class, called without arguments or with those of the keyword arguments `input_shape` (height,
    width, channels) and `classes` that it names, or an nn.Module itself. A final softmax of a file is left out. All parameters of the
    result are trainable. Equal calls give equal weights in every process, because the generators are seeded before the factory runs.
    Raises ConfigError for a spec, file or factory that is not there or cannot be called, ModelError for a model that does not fit.
    """
    if not spec:
        raise ConfigError("the model's name is empty; write package.module:factory or the path of an .onnx file")
    if Path(spec).suffix.lower() in FILE_SUFFIXES:
        module = _from_file(spec, input_shape)
    else:
        with guarded(f"the import of model '{spec}'"):
            factory = import_factory(spec)
        with guarded(f"the factory of model '{spec}'"):  # seeded anew: the first import in a process may have drawn numbers
            module = _made(spec, factory, input_shape, classes)
    with guarded(f"the model '{spec}'"):
        return _checked(spec, module, input_shape, classes)


def _made(spec: str, factory: Any, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    if isinstance(factory, nn.Module):
        return copy.deepcopy(factory)  # a module of the user's process stays as it is
    if not callable(factory):
        raise ConfigError(f"the model '{spec}' is {_kind(factory)}; it must be a function that returns an nn.Module, an nn.Module class or an nn.Module")
    module = factory(**_arguments(spec, factory, {"input_shape": input_shape, "classes": classes}))
    if not isinstance(module, nn.Module):
        raise ModelError(f"the factory of model '{spec}' returns {_kind(module)}; it must return a torch.nn.Module")
    return module


def _kind(value: Any) -> str:
    return "nothing (None)" if value is None else f"an object of type {type(value).__name__}"


def _arguments(spec: str, factory: Any, known: dict[str, Any]) -> dict[str, Any]:
    """Those of the known keyword arguments that the factory names."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # built in C, such as a functools object of an extension
        return {}
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    given = {parameter.name: known[parameter.name] for parameter in parameters if parameter.name in known and parameter.kind in by_name}
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    missing = [parameter.name for parameter in parameters
               if parameter.default is inspect.Parameter.empty and parameter.kind not in variable and parameter.name not in given]
    if missing:
        raise ConfigError(f"the factory of model '{spec}' needs the argument '{missing[0]}', which nothing gives: it is called with no arguments but "
                          "input_shape and classes; give it a default, or write a function around it")
    return given


def _from_file(spec: str, input_shape: tuple[int, int, int]) -> nn.Module:
    from edgecompress.frontend.to_torch import to_torch

    graph = _load_graph(spec, input_shape)
    try:
        return to_torch(_logits(graph), input_shape)
    except ModelError as error:
        raise ModelError(f"the model '{spec}' cannot be trained here: {error.message}", *error.details) from None


def _load_graph(spec: str, input_shape: tuple[int, int, int]) -> FloatGraph:
    """The file's graph; sizes that an ONNX file leaves open come from the data, channels first as most files have them, else last."""
    from edgecompress.frontend.model_file import load_model

    height, width, channels = input_shape
    shapes: list[Sequence[int] | None] = [None]
    if Path(spec).suffix.lower() == ".onnx":
        shapes += [(channels, height, width), (height, width, channels)]
    failures: list[ModelError] = []
    for shape in shapes:
        try:
            graph = load_model(Path(spec), shape)
        except ModelError as error:
            failures.append(error)
            continue
        if not isinstance(graph, FloatGraph):
            raise ConfigError(f"the model '{spec}' is quantized already; search needs the float model it was made from")
        return graph
    open_sizes = len(failures) > 1 and "leaves axes" in failures[0].message
    raise failures[open_sizes]


def _logits(graph: FloatGraph) -> FloatGraph:
    """The graph up to a final softmax, because training takes logits and the winner stays the same; its output [n, classes]."""
    last = next((node for node in graph.nodes if node.output == graph.output), None)
    if last is not None and last.kind == "softmax" and last.inputs[0] != graph.input:
        graph = graph.rebuilt([node for node in graph.nodes if node is not last], (last.inputs[0],))
    shape = graph.shapes[graph.output]
    if len(shape) == 1 or math.prod(shape) != shape[-1]:
        return graph
    name = f"{graph.output}:flat"
    flat = FloatNode(name, "reshape", (graph.output,), name, {"shape": (shape[-1],)})
    return graph.rebuilt((*graph.nodes, flat), (name,), {name: (shape[-1],)})


def _checked(spec: str, module: nn.Module, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    module = module.to("cpu").eval()
    height, width, channels = input_shape
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((PROBES, channels, height, width), dtype=np.float32))
    _check_dtype(spec, module)
    with torch.no_grad():
        try:
            logits = module(x)
        except EdgecompressError:
            raise
        except Exception as error:  # forward() is the user's
            raise ModelError(f"the model '{spec}' does not take the data: with a float32 input of shape {_text(x.shape)} [n, channels, height, width] "
                             f"it raises {type(error).__name__}: {' '.join(str(error).split())[:300]}",
                             "build the model for this shape; a factory with the keyword argument input_shape gets (height, width, channels)") from error
    _check_logits(spec, logits, classes)
    _check_trace(spec, module, x, logits, input_shape)
    try:
        module, copied = copy.deepcopy(module), copy.deepcopy(module)
    except Exception as error:
        raise ModelError(f"the model '{spec}' cannot be copied ({type(error).__name__}: {str(error)[:200]}); a search trains copies of it: "
                         "its attributes must survive copy.deepcopy") from error
    _check_training(spec, copied, x, logits)
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return module


def _check_training(spec: str, module: nn.Module, x: torch.Tensor, logits: torch.Tensor) -> None:
    """In training mode some models return more, such as the outputs of side branches."""
    with torch.no_grad():
        found = module.train()(x)
    if not isinstance(found, torch.Tensor) or found.shape != logits.shape:
        what = _text(found.shape) if isinstance(found, torch.Tensor) else _kind(found)
        raise ModelError(f"the model '{spec}' gives {_text(logits.shape)} in eval mode, but {what} in training mode; it must give the same logits in both")


def _check_dtype(spec: str, module: nn.Module) -> None:
    for name, parameter in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(parameter):
            continue  # a lazy layer: the trial run makes it
        if parameter.is_complex() or (parameter.is_floating_point() and parameter.dtype != torch.float32):
            raise ModelError(f"'{name}' of the model '{spec}' is {str(parameter.dtype).removeprefix('torch.')}; float32 is needed: "
                             "call .float() in the factory")


def _check_logits(spec: str, logits: Any, classes: int) -> None:
    if not isinstance(logits, torch.Tensor):
        raise ModelError(f"the model '{spec}' returns {_kind(logits)}; its forward() must return one tensor of logits [n, {classes}]")
    if tuple(logits.shape) != (PROBES, classes):
        raise ModelError(f"the model '{spec}' gives {_text(logits.shape)} for {PROBES} samples, but the labels have {classes} classes, so it must be "
                         f"[{PROBES}, {classes}]; change its last layer, or name the argument `classes` in the factory")
    if not bool(torch.isfinite(logits).all()):
        raise ModelError(f"the model '{spec}' gives logits that are not finite (NaN or infinity) for bell-shaped inputs of variance 1; check its weights")


def _check_trace(spec: str, module: nn.Module, x: torch.Tensor, logits: torch.Tensor, input_shape: tuple[int, int, int]) -> None:
    from edgecompress.frontend.float_run import run_float
    from edgecompress.frontend.torch_import import from_torch

    try:
        graph = from_torch(module, input_shape)
        traced = run_float(graph, x.permute(0, 2, 3, 1).numpy())
    except ModelError as error:
        raise ModelError(f"the model '{spec}' cannot be lowered: {error.message}", *error.details) from error
    _check_end(spec, graph)
    expected = logits.numpy()
    difference = float(np.abs(traced.reshape(expected.shape) - expected).max())
    if not difference <= TOLERANCE * (1.0 + float(np.abs(expected).max())):
        raise ModelError(f"the model '{spec}' computes something else than its layers say: outputs differ by {difference:.3g}; in eval mode forward() "
                         "must be the same for every call and treat every sample alone")


def _check_end(spec: str, graph: FloatGraph) -> None:
    last = next(node for node in graph.nodes if node.output == graph.output)
    if last.kind == "softmax":
        raise ModelError(f"the model '{spec}' ends in a softmax ('{last.name}'); training takes the logits: return what goes into the softmax")
    if not any(node.kind in ("conv2d", "depthwise_conv2d", "dense") and math.prod(node.attributes["weights"].shape) for node in graph.nodes):
        raise ModelError(f"the model '{spec}' has no convolution or linear layer; there is nothing to compress")


def _text(shape: Shape | torch.Size) -> str:
    return f"[{', '.join(map(str, shape))}]"
