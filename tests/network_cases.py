"""Small modules of every kind, with inputs: each operator of the output map meets each of them.

The oracle `dense` is plain reverse-mode autograd, one output at a time, and shares no code with
the library (which goes through torch.func).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

EPS = torch.finfo(torch.float64).eps


class Apply(nn.Module):
    """A module given by its parts and a function of (parts, inputs)."""

    def __init__(self, function: Callable[[Any, torch.Tensor], torch.Tensor], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


class Given(nn.Module):
    """x(theta) = inputs @ theta: the inputs, (N, Q, K) or (N, K), are the Jacobian itself."""

    def __init__(self, size: int, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(size, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.theta


class Sine(torch.autograd.Function):
    """An operator without a forward-mode rule and without a batching rule."""

    @staticmethod
    def forward(x):
        return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * x.cos()


class OldSine(torch.autograd.Function):
    """The same in the style that torch.func does not take."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * x.cos()


def _tied():
    first, last = nn.Linear(3, 4), nn.Linear(3, 4)
    last.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), nn.Linear(4, 3), nn.Tanh(), last)


def _frozen(module, *names):
    for name in names:
        module.get_parameter(name).requires_grad_(False)
    return module


def _statistics(module):
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2.0)
        if isinstance(layer, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm) and (
            getattr(layer, "weight", None) is not None
        ):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return module


def _routed(m, x):
    """Sample by sample, the layer chosen by a value: no batching rule can follow it."""
    return torch.stack([m.a(row) if float(row[0]) > 0 else m.b(row).sin() for row in x])


def _slope(m, x):
    """Derivative by the inputs, as physics-informed networks take it."""
    return torch.func.vmap(torch.func.grad(lambda row: m.b(m.a(row).tanh()).sum()))(x)


def _pruned():
    import torch.nn.utils.prune as prune

    return prune.random_unstructured(nn.Linear(3, 2), "weight", 0.5)


def _sequential(*layers):
    return lambda: _statistics(nn.Sequential(*[make() for make in layers]))


def L(*sizes, **options):
    return lambda: nn.Linear(*sizes, **options)


