"""Conservation laws against closed forms, known families and integrated training runs."""

import math

import casadi as ca
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import subriem as sr
from subriem.brackets.polynomial_laws import PolynomialLaw, polynomial_laws, verify_polynomials
from subriem.errors import InputError


def _gradient_flow(
    module: torch.nn.Module, start: np.ndarray, generator: torch.Generator, steps: int
) -> np.ndarray:
    """A stretch of the gradient flow of a squared loss on random data, by the classical rule."""
    inputs = torch.randn(6, module[0].in_features, generator=generator, dtype=torch.float64)
    targets = torch.randn(6, module[-1].out_features, generator=generator, dtype=torch.float64)
    outputs = sr.OutputMap(module, inputs)

    def slope(theta: np.ndarray) -> np.ndarray:
        at = torch.as_tensor(theta)
        wrong = outputs(at) - targets.reshape(-1)
        return -outputs.vjp(wrong, at).numpy()

    path, h = [start], 0.2 / steps
    for _ in range(steps):
        q = path[-1]
        k1 = slope(q)
        k2 = slope(q + h / 2 * k1)
        k3 = slope(q + h / 2 * k2)
        k4 = slope(q + h * k3)
        path.append(q + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return np.array(path)


def test_the_laws_of_linear_networks_are_balancedness() -> None:
    laws = sr.conservation_laws(sr.models.linear_network([3, 2, 4]))
    assert laws.expressions == (
        "U1[:,0]·U1[:,0] - U2[0,:]·U2[0,:]",
        "U1[:,0]·U1[:,1] - U2[0,:]·U2[1,:]",
        "U1[:,1]·U1[:,1] - U2[1,:]·U2[1,:]",
    )
    assert (laws.independent, laws.complete) == (3, True)
    assert laws.verification == "multiplied out over Q"
    point = np.random.default_rng(0).standard_normal(14)
    u1, u2 = point[:6].reshape(3, 2), point[6:].reshape(2, 4)
    expected = u1.T @ u1 - u2 @ u2.T
    assert np.allclose(laws(point), expected[[0, 0, 1], [0, 1, 1]], rtol=1e-14)


def test_the_laws_of_relu_networks_are_one_a_hidden_unit() -> None:
    laws = sr.conservation_laws(sr.models.relu_network([3, 2, 2, 2], bias=True))
    assert laws.expressions[0] == "U1[:,0]·U1[:,0] + b1[0]^2 - U2[0,:]·U2[0,:]"
    assert (len(laws), laws.independent, laws.complete) == (4, 4, True)


@given(st.lists(st.integers(1, 3), min_size=3, max_size=4))
@settings(max_examples=15, deadline=None)
def test_laws_and_orbit_add_up(dims: list[int]) -> None:
    network = sr.models.linear_network(dims)
    laws, orbit = sr.conservation_laws(network), sr.orbit_dimension(network)
    assert laws.codimension == int(orbit.codimension)
    assert laws.complete == (laws.independent == int(orbit.codimension))
    # scalar products of single units have laws beyond degree 2
    if dims[0] * dims[-1] > 1:
        assert laws.complete


def test_a_scalar_network_has_a_law_that_is_no_polynomial_of_low_degree() -> None:
    laws = sr.conservation_laws(sr.models.linear_network([1, 2, 2, 1]), degree=4)
    assert (len(laws), laws.independent, laws.codimension, laws.complete) == (6, 6, 7, False)


def test_a_law_that_is_no_polynomial_is_said_to_be_missing() -> None:
    # y exp(-x) is constant, no polynomial is
    growing = sr.Structure.define("growing", "x y", lambda q: [(1, q.y)])
    laws = sr.conservation_laws(growing, degree=4)
    assert (len(laws), laws.codimension, laws.complete) == (0, 1, False)


def test_products_of_laws_are_left_out() -> None:
    circle = sr.Structure.define("circle", "x y", lambda q: [(-q.y, q.x)])
    assert sr.conservation_laws(circle, degree=6).expressions == ("x^2 + y^2",)


def test_the_product_of_coordinates() -> None:
    product = sr.Structure.define("xyz", "x y z", lambda q: [(q.y * q.z, q.x * q.z, q.x * q.y)])
    laws = sr.conservation_laws(product)
    assert (laws.independent, laws.complete) == (2, True)
    assert set(laws.expressions) <= {"x^2 - y^2", "x^2 - z^2", "y^2 - z^2"}


def test_rational_fields_and_large_coefficients() -> None:
    big = 1234567
    family = sr.Structure.define("big", "x y", lambda q: [(1 / (1 + q.x**2), big / (1 + q.x**2))])
    assert sr.conservation_laws(family, degree=1).expressions == (f"{big}*x - y",)
    # beyond what one prime of 30 bits reconstructs
    steep = sr.Structure.define("steep", "x y", lambda q: [(123456789, 987654321)])
    assert sr.conservation_laws(steep, degree=1).laws[0].terms == (
        ((0,), 987654321 // math.gcd(123456789, 987654321)),
        ((1,), -(123456789 // math.gcd(123456789, 987654321))),
    )


def test_a_prime_that_divides_a_coefficient_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from subriem.brackets import polynomial_laws as module

    unlucky = 999999937
    drawn = iter([unlucky])
    real = module.random_prime
    monkeypatch.setattr(
        module, "random_prime", lambda bound, generator: next(drawn, None) or real(bound, generator)
    )
    # modulo this prime y does not move, so that it looks conserved
    family = sr.Structure.define("unlucky", "x y", lambda q: [(1, unlucky * q.x)])
    found = polynomial_laws(sr.brackets.field_family(family), 2)
    assert [law.terms for law in found] == [(((1,), 2), ((0, 0), -unlucky))] or [
        dict(law.terms) for law in found
    ] == [{(1,): -2, (0, 0): unlucky}]


def test_a_wrong_polynomial_is_refused() -> None:
    family = sr.brackets.field_family(sr.models.linear_network([2, 1, 1]))
    right = PolynomialLaw((((0, 0), 1), ((1, 1), 1), ((2, 2), -1)))
    wrong = PolynomialLaw((((0, 0), 1), ((1, 1), 1), ((2, 2), -2)))
    assert verify_polynomials(family, [wrong, right], [1, 2, 3], 2**29 - 3).kept == (1,)


@pytest.mark.parametrize("activation", [None, torch.nn.ReLU()])
def test_gradient_flows_of_torch_networks_keep_their_laws(
    activation: torch.nn.Module | None,
) -> None:
    middle = [activation] if activation is not None else []
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 4), *middle, torch.nn.Linear(4, 2, bias=activation is not None)
    ).double()
    generator = torch.Generator().manual_seed(5)
    outputs = sr.OutputMap(module, torch.zeros(1, 3, dtype=torch.float64))
    start = torch.randn(outputs.dimension, generator=generator, dtype=torch.float64) / 2
    laws = sr.conservation_laws(outputs, data="all")
    assert laws.complete
    assert laws.independent == (10 if activation is None else 4)
    path = _gradient_flow(module, start.numpy(), generator, 200)
    values = laws(path)
    assert np.abs(path[-1] - path[0]).max() > 0.1
    # a unit that switches within a step costs the rule its order
    assert np.abs(values - values[0]).max() < (1e-8 if activation is None else 1e-4)
    if activation is None:
        coarse = laws(_gradient_flow(module, start.numpy(), generator, 20))
        assert np.abs(coarse - coarse[0]).max() > np.abs(values - values[0]).max()
    # the same in torch, with derivatives
    there = torch.as_tensor(path)
    assert np.allclose(laws.torch(there).numpy(), values, rtol=1e-12, atol=1e-12)
    slope = torch.autograd.functional.jacobian(laws.torch, there[0])
    assert np.allclose(slope, np.asarray(laws.function.jacobian()(path[0], 0)), atol=1e-12)


def test_the_adapted_flow_keeps_them_too() -> None:
    module = torch.nn.Sequential(
        torch.nn.Linear(2, 6, bias=False), torch.nn.Linear(6, 2, bias=False)
    ).double()
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    outputs = sr.OutputMap(module, inputs)
    laws = sr.conservation_laws(outputs, data="all")
    start = torch.randn(outputs.dimension, generator=generator, dtype=torch.float64)
    targets = torch.randn(4, generator=generator, dtype=torch.float64)

    def slope(_: float, theta: np.ndarray) -> np.ndarray:
        at = torch.as_tensor(theta)
        return -outputs.lift(outputs(at) - targets, at).numpy()

    path = solve_ivp(slope, (0, 3), start.numpy(), method="DOP853", rtol=1e-11, atol=1e-12).y.T
    values = laws(path)
    assert np.abs(values - values[0]).max() < 1e-8
    assert "kept" in laws.to_dataset().attrs["adapted_flow"]


def test_stochastic_steps_drift_as_their_size() -> None:
    # a step of size e changes U'U - VV' by e^2 times the difference of the squared gradients
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 2, bias=False), torch.nn.Linear(2, 2, bias=False)
    ).double()
    generator = torch.Generator().manual_seed(2)
    outputs = sr.OutputMap(module, torch.randn(5, 3, generator=generator, dtype=torch.float64))
    laws = sr.conservation_laws(outputs, data="all")
    start = torch.randn(outputs.dimension, generator=generator, dtype=torch.float64) / 2
    targets = torch.randn(10, generator=generator, dtype=torch.float64)
    drifts = []
    for size in (1e-2, 5e-3, 2.5e-3):
        theta = start.clone()
        for _ in range(round(0.5 / size)):
            theta -= size * outputs.vjp(outputs(theta) - targets, theta)
        drifts.append(float((laws.torch(theta) - laws.torch(start)).abs().max()))
    assert 1.9 < drifts[0] / drifts[1] < 2.1
    assert 1.95 < drifts[1] / drifts[2] < 2.05


