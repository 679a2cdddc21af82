"""Rounding of few-bit weights that looks at the data: the integers are chosen so that the layer's output stays, not each weight.

A layer is seen as rows X of what it reads in the quantized model (windows, in the weights' order) and targets Y: what the float model computes there
before the activation. Weights of different outputs are independent given X, so everything follows from H = X'X and X'Y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from edgecompress.compress.quantize.weights import QuantizedWeights, from_rows, quantize_weights, to_rows
from edgecompress.frontend.float_graph import FloatNode
from edgecompress.ir.packing import WEIGHT_RANGE

Array = np.ndarray

ROWS = 16384  # windows a layer; more change the result little
DAMPING = 0.01  # of the mean diagonal of H, as in GPTQ
SCALE_RATIOS = np.linspace(0.6, 1.2, 25)
SWEEPS, REFITS = 12, 4


@dataclass(frozen=True, eq=False)
class LayerData:
    """What a layer reads and should compute: `inputs` float32 [groups, rows, taps], `targets` float32 [groups, rows, outputs of a group]."""

    inputs: Array
    targets: Array


def layer_data(node: FloatNode, x: torch.Tensor, expected: torch.Tensor, seed: int = 0) -> LayerData:
    """Rows of a layer from its rounded input x and the float model's `expected` result before the activation, both in torch's layout."""
    if node.kind == "dense":
        return LayerData(x.numpy()[None], expected.numpy()[None])
    count = len(x)
    positions = min(max(1, ROWS // count), expected.shape[2] * expected.shape[3])
    rng = np.random.default_rng(seed)
    flat = torch.from_numpy(rng.integers(0, expected.shape[2] * expected.shape[3], (count, positions)))
    if positions == expected.shape[2] * expected.shape[3]:
        flat = torch.arange(positions).expand(count, -1)
    row, column = flat // expected.shape[3], flat % expected.shape[3]
    sample = torch.arange(count)[:, None]
    windows = _windows(node, x)[sample, :, row, column].reshape(count * positions, x.shape[1], -1)  # [rows, channels, taps of a channel]
    targets = expected[sample, :, row, column].reshape(count * positions, -1)
    groups = x.shape[1] if node.kind == "depthwise_conv2d" else node.attributes["groups"]
    inputs = windows.reshape(len(windows), groups, x.shape[1] // groups, -1).permute(1, 0, 3, 2).reshape(groups, len(windows), -1)
    return LayerData(inputs.numpy(), targets.reshape(len(targets), groups, -1).permute(1, 0, 2).numpy())


def _windows(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
    """View [n, channels, out height, out width, kernel height, kernel width] of the padded input."""
    attributes = node.attributes
    weights, (top, bottom, left, right) = attributes["weights"], attributes["padding"]
    kernel = weights.shape[:2] if node.kind == "depthwise_conv2d" else weights.shape[1:3]
    padded = torch.nn.functional.pad(x, (left, right, top, bottom)).contiguous()
    stride, dilation = attributes["stride"], attributes["dilation"]
    size = [(padded.shape[2 + axis] - (kernel[axis] - 1) * dilation[axis] - 1) // stride[axis] + 1 for axis in (0, 1)]
    n, c, h, w = padded.stride()
    return padded.as_strided((*x.shape[:2], *size, *kernel), (n, c, h * stride[0], w * stride[1], h * dilation[0], w * dilation[1]))


def round_layer(node: FloatNode, bits: int, data: LayerData, least_scales: Array, centred: bool) -> QuantizedWeights:
    """Weights of one layer in `bits` bits. `least_scales` [channels] bound the scales from below; `centred`: a bias correction will absorb
    whatever mean error is left."""
    weights, depthwise = node.attributes["weights"], node.kind == "depthwise_conv2d"
    rows = to_rows(weights, depthwise).astype(np.float64)
    groups = len(data.inputs)
    problem = _Problem(data, rows.reshape(groups, len(rows) // groups, -1), bits, least_scales.reshape(groups, -1), centred)
    values, scales = problem.solve()
    integers = from_rows(values.reshape(rows.shape).astype(np.int8), weights.shape, depthwise)
    return QuantizedWeights(integers, scales.reshape(-1), bits)


class _Problem:
    """min over integers q and scales s of (s q - w)' H (s q - w) a row, with w the real weights that serve the quantized inputs best."""

    def __init__(self, data: LayerData, weights: Array, bits: int, least: Array, centred: bool) -> None:
        self.data, self.bits, self.least, self.centred = data, bits, least, centred
        self.low, self.high = WEIGHT_RANGE[bits]
        x, y = data.inputs.astype(np.float64), data.targets.astype(np.float64)
        if centred:
            x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
        hessian = x.transpose(0, 2, 1) @ x / x.shape[1]
        damping = DAMPING * np.maximum(np.trace(hessian, axis1=1, axis2=2) / hessian.shape[1], 1e-30)
        self.hessian = hessian + damping[:, None, None] * np.eye(hessian.shape[1])
        # ridge regression towards the float weights: makes up for the error in what the layer reads (least squares on its quantized inputs)
        right = x.transpose(0, 2, 1) @ y / x.shape[1] + damping[:, None, None] * weights.transpose(0, 2, 1)
        self.target = np.linalg.solve(self.hessian, right).transpose(0, 2, 1)  # [groups, outputs, taps]

    def error(self, values: Array, scales: Array) -> Array:
        """[groups, outputs]: the quadratic form above."""
        difference = values * scales[..., None] - self.target
        return np.asarray(((difference @ self.hessian) * difference).sum(axis=-1))

    def valid(self, scales: Array) -> Array:
        """float32 numbers, not below the least ones."""
        return np.asarray(np.maximum(scales, self.least).astype(np.float32).astype(np.float64))

    def solve(self) -> tuple[Array, Array]:
        """Integers [groups, outputs, taps] and scales [groups, outputs]."""
        shape = self.target.shape
        start = quantize_weights(self.target.reshape(-1, shape[2]), self.bits, False)
        scales = self._best_scales(self.valid(start.scales.reshape(shape[:2])))
        values = self._sequential(scales)
        best, best_scales, best_error = values, scales, self.error(values, scales)
        for _ in range(REFITS):
            values = self._descend(values, scales)
            error = self.error(values, scales)
            better = error < best_error
            best, best_scales = np.where(better[..., None], values, best), np.where(better, scales, best_scales)
            best_error = np.minimum(error, best_error)
            weighted = values @ self.hessian
            norm, product = (weighted * values).sum(axis=-1), (weighted * self.target).sum(axis=-1)
            scales = self.valid(np.where((norm > 0) & (product > 0), product / np.where(norm > 0, norm, 1.0), scales))
        error = self.error(values, scales)
        better = error < best_error
        return np.where(better[..., None], values, best), np.where(better, scales, best_scales)

    def _nearest(self, scales: Array) -> Array:
        return np.asarray(np.clip(np.rint(self.target / scales[..., None]), self.low, self.high))

    def _best_scales(self, scales: Array) -> Array:
        """Of several sizes the scale whose nearest rounding has the least error in the output."""
        best, best_error = scales, np.full(scales.shape, np.inf)
        for ratio in SCALE_RATIOS:
            candidate = self.valid(scales * ratio)
            error = self.error(self._nearest(candidate), candidate)
            best, best_error = np.where(error < best_error, candidate, best), np.minimum(error, best_error)
        return best

    def _sequential(self, scales: Array) -> Array:
        """Tap after tap, each rounding's error made up for by the taps still to come (Frantar et al., "GPTQ", 2022)."""
        order = np.argsort(-np.diagonal(self.hessian, axis1=1, axis2=2), axis=1, kind="stable")
        hessian = np.take_along_axis(np.take_along_axis(self.hessian, order[:, :, None], 1), order[:, None, :], 2)
        upper = np.linalg.cholesky(np.linalg.inv(hessian)).transpose(0, 2, 1)
        weights = np.take_along_axis(self.target, order[:, None, :], 2)
        values = np.empty_like(weights)
        for tap in range(weights.shape[2]):
            values[..., tap] = np.clip(np.rint(weights[..., tap] / scales), self.low, self.high)
            error = (weights[..., tap] - values[..., tap] * scales) / upper[:, None, tap, tap]
            weights[..., tap + 1 :] -= error[..., None] * upper[:, None, tap, tap + 1 :]
        return np.take_along_axis(values, np.argsort(order, axis=1, kind="stable")[:, None, :], 2)

    def _descend(self, values: Array, scales: Array) -> Array:
        """Coordinate descent: every integer to its best value given the others, until none moves; the error only falls."""
        values = values.copy()
        gradient = (values * scales[..., None] - self.target) @ self.hessian
        diagonal = np.diagonal(self.hessian, axis1=1, axis2=2)
        for _ in range(SWEEPS):
            moved = False
            for tap in range(values.shape[2]):
                best = np.clip(np.rint(values[..., tap] - gradient[..., tap] / (diagonal[:, None, tap] * scales)), self.low, self.high)
                step = best - values[..., tap]
                if step.any():
                    moved = True
                    values[..., tap] = best
                    gradient += (step * scales)[..., None] * self.hessian[:, None, tap, :]
            if not moved:
                break
        return values
