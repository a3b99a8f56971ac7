"""`train` against SciPy's least squares, the flow's own fibre, and closed forms."""

import numpy as np
import pytest
import scipy.optimize
import torch
from sklearn.datasets import load_digits

import subriem as sr
from subriem.errors import InputError, InputTypeError, NumericalError
from subriem.flows import damped_lift


def forward(network, inputs, parameters):
    """The network by hand: linear layers and tanh, in NumPy."""
    values, used = np.asarray(inputs), 0
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)]
    for number, layer in enumerate(layers):
        shape = (layer.out_features, layer.in_features)
        weight = parameters[used : used + shape[0] * shape[1]].reshape(shape)
        used += weight.size
        values = values @ weight.T + parameters[used : used + shape[0]]
        used += shape[0]
        if number < len(layers) - 1:
            values = np.tanh(values)
    assert used == len(parameters)
    return values


def regression(points=64, seed=0):
    inputs = np.linspace(-1, 1, points)[:, None]
    targets = np.sin(3 * inputs) + 0.3 * np.cos(9 * inputs)
    network = sr.models.multilayer_perceptron(
        [1, 32, 32, 1], generator=torch.Generator().manual_seed(seed)
    )
    return network, inputs, targets


@pytest.mark.parametrize("seed", [0, 1])
def test_a_regression_is_learnt_to_machine_zero(seed):
    network, inputs, targets = regression(seed=seed)
    found = sr.train(sr.OutputMap(network, inputs), sr.SquaredLoss(targets))
    assert found.status == "converged"
    assert found.method == "cholesky"
    assert found.traced
    # by a forward pass that is not ours
    residual = forward(network, inputs, found.final_parameters.values) - targets
    loss = float((residual**2).sum()) / (2 * len(inputs))
    assert loss == pytest.approx(float(found.loss[-1]), rel=1e-6)
    assert loss <= 1.001e-12 * float(found.loss[0])
    # every step taken decreases the loss
    assert (np.diff(found.loss) < 0).all()
    assert found.gain[1:].min() > 0
    assert int(found.tried[-1]) >= found.sizes["step"] - 1


def test_digits_are_learnt_by_iterations_and_the_loss_is_that_of_the_module():
    digits = load_digits()
    count = 120
    network = sr.models.multilayer_perceptron(
        [64, 128, 10], generator=torch.Generator().manual_seed(0)
    )
    inputs, targets = digits.data[:count] / 16, np.eye(10)[digits.target[:count]]
    found = sr.train(sr.OutputMap(network, inputs), sr.SquaredLoss(targets))
    assert (found.status, found.method) == ("converged", "iterative")
    assert int(found.iterations[-1]) > 0
    residual = forward(network, inputs, found.final_parameters.values) - targets
    assert float((residual**2).sum()) / (2 * count) <= 1.001e-12 * float(found.loss[0])


def test_both_methods_reach_the_same_fibre(monkeypatch):
    network, inputs, targets = regression(points=20)
    outputs = sr.OutputMap(network, inputs)
    dense = sr.train(outputs, sr.SquaredLoss(targets), tolerance=1e-16)
    monkeypatch.setattr(damped_lift, "_DENSE_SIZE", 1)
    iterative = sr.train(outputs, sr.SquaredLoss(targets), tolerance=1e-16)
    assert (dense.method, iterative.method) == ("cholesky", "iterative")
    for found in (dense, iterative):
        assert found.status == "converged"
        value = outputs.linearize(found.final_parameters.values).value.numpy()
        np.testing.assert_allclose(value, targets.ravel(), atol=1e-7)


def test_a_linear_map_is_fitted_by_the_least_squares_solution():
    # underdetermined and linear: the damped steps stay in range D', so the end is D+ y
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((3, 8))
    targets = rng.standard_normal((3, 1))
    network = torch.nn.Linear(8, 1, bias=False).double()
    torch.nn.init.zeros_(network.weight)
    found = sr.train(sr.OutputMap(network, inputs), sr.SquaredLoss(targets), tolerance=1e-26)
    assert found.status == "converged"
    exact = np.linalg.lstsq(inputs, targets, rcond=None)[0].ravel()
    np.testing.assert_allclose(found.final_parameters, exact, atol=1e-12)
    # no shorter than the straight line from zero, and nearly it
    assert float(found.path_length[-1]) == pytest.approx(np.linalg.norm(exact), rel=1e-3)
    assert float(found.path_length[-1]) >= np.linalg.norm(exact) * (1 - 1e-12)


def test_what_cannot_be_fitted_ends_stationary_at_the_least_squares_loss():
    # two labels for one input
    inputs = np.array([[0.0], [0.0], [1.0]])
    targets = np.array([1.0, -1.0, 2.0])
    network = sr.models.multilayer_perceptron([1, 8, 1], generator=torch.Generator().manual_seed(0))
    found = sr.train(sr.OutputMap(network, inputs), sr.SquaredLoss(targets))
    assert found.status in ("stationary", "stalled")
    assert float(found.loss[-1]) == pytest.approx(2 / 6, rel=1e-9)
    with pytest.raises(NumericalError, match=str(found.status)):
        sr.train(sr.OutputMap(network, inputs), sr.SquaredLoss(targets), strict=True)


