"""Weight spaces of linear and ReLU networks against PyTorch's derivatives and outputs."""

import itertools

import numpy as np
import pytest
import torch

import subriem as sr


def split(theta, dims, bias=False):
    """Matrices and biases from the flat coordinates."""
    matrices, biases, start = [], [], 0
    for layer, (rows, columns) in enumerate(itertools.pairwise(dims)):
        matrices.append(theta[start : start + rows * columns].reshape(rows, columns))
        start += rows * columns
        if bias and layer < len(dims) - 2:
            biases.append(theta[start : start + columns])
            start += columns
    assert start == len(theta)
    return matrices, biases


@pytest.mark.parametrize("dims", [(3, 2), (3, 2, 4), (2, 3, 3, 2), (1, 2, 2, 1)])
def test_linear_fields_are_gradients_of_the_product(dims):
    structure = sr.models.linear_network(dims)
    for point in structure.sample(3):
        gradients = torch.func.jacrev(
            lambda theta: (
                torch.linalg.multi_dot(split(theta, dims)[0]).ravel() if len(dims) > 2 else theta
            )
        )(torch.tensor(point))
        np.testing.assert_allclose(structure.frame_at(point), gradients.T.numpy(), rtol=1e-12)


@pytest.mark.parametrize("dims", [(3, 2, 4), (2, 3, 3, 2)])
def test_linear_networks_conserve_the_balance_of_layers(dims):
    structure = sr.models.linear_network(dims)

    def balance(theta):
        matrices, _ = split(theta, dims)
        pairs = itertools.pairwise(matrices)
        return torch.cat([(first.T @ first - second @ second.T).ravel() for first, second in pairs])

    for point in structure.sample(3):
        gradients = torch.func.jacrev(balance)(torch.tensor(point)).numpy()
        np.testing.assert_allclose(gradients @ structure.frame_at(point), 0, atol=1e-12)


def path_products(theta, dims, bias):
    """By one outer product a kind of path, in the order of the units along it."""
    matrices, biases = split(theta, dims, bias)
    letters = "abcdef"

    def along(layer):
        return [letters[k : k + 2] for k in range(layer, len(matrices))]

    whole = torch.einsum(f"{','.join(along(0))}->{letters[: len(dims)]}", *matrices)
    products = [whole.ravel()]
    for layer, shift in enumerate(biases, start=1):
        inputs = ",".join([letters[layer], *along(layer)])
        outer = torch.einsum(f"{inputs}->{letters[layer : len(dims)]}", shift, *matrices[layer:])
        products.append(outer.ravel())
    return torch.cat(products)


RELU = [((3, 2), False), ((2, 3, 2), False), ((2, 3, 2), True), ((2, 3, 2, 2), True)]


@pytest.mark.parametrize(("dims", "bias"), RELU)
def test_relu_fields_are_gradients_of_path_products(dims, bias):
    structure = sr.models.relu_network(dims, bias)
    for point in structure.sample(3):
        gradients = torch.func.jacrev(lambda theta: path_products(theta, dims, bias))(
            torch.tensor(point)
        )
        np.testing.assert_allclose(structure.frame_at(point), gradients.T.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("dims", "bias"), RELU)
def test_gradients_of_a_relu_network_lie_in_the_distribution(dims, bias):
    """Why these fields: every output on every input has its gradient in their span."""
    structure = sr.models.relu_network(dims, bias)
    inputs = torch.randn(6, dims[0], generator=torch.Generator().manual_seed(5)).double()

    def outputs(theta):
        matrices, biases = split(theta, dims, bias)
        layer = inputs
        for k, matrix in enumerate(matrices):
            layer = layer @ matrix
            if k < len(matrices) - 1:
                layer = torch.relu(layer + biases[k] if bias else layer)
        return layer.ravel()

    for point in structure.sample(3):
        gradients = torch.func.jacrev(outputs)(torch.tensor(point)).numpy().T
        frame = structure.frame_at(point)
        assert np.abs(gradients).max() > 0.1
        coefficients = np.linalg.lstsq(frame, gradients, rcond=None)[0]
        np.testing.assert_allclose(frame @ coefficients, gradients, atol=1e-10)


@pytest.mark.parametrize(("dims", "bias"), RELU[1:])
def test_relu_networks_conserve_the_balance_of_each_hidden_unit(dims, bias):
    structure = sr.models.relu_network(dims, bias)

    def balance(theta):
        matrices, biases = split(theta, dims, bias)
        balances = []
        for k, (incoming, outgoing) in enumerate(itertools.pairwise(matrices)):
            shift = biases[k] ** 2 if bias else 0
            balances.append((incoming**2).sum(0) + shift - (outgoing**2).sum(1))
        return torch.cat(balances)

    for point in structure.sample(3):
        gradients = torch.func.jacrev(balance)(torch.tensor(point)).numpy()
        assert len(gradients) == sum(dims[1:-1])
        np.testing.assert_allclose(gradients @ structure.frame_at(point), 0, atol=1e-12)


def test_coordinates_are_named_by_layer_row_and_column():
    assert sr.models.linear_network([1, 2, 1]).coordinates == ("u1_11", "u1_12", "u2_11", "u2_21")
    assert sr.models.relu_network([1, 2, 1], bias=True).coordinates == (
        *("u1_11", "u1_12", "b1_1", "b1_2", "u2_11", "u2_21"),
    )
    # u1_111 could be (1, 11) or (11, 1)
    names = sr.models.linear_network([12, 12]).coordinates
    assert names[10] == "u1_1_11"
    assert names[120] == "u1_11_1"


@pytest.mark.parametrize(
    ("dims", "bias", "parameters"), [((9, 7, 2), False, 77), ((7, 2, 6), True, 28)]
)
def test_numbers_of_parameters_are_those_published(dims, bias, parameters):
    """Of the list of networks with arXiv 2307.00144."""
    assert sr.models.relu_network(dims, bias).dimension == parameters
