"""What a training is asked to do and what it gives back: plain frozen data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgecompress.data.augment import Augmentation
from edgecompress.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from torch import nn

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "one_cycle")


@dataclass(frozen=True)
class TrainConfig:
    """A recipe. Raises ConfigError for values out of range."""

    epochs: int = 60
    seconds: float = 0.0  # of this process's CPU time instead of epochs; 0: epochs. Results then depend on the machine's speed
    batch_size: int | None = None  # None: chosen from the number of samples
    optimizer: str = "adamw"
    learning_rate: float = 4e-3  # at the peak
    weight_decay: float = 1e-2  # of weights, not of biases and normalisation
    schedule: str = "cosine"  # falls to 0; one_cycle also lowers the momentum while the rate is high
    warmup: float = 0.1  # share of all steps in which the rate rises
    label_smoothing: float = 0.1
    average_decay: float = 0.995  # of the moving average of all weights, which is what is validated and returned; 0 turns it off
    balanced: bool = False  # draw every class equally often
    distillation: float = 0.7  # weight of the teacher's part of the loss, when there is a teacher
    temperature: float = 2.0  # softens teacher and student in distillation
    taught_bytes: int = 0  # for batches of the first epochs with the teacher's answers, which later epochs see again; 0: it is asked for every batch
    augmentation: Augmentation | None = None
    input_range: tuple[float, float] | None = None  # inputs are rounded to its 256 codes, as on the device; None: they are not
    threads: int = 1  # of torch; results are reproducible for a fixed number

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", self.optimizer, OPTIMIZERS)
        if self.schedule not in SCHEDULES:
            raise unknown_name("schedule", self.schedule, SCHEDULES)
        at_least = {"epochs": 1, "threads": 1, "weight_decay": 0, "seconds": 0, "taught_bytes": 0}
        for name, low in at_least.items():
            if not getattr(self, name) >= low:
                raise ConfigError(f"training: {name} is {getattr(self, name)}; it must be at least {low}")
        if self.batch_size is not None and self.batch_size < 2:
            raise ConfigError(f"training: batch_size is {self.batch_size}; batch normalisation needs at least 2")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"training: {name} is {getattr(self, name)}; it must be above 0")
        for name in ("warmup", "label_smoothing", "average_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"training: {name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if not 0 <= self.distillation <= 1:
            raise ConfigError(f"training: distillation is {self.distillation}; it must be from 0 to 1")

    def for_finetuning(self, share: float = 0.35) -> TrainConfig:
        """The recipe for a network that is trained already, such as a pruned one: `share` of the epochs or seconds at half the peak rate."""
        return replace(self, epochs=max(1, round(self.epochs * share)), seconds=self.seconds * share, learning_rate=self.learning_rate / 2)


@dataclass(frozen=True)
class EpochMetrics:
    """One line of a training's history."""

    epoch: int  # from 1
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float  # at the epoch's end
    seconds: float  # since the start


@dataclass(frozen=True)
class TrainResult:
    """`module` is in eval mode and has the weights of the epoch with the best validation accuracy (then the lowest loss)."""

    module: nn.Module
    history: tuple[EpochMetrics, ...]
    best: EpochMetrics
    seconds: float
    stopped: bool  # `stop` ended it before its last epoch

    @property
    def accuracy(self) -> float:
        """Validation accuracy of `module`, 0 to 1."""
        return self.best.validation_accuracy


Progress = Callable[[int, int, EpochMetrics], None]  # epoch from 1, epochs, its metrics