def test_fewer_parameters_than_outputs_end_where_scipy_does():
    inputs = np.linspace(-1, 1, 30)[:, None]
    targets = inputs**2
    network = sr.models.multilayer_perceptron([1, 3, 1], generator=torch.Generator().manual_seed(3))
    outputs = sr.OutputMap(network, inputs)
    found = sr.train(outputs, sr.SquaredLoss(targets), max_steps=4000)
    end = found.final_parameters.values

    def residual(parameters):
        return (forward(network, inputs, parameters) - targets).ravel()

    polished = scipy.optimize.least_squares(residual, end, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    assert float(found.loss[-1]) == pytest.approx(2 * polished.cost / (2 * 30), rel=1e-4)


def test_cross_entropy_goes_to_its_minimizer_in_output_space():
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((6, 3))
    labels = rng.dirichlet(np.ones(3), size=6)
    network = sr.models.multilayer_perceptron(
        [3, 16, 3], generator=torch.Generator().manual_seed(0)
    )
    outputs = sr.OutputMap(network, inputs)
    found = sr.train(outputs, sr.CrossEntropyLoss(labels), tolerance=1e-14)
    assert found.status == "converged"
    logits = forward(network, inputs, found.final_parameters.values)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), labels, atol=1e-6)
    entropy = -(labels * np.log(labels)).sum() / 6
    assert found.minimum_loss == pytest.approx(entropy, rel=1e-12)


def test_a_module_that_cannot_be_traced_is_trained_all_the_same():
    class Branch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(2, 16)
            self.outer = torch.nn.Linear(16, 1)

        def forward(self, x):
            hidden = self.inner(x)
            return self.outer(torch.tanh(hidden) if hidden.sum() < 1e9 else hidden)

    torch.manual_seed(0)
    inputs = np.random.default_rng(0).standard_normal((5, 2))
    outputs = sr.OutputMap(Branch().double(), inputs)
    found = sr.train(outputs, sr.SquaredLoss(np.arange(5.0)))
    assert (found.status, found.traced) == ("converged", False)


def test_shared_weights_are_seen():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(2, 12)
            self.last = torch.nn.Linear(12, 2)

        def forward(self, x):
            hidden = torch.tanh(self.inner(x))
            return hidden @ self.inner.weight + self.last(hidden)

    torch.manual_seed(0)
    inputs = np.random.default_rng(0).standard_normal((4, 2))
    outputs = sr.OutputMap(Tied().double(), inputs)
    found = sr.train(outputs, sr.SquaredLoss(inputs**2))
    assert found.status == "converged"
    value = outputs.linearize(found.final_parameters.values).value
    np.testing.assert_allclose(value, (inputs**2).ravel(), atol=1e-5)


def test_callback_budget_start_and_the_same_numbers_again():
    network, inputs, targets = regression(points=10)
    outputs, loss = sr.OutputMap(network, inputs), sr.SquaredLoss(targets)
    seen = []
    stopped = sr.train(outputs, loss, callback=lambda step: seen.append(step) or len(seen) == 3)
    assert stopped.status == "stopped"
    assert [step.step for step in seen] == [0, 1, 2]
    assert [step.loss for step in seen] == stopped.loss.values.tolist()
    budget = sr.train(outputs, loss, max_steps=2)
    assert budget.status == "budget"
    assert int(budget.tried[-1]) <= 2
    one, two = sr.train(outputs, loss), sr.train(outputs, loss)
    np.testing.assert_array_equal(one.final_parameters, two.final_parameters)
    # from where it ended there is nothing to do
    again = sr.train(outputs, loss, start=one.final_parameters, tolerance=one.tolerance)
    assert (again.status, again.sizes["step"]) == ("converged", 1)


def test_wrong_input_is_refused():
    network, inputs, targets = regression(points=4)
    outputs, loss = sr.OutputMap(network, inputs), sr.SquaredLoss(targets)
    with pytest.raises(InputTypeError, match="OutputMap"):
        sr.train(network, loss)
    with pytest.raises(InputTypeError, match="SquaredLoss"):
        sr.train(outputs, targets)
    with pytest.raises(InputError, match="tolerance"):
        sr.train(outputs, loss, tolerance=0.0)
    with pytest.raises(InputTypeError, match="tolerance"):
        sr.train(outputs, loss, tolerance="small")
    with pytest.raises(InputError, match="max_steps"):
        sr.train(outputs, loss, max_steps=0)
    with pytest.raises(InputTypeError, match="max_steps"):
        sr.train(outputs, loss, max_steps=2.5)
    with pytest.raises(InputTypeError, match="callback"):
        sr.train(outputs, loss, callback=3)
    with pytest.raises(InputError, match="expected"):
        sr.train(outputs, sr.SquaredLoss(np.zeros(7)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_end_on_a_gpu():
    network, inputs, targets = regression(points=20)
    found = sr.train(
        sr.OutputMap(network.cuda(), torch.as_tensor(inputs).cuda()), sr.SquaredLoss(targets)
    )
    assert found.status == "converged"
