"""Networks as CasADi structures, against the Torch half."""

import pickle

import numpy as np
import pytest
import torch

import subriem as sr
from subriem.errors import InputError


def outputs(samples=3, widths=(2, 4, 1), seed=0):
    network = sr.models.multilayer_perceptron(
        list(widths), generator=torch.Generator().manual_seed(seed)
    )
    inputs = torch.linspace(-1, 1, samples * widths[0], dtype=torch.float64)
    return sr.OutputMap(network, inputs.reshape(samples, widths[0]))


def test_the_frame_is_the_transposed_jacobian():
    network = outputs()
    structure = network.structure("rows")
    theta = network.parameters.numpy()
    np.testing.assert_allclose(
        structure.frame_at(theta), network.jacobian().numpy().T, rtol=1e-13, atol=1e-15
    )
    assert structure.orthonormal


@pytest.mark.parametrize("metric", ["output", "euclidean", "rows"])
def test_hamiltonians_of_the_three_metrics(metric):
    network = outputs()
    jacobian = network.jacobian().numpy()
    theta = network.parameters.numpy()
    p = np.random.default_rng(0).standard_normal(len(theta))
    inverse = np.linalg.pinv(jacobian)
    expected = {
        "output": 0.5 * np.sum((inverse.T @ p) ** 2),
        "euclidean": 0.5 * p @ inverse @ jacobian @ p,
        "rows": 0.5 * np.sum((jacobian @ p) ** 2),
    }[metric]
    found = network.structure(metric).hamiltonian_at(theta, p)
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_controls_of_the_output_metric_move_outputs_isometrically():
    network = outputs()
    structure = network.structure("output")
    theta, jacobian = network.parameters.numpy(), network.jacobian().numpy()
    u = np.array([0.3, -1.0, 0.5])
    length = u @ structure.metric_at(theta) @ u
    moved = jacobian @ structure.velocity(theta, u)
    assert length == pytest.approx(moved @ moved, rel=1e-10)


def test_a_network_structure_pickles_and_is_named():
    structure = outputs().structure()
    again = pickle.loads(pickle.dumps(structure))
    theta = outputs().parameters.numpy()
    np.testing.assert_array_equal(again.metric_at(theta), structure.metric_at(theta))
    assert repr(structure).startswith("Structure Sequential on 3 samples, output metric: 17 coord")


def test_a_linear_network_agrees_with_the_zoo():
    """Two linear layers on a basis of inputs: the zoo's fields, whose weights are transposed."""
    network = sr.models.multilayer_perceptron([2, 1, 2], "linear", bias=False)
    module = sr.OutputMap(network, torch.eye(2, dtype=torch.float64)).structure("rows")
    zoo = sr.models.linear_network([2, 1, 2])
    theta = np.array([0.3, -0.7, 1.1, 0.4])
    np.testing.assert_allclose(module.frame_at(theta), zoo.frame_at(theta), atol=1e-15)
    flags = [sr.lie_flag(structure, theta) for structure in (module, zoo)]
    np.testing.assert_array_equal(flags[0].growth_vector, flags[1].growth_vector)
    # one balancedness law u'u - v'v is conserved
    assert flags[0].status == "closed"
    assert int(flags[0].growth_vector[-1]) == 3


def test_rows_that_cannot_be_independent_are_refused():
    with pytest.raises(InputError, match="needs independent rows of D, got 20 rows"):
        outputs(samples=20, widths=(1, 2, 1)).structure()
    twice = sr.OutputMap(torch.nn.Linear(1, 1).double(), [[1.0], [1.0]])
    with pytest.raises(InputError, match="at the module's parameters they have"):
        twice.structure("euclidean")
    assert twice.structure("rows").rank == 2
    with pytest.raises(InputError, match="expected output, euclidean or rows"):
        twice.structure("flat")
