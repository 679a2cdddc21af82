"""What makes a channel worth keeping: torch-pruning's group importances by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch_pruning as tp

Importance = Callable[[Any], Any]  # a torch-pruning group -> score per channel of its root, larger meaning more important


def _make_l1() -> Importance:
    importance: Importance = tp.importance.GroupMagnitudeImportance(p=1)
    return importance


def _make_l2() -> Importance:
    importance: Importance = tp.importance.GroupMagnitudeImportance(p=2)
    return importance


def _make_bn_scale() -> Importance:
    importance: Importance = tp.importance.BNScaleImportance()
    return importance


def _make_fpgm() -> Importance:
    importance: Importance = tp.importance.FPGMImportance()
    return importance


def _make_taylor() -> Importance:
    importance: Importance = tp.importance.GroupTaylorImportance()
    return importance


def _make_lamp() -> Importance:
    importance: Importance = tp.importance.LAMPImportance(p=2)
    return importance


IMPORTANCES: dict[str, Callable[[], Importance]] = {
    "l1": _make_l1,  # sum of absolute weights over the group
    "l2": _make_l2,
    "bn_scale": _make_bn_scale,  # absolute scale of the batch normalisation
    "fpgm": _make_fpgm,  # distance to the other filters: what they can replace goes first
    "lamp": _make_lamp,  # squared weight over the sum of all squares in the group that are not smaller (Lee et al., arXiv 2010.07611): for global ranking
    "taylor": _make_taylor,  # |weight x gradient|: needs a batch with labels
}
NEEDS_GRADIENTS = frozenset({"taylor"})