@dataclass(frozen=True)
class Case:
    """A module and its inputs; ``shape`` of floats, or the integer inputs themselves."""

    name: str
    make: Callable[[], nn.Module]
    shape: Any
    seed: int = 0

    def module(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self.make().double().to(dtype).eval()

    def inputs(self, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        if isinstance(self.shape, torch.Tensor):
            return self.shape.clone()
        generator = torch.Generator().manual_seed(self.seed + 1)
        return torch.randn(self.shape, generator=generator, dtype=torch.float64).to(dtype)


_WORDS = torch.tensor([[0, 1, 2], [3, 4, 0], [5, 5, 1], [2, 3, 4]])

CASES = [
    Case("linear", L(3, 2), (4, 3)),
    Case("linear, no bias", L(5, 2, bias=False), (4, 5)),
    Case("tanh", _sequential(L(3, 6), nn.Tanh, L(6, 5), nn.Tanh, L(5, 2)), (5, 3)),
    Case(
        "relu in place",
        _sequential(L(3, 8), lambda: nn.ReLU(True), L(8, 8), lambda: nn.ReLU(True), L(8, 2)),
        (5, 3),
    ),
    Case(
        "first layer in place",
        _sequential(lambda: nn.ReLU(True), L(3, 8), nn.Tanh, L(8, 2)),
        (5, 3),
    ),
    Case("gelu", _sequential(L(3, 6), nn.GELU, L(6, 3)), (4, 3)),
    Case(
        "nested",
        lambda: nn.Sequential(
            nn.Sequential(nn.Linear(3, 6), nn.Sequential(nn.Tanh(), nn.Linear(6, 4))),
            Apply(lambda m, x: x + m.inner(x), inner=nn.Sequential(nn.Linear(4, 4), nn.Tanh())),
        ),
        (4, 3),
    ),
    Case("tied weights", _tied, (3, 3)),
    Case(
        "called twice",
        lambda: Apply(
            lambda m, x: m.a(m.a(x).tanh()) + m.b(x), a=nn.Linear(3, 3), b=nn.Linear(3, 3)
        ),
        (4, 3),
    ),
    Case(
        "weight outside its layer",
        lambda: Apply(
            lambda m, x: m.b(m.a(x).tanh()) @ m.a.weight, a=nn.Linear(3, 4), b=nn.Linear(4, 4)
        ),
        (4, 3),
    ),
    Case(
        "output changed by hand",
        lambda: Apply(lambda m, x: m.a(x) * m.a.bias, a=nn.Linear(3, 2)),
        (4, 3),
    ),
    Case(
        "layer on a table of N rows",
        lambda: Apply(
            lambda m, x: m.b(x * m.a(m.table).mean(0)),
            a=nn.Linear(2, 3),
            b=nn.Linear(3, 2),
            table=nn.Parameter(torch.randn(4, 2)),
        ),
        (4, 3),
    ),
    Case(
        "layer on a vector of N entries",
        lambda: Apply(
            lambda m, x: x @ m.a(m.v)[:, None], a=nn.Linear(3, 4), v=nn.Parameter(torch.randn(3))
        ),
        (4, 4),
    ),
    Case(
        "samples in another order inside",
        lambda: Apply(
            lambda m, x: m.b(m.a(x.flip(0)).tanh().flip(0)), a=nn.Linear(3, 4), b=nn.Linear(4, 2)
        ),
        (4, 3),
    ),
    Case(
        "layer called by keyword",
        lambda: Apply(lambda m, x: m.a(input=x), a=nn.Linear(3, 2)),
        (4, 3),
    ),
    Case(
        "buffers",
        lambda: Apply(
            lambda m, x: m.a(x * m.scale + m.shift),
            a=nn.Linear(3, 2),
            scale=torch.rand(3),
            shift=torch.rand(3),
        ),
        (4, 3),
    ),
    Case(
        "buffers of other kinds",
        lambda: Apply(
            lambda m, x: m.a(x.masked_fill(m.mask, 0.0)),
            a=nn.Linear(3, 2),
            mask=torch.tensor([True, False, False]),
            unused=torch.tensor([float("nan"), float("-inf")]),
        ),
        (4, 3),
    ),
    Case(
        "cnn",
        _sequential(
            lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1),
            nn.Tanh,
            lambda: nn.Conv2d(3, 4, 2),
            nn.GELU,
            nn.Flatten,
            L(16, 2),
        ),
        (3, 2, 6, 5),
    ),
    Case(
        "cnn, uneven",
        _sequential(
            lambda: nn.Conv2d(1, 2, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
            nn.Tanh,
            nn.Flatten,
        ),
        (3, 1, 4, 5),
    ),
    Case(
        "cnn, groups",
        _sequential(lambda: nn.Conv2d(4, 4, 2, groups=2), nn.Tanh, nn.Flatten),
        (2, 4, 3, 3),
    ),
    Case(
        "cnn, same",
        _sequential(lambda: nn.Conv2d(1, 2, 3, padding="same"), nn.Flatten),
        (2, 1, 3, 3),
    ),
    Case(
        "cnn, valid",
        _sequential(lambda: nn.Conv2d(1, 2, 3, padding="valid"), nn.Flatten),
        (2, 1, 4, 4),
    ),
    Case(
        "cnn, circular",
        _sequential(lambda: nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), nn.Flatten),
        (2, 1, 3, 3),
    ),
    Case(
        "cnn, one by one",
        _sequential(lambda: nn.Conv2d(2, 3, 1), nn.Tanh, nn.Flatten),
        (2, 2, 2, 2),
    ),
    Case(
        "cnn, pooled",
        _sequential(lambda: nn.Conv2d(1, 4, 2), lambda: nn.MaxPool2d(2), nn.Flatten, L(16, 3)),
        (3, 1, 5, 5),
    ),
    Case(
        "conv1d",
        _sequential(
            lambda: nn.Conv1d(2, 3, 3, stride=2, padding=2, dilation=2),
            nn.Tanh,
            nn.Flatten,
            L(9, 2),
        ),
        (3, 2, 5),
    ),
    Case(
        "conv1d, valid",
        _sequential(lambda: nn.Conv1d(2, 2, 2, padding="valid"), nn.Flatten),
        (2, 2, 4),
    ),
    Case(
        "conv without a sample axis",
        lambda: Apply(lambda m, x: m.c(x[0])[None].flatten(1), c=nn.Conv1d(2, 1, 2)),
        (1, 2, 3),
    ),
    Case("conv3d", _sequential(lambda: nn.Conv3d(1, 2, 2), nn.Flatten), (2, 1, 2, 3, 3)),
    Case(
        "conv transposed",
        _sequential(lambda: nn.ConvTranspose2d(1, 2, 2), nn.Tanh, nn.Flatten),
        (2, 1, 2, 2),
    ),
    Case("batchnorm", _sequential(L(3, 5), lambda: nn.BatchNorm1d(5), nn.Tanh, L(5, 2)), (4, 3)),
    Case(
        "batchnorm 1d, sequence",
        _sequential(lambda: nn.Conv1d(2, 3, 2), lambda: nn.BatchNorm1d(3), nn.Flatten),
        (2, 2, 3),
    ),
    Case(
        "batchnorm 2d",
        _sequential(
            lambda: nn.Conv2d(1, 3, 2), lambda: nn.BatchNorm2d(3), nn.Tanh, nn.Flatten, L(12, 2)
        ),
        (3, 1, 3, 3),
    ),
    Case("groupnorm", _sequential(L(3, 6), lambda: nn.GroupNorm(2, 6), nn.Tanh, L(6, 2)), (4, 3)),
    Case(
        "groupnorm, images",
        _sequential(lambda: nn.Conv2d(1, 4, 2), lambda: nn.GroupNorm(2, 4), nn.Flatten, L(16, 2)),
        (3, 1, 3, 3),
    ),
    Case("layernorm", _sequential(L(3, 6), lambda: nn.LayerNorm(6), nn.Tanh, L(6, 2)), (4, 3)),
    Case(
        "layernorm, several axes",
        _sequential(lambda: nn.LayerNorm((2, 3)), nn.Tanh, nn.Flatten, L(6, 3)),
        (4, 2, 3),
    ),
    Case(
        "layernorm on positions",
        _sequential(lambda: nn.LayerNorm(3), L(3, 2), nn.Tanh, nn.Flatten),
        (3, 2, 3),
    ),
    Case(
        "instancenorm",
        _sequential(
            lambda: nn.Conv1d(1, 3, 2),
            lambda: nn.InstanceNorm1d(3, affine=True),
            nn.Tanh,
            nn.Flatten,
        ),
        (3, 1, 4),
    ),
    Case("embedding", _sequential(lambda: nn.Embedding(6, 3), nn.Flatten, L(9, 2)), _WORDS),
    Case(
        "attention",
        lambda: Apply(
            lambda m, x: m.a(x, x, x, need_weights=False)[0],
            a=nn.MultiheadAttention(4, 2, batch_first=True),
        ),
        (2, 3, 4),
    ),
    Case(
        "transformer",
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), nn.Flatten(), nn.Linear(12, 2)
        ),
        (3, 3, 4),
    ),
    Case(
        "lstm",
        lambda: Apply(lambda m, x: m.a(x)[0][:, -1], a=nn.LSTM(2, 3, batch_first=True)),
        (3, 4, 2),
    ),
    Case("prelu", _sequential(L(3, 4), nn.PReLU, L(4, 2)), (4, 3)),
    Case("one axis", lambda: Apply(lambda m, x: m.a(x)[:, 0], a=nn.Linear(3, 1)), (4, 3)),
    Case(
        "inputs of one axis",
        lambda: Apply(lambda m, x: x * m.g, g=nn.Parameter(torch.randn(()))),
        (3,),
    ),
    Case("outputs of several axes", _sequential(L(2, 3), nn.Tanh, L(3, 2)), (2, 3, 2)),
    Case(
        "frozen bias", lambda: _frozen(_sequential(L(3, 4), nn.Tanh, L(4, 2))(), "0.bias"), (4, 3)
    ),
    Case(
        "frozen weights",
        lambda: _frozen(_sequential(L(3, 4), nn.Tanh, L(4, 2))(), "0.weight", "2.weight"),
        (4, 3),
    ),
    Case(
        "frozen first layer",
        lambda: _frozen(_sequential(L(3, 9), nn.Tanh, L(9, 2))(), "0.weight", "0.bias"),
        (4, 3),
    ),
    Case(
        "frozen last layer",
        lambda: _frozen(_sequential(L(3, 9), nn.Tanh, L(9, 2))(), "2.weight", "2.bias"),
        (4, 3),
    ),
    Case(
        "frozen scales",
        lambda: _frozen(_sequential(L(3, 4), lambda: nn.LayerNorm(4), L(4, 2))(), "1.weight"),
        (4, 3),
    ),
    Case("control flow", lambda: Apply(_routed, a=nn.Linear(3, 2), b=nn.Linear(3, 2)), (4, 3)),
    Case(
        "control flow, N = Q", lambda: Apply(_routed, a=nn.Linear(3, 2), b=nn.Linear(3, 2)), (2, 3)
    ),
    Case(
        "routed by a mask",
        lambda: Apply(
            lambda m, x: torch.where(x[:, :1] > 0, m.a(x), m.b(x)),
            a=nn.Linear(3, 2),
            b=nn.Linear(3, 2),
        ),
        (5, 3),
    ),
    Case(
        "operator without rules",
        lambda: Apply(lambda m, x: m.b(Sine.apply(m.a(x))), a=nn.Linear(3, 4), b=nn.Linear(4, 2)),
        (4, 3),
    ),
    Case(
        "derivatives by inputs", lambda: Apply(_slope, a=nn.Linear(3, 4), b=nn.Linear(4, 1)), (2, 3)
    ),
    Case("pruned", _pruned, (3, 3)),
    Case(
        "stopped gradient",
        lambda: Apply(
            lambda m, x: m.b(m.a(x).detach() * m.a(x)), a=nn.Linear(3, 3), b=nn.Linear(3, 2)
        ),
        (4, 3),
    ),
    Case(
        "unused parameters",
        lambda: Apply(lambda m, x: m.a(x), a=nn.Linear(3, 2), b=nn.Linear(3, 2)),
        (2, 3),
    ),
    Case("constant", lambda: Apply(lambda m, x: x.sin(), a=nn.Linear(3, 2)), (2, 3)),
    Case("one sample", _sequential(L(3, 4), nn.Tanh, L(4, 3)), (1, 3)),
    Case("one output", _sequential(L(3, 4), nn.Tanh, L(4, 1)), (4, 3)),
    Case("one parameter", L(1, 1, bias=False), (3, 1)),
    Case("one of each", L(1, 1, bias=False), (1, 1)),
    Case("under-parametrized", _sequential(L(2, 2), nn.Tanh, L(2, 2)), (9, 2)),
]

