"""A model of the user's that came without training: its trained weights, handed to every process of a search."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgecompress.search.objective import Problem
from edgecompress.search.own_model import OwnModel, own_model

if TYPE_CHECKING:
    import torch
    from torch import nn

    from edgecompress.search.space import Candidate

TEACHER = "teacher.pt"
_loaded: dict[str, str] = {}  # spec -> digest of the weights that its module has in this process


def teacher_of(problem: Problem, files: Mapping[str, bytes]) -> nn.Module | None:
    """The user's own model, with the weights in `files` where there are any; None where families are searched."""
    if not problem.space.model:
        return None
    own = own_of(problem)
    if TEACHER in files:
        _load(own, files[TEACHER])
    return own.module


def own_of(problem: Problem) -> OwnModel:
    """The user's own model with its knobs."""
    return own_model(problem.space.model, problem.input_shape, problem.classes, problem.space.width_multiple)


def settled(problem: Problem, candidate: Candidate, x: torch.Tensor) -> nn.Module:
    """The candidate's variant of the user's model, its layers' statistics on `x` (float32 NCHW) near those of the model as it was."""
    return own_of(problem).build_settled(candidate.choices, x)


def _load(own: OwnModel, content: bytes) -> None:
    import torch

    digest = hashlib.sha256(content).hexdigest()
    if _loaded.get(own.spec) == digest:
        return
    own.module.load_state_dict(torch.load(io.BytesIO(content), weights_only=True))
    own.made.clear()  # layers factored from the old weights
    _loaded[own.spec] = digest
