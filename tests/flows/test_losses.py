"""The losses on output space, against formulas and against torch's own derivatives."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from flow_cases import cross_entropy_gradient, normal, softmax

import subriem as sr
from subriem.errors import InputError, InputTypeError
from subriem.flows import CrossEntropyLoss, SquaredLoss

LABELS = softmax(normal(5, 4, seed=3))


def vector(*shape: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(normal(*shape, seed=seed).reshape(-1))


def both() -> list[tuple[sr.flows.Loss, torch.Tensor]]:
    squared = SquaredLoss(normal(5, 4, seed=1))
    entropy = CrossEntropyLoss(LABELS)
    like = torch.zeros(1, dtype=torch.float64)
    return [(loss, loss.fit(5, 4, like)) for loss in (squared, entropy)]


def as_torch(loss: sr.flows.Loss, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The two losses as torch's own functions, for its derivatives."""
    if isinstance(loss, SquaredLoss):
        return torch.nn.functional.mse_loss(x, y, reduction="sum") / (2 * loss.samples)
    rows = loss.targets.shape
    return torch.nn.functional.cross_entropy(x.view(rows), y.view(rows))


def test_squared_loss_by_hand() -> None:
    """The factor is 1/(2N), N the number of samples, whatever Q is."""
    loss = SquaredLoss([[1.0, 2.0], [0.0, -1.0]])
    y = loss.fit(2, 2, torch.zeros(1, dtype=torch.float64))
    x = torch.tensor([2.0, 2.0, 0.0, 3.0], dtype=torch.float64)
    assert loss.value(x, y) == 17.0 / 4
    assert loss.excess(x, y) == 17.0 / 4
    assert loss.gradient(x, y).tolist() == [0.5, 0.0, 0.0, 2.0]
    assert loss.minimizer(x, y).tolist() == [1.0, 2.0, 0.0, -1.0]
    assert loss.minimum == 0.0


def test_one_output_may_be_given_flat() -> None:
    flat, column = SquaredLoss([1.0, 2.0]), SquaredLoss([[1.0], [2.0]])
    assert (flat.targets == column.targets).all()


@pytest.mark.parametrize("which", [0, 1], ids=["squared", "cross-entropy"])
def test_value_gradient_and_curvature_are_torchs(which: int) -> None:
    loss, y = both()[which]
    x = vector(5, 4, seed=5).requires_grad_()
    v = vector(5, 4, seed=6)
    value = as_torch(loss, x, y)
    (gradient,) = torch.autograd.grad(value, x)
    hessian = torch.autograd.functional.hessian(lambda z: as_torch(loss, z, y), x.detach())
    assert abs(loss.value(x.detach(), y) / float(value.detach()) - 1) < 1e-14
    assert torch.allclose(loss.gradient(x.detach(), y), gradient, rtol=1e-13, atol=1e-15)
    assert torch.allclose(loss.curvature(x.detach(), v), hessian @ v, rtol=1e-12, atol=1e-15)


def test_the_least_cross_entropy_is_the_labels_entropy_and_is_attained() -> None:
    loss, y = both()[1]
    entropy = -(LABELS * np.log(LABELS)).sum() / 5
    assert abs(loss.minimum - entropy) < 1e-15
    x = vector(5, 4, seed=7)
    end = loss.minimizer(x, y)
    assert abs(loss.value(end, y) - entropy) < 1e-15
    assert 0.0 <= loss.excess(end, y) < 1e-30
    assert float(loss.gradient(end, y).abs().max()) < 1e-16
    # On the fibre of x: every sample's component sum is kept, and the point is log y + const.
    assert torch.allclose(end.view(5, 4).sum(1), x.view(5, 4).sum(1), rtol=1e-14, atol=1e-14)
    apart = end.view(5, 4) - torch.from_numpy(np.log(LABELS))
    assert float((apart - apart[:, :1]).abs().max()) < 1e-14
    assert loss.value(end + 1e-3 * x, y) > entropy


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6, 1e-8])
def test_the_excess_keeps_its_digits_near_the_minimum(size: float) -> None:
    """Against KL(y|p) in 60 digits; the plain difference has none left at 1e-8."""
    loss, y = both()[1]
    x = loss.minimizer(vector(5, 4, seed=7), y) + size * vector(5, 4, seed=8)
    total = Decimal(0)
    with localcontext() as context:
        context.prec = 60
        for row, labels in zip(x.view(5, 4).tolist(), y.view(5, 4).tolist(), strict=True):
            exact = [Decimal(value) for value in row]
            parts = [Decimal(value) for value in labels]
            # The labels sum to one up to rounding, as the loss has them.
            log_sum = sum(value.exp() for value in exact).ln()
            total += sum(
                p * ((value - log_sum - p.ln()).exp() - 1 - (value - log_sum - p.ln()))
                for p, value in zip(parts, exact, strict=True)
            )
        wanted = float(total / 5)
    # log softmax is known to a few units of rounding, 1e-16 of numbers near one.
    assert abs(loss.excess(x, y) / wanted - 1) < 1e-14 + 1e-14 / size


def test_the_excess_is_never_negative() -> None:
    loss, y = both()[1]
    for seed in range(20):
        x = loss.minimizer(vector(5, 4, seed=seed), y) + 1e-9 * vector(5, 4, seed=seed + 50)
        assert loss.excess(x, y) >= 0.0


def test_cross_entropy_far_out_does_not_overflow() -> None:
    loss, y = both()[1]
    x = 1e4 * vector(5, 4, seed=2)
    assert math.isfinite(loss.value(x, y))
    assert math.isfinite(loss.excess(x, y))
    assert abs((loss.value(x, y) - loss.minimum) / loss.excess(x, y) - 1) < 1e-12
    wanted = cross_entropy_gradient(x.numpy(), LABELS)
    assert np.abs(loss.gradient(x, y).numpy() - wanted).max() < 1e-15


