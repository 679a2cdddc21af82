"""torch modules to float graphs: same numbers before and after the passes, clear errors for everything else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgecompress.errors import ModelError
from edgecompress.frontend.float_run import run_float, run_tensors
from edgecompress.frontend.passes import prepare
from edgecompress.frontend.torch_import import from_torch


def randomise(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(7)
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            part.running_mean.copy_(torch.randn(part.num_features, generator=generator) * 0.3)
            part.running_var.copy_(torch.rand(part.num_features, generator=generator) + 0.5)
            part.weight.data.copy_(torch.randn(part.num_features, generator=generator))
            part.bias.data.copy_(torch.randn(part.num_features, generator=generator) * 0.3)
    return module.eval()


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.a, self.b = nn.Conv2d(8, 8, 3, padding="same"), nn.Conv2d(8, 8, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stem(x)))
        y = self.norm2(self.b(F.relu6(self.a(x))))
        x = torch.relu(x + y)
        return self.head(F.dropout(x.mean([2, 3]), training=self.training))


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, (3, 5), stride=(1, 2), padding=(1, 2), dilation=(2, 1))
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.fc1, self.fc2 = nn.Linear(8, 4), nn.Linear(4, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.hardswish(self.conv(x))
        x = x * torch.sigmoid(self.up(F.silu(self.down(F.adaptive_avg_pool2d(x, 1)))))
        b, c, _, _ = x.shape
        s = F.hardsigmoid(self.fc2(F.gelu(self.fc1(x.mean((2, 3)).view(b, c))))).view(b, c, 1, 1)
        return s * x


class Attention(nn.Module):
    """Two heads over the pixels; scores scaled, tokens mixed by a Linear, the result flattened in torch's own order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, 2)
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.mix, self.norm, self.head = nn.Linear(20, 20), nn.BatchNorm2d(20), nn.Linear(160, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        q = self.q(x.flatten(2).transpose(1, 2)).view(-1, 20, 2, 4).transpose(1, 2)
        k, v = self.k(x).view(-1, 2, 4, 20), self.v(x).view(-1, 2, 4, 20).transpose(2, 3)
        y = (torch.softmax(torch.matmul(q, k) * 0.5, dim=-1) @ v).transpose(1, 2).reshape(-1, 20, 8)
        y = y + x.flatten(2).transpose(1, 2)
        y = y + self.norm(self.mix(y.transpose(1, 2)).transpose(1, 2).unsqueeze(-1)).squeeze(-1).relu()
        return self.head(y.bmm(y.transpose(1, 2)).softmax(1).bmm(y).flatten(1))


class OneCall(nn.Module):
    """Attention as one function, of two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.ModuleList(nn.Conv2d(3, 8, 1) for _ in range(3))
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (layer(x).view(-1, 2, 4, 80).transpose(2, 3) for layer in self.qkv)
        return self.head(F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(-1, 8, 8, 10))


class InvertedResidual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        def block(i: int, o: int, s: int) -> nn.Module:
            return nn.Sequential(nn.Conv2d(i, 4 * i, 1, bias=False), nn.BatchNorm2d(4 * i), nn.ReLU6(),
                                 nn.Conv2d(4 * i, 4 * i, 3, s, 1, groups=4 * i, bias=False), nn.BatchNorm2d(4 * i), nn.ReLU6(),
                                 nn.Conv2d(4 * i, o, 1, bias=False), nn.BatchNorm2d(o))
        self.a, self.b = block(3, 6, 2), block(6, 6, 1)
        self.pool, self.flat, self.out = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        x += self.b(x)
        return torch.softmax(self.out(self.flat(self.pool(x))), dim=-1)


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 3, padding=1, groups=3)
        self.up = nn.Upsample(scale_factor=2)
        self.shared = nn.Conv2d(10, 10, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([F.leaky_relu(self.a(x)), F.elu(self.b(x))], 1)
        x = self.shared(torch.tanh(self.shared(x)))
        x = F.interpolate(self.up(x), size=(x.shape[2], x.size(3)))
        return torch.cat((x, F.max_pool2d(x, 3, 1, 1)), dim=2)


class Temporal(nn.Module):
    """Takes [n, c, l]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(3, 8, 5, 2, 2, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 8, 3, groups=8),
                                 nn.AvgPool1d(3, 2, 1), nn.Conv1d(8, 6, 3, dilation=2))
        self.norm, self.out = nn.BatchNorm1d(18), nn.Linear(18, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.norm(torch.flatten(self.net(x), 1))))


class Arithmetic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1))
        self.scale = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]).view(3, 1, 1))
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x - self.mean) / 0.25 * self.scale.abs()
        x = F.pad(x, (0, 1, 2, 0))
        x = self.conv(x)
        x = 1.0 - x * F.relu6(x + 3) / 6
        return (-x).clamp(-0.5, 0.75)


