"""The traced actions and the output blocks against automatic differentiation and dense D D'."""

import numpy as np
import pytest
import torch

import subriem as sr
from subriem.network.output_blocks import OutputBlocks
from subriem.network.traced import trace


def _modules():
    nn = torch.nn
    return {
        "tanh": nn.Sequential(
            nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 2)
        ),
        "in place": nn.Sequential(nn.Linear(3, 5), nn.SiLU(inplace=True), nn.Linear(5, 2)),
        "convolution": nn.Sequential(
            nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 4, 2), nn.GELU(), nn.Flatten(), nn.Linear(8, 2)
        ),
        "norm": nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.Softplus(), nn.Linear(6, 2)),
        "linear": nn.Linear(3, 2),
    }


def _map(name):
    torch.manual_seed(0)
    module = _modules()[name].double()
    inputs = np.random.default_rng(0).standard_normal((6, 3))
    return sr.OutputMap(module, inputs)


@pytest.mark.parametrize("name", list(_modules()))
def test_traced_actions_are_those_of_the_dense_jacobian(name):
    outputs = _map(name)
    traced = trace(outputs, outputs.parameters)
    assert traced is not None
    # elsewhere than where it was traced
    generator = torch.Generator().manual_seed(1)
    theta = torch.randn(outputs.dimension, generator=generator, dtype=torch.float64)
    v = torch.randn(outputs.dimension, generator=generator, dtype=torch.float64)
    w = torch.randn(outputs.size, generator=generator, dtype=torch.float64)
    jacobian = outputs.jacobian(theta)
    at = traced.at(theta)
    torch.testing.assert_close(at.value, outputs.linearize(theta).value)
    torch.testing.assert_close(at.jvp(v), jacobian @ v)
    torch.testing.assert_close(at.vjp(w), jacobian.mT @ w)
    torch.testing.assert_close(at.gram_action(w), jacobian @ (jacobian.mT @ w))
    # an action leaves nothing behind
    torch.testing.assert_close(at.jvp(v), jacobian @ v)
    if at.bend is not None:
        h = 1e-4
        ahead, behind = outputs.linearize(theta + h * v), outputs.linearize(theta - h * v)
        difference = (ahead.jvp(v) - behind.jvp(v)) / (2 * h)
        torch.testing.assert_close(at.bend(v), difference, rtol=1e-5, atol=1e-5)


def test_second_derivatives_are_traced_where_torch_knows_them():
    assert trace(_map("tanh"), _map("tanh").parameters).bends
    outputs = _map("linear")
    bent = trace(outputs, outputs.parameters).at(outputs.parameters).bend(outputs.parameters)
    assert not bent.any()


def test_control_flow_on_values_is_not_traced():
    class Branch(torch.nn.Linear):
        def forward(self, x):
            out = super().forward(x)
            return out if self.weight[0, 0] > 0 else out.tanh()

    outputs = sr.OutputMap(Branch(3, 2).double(), np.ones((2, 3)))
    assert trace(outputs, outputs.parameters) is None


@pytest.mark.parametrize("name", list(_modules()))
def test_output_blocks_are_the_diagonal_blocks_of_the_gram_matrix(name):
    outputs = _map(name)
    found = OutputBlocks(outputs, outputs.parameters)
    samples, width = outputs.samples, outputs.width
    gram = outputs.gram().view(samples, width, samples, width)
    turned = torch.einsum("nqmr,qa,ra->anm", gram, found.basis, found.basis)
    torch.testing.assert_close(found.blocks, turned)
    torch.testing.assert_close(found.basis.mT @ found.basis, torch.eye(width).double())
    if name != "convolution":
        # where layers act at one position the mean is exact
        assert found.mean == pytest.approx(float(outputs.gram().diagonal().mean()), rel=1e-12)


def test_the_damped_blocks_are_solved_with():
    outputs = _map("tanh")
    found = OutputBlocks(outputs, outputs.parameters)
    solve = found.damped(0.1)
    vector = torch.arange(12.0, dtype=torch.float64)
    turned = (vector.view(6, 2) @ found.basis).mT
    matrix = found.blocks + 0.1 * torch.eye(6).double()
    expected = torch.linalg.solve(matrix, turned[..., None])[..., 0].mT @ found.basis.mT
    torch.testing.assert_close(solve(vector), expected.reshape(-1))
    # blocks of rank one: raised to what rounding needs
    flat = sr.OutputMap(torch.nn.Linear(1, 2, bias=False).double(), [[1.0], [2.0], [3.0]])
    assert bool(torch.isfinite(OutputBlocks(flat, flat.parameters).damped(0.0)(vector[:6])).all())
