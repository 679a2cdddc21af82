"""Accuracy of float and integer models on labelled samples."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from edgecompress.compress.quantize.exact import run_exact
from edgecompress.errors import DataError
from edgecompress.frontend.float_graph import FloatGraph
from edgecompress.ir.graph import QuantizedGraph


class LabelledSamples(Protocol):
    """x float32 [n, h, w, c] or [n, features], y integers [n]."""

    @property
    def x(self) -> np.ndarray: ...

    @property
    def y(self) -> np.ndarray: ...


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of equal entries. Raises DataError for an empty or unequal number of entries."""
    if len(labels) == 0 or len(predicted) != len(labels):
        raise DataError(f"accuracy needs as many predictions as labels, at least one; got {len(predicted)} and {len(labels)}")
    return float((np.asarray(predicted) == np.asarray(labels)).mean())


def classes_of(scores: np.ndarray) -> np.ndarray:
    """Index of the largest score of each sample, the first of equals; scores [n, ...]."""
    return np.asarray(scores.reshape(len(scores), -1).argmax(axis=1))


def predict_float(model: Any, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Classes [n] by a FloatGraph, or by a torch module that takes [n, c, h, w] (or [n, features]) in eval mode."""
    import torch

    from edgecompress.frontend.float_run import run_float, to_torch
    from edgecompress.frontend.torch_import import eval_mode

    if isinstance(model, FloatGraph):
        return classes_of(run_float(model, x, batch_size))
    with eval_mode(model), torch.inference_mode():
        parts = [model(to_torch(x[start : start + batch_size])).numpy() for start in range(0, len(x), batch_size)]
    return classes_of(np.concatenate(parts)) if parts else np.zeros(0, np.int64)


def accuracy_float(model: Any, samples: LabelledSamples) -> float:
    """Fraction of samples that a FloatGraph or torch module classifies right."""
    return accuracy(predict_float(model, samples.x), samples.y)


def predict_int8(graph: QuantizedGraph, x: np.ndarray) -> np.ndarray:
    """Classes [n] of float samples by the integer reference, or rather by exact.py, which gives the same bytes sooner."""
    return classes_of(run_exact(graph, graph.tensors[graph.inputs[0]].quantize(x)))


def accuracy_int8(graph: QuantizedGraph, x: np.ndarray, y: np.ndarray) -> float:
    """Fraction of float samples x with labels y that the integer reference classifies right."""
    return accuracy(predict_int8(graph, x), y)


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """int64 [classes, classes]: rows are true classes, columns predictions. Raises DataError for a class out of range."""
    predicted, labels = np.asarray(predicted, dtype=np.int64), np.asarray(labels, dtype=np.int64)
    if predicted.shape != labels.shape:
        raise DataError(f"{len(predicted)} predictions do not match {len(labels)} labels")
    both = np.concatenate([predicted, labels])
    if both.size and (both.min() < 0 or both.max() >= classes):
        raise DataError(f"classes must lie in 0..{classes - 1}, got {both.min()}..{both.max()}")
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)