class Views(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4 * 6 * 8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        x = F.softplus(x.flatten(2))
        x = x.unflatten(2, (6, 8)).permute(0, 2, 3, 1).transpose(1, 3).transpose(2, 3).contiguous()
        return self.fc(x.reshape(-1, 4 * 6 * 8).abs())


def sequential(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


NETS = {
    "residual": (Residual, (8, 10, 3)),
    "squeeze_excite": (SqueezeExcite, (8, 10, 3)),
    "inverted_residual": (InvertedResidual, (8, 10, 3)),
    "branches": (Branches, (8, 10, 3)),
    "temporal": (Temporal, (1, 66, 3)),
    "attention": (Attention, (8, 10, 3)),
    "attention_in_one_call": (OneCall, (8, 10, 3)),
    "moved_channels": (lambda: sequential(Function(lambda x: x.permute(0, 2, 3, 1).relu())), (8, 10, 3)),
    "flattened": (lambda: sequential(nn.Flatten()), (8, 10, 3)),
    "arithmetic": (Arithmetic, (8, 10, 3)),
    "views": (Views, (8, 10, 3)),
    "flatten_image": (lambda: sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 6)),
                      (8, 10, 3)),
    "mlp": (lambda: sequential(nn.Linear(7, 9), nn.BatchNorm1d(9), nn.Tanh(), nn.Linear(9, 3)), (7,)),
    "norm_first": (lambda: sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)), (8, 10, 3)),
    "counting_pad": (lambda: sequential(nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False)), (8, 10, 3)),
    "pads": (lambda: sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 6, 3, 2, groups=3), nn.ConstantPad2d(1, 0.5), nn.MaxPool2d(2)), (8, 10, 3)),
    "divided_pool": (lambda: sequential(nn.AdaptiveAvgPool2d((4, 5)), nn.Hardtanh(-0.2, 0.3), nn.AvgPool2d((4, 5))), (8, 10, 3)),
    "bare_activations": (lambda: sequential(nn.SiLU(), nn.Hardswish(), nn.Softplus(), nn.GELU(), nn.ELU(), nn.LeakyReLU(), nn.Hardsigmoid(),
                                            nn.Sigmoid(), nn.ReLU(), nn.ReLU6(), nn.Identity(), nn.Dropout()), (8, 10, 3)),
}


def torch_output(module: nn.Module, x: np.ndarray, one_dimensional: bool) -> np.ndarray:
    tensor = torch.from_numpy(x)
    if x.ndim == 4:
        tensor = tensor.permute(0, 3, 1, 2)
    with torch.no_grad():
        result = module(tensor[:, :, 0] if one_dimensional else tensor)
    if result.ndim == 3:
        result = result[:, :, None]
    return (result.permute(0, 2, 3, 1) if result.ndim == 4 else result).numpy()


@pytest.mark.parametrize("name", NETS)
def test_graph_equals_module(name: str) -> None:
    torch.manual_seed(3)
    make, shape = NETS[name]
    module = randomise(make())
    x = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    expected = torch_output(module, x, name == "temporal")
    graph = from_torch(module, shape)
    np.testing.assert_allclose(run_float(graph, x), expected, atol=1e-4, rtol=1e-4)
    prepared = prepare(graph)
    np.testing.assert_allclose(run_float(prepared, x, batch_size=2), expected, atol=1e-4, rtol=1e-4)
    assert not any(node.kind == "batch_norm" for node in prepared.nodes)
    again = prepare(prepared)
    assert [(n.name, n.kind, n.inputs, n.output) for n in again.nodes] == [(n.name, n.kind, n.inputs, n.output) for n in prepared.nodes]


def kinds(module: nn.Module, shape: tuple[int, ...] = (8, 10, 3)) -> list[str]:
    return [node.kind for node in prepare(from_torch(module.eval(), shape)).nodes]


def test_passes_leave_what_a_device_runs() -> None:
    block = sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(), nn.AvgPool2d((4, 5)),
                       nn.Flatten(), nn.Linear(4, 2), nn.ReLU6())
    prepared = prepare(from_torch(block.eval(), (8, 10, 3)))
    assert [node.kind for node in prepared.nodes] == ["conv2d", "max_pool2d", "global_average_pool", "reshape", "dense"]
    assert prepared.nodes[0].clamp == (0.0, np.inf), "a ReLU passes the max pool and fuses into the convolution"
    assert prepared.nodes[0].attributes["padding"] == (1, 1, 1, 1)
    assert prepared.nodes[-1].clamp == (0.0, 6.0)


