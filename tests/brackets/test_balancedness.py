"""Known laws of layers, held against the exact search and against training."""

import numpy as np
import pytest
import torch

import subriem as sr


def _mlp(*activation: torch.nn.Module) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Linear(3, 4), *activation, torch.nn.Linear(4, 2, bias=False)
    ).double()


@pytest.mark.parametrize(
    ("activation", "count"),
    [((), 10), ((torch.nn.ReLU(),), 4), ((torch.nn.LeakyReLU(0.1),), 4), ((torch.nn.Tanh(),), 0)],
)
def test_layers_keep_what_the_exact_search_finds(
    activation: tuple[torch.nn.Module, ...], count: int
) -> None:
    outputs = sr.OutputMap(_mlp(*activation), torch.zeros(1, 3, dtype=torch.float64))
    found = sr.balancedness(outputs)
    assert len(found) == count
    assert found.residual < 1e-14
    if count:
        laws = sr.conservation_laws(outputs, data="all")
        assert (laws.independent, laws.complete) == (count, True)
        # the same functions, up to order and sign
        theta = np.random.default_rng(0).standard_normal(outputs.dimension)
        assert np.allclose(np.sort(np.abs(found(theta))), np.sort(np.abs(laws(theta))))


def test_a_softmax_head_keeps_query_with_key_and_value_with_output() -> None:
    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in "qkv":
                setattr(self, name, torch.nn.Linear(3, 2, bias=False))
            self.o = torch.nn.Linear(2, 3, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = self.q(x) @ self.k(x).transpose(-1, -2)
            return self.o(torch.softmax(scores, dim=-1) @ self.v(x))

    outputs = sr.OutputMap(Head().double(), torch.zeros(1, 4, 3, dtype=torch.float64))
    found = sr.balancedness(outputs)
    assert len(found) == 6  # r (r + 1)
    assert {name.split("[")[0] for name in found.names} == {"q.weight", "v.weight"}
    assert int(sr.orbit_dimension(outputs, data="all").codimension) == 6


def test_convolutions_keep_a_law_a_channel() -> None:
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 2), torch.nn.ReLU(), torch.nn.Conv2d(3, 2, 2)
    ).double()
    outputs = sr.OutputMap(module, torch.zeros(1, 1, 4, 4, dtype=torch.float64))
    assert len(sr.balancedness(outputs)) == 3


def test_the_adapted_flow_of_a_wide_network_keeps_its_laws() -> None:
    generator = torch.Generator().manual_seed(0)
    module = sr.models.multilayer_perceptron([5, 20, 2], "linear", generator=generator)
    inputs = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    outputs = sr.OutputMap(module, inputs)
    laws = sr.balancedness(outputs)
    assert len(laws) == 20 * 21 / 2
    targets = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    orbit = sr.flow(outputs, sr.SquaredLoss(targets), rtol=1e-4)
    moved = np.abs(orbit.final_parameters.values - outputs.parameters.numpy()).max()
    drift = np.abs(laws(orbit.final_parameters.values) - laws(outputs.parameters)).max()
    assert moved > 1e-2
    assert drift < 1e-4 * moved
