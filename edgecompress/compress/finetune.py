"""Training and fine-tuning: from a module to a better copy of it. The module given is never changed."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from edgecompress.compress.batches import check_samples, steps_per_epoch, to_tensor, training_batches
from edgecompress.compress.quantize.input_range import on_grid
from edgecompress.compress.training import EpochMetrics, Progress, TrainConfig, TrainResult
from edgecompress.data.parts import Samples
from edgecompress.errors import DataError, ModelError, TrainingError

__all__ = ["EpochMetrics", "TrainConfig", "TrainResult", "evaluate", "predict", "train"]

_EVALUATION_BATCH = 256
Reshape = Callable[[nn.Module, float], nn.Module | None]  # the network in training, share of the training that is over -> a replacement or None


def train(
    module: nn.Module, train: Samples, validation: Samples, config: TrainConfig, seed: int, progress: Progress | None = None,
    stop: Callable[[], bool] | None = None, teacher: nn.Module | None = None, reshape: Reshape | None = None,
) -> TrainResult:
    """A trained copy of `module` (NCHW in, logits out), with the weights of its best epoch on `validation`.

    Runs on the CPU; the same arguments give the same weights on the same machine, unless `config.seconds` ends the training by the clock. `stop` is
    asked after every batch: True ends the training with what it has. `teacher` takes the same input and gives the same number of logits. `reshape` is
    asked before every epoch and may replace the network by a smaller one: training goes on with it at the same point of the learning-rate schedule,
    with a fresh optimizer and average, and only epochs after the last replacement can be the best. Raises DataError for unusable samples, ModelError
    for a network that does not fit them, TrainingError when the loss stops being finite.
    """
    with _reproducible(config.threads, seed):
        try:
            return _Training(module, train, validation, config, seed, teacher, torch.channels_last).run(progress, stop, reshape)
        except RuntimeError as error:
            if not _needs_contiguous(error):
                raise
    with _reproducible(config.threads, seed):
        return _Training(module, train, validation, config, seed, teacher, torch.contiguous_format).run(progress, stop, reshape)


def predict(module: nn.Module, x: np.ndarray) -> np.ndarray:
    """Logits float32 [n, classes] for float32 [n, h, w, c]; the module's mode is restored."""
    was_training = module.training
    try:
        with torch.no_grad():
            module.eval()
            parts = [_answer(module, to_tensor(x[start : start + _EVALUATION_BATCH])) for start in range(0, len(x), _EVALUATION_BATCH)]
    finally:
        module.train(was_training)
    logits: np.ndarray = torch.cat(parts).numpy()
    return logits


