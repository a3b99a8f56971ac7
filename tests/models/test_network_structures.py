"""Networks of the zoo as structures: fields, and what their flows are known to conserve."""

import casadi as ca
import numpy as np
import pytest
import torch

import subriem as sr
from subriem.errors import InputError


def test_attention_fields_are_the_gradients_of_its_formula():
    tokens = torch.tensor([[0.5, -1.0, 0.3], [1.0, 0.25, -0.7]], dtype=torch.float64)
    structure = sr.models.attention_layer(tokens.numpy(), head=2)

    def outputs(theta):
        q, k, v = theta[:6].view(2, 3), theta[6:12].view(2, 3), theta[12:].view(3, 3)
        scores = tokens @ q.T @ k @ tokens.T / 3**0.5
        return (torch.softmax(scores, dim=1) @ tokens @ v.T).flatten()

    theta = torch.linspace(-1, 1, 21, dtype=torch.float64)
    expected = torch.func.jacrev(outputs)(theta).T.numpy()
    np.testing.assert_allclose(structure.frame_at(theta), expected, atol=1e-14)


def test_attention_conserves_the_difference_of_the_grams_of_query_and_key():
    structure = sr.models.attention_layer(
        np.random.default_rng(0).standard_normal((2, 3, 2)), head=1
    )
    q, k = structure.state[:2], structure.state[2:4]
    law = ca.sumsqr(q) - ca.sumsqr(k)
    slope = ca.jacobian(law, structure.state) @ structure.frame
    at = structure.sample(20)
    derivative = structure.evaluate("law", slope, at)
    scale = np.abs(structure.frame_at(at)).max() * np.abs(at).max()
    assert np.abs(derivative).max() < 1e-13 * scale
    # while the Gram of the query alone is not conserved
    other = ca.jacobian(ca.sumsqr(q), structure.state) @ structure.frame
    assert np.abs(structure.evaluate("other", other, at)).max() > 1e-3


def test_the_flag_of_an_attention_layer_respects_its_law():
    structure = sr.models.attention_layer()
    flag = sr.lie_flag(structure, structure.sample(1)[0])
    assert flag.status == "closed"
    assert int(flag.growth_vector[-1]) <= structure.dimension - 1


def test_a_tanh_network_of_one_output_is_involutive():
    structure = sr.models.tanh_network(inputs=[[0.3]])
    flag = sr.lie_flag(structure, structure.sample(1)[0])
    assert flag.growth_vector.values.tolist()[:1] == [1]
    assert flag.status == "closed"


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"expected shape \(N, 1\)"):
        sr.models.tanh_network(inputs=[0.3])
    with pytest.raises(InputError, match="tokens: expected shape"):
        sr.models.attention_layer(np.zeros(3))
    with pytest.raises(InputError, match="head: expected at least 1"):
        sr.models.attention_layer(head=0)
