"""Equilibria with C > 0 against examples that are known by hand or by an independent Hessian."""

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

import subriem as sr
from subriem.errors import InputError


def network(widths, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return sr.models.multilayer_perceptron(widths, generator=generator, **options)


@pytest.fixture
def duplicates():
    """One input twice with contradictory labels: the limit is known exactly."""
    outputs = sr.OutputMap(network([1, 4, 1]), [[0.5], [0.5], [-1.0], [1.25]])
    loss = sr.SquaredLoss([1.0, -0.5, 0.25, 0.75])
    return outputs, loss, sr.flow(outputs, loss)


def test_contradictory_duplicates_fill_a_manifold_of_the_predicted_dimension(duplicates):
    outputs, loss, orbit = duplicates
    found = sr.equilibrium(outputs, loss, orbit.final_parameters)
    assert found.status == "stationary"
    assert float(found.loss) == pytest.approx(1.5**2 / 16, rel=1e-12)
    assert int(found["rank"]) == 3
    assert int(found.predicted_dimension) == int(found.dimension) == 13 - 3
    assert found.agrees
    assert float(found.hessian_gap) > 1e3


def test_tangent_basis_is_the_kernel_of_an_independent_hessian(duplicates):
    outputs, loss, orbit = duplicates
    theta = torch.as_tensor(orbit.final_parameters.values)
    targets = torch.as_tensor(loss.targets.ravel())

    def value(flat):
        x = torch.func.functional_call(outputs.module, outputs.unflatten(flat), (outputs.inputs,))
        return ((x.reshape(-1) - targets) ** 2).sum() / (2 * loss.samples)

    hessian = torch.func.hessian(value)(theta).numpy()
    found = sr.equilibrium(outputs, loss, theta)
    np.testing.assert_allclose(
        found.hessian_eigenvalues, np.linalg.eigvalsh(hessian), atol=1e-12 * np.abs(hessian).max()
    )
    basis = found.tangent_basis.values
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-12)
    assert np.abs(hessian @ basis.T).max() < 1e-6 * np.abs(hessian).max()


def test_manifold_is_walked_and_every_point_is_verified(duplicates):
    outputs, loss, orbit = duplicates
    walk = sr.critical_manifold(
        outputs, loss, orbit.final_parameters, points=5, generator=np.random.default_rng(3)
    )
    assert walk.status == "complete"
    assert walk.verified.all()
    assert (walk.moved[1:] > 0.05).all()
    np.testing.assert_allclose(walk.loss, 1.5**2 / 16, rtol=1e-10)
    # Stationary by the plain definition, with a Jacobian that the library did not form.
    for theta in walk.parameters.values:
        names = outputs.unflatten(torch.as_tensor(theta))
        leaves = {name: value.clone().requires_grad_() for name, value in names.items()}
        x = torch.func.functional_call(outputs.module, leaves, (outputs.inputs,)).reshape(-1)
        loss_value = ((x - torch.as_tensor(loss.targets.ravel())) ** 2).sum() / 8
        gradient = torch.autograd.grad(loss_value, list(leaves.values()))
        assert max(float(part.abs().max()) for part in gradient) < 1e-7


def test_walk_depends_on_the_generator_alone(duplicates):
    outputs, loss, orbit = duplicates
    start = orbit.final_parameters
    walks = [
        sr.critical_manifold(outputs, loss, start, points=2, generator=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(walks[0].parameters, walks[1].parameters)
    assert np.abs(walks[0].parameters - walks[2].parameters).max() > 1e-3


def test_isolated_least_squares_optimum_has_dimension_zero():
    inputs = np.linspace(-1.0, 2.0, 12)[:, None]
    labels = np.sin(2 * inputs)
    outputs = sr.OutputMap(network([1, 1, 1], seed=4), inputs)
    fit = least_squares(
        lambda theta: outputs(theta).numpy() - labels.ravel(),
        outputs.parameters.numpy(),
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    )
    found = sr.equilibrium(outputs, sr.SquaredLoss(labels), fit.x)
    assert found.status == "stationary"
    assert int(found.predicted_dimension) == 0
    assert int(found.dimension) == 0
    assert float(found.loss) == pytest.approx(fit.cost / 12, rel=1e-12)
    assert found.tangent_basis.shape == (0, 4)


def test_global_minimum_is_a_fibre():
    outputs = sr.OutputMap(network([2, 6, 1]), np.random.default_rng(0).normal(size=(3, 2)))
    loss = sr.SquaredLoss([0.3, -0.2, 0.5])
    orbit = sr.flow(outputs, loss, tolerance=1e-24)
    found = sr.equilibrium(outputs, loss, orbit.final_parameters)
    assert int(found.dimension) == int(found.predicted_dimension) == 25 - 3


def test_saddle_of_a_deep_linear_network_has_fewer_dimensions_than_predicted():
    """At theta = 0 of x = u v a: D = 0, but the Hessian of C is not degenerate."""
    outputs = sr.OutputMap(network([1, 1, 1], activation="linear", bias=False), [[1.0]])
    found = sr.equilibrium(outputs, sr.SquaredLoss([1.0]), [0.0, 0.0])
    assert found.status == "stationary"
    assert int(found["rank"]) == 0
    assert int(found.predicted_dimension) == 2
    assert int(found.dimension) == 0
    assert not found.agrees
    np.testing.assert_allclose(found.hessian_eigenvalues, [-1.0, 1.0], atol=1e-14)


def test_point_that_is_not_stationary_is_said_to_be_none():
    outputs = sr.OutputMap(network([1, 4, 1]), [[0.5], [-1.0]])
    loss = sr.SquaredLoss([1.0, -1.0])
    assert sr.equilibrium(outputs, loss).status == "not stationary"


def test_cross_entropy_uses_its_own_curvature():
    outputs = sr.OutputMap(network([1, 4, 3]), [[0.5], [0.5]])
    loss = sr.CrossEntropyLoss([[0.6, 0.2, 0.2], [0.2, 0.2, 0.6]])
    orbit = sr.flow(outputs, loss, rtol=1e-8)
    mean = np.array([0.4, 0.2, 0.4])
    expected = -float((mean * np.log(mean)).sum())
    assert float(orbit.loss[-1]) == pytest.approx(expected, rel=1e-9)
    assert sr.equilibrium(outputs, loss, orbit.final_parameters).status == "stationary"


def test_bad_input_is_refused():
    outputs = sr.OutputMap(network([1, 4, 1]), [[0.5], [-1.0]])
    with pytest.raises(InputError, match="step > 0"):
        sr.critical_manifold(outputs, sr.SquaredLoss([1.0, 2.0]), step=0.0)
    with pytest.raises(InputError, match=r"\(2, 1\) was expected"):
        sr.equilibrium(outputs, sr.SquaredLoss([1.0, 2.0, 3.0]))
    large = sr.OutputMap(network([40, 80, 1]), np.zeros((1, 40)))
    with pytest.raises(InputError, match="at most 3000"):
        sr.equilibrium(large, sr.SquaredLoss([1.0]))