def test_smoothing_mixes_with_the_uniform_labels() -> None:
    loss = CrossEntropyLoss([2, 0], smoothing=0.3, classes=3)
    wanted = np.array([[0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])
    assert np.abs(loss.targets - wanted).max() < 1e-15
    soft = CrossEntropyLoss([[0.5, 0.25, 0.25]], smoothing=0.3)
    assert np.abs(soft.targets - [[0.45, 0.275, 0.275]]).max() < 1e-15
    assert CrossEntropyLoss([2, 0], smoothing=0.3).targets.shape == (2, 3)


def test_smoothing_agrees_with_torchs() -> None:
    classes = np.array([0, 3, 1])
    loss = CrossEntropyLoss(classes, smoothing=0.2)
    x = vector(3, 4, seed=4)
    y = loss.fit(3, 4, x)
    theirs = torch.nn.CrossEntropyLoss(label_smoothing=0.2)(x.view(3, 4), torch.tensor(classes))
    assert abs(loss.value(x, y) / float(theirs) - 1) < 1e-14


@pytest.mark.parametrize("kind", ["list", "array", "tensor", "dataarray", "float32", "integer"])
def test_targets_come_in_many_kinds(kind: str) -> None:
    import xarray as xr

    values = [[1.0, 2.0], [3.0, -4.0]]
    made = {
        "list": values,
        "array": np.array(values),
        "tensor": torch.tensor(values, requires_grad=True),
        "dataarray": xr.DataArray(values, dims=("sample", "output")),
        "float32": np.array(values, dtype=np.float32),
        "integer": np.array(values, dtype=int),
    }[kind]
    assert SquaredLoss(made).targets.tolist() == values


def test_targets_follow_the_dtype_of_the_outputs() -> None:
    like = torch.zeros(4, dtype=torch.float32)
    assert SquaredLoss([[1.0, 2.0], [3.0, 4.0]]).fit(2, 2, like).dtype == torch.float32


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_targets_that_are_not_finite_are_refused_with_the_sample(value: float) -> None:
    targets = normal(4, 2)
    targets[2, 1] = value
    with pytest.raises(InputError, match="sample 2"):
        SquaredLoss(targets)
    with pytest.raises(InputError, match="sample 2"):
        CrossEntropyLoss(targets)


@pytest.mark.parametrize("targets", [[], np.zeros((0, 3)), np.zeros((3, 0))])
def test_empty_targets_are_refused(targets: object) -> None:
    with pytest.raises(InputError, match="empty"):
        SquaredLoss(targets)
    with pytest.raises(InputError, match="empty"):
        CrossEntropyLoss(targets, smoothing=0.1)


@pytest.mark.parametrize("targets", ["zero", [["a", "b"]], object(), [[1.0], [1.0, 2.0]], None])
def test_targets_that_are_no_numbers_are_refused(targets: object) -> None:
    with pytest.raises((InputTypeError, InputError)):
        SquaredLoss(targets)
    with pytest.raises((InputTypeError, InputError)):
        CrossEntropyLoss(targets, smoothing=0.1)


def test_complex_targets_are_refused() -> None:
    with pytest.raises(InputTypeError):
        SquaredLoss(np.array([[1.0 + 2.0j]]))


def test_a_single_number_is_no_target() -> None:
    with pytest.raises(InputError):
        SquaredLoss(3.0)
    with pytest.raises(InputError):
        CrossEntropyLoss(3, smoothing=0.1)


def test_labels_must_be_positive() -> None:
    with pytest.raises(InputError, match="positive"):
        CrossEntropyLoss([0, 1])
    with pytest.raises(InputError, match="positive"):
        CrossEntropyLoss([[1.5, -0.5]], smoothing=0.1)
    CrossEntropyLoss([[1.0, 0.0]], smoothing=1e-6)


def test_label_distributions_must_sum_to_one() -> None:
    with pytest.raises(InputError, match="sample 1"):
        CrossEntropyLoss([[0.5, 0.5], [0.5, 0.6]])


@pytest.mark.parametrize("classes", [[-1, 0], [0, 3]])
def test_class_numbers_out_of_range_are_refused(classes: list[int]) -> None:
    with pytest.raises(InputError, match="class numbers"):
        CrossEntropyLoss(classes, smoothing=0.1, classes=3)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 2.0, math.nan])
def test_smoothing_out_of_range_is_refused(smoothing: float) -> None:
    with pytest.raises(InputError, match="smoothing"):
        CrossEntropyLoss([0, 1], smoothing=smoothing)


def test_class_numbers_as_floats_are_refused() -> None:
    with pytest.raises(InputError, match="class numbers"):
        CrossEntropyLoss([0.0, 1.0], smoothing=0.1)


@pytest.mark.parametrize(("samples", "width"), [(4, 3), (3, 4), (6, 2), (12, 1), (1, 12)])
def test_targets_of_another_shape_are_refused(samples: int, width: int) -> None:
    loss = SquaredLoss(normal(4, 3))
    if (samples, width) == (4, 3):
        assert loss.fit(4, 3, torch.zeros(1)).shape == (12,)
        return
    with pytest.raises(InputError, match=rf"\({samples}, {width}\) was expected"):
        loss.fit(samples, width, torch.zeros(1))


def test_losses_pickle_and_name_themselves() -> None:
    import pickle

    for loss in (SquaredLoss(normal(4, 3)), CrossEntropyLoss([0, 1], smoothing=0.1)):
        again = pickle.loads(pickle.dumps(loss))
        assert (again.targets == loss.targets).all()
        assert again.minimum == loss.minimum
        assert repr(again) == repr(loss)
        assert "samples" in repr(loss)
