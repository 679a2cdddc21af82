"""What every proxy is given besides the network."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Batch:
    """Training samples. x: float32 [n, channels, height, width]; y: int64 [n], class numbers, which only the proxies in LABELLED read."""

    x: torch.Tensor
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.x)

    def first(self, count: int) -> Batch:
        """The batch's first `count` samples, or all of them if there are fewer."""
        return Batch(self.x[:count], self.y[:count])