def test_shared_results_are_not_fused() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.other(y) + torch.relu(y)

    assert kinds(Both()) == ["conv2d", "conv2d", "clamp", "add"]


def test_depthwise_and_grouped_are_told_apart() -> None:
    assert kinds(sequential(nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 8, 3, groups=2)), (8, 8, 4)) == ["depthwise_conv2d", "conv2d"]


def test_module_keeps_its_modes_and_weights() -> None:
    module = Residual().train()
    module.norm.eval()
    graph = from_torch(module, (8, 10, 3))
    assert module.training and not module.norm.training and module.norm2.training
    before = run_float(graph, np.ones((1, 8, 10, 3), np.float32))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(run_float(graph, np.ones((1, 8, 10, 3), np.float32)), before)


def test_node_names_are_module_names_and_repeats_are_numbered() -> None:
    names = [node.name for node in from_torch(Branches().eval(), (8, 10, 3)).nodes if "conv" in node.kind]
    assert names == ["a", "b", "shared", "shared:2"]


def test_run_tensors_names_and_wrong_shape() -> None:
    graph = from_torch(Residual().eval(), (8, 10, 3))
    values = run_tensors(graph, np.zeros((5, 8, 10, 3), np.float32), graph.shapes, batch_size=2)
    assert {name: value.shape for name, value in values.items()} == {name: (5, *shape) for name, shape in graph.shapes.items()}
    with pytest.raises(ModelError, match=r"takes samples of shape \(8, 10, 3\)"):
        run_float(graph, np.zeros((1, 9, 10, 3), np.float32))


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Two(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Function(nn.Module):
    def __init__(self, function) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


REFUSED = {
    "module": (sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)), "layer '1': module GroupNorm is not supported; supported: .*Conv2d"),
    "transposed": (nn.Sequential(nn.ConvTranspose2d(3, 4, 2)), "ConvTranspose2d is not supported"),
    "function": (Function(torch.exp), r"operation 'exp': function exp\(\) is not supported"),
    "method": (Function(lambda x: x.cumsum(1)), r"method .cumsum\(\) is not supported"),
    "control flow": (Branching(), "Branching cannot be traced"),
    "two inputs": (Two(), "more than one input"),
    "tuple": (Function(lambda x: (x, x)), "must return one tensor"),
    "constant": (Function(lambda x: torch.zeros(1)), "must return one tensor"),
    "reflect": (sequential(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")), "padding_mode 'reflect'"),
    "shuffle": (sequential(nn.PixelShuffle(1)), "PixelShuffle is not supported"),
    "irregular": (Function(lambda x: x.reshape(-1, 20, 12).relu()), "no transposition gives"),
    "product of a constant": (Function(lambda x: torch.ones(1, 3, 8, 8) @ x), "write it as nn.Linear"),
    "causal attention": (Function(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True)), "every query sees every key"),
    "product that does not fit": (Function(lambda x: x @ x), "cannot be multiplied as matrices"),
    "slice": (Function(lambda x: x[:, :, ::2]), "takes a part"),
    "batch": (Function(lambda x: x.flatten(0)), "batch dim"),
    "batch view": (Function(lambda x: x.view(1, -1)), "the batch stays"),
    "slope": (sequential(nn.LeakyReLU(0.2)), "slope 0.2"),
    "ceil": (sequential(nn.MaxPool2d(3, 2, ceil_mode=True)), "ceil_mode"),
    "uneven": (sequential(nn.AdaptiveAvgPool2d(3)), "windows of different sizes"),
    "odd resize": (sequential(nn.Upsample(scale_factor=0.7)), "whole factors"),
    "bilinear": (sequential(nn.Upsample(scale_factor=2, mode="bilinear")), "'bilinear'"),
    "running": (sequential(nn.BatchNorm2d(3, track_running_stats=False)), "running statistics"),
    "channels": (sequential(nn.Conv2d(4, 4, 1)), "input has 3 channels"),
    "too small": (sequential(nn.Conv2d(3, 4, 11)), "does not fit"),
    "features": (sequential(nn.Linear(9, 4)), "10 features, the weights want 9"),
    "broadcast": (Function(lambda x: x + x.mean((2, 3), keepdim=True)), "cannot be added"),
    "live dropout": (Function(lambda x: F.dropout(x)), "stays active"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_place_and_the_way_out(name: str) -> None:
    module, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        from_torch(module.eval(), (8, 10, 3))


def test_broken_weights_are_refused() -> None:
    module = sequential(nn.Conv2d(3, 4, 1))
    module[0].weight.data[0] = torch.nan
    with pytest.raises(ModelError, match="layer '0': has weights that are not finite"):
        from_torch(module, (8, 10, 3))
