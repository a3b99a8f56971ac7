"""Orbits of networks by floating point, against exact counts, published counts and known laws."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import subriem as sr
from subriem.brackets.field_family import field_family
from subriem.brackets.floating_orbit import FloatingOrbit, floating_orbit
from subriem.errors import InputError
from subriem.network import OutputMap

DATA = json.loads((Path(__file__).parents[1] / "data" / "training.json").read_text())


def network(dims, activation=None, bias=False, seed=0):
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for first, second in itertools.pairwise(dims):
        layers += [nn.Linear(first, second, bias=bias)]
        layers += [activation()] if activation else []
    return nn.Sequential(*(layers[:-1] if activation else layers)).double()


def inputs(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def laws(module, data, scope="all", **options):
    orbit = floating_orbit(OutputMap(module, data), data=scope, **options)
    assert orbit.settled, orbit
    assert orbit.gap > 1e4, orbit
    return orbit.parameters - orbit.dimension


@pytest.mark.parametrize(
    "dims", [(2, 2, 2), (2, 3, 2), (3, 2, 4), (2, 2, 2, 2), (1, 2, 2, 1), (2, 3, 4, 2)]
)
def test_linear_networks_as_modulo_a_prime(dims):
    pytest.importorskip("flint")
    from subriem.brackets.modular_orbit import modular_orbit

    exact = modular_orbit(field_family(sr.models.linear_network(dims)))
    found = floating_orbit(OutputMap(network(dims), inputs(2, dims[0])), data="all")
    assert found.dimension == exact.dimension
    assert found.settled


@pytest.mark.parametrize(("n", "r", "m"), [(1, 3, 1), (2, 4, 2)])
def test_two_linear_layers_as_published(n, r, m):
    """Marcotte, Gribonval, Peyre, arXiv 2307.00144: rk (2r + 1 - rk)/2 laws, rk = min(r, n+m)."""
    rank = min(r, n + m)
    assert laws(network((n, r, m)), inputs(2, n)) == rank * (2 * r + 1 - rank) // 2


def test_laws_of_given_data():
    case = DATA["conserved_data_dependent"]
    module = network(case["dims"])
    data = np.array(case["inputs"], dtype=float)
    assert laws(module, data, "given") == case["total_local_conserved"]


@pytest.mark.parametrize("n", [2, 4])
def test_incoming_weights_move_in_the_span_of_the_data(n):
    """With N inputs in general position the rest of each unit's R^n stands still."""
    module = network((n, 2, 1), nn.Tanh)
    assert laws(module, inputs(2, n), "given") == 2 * max(0, n - 2)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Softplus, nn.SiLU, nn.GELU])
def test_smooth_activations_leave_nothing_constant(activation):
    assert laws(network((3, 4, 2), activation, bias=True), inputs(3, 3)) == 0


def test_each_unit_of_a_relu_network_is_balanced():
    """Du, Hu, Lee, arXiv 1806.00900; the leaky one has no dead units, whatever the point."""
    assert laws(network((3, 3, 2), nn.LeakyReLU, bias=True), inputs(3, 3)) == 3
    pytest.importorskip("flint")
    from subriem.brackets.modular_orbit import modular_orbit

    model = sr.models.relu_network((3, 3, 2), bias=True)
    exact = modular_orbit(field_family(model)).dimension
    assert len(model.coordinates) - exact == 3


@pytest.mark.parametrize("seed", range(2))
def test_kinks_spoil_no_count(seed):
    """In the region of the point a ReLU unit sees the data it is active on, and no other."""
    module, data = network((2, 3, 2), nn.ReLU, seed=seed), inputs(3, 2)
    outputs = OutputMap(module, data)
    orbit = floating_orbit(outputs, at=outputs.parameters)
    weights = module[0].weight.detach()
    active = (data @ weights.T > 0).numpy()
    # of each unit: two outgoing weights, the incoming ones in the span of what it sees, one law
    seen = [int(count) for count in active.sum(axis=0) if count]
    assert orbit.settled
    assert orbit.dimension <= sum(2 + min(2, count) - 1 for count in seen)
    again = floating_orbit(outputs, at=outputs.parameters, seed=1)
    assert again.dimension == orbit.dimension