def _answer(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    try:
        result: torch.Tensor = module(x)
    except RuntimeError as error:
        if not _needs_contiguous(error):
            raise
        # a copy: a tensor of one channel is both at once, and keeps the strides that convolutions go by
        result = module(x.clone(memory_format=torch.contiguous_format))
    return result


def _needs_contiguous(error: RuntimeError) -> bool:
    """Whether a user's `view` met channels-last memory, which is ours to choose and not its fault."""
    return "view size is not compatible" in str(error)


def evaluate(module: nn.Module, samples: Samples) -> tuple[float, float]:
    """(accuracy 0 to 1, mean cross-entropy) of the module on the samples."""
    logits = torch.from_numpy(predict(module, samples.x))
    labels = torch.from_numpy(samples.y)
    accuracy = float((logits.argmax(dim=1) == labels).double().mean())
    return accuracy, float(functional.cross_entropy(logits.double(), labels))


@contextmanager
def _reproducible(threads: int, seed: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


class _Batch(NamedTuple):
    """`inputs` NCHW; `targets` probabilities [n, classes]; `taught`: the teacher's answer, if there is one."""

    inputs: torch.Tensor
    targets: torch.Tensor
    taught: torch.Tensor | None


class _Training:
    """The state of one call of `train`."""

    def __init__(
        self, module: nn.Module, train: Samples, validation: Samples, config: TrainConfig, seed: int, teacher: nn.Module | None,
        memory_format: torch.memory_format,
    ) -> None:
        self.memory_format = memory_format
        self.config, self.train, self.validation = config, train, validation
        self.module = copy.deepcopy(module).to(memory_format=memory_format)  # type: ignore[call-overload]
        self.classes = _count_classes(self.module, train)
        check_samples(train, "train", self.classes)
        check_samples(validation, "validation", self.classes)
        if config.input_range is not None:
            self.validation = Samples(on_grid(validation.x, config.input_range), validation.y)
        if len(train) < 2:
            raise DataError("the train part has 1 sample; training needs at least 2")
        self.teacher = copy.deepcopy(teacher).eval() if teacher is not None else None
        self.rng = np.random.default_rng(seed)
        self.kept: list[list[_Batch]] = []
        self.steps = config.epochs * steps_per_epoch(config, len(train))
        self.step = 0
        self.optimizer = _make_optimizer(self.module, config)
        self.average = _Average(self.module, config.average_decay)

    def run(self, progress: Progress | None, stop: Callable[[], bool] | None, reshape: Reshape | None = None) -> TrainResult:
        start, history = time.perf_counter(), list[EpochMetrics]()
        self.begun = time.process_time()
        best: tuple[EpochMetrics, dict[str, torch.Tensor]] | None = None
        stopped = False
        while not stopped and (self.config.seconds or len(history) < self.config.epochs):
            smaller = reshape(self.module, self._share()) if reshape is not None else None
            if smaller is not None:
                self._replace(smaller)
                best = None
            loss, stopped = self._epoch(len(history) + 1, stop)
            accuracy, validation_loss = evaluate(self.average.module, self.validation)
            rate = self.optimizer.param_groups[0]["lr"]
            metrics = EpochMetrics(len(history) + 1, loss, validation_loss, accuracy, rate, time.perf_counter() - start)
            history.append(metrics)
            if best is None or (accuracy, -validation_loss) > (best[0].validation_accuracy, -best[0].validation_loss):
                best = metrics, {name: value.clone() for name, value in self.average.module.state_dict().items()}
            if progress is not None:
                progress(metrics.epoch, self.config.epochs, metrics)
            stopped |= self._time_is_up()
        assert best is not None
        self.average.module.load_state_dict(best[1])
        result = self.average.module.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
        for parameter in result.parameters():
            parameter.grad = None
        short = stopped and not self.config.seconds and len(history) < self.config.epochs
        return TrainResult(result, tuple(history), best[0], time.perf_counter() - start, short)

    def _share(self) -> float:
        """How much of the training is over, 0 to 1: in steps, or in seconds where these end it."""
        if self.config.seconds:
            return min(1.0, (time.process_time() - self.begun) / self.config.seconds)
        return self.step / self.steps

    def _replace(self, smaller: nn.Module) -> None:
        self.module = smaller.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = _make_optimizer(self.module, self.config)
        self.average = _Average(self.module, self.config.average_decay)

    def _epoch(self, epoch: int, stop: Callable[[], bool] | None) -> tuple[float, bool]:
        """(mean loss, whether `stop` said so)."""
        self.module.train()
        losses: list[float] = []
        for batch in self._batches():
            self._set_rate()
            loss = self._loss(batch)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise TrainingError(
                    f"training diverged in epoch {epoch}: the loss became {losses[-1]}", f"try: a learning rate below {self.config.learning_rate:g}"
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.step += 1
            self.average.update(self.step)
            if self._time_is_up() or (stop is not None and stop()):
                return float(np.mean(losses)), True
        return float(np.mean(losses)), False

    def _batches(self) -> Iterator[_Batch]:
        """One epoch. A teacher's answers cost more than the student's own: epochs that are kept with them are seen again, in another order."""
        if self.kept and (len(self.kept) + 1) * self._epoch_bytes() > self.config.taught_bytes:
            again = self.kept[int(self.rng.integers(len(self.kept)))]
            yield from (again[index] for index in self.rng.permutation(len(again)))
            return
        new: list[_Batch] = []
        for inputs, targets in training_batches(self.train, self.config, self.classes, self.rng):
            if self.memory_format is not torch.channels_last:
                inputs = inputs.clone(memory_format=self.memory_format)
            new.append(_Batch(inputs, targets, self._taught(inputs)))
            yield new[-1]
            if not self._keeps:
                new.clear()
        if self._keeps:
            self.kept.append(new)

    @property
    def _keeps(self) -> bool:
        return self.teacher is not None and self._epoch_bytes() <= self.config.taught_bytes

    def _epoch_bytes(self) -> int:
        return self.train.x.nbytes + 8 * self.classes * len(self.train)

    @torch.no_grad()
    def _taught(self, inputs: torch.Tensor) -> torch.Tensor | None:
        """The teacher's softened logarithms of probabilities [n, classes]."""
        return None if self.teacher is None else functional.log_softmax(self.teacher(inputs) / self.config.temperature, dim=1)

    def _loss(self, batch: _Batch) -> torch.Tensor:
        logits = self.module(batch.inputs)
        loss = functional.cross_entropy(logits, batch.targets, label_smoothing=self.config.label_smoothing)
        if batch.taught is None:
            return loss
        own = functional.log_softmax(logits / self.config.temperature, dim=1)
        # times temperature^2: then the gradient's size does not depend on the temperature (Hinton et al., arXiv 1503.02531)
        divergence = functional.kl_div(own, batch.taught, reduction="batchmean", log_target=True) * self.config.temperature**2
        return (1 - self.config.distillation) * loss + self.config.distillation * divergence

    def _time_is_up(self) -> bool:
        return self.config.seconds > 0 and time.process_time() - self.begun >= self.config.seconds

    def _set_rate(self) -> None:
        step, steps = float(self.step), self.steps
        if self.config.seconds:  # the schedule follows the clock
            steps = 10_000
            step = min(steps * (time.process_time() - self.begun) / self.config.seconds, steps - 1)
        factor = _rate_factor(step, steps, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor
            if self.config.schedule == "one_cycle":
                momentum = 0.95 - 0.1 * factor
                if "betas" in group:
                    group["betas"] = (momentum, group["betas"][1])
                else:
                    group["momentum"] = momentum


class _Average:
    """`module`: a copy whose weights and buffers are the moving average of the network's; the network itself if `decay` is 0."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self.module = copy.deepcopy(network) if decay > 0 else network
        self._parameters: list[list[torch.Tensor]] = [[weights for weights in owner.parameters() if weights.is_floating_point()]
                                                      for owner in (self.module, network)]
        # by owner and name: a network may put another tensor in a buffer's place
        self._buffers = [
            (mean, owner, name) for mean, owner in zip(self.module.modules(), network.modules(), strict=True)
            for name, buffer in owner._buffers.items() if buffer is not None and name not in owner._non_persistent_buffers_set
        ]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimizer step number `step`, from 1."""
        if self._decay == 0:
            return
        decay = min(self._decay, (1 + step) / (10 + step))  # short memory while the weights still move fast
        means, values = (list(weights) for weights in self._parameters)
        for mean_owner, owner, name in self._buffers:
            mean, value = mean_owner._buffers[name], owner._buffers[name]
            assert mean is not None and value is not None
            if mean.is_floating_point():
                means.append(mean)
                values.append(value)
            else:
                mean.copy_(value)
        if means:
            get_ema_multi_avg_fn(decay)(means, values, None)


def _rate_factor(step: float, steps: int, warmup: float) -> float:
    """Linear rise over the share `warmup` of all steps, then half a cosine down to almost 0."""
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising + 1) / (steps - rising + 1)))


def _count_classes(module: nn.Module, samples: Samples) -> int:
    if samples.x.ndim != 4 or len(samples.x) == 0:
        raise DataError(f"the train part has values of shape {samples.x.shape}; it needs [n, height, width, channels] and n > 0")
    try:
        shape = predict(module, samples.x[:1]).shape
    except RuntimeError as error:
        if _needs_contiguous(error):
            raise
        raise ModelError(f"the network does not take samples of shape {samples.x.shape[1:]}: {error}") from None
    if len(shape) != 2:
        raise ModelError(f"the network's output has shape {shape}; a classifier gives [n, classes]")
    return int(shape[1])


def _make_optimizer(module: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True, foreach=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate, foreach=True)