NAMES = [case.name for case in CASES]
assert len(set(NAMES)) == len(NAMES)


def case(name: str) -> Case:
    """The case of a name."""
    return CASES[NAMES.index(name)]


def dense(module: nn.Module, inputs: torch.Tensor, theta: Any = None) -> torch.Tensor:
    """The Jacobian of the outputs by the trained parameters, (NQ, K), sample-major."""
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    values = [p.detach().clone() for _, p in trained]
    if theta is not None:
        parts = torch.split(theta, [v.numel() for v in values])
        values = [part.reshape(v.shape).clone() for part, v in zip(parts, values, strict=True)]
    leaves = [value.requires_grad_() for value in values]
    names = [name for name, _ in trained]
    out = torch.func.functional_call(
        module, dict(zip(names, leaves, strict=True)), (inputs.clone(),)
    )
    rows = []
    for component in out.reshape(-1):
        if component.requires_grad:
            parts = torch.autograd.grad(
                component, leaves, retain_graph=True, materialize_grads=True
            )
        else:
            parts = [torch.zeros_like(leaf) for leaf in leaves]
        rows.append(torch.cat([part.reshape(-1) for part in parts]))
    return torch.stack(rows)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Standard normal numbers from a generator of their own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def with_spectrum(rows: int, columns: int, values: Any, seed: int = 0) -> torch.Tensor:
    """A matrix with given singular values and random singular vectors."""
    values = torch.as_tensor(np.asarray(values, dtype=float))
    rank = len(values)
    left = torch.linalg.qr(normal(rows, rank, seed=seed)).Q
    right = torch.linalg.qr(normal(columns, rank, seed=seed + 1)).Q
    return left * values @ right.mT


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative distance; shapes must agree, and zero must be met exactly."""
    assert found.shape == expected.shape, f"{tuple(found.shape)} != {tuple(expected.shape)}"
    distance = float(torch.linalg.vector_norm(found.double() - expected.double()))
    size = float(torch.linalg.vector_norm(expected.double()))
    return distance / size if size else (0.0 if distance == 0.0 else math.inf)