class NormalizedRows(nn.Module):
    def __init__(self, n, units):
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(units, n)), nn.Linear(units, 2)

    def forward(self, x):
        rows = self.weight / self.weight.norm(dim=1, keepdim=True)
        return self.head(torch.tanh(x @ rows.T))


def test_scale_invariant_weights_keep_their_norms():
    torch.manual_seed(0)
    assert laws(NormalizedRows(3, 2).double(), inputs(3, 3)) == 2


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.up = nn.Linear(2, 3, bias=False), nn.Linear(2, 3, bias=False)
        self.down = nn.Linear(3, 2, bias=False)

    def forward(self, x):
        return self.down(torch.nn.functional.silu(self.gate(x)) * self.up(x))


def test_gated_units_balance_up_and_down():
    """The output is bilinear in (up_j, down_j) for each unit j: |up_j|^2 - |down_j|^2."""
    torch.manual_seed(0)
    assert laws(Gated().double(), inputs(3, 2)) == 3


class Head(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        scores = self.q(x) @ self.k(x).transpose(-1, -2)
        return self.o(scores.softmax(-1) @ self.v(x))


def test_attention_balances_query_with_key_and_value_with_output():
    """W_Q W_Q' - W_K W_K' and W_V W_V' - W_O' W_O, symmetric r x r: at least these are constant."""
    torch.manual_seed(0)
    assert laws(Head(3, 2).double(), inputs(2, 3, 3)) == 6


def test_fewer_covectors_with_an_upper_bound():
    outputs = OutputMap(network((6, 2, 6)), inputs(2, 6))
    few = floating_orbit(outputs, data="all", upper=21, at=outputs.parameters)
    assert (few.dimension, few.status) == (21, "full")
    # more is found than a wrong bound allows
    wrong = floating_orbit(outputs, data="all", upper=5, at=outputs.parameters)
    assert (wrong.dimension > 5, wrong.status, wrong.settled) == (True, "above upper", False)


def test_the_point_matters_and_is_kept():
    outputs = OutputMap(network((2, 2, 2)), inputs(2, 2))
    orbit = floating_orbit(outputs, data="all", at=np.zeros(8))
    assert orbit.dimension == 0  # all fields vanish at 0
    assert (orbit.point == 0).all()


def test_single_precision_is_worked_in_double():
    module = network((2, 2, 2)).float()
    orbit = floating_orbit(OutputMap(module, inputs(2, 2)), data="all")
    assert orbit.dimension == 5
    assert next(module.parameters()).dtype is torch.float32


def test_same_seed_same_result():
    outputs = OutputMap(network((2, 1, 2)), inputs(2, 2))
    first, second = (floating_orbit(outputs, data="all", seed=3) for _ in range(2))
    assert (first.singular_values == second.singular_values).all()
    assert isinstance(first, FloatingOrbit)
    assert "3 of 4" in repr(first)


def test_input_that_cannot_be_right():
    module = nn.Sequential(nn.Embedding(5, 2), nn.Flatten(), nn.Linear(4, 1)).double()
    tokens = OutputMap(module, torch.tensor([[0, 1], [2, 3]]))
    with pytest.raises(InputError, match="data='given' with the tokens"):
        floating_orbit(tokens, data="all")
    outputs = OutputMap(network((2, 1, 2)), inputs(2, 2))
    with pytest.raises(InputError, match="data"):
        floating_orbit(outputs, data="some")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="upper"):
        floating_orbit(outputs, upper=5)
    with pytest.raises(InputError, match="tolerance"):
        floating_orbit(outputs, tolerance=0.1)
    with pytest.raises(InputError, match="memory"):
        floating_orbit(outputs, memory=10)
    with pytest.raises(InputError, match="shape"):
        floating_orbit(outputs, at=np.zeros(3))
