"""Masks in NNI's format become smaller modules; a channel goes only where all that share it are masked."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from edgecompress.compress.prune.nni_masks import ALGORITHMS, make_masks, masks_to_module, read_masks
from edgecompress.errors import ConfigError, ToolMissingError
from tests.tools import require_tool

SHAPE = (8, 8, 1)


class Residual(nn.Module):
    """`stem` and `body` share their channels by the skip connection; `wide` is alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide, self.body = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 12, 1), nn.Conv2d(12, 8, 1)
        self.depthwise, self.head = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        x = x + self.body(self.wide(x).relu())
        return self.head(self.depthwise(x).mean((2, 3)))


def mask_of(module: nn.Module, name: str, channels: list[int]) -> dict[str, torch.Tensor]:
    layer = module.get_submodule(name)
    masks = {key: torch.ones_like(value) for key, value in (("weight", layer.weight), ("bias", layer.bias))}
    for mask in masks.values():
        mask[channels] = 0
    return masks


def apply(module: nn.Module, masks: dict[str, dict[str, torch.Tensor]]) -> None:
    with torch.no_grad():
        for name, mask in masks.items():
            for key, value in mask.items():
                getattr(module.get_submodule(name), key).mul_(value)


def test_masked_channels_go_and_the_function_stays() -> None:
    torch.manual_seed(0)
    module = Residual().eval()
    with torch.no_grad():
        module.depthwise.bias.zero_()
    masks = {"stem": mask_of(module, "stem", [0, 3, 5]), "body": mask_of(module, "body", [3, 5, 6]), "wide": mask_of(module, "wide", [1, 2, 4, 7, 11])}
    apply(module, masks)
    found = masks_to_module(module, masks, SHAPE)
    assert found.pruned.widths == {"stem": 6, "wide": 7}
    assert found.pruned.module.depthwise.groups == 6  # type: ignore[union-attr]
    assert (found.masked, found.removed, found.stayed) == (11, 9, 2)  # channel 0 of stem and 6 of body stay: the other layer writes them
    x = torch.randn(4, 1, 8, 8)
    assert torch.allclose(found.pruned.module(x), module(x), atol=1e-5)


def test_a_layer_without_a_mask_keeps_shared_channels() -> None:
    module = Residual()
    found = masks_to_module(module, {"stem": mask_of(module, "stem", [0, 1])}, SHAPE)
    assert (found.masked, found.removed, found.stayed) == (2, 0, 2) and found.pruned.widths["stem"] == 8
    by_depthwise = {name: mask_of(module, name, [0, 1]) for name in ("stem", "body")} | {"depthwise": mask_of(module, "depthwise", [1])}
    assert masks_to_module(module, by_depthwise, SHAPE).pruned.widths["stem"] == 7


def test_outputs_and_the_last_channel_stay() -> None:
    module = Residual()
    found = masks_to_module(module, {"head": mask_of(module, "head", [0]), "wide": mask_of(module, "wide", list(range(12)))}, SHAPE)
    assert found.pruned.widths["wide"] == 1 and found.pruned.module.head.out_features == 3  # type: ignore[union-attr]
    assert (found.masked, found.removed, found.stayed) == (13, 11, 2)


def test_masks_that_broadcast_and_entries_that_do_not_matter() -> None:
    module = Residual()
    mask = torch.ones(12, 1, 1, 1)
    mask[[0, 5]] = 0
    found = masks_to_module(module, {"wide": {"weight": mask, "_input_": torch.ones(1)}, "stem": {"bias": torch.zeros(8)}}, SHAPE)
    assert found.pruned.widths == {"stem": 8, "wide": 10}


def test_masks_of_another_model_are_told() -> None:
    module = Residual()
    with pytest.raises(ConfigError, match=r"a layer 'features\.0' that the model does not have"):
        masks_to_module(module, {"features.0": {"weight": torch.zeros(1)}}, SHAPE)
    with pytest.raises(ConfigError, match=r"mask of 'wide' has shape \(7, 3\), its weights have \(12, 8, 1, 1\)"):
        masks_to_module(module, {"wide": {"weight": torch.zeros(7, 3)}}, SHAPE)
    with pytest.raises(ConfigError, match=r"mask of 'wide' has shape \(1,\)"):
        masks_to_module(module, {"wide": {"weight": torch.zeros(1)}}, SHAPE)
    with pytest.raises(ConfigError, match="mask of 'wide' holds values that are not finite"):
        masks_to_module(module, {"wide": {"weight": torch.full((12, 1, 1, 1), float("nan"))}}, SHAPE)


def test_mask_files_hold_tensors_only(tmp_path: Path) -> None:
    module = Residual()
    path = tmp_path / "masks.pt"
    torch.save({"wide": {**mask_of(module, "wide", [3]), "other": None}}, path)
    read = read_masks(path)
    assert set(read["wide"]) == {"weight", "bias"} and masks_to_module(module, read, SHAPE).removed == 1
    for content in ({"wide": torch.zeros(3)}, [1], {3: {}}):
        torch.save(content, path)
        with pytest.raises(ConfigError, match="holds no masks"):
            read_masks(path)
    torch.save({"wide": {"weight": Path("x")}}, path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_masks(path)
    path.write_bytes(b"\x80\x04nonsense")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_masks(path)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nni", "nni.compression", "nni.compression.pruning"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(ToolMissingError, match=r"needs the extra \[nni\]") as caught:
        make_masks(Residual(), SHAPE, "l1", 0.5)
    assert caught.value.exit_code == 3


def test_wrong_pruners_and_ratios_are_named() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'fpgm'"):
        make_masks(Residual(), SHAPE, "fpmg", 0.5)
    with pytest.raises(ConfigError, match="above 0 and below 1"):
        make_masks(Residual(), SHAPE, "l1", 1.0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_real_pruners_of_nni(algorithm: str) -> None:
    require_tool("nni", importlib.util.find_spec("nni") is not None)
    torch.manual_seed(0)
    module = Residual()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    masks = make_masks(module, SHAPE, algorithm, 0.5)
    assert set(masks) == {"stem", "body", "wide"}
    found = masks_to_module(module, masks, SHAPE)
    assert found.masked == 4 + 4 + 6 and found.pruned.widths["wide"] == 6
    assert found.pruned.widths["stem"] == 8 - (found.removed - 6) // 2
    assert list(module.state_dict()) == list(before) and all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