def test_a_head_of_linear_attention() -> None:
    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in ("q", "k", "v"):
                setattr(self, name, torch.nn.Linear(2, 2, bias=False))
            self.o = torch.nn.Linear(2, 2, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.o(self.q(x) @ self.k(x).transpose(-1, -2) @ self.v(x))

    outputs = sr.OutputMap(Head().double(), torch.randn(1, 3, 2, dtype=torch.float64))
    laws = sr.conservation_laws(outputs, data="all")
    # two symmetric matrices for each pair, r (r + 1), and one between them: without a softmax the
    # scale of the scores can pass to the values
    assert (laws.independent, laws.complete) == (7, True)


def test_angular_momentum_of_training_with_momentum() -> None:
    family = sr.training_family(sr.models.linear_network([2, 2, 2]), friction=0)
    laws = sr.conservation_laws(family)
    assert (laws.independent, laws.complete) == (1, True)
    assert "U1[0,0]*p_U1[0,1]" in laws.expressions[0]


def test_the_dataset_says_what_holds(tmp_path) -> None:
    laws = sr.conservation_laws(sr.models.linear_network([2, 2, 2]))
    dataset = laws.to_dataset()
    assert dataset.expression.dims == ("law",)
    assert (int(dataset.independent), bool(dataset.complete)) == (3, True)
    assert dataset.attrs["scope"] == "all data and losses"
    path = tmp_path / "laws.nc"
    sr.save(dataset, path)
    assert sr.open_results(path).expression.values.tolist() == list(laws.expressions)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="degree"):
        sr.conservation_laws(sr.models.heisenberg(), degree=0)
    with pytest.raises(InputError, match="not rational"):
        sr.conservation_laws(sr.models.unicycle())
    with pytest.raises(InputError, match="lower the degree"):
        sr.conservation_laws(sr.models.linear_network([9, 9, 9]), degree=4)
    laws = sr.conservation_laws(sr.models.linear_network([2, 1, 1]))
    with pytest.raises(InputError, match="expected shape"):
        laws([1.0, 2.0])
    with pytest.raises(InputError, match="entries"):
        laws.torch(torch.zeros(2))


def test_no_law_is_an_answer_too() -> None:
    laws = sr.conservation_laws(sr.models.heisenberg(), degree=3)
    assert (len(laws), laws.independent, laws.complete) == (0, 0, True)
    assert laws([1.0, 2.0, 3.0]).shape == (0,)
    assert laws.torch(torch.zeros(5, 3)).shape == (5, 0)
    assert laws.function(ca.DM([1, 2, 3])).shape[0] == 0
