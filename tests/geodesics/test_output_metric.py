"""The CasADi half and the Torch half: geodesics of the output metric against the adapted flow."""

import numpy as np
import pytest
import torch

import subriem as sr


@pytest.fixture(scope="module")
def network():
    module = sr.models.multilayer_perceptron([1, 3, 1], generator=torch.Generator().manual_seed(3))
    return sr.OutputMap(module, [[-0.8], [0.1], [0.9]])


def test_geodesics_of_the_output_metric_project_to_straight_lines(network):
    structure = network.structure("output")
    theta = network.parameters.numpy()
    u = np.array([0.3, -0.2, 0.4])
    covector = network.vjp(u).numpy()
    times = [0.25, 0.5, 1.0]
    geodesic = sr.exponential(structure, theta, covector, times, rtol=1e-12)
    x0 = network.linearize().value.numpy()
    for t, state in zip(times, geodesic.state.values, strict=True):
        reached = network.linearize(state).value
        np.testing.assert_allclose(reached, x0 + t * u, atol=1e-8)
    # its length is that of the line below
    assert float(geodesic.length[-1]) == pytest.approx(float(np.linalg.norm(u)), rel=1e-9)


def test_the_adapted_orbit_is_that_geodesic(network):
    structure = network.structure("output")
    theta = network.parameters.numpy()
    x0 = network.linearize().value.numpy()
    y = x0 + np.array([0.3, -0.2, 0.4])
    orbit = sr.flow(network, sr.SquaredLoss(y), kind="straight", rtol=1e-9, keep=("parameters",))
    covector = network.vjp(y - x0).numpy()
    times = orbit.time.values[1:]
    geodesic = sr.exponential(structure, theta, covector, times, rtol=1e-12)
    np.testing.assert_allclose(geodesic.state, orbit.parameters[1:], atol=1e-7)
    ends = np.abs(geodesic.state[-1].values - orbit.parameters[-1].values).max()
    assert ends < 1e-8 + 2 * float(orbit.parameter_error[-1])
    # the distance from theta_0 to the fibre over y
    assert float(geodesic.length[-1]) == pytest.approx(
        float(orbit.time[-1]) * np.linalg.norm(y - x0), rel=1e-9
    )


@pytest.mark.parametrize("metric", ["euclidean", "rows"])
def test_other_metrics_bend_the_outputs(network, metric):
    structure = network.structure(metric)
    theta = network.parameters.numpy()
    x0 = network.linearize().value.numpy()
    covector = network.vjp([0.3, -0.2, 0.4]).numpy()
    geodesic = sr.exponential(structure, theta, covector, [0.5, 1.0], rtol=1e-11)
    assert float(np.abs(geodesic.hamiltonian_drift).max()) < 1e-8
    half, whole = (network.linearize(state).value.numpy() - x0 for state in geodesic.state.values)
    bend = np.linalg.norm(whole - whole @ half * half / (half @ half)) / np.linalg.norm(whole)
    assert bend > 1e-4
