import copy
import itertools
import multiprocessing
import pickle
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from network_cases import (
    CASES,
    EPS,
    NAMES,
    Apply,
    Case,
    Given,
    OldSine,
    case,
    dense,
    far,
    normal,
    with_spectrum,
)
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

import subriem.network
from subriem.errors import InputError, InputTypeError, NumericalError, SubriemError
from subriem.network import OutputMap


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass
class Truth:
    """A map with its dense Jacobian D = U S V' by an independent oracle."""

    case: Case
    module: nn.Module
    inputs: torch.Tensor
    outputs: OutputMap
    jacobian: torch.Tensor
    left: torch.Tensor
    values: torch.Tensor
    right: torch.Tensor
    rank: int

    @property
    def norm(self) -> float:
        return float(self.values[0])

    @property
    def condition(self) -> float:
        return float(self.values[0] / self.values[self.rank - 1]) if self.rank else 1.0

    @property
    def gram(self) -> torch.Tensor:
        return self.jacobian @ self.jacobian.mT

    @property
    def projector(self) -> torch.Tensor:
        return self.left[:, : self.rank] @ self.left[:, : self.rank].mT


@pytest.fixture(scope="module", params=CASES, ids=NAMES)
def truth(request):
    module, inputs = request.param.module(), request.param.inputs()
    jacobian = dense(module, inputs)
    left, values, right = torch.linalg.svd(jacobian, full_matrices=False)
    rank = int((values > max(jacobian.shape) * EPS * values[0]).sum())
    # A truth must be beyond doubt: no case may sit near a decision.
    assert rank == 0 or values[rank - 1] > 1e-6 * values[0]
    outputs = OutputMap(module, inputs)
    return Truth(request.param, module, inputs, outputs, jacobian, left, values, right, rank)


def given_map(jacobian, width=1, **options):
    """The map whose Jacobian is a given matrix."""
    rows, columns = jacobian.shape
    samples = rows // width
    shape = (samples, columns) if width == 1 else (samples, width, columns)
    return OutputMap(Given(columns, jacobian.dtype), jacobian.reshape(shape), **options)


def tanh_map(**options):
    return OutputMap(case("tanh").module(), case("tanh").inputs(), **options)


# ---------------------------------------------------------------------- every case


def test_outputs_are_those_of_the_module_stacked_sample_by_sample(truth):
    with torch.no_grad():
        expected = truth.module(truth.inputs.clone())
    outputs = truth.outputs
    assert (outputs.samples, outputs.width) == (len(expected), expected[0].numel())
    assert (outputs.size, outputs.dimension) == tuple(truth.jacobian.shape)
    assert far(outputs(), expected.reshape(-1)) <= 10 * EPS
    assert far(outputs.linearize().value, expected.reshape(-1)) <= 10 * EPS


def test_jacobian_is_that_of_plain_autograd(truth):
    assert far(truth.outputs.jacobian(), truth.jacobian) <= 50 * EPS


def test_jacobian_is_that_of_torch_func(truth):
    def evaluate(named):
        return torch.func.functional_call(truth.module, named, (truth.inputs.clone(),)).reshape(-1)

    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        blocks = torch.func.jacrev(evaluate)(truth.outputs.unflatten(truth.outputs.parameters))
    expected = torch.cat([b.reshape(truth.outputs.size, -1) for b in blocks.values()], dim=1)
    assert far(truth.outputs.jacobian(), expected) <= 50 * EPS


def test_actions(truth):
    at = truth.outputs.linearize()
    v, w = normal(3, truth.outputs.dimension), normal(3, truth.outputs.size)
    close = 50 * EPS * truth.norm
    assert (at.jvp(v) - v @ truth.jacobian.mT).norm() <= close * v.norm()
    assert (at.vjp(w) - w @ truth.jacobian).norm() <= close * w.norm()
    assert (at.gram_action(w) - w @ truth.gram).norm() <= close * truth.norm * w.norm()


@pytest.mark.parametrize("name", ["jvp", "vjp", "lift", "project"])
def test_a_batch_is_its_members(truth, name):
    act = getattr(truth.outputs.linearize(), name)
    batch = normal(3, truth.outputs.dimension if name == "jvp" else truth.outputs.size)
    together = act(batch)
    assert together.ndim == 2
    for one, row in zip(batch, together, strict=True):
        assert act(one).shape == row.shape
        assert torch.equal(act(one), row)
        assert torch.equal(act(one[None]), row[None])
    assert act(batch[:0]).shape == (0, together.shape[1])


def test_gram(truth):
    at = truth.outputs.linearize()
    for found in (at.gram, at.general_gram()):
        assert torch.equal(found, found.mT)
        assert far(found, truth.gram) <= 100 * EPS


def test_gram_elsewhere_than_at_the_modules_parameters(truth):
    theta = truth.outputs.parameters + 0.3 * normal(truth.outputs.dimension)
    jacobian = dense(truth.module, truth.inputs, theta)
    assert far(truth.outputs.gram(theta), jacobian @ jacobian.mT) <= 100 * EPS
    assert far(truth.outputs.jacobian(theta), jacobian) <= 100 * EPS


@pytest.mark.parametrize("memory", [1000, 4000])
def test_gram_in_little_memory(truth, memory):
    small = OutputMap(truth.module, truth.inputs, memory=memory).linearize()
    assert far(small.gram, truth.gram) <= 100 * EPS
    assert far(small.general_gram(), truth.gram) <= 100 * EPS


def test_jacobian_in_little_memory(truth):
    needed = truth.jacobian.numel() * truth.jacobian.element_size()
    assert far(OutputMap(truth.module, truth.inputs, memory=needed).jacobian(), truth.jacobian) <= (
        50 * EPS
    )
    with pytest.raises(InputError, match="more memory"):
        OutputMap(truth.module, truth.inputs, memory=max(1, needed - 1)).jacobian()


def test_lift_is_the_pseudoinverse(truth):
    v = normal(2, truth.outputs.size)
    expected = v @ torch.linalg.pinv(truth.jacobian, rtol=1e-8).mT
    assert far(truth.outputs.lift(v), expected) <= 1e3 * EPS * truth.condition


def test_lift_without_any_matrix(truth):
    small = OutputMap(truth.module, truth.inputs, memory=1)
    v = normal(truth.outputs.size)
    expected = torch.linalg.pinv(truth.jacobian, rtol=1e-8) @ v
    # Solved to 1e3 eps in the residual of D D', whose condition is the square.
    assert far(small.lift(v), expected) <= 1e4 * EPS * truth.condition**2
    assert (small.project(v) - truth.projector @ v).norm() <= (
        1e4 * EPS * truth.condition**2 * v.norm()
    )


def test_projector(truth):
    size = truth.outputs.size
    projector = truth.outputs.project(torch.eye(size, dtype=torch.float64))
    close = 1e3 * EPS * truth.condition
    assert (projector - projector.mT).norm() <= close
    assert (projector @ projector - projector).norm() <= close
    assert (projector - truth.projector).norm() <= close
    assert abs(float(projector.trace()) - truth.rank) <= close


def test_rank_and_singular_values(truth):
    found = truth.outputs.rank()
    assert int(found) == truth.rank == truth.outputs.linearize().factor.rank
    assert found.full == (truth.rank == len(truth.values))
    assert found.gap > 1e3
    values = truth.outputs.singular_values()
    assert values.dtype == torch.float64
    assert bool((values.diff() <= 0).all())
    # A value from the Gram matrix is asked for only where it has the digits.
    close = 1e4 * len(values) * EPS * truth.norm
    assert values.shape == truth.values.shape
    assert (values - truth.values).abs().max() <= close


def test_nothing_is_left_behind(truth):
    module, inputs = truth.case.module(), truth.case.inputs()
    state = copy.deepcopy(module.state_dict())
    modes = [layer.training for layer in module.modules()]
    trained = [p.requires_grad for p in module.parameters()]
    kept = inputs.clone()
    chance = torch.get_rng_state()
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()

    outputs = OutputMap(module, inputs)
    at = outputs.linearize()
    w = normal(outputs.size)
    for act in (at.vjp, at.lift, at.project, at.gram_action):
        act(w)
    at.jvp(normal(outputs.dimension))
    at.rank()
    at.jacobian()
    at.general_gram()
    OutputMap(module, inputs, memory=1).lift(w)

    assert torch.equal(inputs, kept)
    assert [p.requires_grad for p in module.parameters()] == trained
    assert all(p.grad is None for p in module.parameters())
    assert [layer.training for layer in module.modules()] == modes
    for layer in module.modules():
        assert not layer._forward_hooks
        assert not layer._backward_hooks
    for name, value in module.state_dict().items():
        assert torch.equal(value.nan_to_num(), state[name].nan_to_num())
    assert torch.equal(torch.get_rng_state(), chance)
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (dtype, grad)
    for found in (outputs(), at.gram, at.lift(w), outputs.parameters, at.value):
        assert not found.requires_grad


def test_single_precision_follows_double(truth):
    module = truth.case.module(torch.float32)
    outputs = OutputMap(module, truth.case.inputs(torch.float32))
    assert outputs.dtype == torch.float32
    eps = torch.finfo(torch.float32).eps
    at = outputs.linearize()
    v, w = normal(outputs.dimension), normal(outputs.size)
    for found, expected in (
        (at.gram, truth.gram),
        (at.jacobian(), truth.jacobian),
        (at.jvp(v), truth.jacobian @ v),
        (at.vjp(w), truth.jacobian.mT @ w),
        (at.value, truth.outputs()),
    ):
        assert found.dtype == torch.float32
        size = max(float(expected.norm()), truth.norm)
        assert (found.double() - expected).norm() <= 200 * eps * size
    if truth.condition < 1e-2 / eps:
        expected = truth.outputs.lift(w)
        assert at.lift(w).dtype == torch.float32
        assert far(at.lift(w), expected) <= 1e3 * eps * truth.condition


def test_flatten_undoes_unflatten(truth):
    outputs = truth.outputs
    theta = normal(outputs.dimension)
    named = outputs.unflatten(theta)
    trained = {n: p for n, p in truth.module.named_parameters() if p.requires_grad}
    assert list(named) == list(trained)
    assert all(named[name].shape == p.shape for name, p in trained.items())
    assert torch.equal(outputs.flatten(named), theta)
    assert torch.equal(outputs.flatten(dict(reversed(named.items()))), theta)
    assert torch.equal(outputs.flatten(trained), outputs.parameters)
    assert torch.equal(outputs(named), outputs(theta))


# ---------------------------------------------------------------------- by hand


def test_a_linear_layer_by_hand():
    layer = nn.Linear(2, 2).double()
    outputs = OutputMap(layer, [[1.0, 2.0], [3.0, 4.0]])
    # Parameters W11 W12 W21 W22 b1 b2; outputs sample-major.
    expected = torch.tensor(
        [
            [1.0, 2.0, 0.0, 0.0, 1.0, 0.0],
            [0.0, 0.0, 1.0, 2.0, 0.0, 1.0],
            [3.0, 4.0, 0.0, 0.0, 1.0, 0.0],
            [0.0, 0.0, 3.0, 4.0, 0.0, 1.0],
        ],
        dtype=torch.float64,
    )
    assert torch.equal(outputs.jacobian(), expected)
    assert torch.equal(outputs.gram(), expected @ expected.mT)
    w = [1.0, -1.0, 0.5, 0.25]
    assert torch.equal(outputs.vjp(w), torch.tensor(w, dtype=torch.float64) @ expected)


def test_a_product_of_two_parameters_by_hand():
    # x = a b: D = (b, a), D+ = D'/(a^2 + b^2).
    module = Apply(lambda m, x: x * m.a * m.b, a=nn.Parameter(torch.tensor(3.0)), b=None)
    module.b = nn.Parameter(torch.tensor(4.0))
    outputs = OutputMap(module.double(), [1.0])
    assert torch.equal(outputs.jacobian(), torch.tensor([[4.0, 3.0]], dtype=torch.float64))
    assert torch.allclose(outputs.lift([50.0]), torch.tensor([8.0, 6.0]).double(), rtol=1e-15)
    assert outputs.singular_values().tolist() == pytest.approx([5.0], rel=1e-15)
    origin = outputs.linearize([0.0, 0.0])
    assert int(origin.rank()) == 0
    assert torch.equal(origin.lift([1.0]), torch.zeros(2, dtype=torch.float64))
    assert torch.equal(origin.project([1.0]), torch.zeros(1, dtype=torch.float64))


def test_the_second_derivative_along_a_direction():
    outputs = tanh_map()
    w, v = normal(outputs.size, seed=1), normal(2, outputs.dimension, seed=2)
    named = outputs.parameters.clone().requires_grad_()

    def contracted(theta):
        return outputs.flat(theta) @ w

    hessian = torch.autograd.functional.hessian(contracted, named)
    assert far(outputs.linearize().bend(w, v), v @ hessian) <= 1e3 * EPS


# ---------------------------------------------------------------------- fast and general path


def count_general(monkeypatch, outputs):
    """Which parameters the general path is asked for."""
    asked = []
    whole = subriem.network.rows.jacobian_rows

    def spy(outputs, theta, names, start, stop):
        asked.append(tuple(names))
        return whole(outputs, theta, names, start, stop)

    monkeypatch.setattr(subriem.network.rows, "jacobian_rows", spy)
    gram = outputs.gram()
    return gram, {name for names in asked for name in names}


@pytest.mark.parametrize(
    ("name", "left_over"),
    [
        ("tanh", set()),
        ("relu in place", set()),
        ("cnn", set()),
        ("cnn, uneven", set()),
        ("conv1d", set()),
        ("batchnorm 2d", set()),
        ("groupnorm, images", set()),
        ("layernorm, several axes", set()),
        ("layer called by keyword", set()),
        ("frozen weights", set()),
        ("prelu", {"1.weight"}),
        ("cnn, groups", {"0.weight", "0.bias"}),
        ("called twice", {"a.weight", "a.bias"}),
        ("embedding", {"0.weight"}),
    ],
)
def test_layers_with_a_rule_never_meet_the_dense_jacobian(monkeypatch, name, left_over):
    outputs = OutputMap(case(name).module(), case(name).inputs())
    _, asked = count_general(monkeypatch, outputs)
    assert asked == left_over


@pytest.mark.parametrize("name", ["weight outside its layer", "output changed by hand", "pruned"])
def test_what_the_rules_do_not_see_goes_the_general_way(monkeypatch, name):
    outputs = OutputMap(case(name).module(), case(name).inputs())
    _, asked = count_general(monkeypatch, outputs)
    assert asked == set(outputs.unflatten(outputs.parameters))


def test_a_rule_that_fails_only_away_from_the_start():
    # The gate is closed at the start: there the layer's rule is right, elsewhere it is not.
    module = Apply(
        lambda m, x: m.a(x) + m.gate * (x @ m.a.weight.mT) ** 2,
        a=nn.Linear(3, 2),
        gate=nn.Parameter(torch.zeros(())),
    ).double()
    outputs = OutputMap(module, normal(4, 3))
    for theta in (outputs.parameters, outputs.parameters + 0.5):
        jacobian = dense(module, outputs.inputs, theta)
        assert far(outputs.gram(theta), jacobian @ jacobian.mT) <= 100 * EPS


@pytest.mark.parametrize("memory", [None, 1, 300, 1000, 3000])
def test_batching_rules_are_not_trusted(memory):
    # In torch 2.13 vmap of the derivative of PReLU is wrong where a block has N = Q.
    module = case("prelu").module()
    inputs = normal(2, 3)
    outputs = OutputMap(module, inputs, memory=memory)
    jacobian = dense(module, inputs)
    assert far(outputs.linearize().general_gram(), jacobian @ jacobian.mT) <= 100 * EPS
    assert far(OutputMap(module, inputs).jacobian(), jacobian) <= 50 * EPS


def test_a_forward_hook_of_the_users_own_counts():
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    module[0].register_forward_hook(lambda layer, args, out: 2.0 * out)
    outputs = OutputMap(module, normal(4, 3))
    jacobian = dense(module, outputs.inputs)
    assert far(outputs.gram(), jacobian @ jacobian.mT) <= 100 * EPS
    assert len(module[0]._forward_hooks) == 1


def test_hooks_are_removed_when_the_module_fails():
    module = nn.Sequential(nn.Linear(3, 2), nn.Tanh()).double()
    outputs = OutputMap(module, normal(4, 3))

    def fail(*_):
        raise ZeroDivisionError

    module[1].forward = fail
    with pytest.raises(ZeroDivisionError):
        outputs.gram()
    assert not module[0]._forward_hooks


def test_embedding_with_sparse_gradients_or_a_frozen_rule_does_not_stop_the_general_way():
    module = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2)).double()
    for kind in (torch.int32, torch.int64):
        words = torch.tensor([[0, 1], [2, 0], [4, 4]], dtype=kind)
        outputs = OutputMap(module, words)
        assert outputs.inputs.dtype == kind
        jacobian = dense(module, words)
        assert far(outputs.gram(), jacobian @ jacobian.mT) <= 100 * EPS


def test_no_grad_and_inference_mode_around_change_nothing():
    expected = tanh_map().gram()
    for quiet in (torch.no_grad, torch.inference_mode):
        with quiet():
            outputs = tanh_map()
            assert far(outputs.gram(), expected) <= 10 * EPS
            w = normal(outputs.size)
            assert far(outputs.jvp(outputs.lift(w)), w) <= 1e-10
            assert far(outputs.linearize().general_gram(), expected) <= 10 * EPS
        assert far(outputs.gram(), expected) <= 10 * EPS


def test_the_global_generator_is_neither_read_nor_moved():
    found = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            outputs = tanh_map(memory=1)
            found.append((outputs.gram(), outputs.lift(normal(outputs.size))))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


# ---------------------------------------------------------------------- regimes


def test_regime_of_full_row_rank():
    matrix = with_spectrum(6, 9, np.linspace(3.0, 1.0, 6))
    at = given_map(matrix, width=2).linearize()
    assert at.factor.method == "cholesky"
    assert at.factor.rank == 6
    assert at.factor.condition == pytest.approx(9.0, rel=0.5)
    v = normal(6)
    assert torch.equal(at.project(v), v)
    assert far(at.jvp(at.lift(v)), v) <= 100 * EPS


@pytest.mark.parametrize("decades", [3, 6, 9, 10, 11])
def test_regime_ill_conditioned(decades):
    import mpmath

    n, k = 6, 9
    matrix = with_spectrum(n, k, np.logspace(0, -decades, n), seed=decades)
    v = normal(n, seed=3)
    with mpmath.workdps(60):
        exact = mpmath.matrix(matrix.tolist())
        solved = mpmath.lu_solve(exact * exact.T, mpmath.matrix(v.tolist()))
        lift = exact.T * solved
        expected = torch.tensor([float(entry) for entry in lift], dtype=torch.float64)
    at = given_map(matrix).linearize()
    assert at.factor.method == ("cholesky" if decades <= 6 else "orthogonal")
    assert at.factor.rank == n
    # Cholesky leaves errors with the condition of D D', the triangle of D with that of D.
    grows = 2 * decades if at.factor.method == "cholesky" else decades
    assert far(at.lift(v), expected) <= 50 * EPS * 10.0**grows
    assert int(at.rank()) == n
    assert at.rank().method == "svd" or decades <= 3


def test_regime_past_every_triangle_is_spectral():
    matrix = with_spectrum(6, 9, np.logspace(0, -15, 6))
    at = given_map(matrix).linearize()
    assert at.factor.method == "svd"
    assert at.factor.rank == 6 - int((np.logspace(0, -15, 6) < 9 * EPS).sum())


def test_regime_rank_deficient_by_duplicates():
    module, inputs = case("tanh").module(), case("tanh").inputs()
    inputs = torch.cat([inputs, inputs[:2]])
    jacobian = dense(module, inputs)
    outputs = OutputMap(module, inputs)
    at = outputs.linearize()
    assert (outputs.size, int(outputs.rank())) == (14, 10)
    assert at.factor.method == "svd"
    assert outputs.rank().gap > 1e10
    v = normal(14)
    pseudo = torch.linalg.pinv(jacobian, rtol=1e-10)
    assert far(at.lift(v), pseudo @ v) <= 1e-10
    # Contradicting velocities of twins are averaged.
    mean = (v[:4] + v[10:]) / 2
    projected = at.project(v)
    assert torch.allclose(projected[:4], mean, atol=1e-12)
    assert torch.allclose(projected[10:], mean, atol=1e-12)
    lost = at.spectrum().lost
    assert lost.shape == (14, 4)
    assert (lost[:4] + lost[10:]).norm() <= 1e-7
    believed = at.spectrum(resolve=False)
    assert believed.method == "eigendecomposition"
    assert believed.rank == 10
    assert (believed.project(v) - projected).norm() <= 1e-7


def test_regime_under_parametrized():
    matrix = with_spectrum(8, 3, [2.0, 1.0, 0.5])
    outputs = given_map(matrix, width=2)
    at = outputs.linearize()
    assert at.factor.method == "svd"
    assert int(outputs.rank()) == 3
    assert outputs.rank().full
    v = normal(8)
    least = torch.linalg.lstsq(matrix, v[:, None]).solution[:, 0]
    assert far(at.lift(v), least) <= 100 * EPS
    assert outputs.singular_values().tolist() == pytest.approx([2.0, 1.0, 0.5], rel=1e-14)
    assert at.spectrum().left.shape == (8, 3)
    assert at.spectrum().lost.shape == (8, 0)


def test_regime_too_large_for_an_orthogonal_factor(monkeypatch):
    monkeypatch.setattr(subriem.network.linearization, "_ORTHOGONAL_FLOPS", 0)
    matrix = with_spectrum(6, 9, np.logspace(0, -9, 6))
    assert given_map(matrix).linearize().factor.method == "svd"
    monkeypatch.setattr(subriem.network.linearization, "_SPECTRAL_SIZE", 3)
    # what Cholesky makes of it serves as a preconditioner, and says what its condition is
    factor = given_map(matrix).linearize().factor
    assert factor.method in ("cholesky", "damped")
    assert factor.condition > 1e13
    # twice the same row: Cholesky breaks down
    twice = torch.ones(4, 5, dtype=torch.float64)
    factor = given_map(twice).linearize().factor
    assert factor.method == "damped"
    assert factor.damping == pytest.approx(4 * EPS * 5, rel=1e-12)


@pytest.mark.parametrize("damping", [1e-8, 1e-2, 3.0])
def test_damped(damping):
    matrix = with_spectrum(6, 9, [3.0, 2.0, 1.0, 0.5])
    at = given_map(matrix).linearize()
    factor = at.damped(damping)
    shift = damping * float((matrix**2).sum()) / 6
    assert factor.damping == pytest.approx(shift, rel=1e-14)
    assert factor.method == "damped"
    v = normal(3, 6)
    shifted = matrix @ matrix.mT + shift * torch.eye(6, dtype=torch.float64)
    assert far(factor.solve(v) @ shifted, v) <= 100 * EPS * 9.0 / min(shift, 9.0)
    assert factor.condition <= 9.0 / shift + 1.0 + 1e-6


def test_damping_a_zero_matrix_is_said_to_fail():
    outputs = OutputMap(case("constant").module(), case("constant").inputs())
    with pytest.raises(NumericalError, match="not numerically positive definite"):
        outputs.linearize().damped(1e-3)


@pytest.mark.parametrize("memory", [100, 1000, 1200, 1600, 2000, 3000, 10_000])
@pytest.mark.parametrize("shape", [(10, 14), (10, 9), (10, 7), (10, 3)])
def test_lift_at_every_memory(memory, shape):
    # Gram matrix, Jacobian, both or neither fit.
    matrix = with_spectrum(*shape, np.linspace(2.0, 1.0, min(shape)))
    outputs = given_map(matrix, memory=memory)
    v = normal(10)
    assert far(outputs.lift(v), torch.linalg.pinv(matrix) @ v) <= 1e-11
    expected = matrix @ torch.linalg.pinv(matrix) @ v
    assert far(outputs.project(v), expected) <= 1e-11


def test_matrix_free_lift_of_a_rank_deficient_map():
    matrix = with_spectrum(10, 14, [4.0, 2.0, 1.0])
    v = normal(10)
    outputs = given_map(matrix, memory=1)
    assert not outputs.linearize().gram_fits
    assert far(outputs.lift(v), torch.linalg.pinv(matrix, rtol=1e-10) @ v) <= 1e-11


@pytest.mark.parametrize("seed", range(5))
def test_matrix_free_lift_at_a_projected_equilibrium(seed):
    # v is orthogonal to range D, as the gradient is where the projected flow ends.
    for shape in ((12, 5), (12, 20)):
        matrix = with_spectrum(*shape, [4.0, 3.0, 1.0, 0.5], seed)
        left = torch.linalg.svd(matrix, full_matrices=False)[0][:, :4]
        v = normal(12, seed=seed + 9)
        for _ in range(2):
            v = v - left @ (left.mT @ v)
        assert given_map(matrix, memory=1).lift(v).norm() <= 1e-12
        assert given_map(matrix).lift(v).norm() <= 1e-12


def test_matrix_free_lift_says_when_it_fails():
    matrix = with_spectrum(30, 40, np.logspace(0, -9, 30))
    outputs = given_map(matrix, memory=1)
    with pytest.raises(NumericalError, match=r"relative residual of .* 1\.0e-14 was asked"):
        outputs.linearize().lift(normal(30), rtol=1e-14)


def test_matrix_free_tolerance():
    matrix = with_spectrum(30, 40, np.logspace(0, -2, 30))
    at = given_map(matrix, memory=1).linearize()
    v = normal(30)
    for rtol in (1e-2, 1e-5, 1e-9):
        assert (matrix @ at.lift(v, rtol=rtol) - v).norm() <= 1.01 * rtol * v.norm()


def test_rank_without_room_for_a_matrix():
    with pytest.raises(NumericalError, match="give OutputMap more memory"):
        tanh_map(memory=1).rank()


@pytest.mark.parametrize("scale", [1e-100, 1e-9, 1.0, 1e9, 1e100])
def test_scales(scale):
    matrix = with_spectrum(6, 9, np.logspace(0, -4, 6))
    reference, scaled = given_map(matrix), given_map(scale * matrix)
    v = normal(6)
    assert int(scaled.rank()) == 6
    # From the Gram matrix: relative error NQ eps / 1e-8.
    assert scaled.rank().margin == pytest.approx(reference.rank().margin, rel=1e-6)
    assert far(scale * scaled.lift(v), reference.lift(v)) <= 1e-8
    if 1e-50 < scale < 1e50:
        assert scaled.linearize().factor.method == "cholesky"
    tiny = given_map(matrix, memory=1)
    assert far(tiny.lift(scale * v) / scale, reference.lift(v)) <= 1e-5


@pytest.mark.parametrize("scale", [1e-180, 1e-165])
def test_squares_that_underflow_do_not_hide_the_rank(scale):
    matrix = with_spectrum(4, 6, [4.0, 3.0, 2.0, 1.0])
    assert int(given_map(scale * matrix).rank()) == 4
    assert int(given_map((matrix * 1e-25).float()).rank()) == 4
    assert (
        far(
            given_map(matrix, memory=1).lift(scale * normal(4)) / scale,
            torch.linalg.pinv(matrix) @ normal(4),
        )
        <= 1e-10
    )


def test_tolerances_of_the_rank():
    matrix = with_spectrum(4, 6, [1.0, 1e-2, 1e-4, 1e-12])
    at = given_map(matrix).linearize()
    assert int(at.rank()) == 4
    assert int(at.rank(1e-3)) == 2
    assert at.rank(1e-3).gap == pytest.approx(1e2, rel=1e-9)
    assert at.rank(1e-3).margin == pytest.approx(10.0, rel=1e-9)
    assert int(at.rank(absolute=1e-3)) == 2
    assert at.spectrum(1e-6).rank == 3
    assert at.spectrum(1e-6).lost.shape == (4, 1)
    assert int(given_map(matrix).rank(tolerance=1e-3)) == 2
    assert given_map(matrix).rank().gap == np.inf


# ---------------------------------------------------------------------- properties

sizes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 12))
seeds = st.integers(0, 2**31)


@given(sizes, seeds)
@settings(max_examples=40, deadline=None)
def test_adjoint(shape, seed):
    samples, width, columns = shape
    outputs = given_map(normal(samples * width, columns, seed=seed), width)
    v, w = normal(columns, seed=seed + 1), normal(samples * width, seed=seed + 2)
    forward, backward = outputs.jvp(v), outputs.vjp(w)
    scale = float(outputs.jacobian().norm() * v.norm() * w.norm())
    assert abs(float(forward @ w) - float(v @ backward)) <= 10 * columns * EPS * scale


@given(sizes, seeds, st.integers(0, 4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_moore_penrose(shape, seed, lost, stored):
    samples, width, columns = shape
    rows = samples * width
    rank = max(0, min(rows, columns) - lost)
    matrix = with_spectrum(rows, columns, np.linspace(2.0, 1.0, rank), seed=seed)
    outputs = given_map(matrix, width, memory=None if stored else 1)
    inverse = outputs.lift(torch.eye(rows, dtype=torch.float64)).mT
    close = 1e3 * EPS if stored else 1e4 * EPS
    for defect in (
        matrix @ inverse @ matrix - matrix,
        inverse @ matrix @ inverse - inverse,
        (matrix @ inverse).mT - matrix @ inverse,
        (inverse @ matrix).mT - inverse @ matrix,
    ):
        assert float(defect.norm()) <= close
    if stored:
        assert int(outputs.rank()) == rank


@given(sizes, seeds)
@settings(max_examples=40, deadline=None)
def test_projector_does_not_see_the_parametrization(shape, seed):
    samples, width, columns = shape
    rows = samples * width
    matrix = with_spectrum(rows, columns, np.linspace(2.0, 1.0, min(rows, columns)), seed=seed)
    change = with_spectrum(columns, columns, np.linspace(3.0, 1.0, columns), seed=seed + 5)
    eye = torch.eye(rows, dtype=torch.float64)
    one, other = given_map(matrix, width), given_map(matrix @ change, width)
    assert float((one.project(eye) - other.project(eye)).norm()) <= 1e3 * EPS
    # The outputs move alike under v and under its image.
    v = normal(columns, seed=seed + 6)
    assert float((one.jvp(change @ v) - other.jvp(v)).norm()) <= 1e3 * EPS * float(v.norm())


@given(sizes, seeds, st.integers(-30, 30))
@settings(max_examples=40, deadline=None)
def test_rank_does_not_see_the_scale(shape, seed, exponent):
    samples, width, columns = shape
    rows = samples * width
    rank = min(rows, columns)
    matrix = with_spectrum(rows, columns, np.logspace(0, -11, rank), seed=seed)
    # A power of two: the digits are the same.
    one, other = given_map(matrix, width).rank(), given_map(matrix * 2.0**exponent, width).rank()
    assert int(one) == int(other) == rank
    assert one.method == other.method
    assert one.margin == pytest.approx(other.margin, rel=1e-12)
    scaled = other.singular_values / 2.0**exponent
    assert one.singular_values == pytest.approx(scaled, rel=1e-12)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), st.integers(1, 4), seeds)
@settings(max_examples=30, deadline=None)
def test_gram_of_any_multilayer_perceptron(widths, samples, seed):
    layers = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for one, other in itertools.pairwise(widths):
            layers += [nn.Linear(one, other, bias=seed % 3 > 0), nn.Tanh()]
        module = nn.Sequential(*layers).double()
    inputs = normal(samples, widths[0], seed=seed)
    jacobian = dense(module, inputs)
    memory = None if seed % 2 else 500
    found = OutputMap(module, inputs, memory=memory).gram()
    assert (found - jacobian @ jacobian.mT).norm() <= 200 * EPS * jacobian.norm() ** 2


@given(
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(1, 2),
    st.integers(0, 100),
)
@settings(max_examples=30, deadline=None)
def test_gram_of_any_convolution(kernel, channels, stride, padding, dilation, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        module = nn.Sequential(nn.Conv2d(channels, 2, (kernel, 2), **options), nn.Tanh()).double()
    inputs = normal(2, channels, 5, 6, seed=seed)
    jacobian = dense(module, inputs)
    found = OutputMap(module, inputs).gram()
    assert (found - jacobian @ jacobian.mT).norm() <= 200 * EPS * jacobian.norm() ** 2


# ---------------------------------------------------------------------- what is read


def test_lists_are_read_in_double_precision():
    third = 1.0 / 3.0
    module = nn.Linear(1, 1, bias=False).double()
    outputs = OutputMap(module, [[third], [2 * third]])
    assert outputs.inputs.tolist() == [[third], [2 * third]]
    assert outputs([third]).tolist() == [third * third, third * (2 * third)]
    assert outputs({"weight": [[third]]}).tolist() == outputs([third]).tolist()
    assert outputs.jvp([third]).tolist() == [third * third, third * (2 * third)]
    assert outputs.vjp([third, 0.0]).tolist() == [third * third]
    assert outputs.lift([third, 2 * third]).tolist() == pytest.approx([1.0], rel=4 * EPS)
    assert outputs.flatten({"weight": [[third]]}).tolist() == [third]
    outputs.load([third])
    assert module.weight.item() == third


@pytest.mark.parametrize(
    "read",
    [
        lambda a: a.tolist(),
        lambda a: a,
        lambda a: a.astype("f4"),
        lambda a: a.astype(">f8"),
        lambda a: a[::-1].copy()[::-1],
        lambda a: np.asfortranarray(a),
        lambda a: torch.from_numpy(a.copy()),
        lambda a: torch.from_numpy(a.copy()).float(),
        lambda a: torch.from_numpy(a.copy()).half(),
        lambda a: torch.from_numpy(a.copy()).requires_grad_(),
        lambda a: xr.DataArray(a),
        lambda a: [torch.from_numpy(row.copy()) for row in a] if a.ndim > 1 else a,
        lambda a: list(a),
        lambda a: (lambda b: (b.setflags(write=False), b)[1])(a.copy()),
    ],
    ids=[
        "list", "numpy", "float32", "other bytes", "reversed", "fortran", "tensor", "float tensor",
        "half tensor", "tensor with gradient", "xarray", "list of tensors", "list of arrays",
        "read-only",
    ],
)  # fmt: skip
def test_arrays_of_every_kind(read):
    # Quarters survive every precision.
    inputs = np.array([[1.0, 0.25, -0.5], [0.5, 2.0, -0.75], [0.0, 1.0, 3.0]])
    module = case("linear").module()
    expected = OutputMap(module, torch.from_numpy(inputs))
    outputs = OutputMap(module, read(inputs))
    assert torch.equal(outputs(), expected())
    assert outputs.inputs.dtype == torch.float64
    theta = np.arange(8) / 4 - 1
    assert torch.equal(outputs(read(theta)), expected(torch.from_numpy(theta)))
    for name, size in (("jvp", 8), ("vjp", 6), ("lift", 6), ("project", 6)):
        vectors = np.round(4 * normal(2, size).numpy()) / 4
        act, reference = getattr(outputs, name), getattr(expected, name)
        assert torch.equal(act(read(vectors)), reference(torch.from_numpy(vectors)))
        assert torch.equal(act(read(vectors[0])), reference(torch.from_numpy(vectors[0])))
        assert act(read(vectors)).dtype == torch.float64


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_vectors_of_whole_numbers(kind):
    outputs = tanh_map()
    ones = torch.ones(outputs.size, dtype=kind)
    assert torch.equal(outputs.vjp(ones), outputs.vjp(ones.double()))
    assert torch.equal(outputs.vjp(ones.numpy()), outputs.vjp(ones.double()))
    theta = torch.ones(outputs.dimension, dtype=kind)
    assert torch.equal(outputs(theta), outputs(theta.double()))


def test_truth_values_are_numbers():
    table = [[False, True, True], [True, False, True]]
    outputs = OutputMap(case("linear").module(), table)
    assert outputs.inputs.dtype == torch.float64
    assert torch.equal(outputs(), OutputMap(outputs.module, 1.0 * np.array(table))())


def test_whole_numbers_for_a_layer_that_takes_real_ones_are_refused():
    with pytest.raises(InputError, match=r"shape \(2, 3\) and dtype torch.int64"):
        OutputMap(case("linear").module(), [[0, 1, 1], [1, 0, 1]])


def test_the_inputs_are_fixed():
    inputs = case("tanh").inputs()
    outputs = OutputMap(case("tanh").module(), inputs)
    before = outputs()
    inputs.zero_()
    assert torch.equal(outputs(), before)


def test_the_point_of_a_linearization_is_fixed():
    outputs = tanh_map()
    for theta in (outputs.parameters.clone(), outputs.parameters.numpy().copy()):
        at = outputs.linearize(theta)
        value = at.value.clone()
        theta += 1.0
        assert torch.equal(at.parameters, outputs.parameters)
        assert torch.equal(at.value, value)
        assert torch.equal(at.gram, outputs.gram())


def test_training_the_module_does_not_move_the_map():
    module = case("tanh").module()
    outputs = OutputMap(module, case("tanh").inputs())
    theta, before = outputs.parameters.clone(), outputs()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    assert torch.equal(outputs.parameters, theta)
    assert torch.equal(outputs(), before)


def test_load():
    for name in ("tanh", "tied weights", "frozen bias", "one parameter"):
        module = case(name).module()
        outputs = OutputMap(module, case(name).inputs())
        frozen = {n: p.clone() for n, p in module.named_parameters() if not p.requires_grad}
        theta = normal(outputs.dimension)
        parameters = dict(module.named_parameters())
        outputs.load(theta)
        assert dict(module.named_parameters()).keys() == parameters.keys()
        assert all(p is parameters[n] for n, p in module.named_parameters())
        with torch.no_grad():
            assert far(outputs(theta), module(outputs.inputs).reshape(-1)) <= 10 * EPS
        assert torch.equal(OutputMap(module, outputs.inputs).parameters, theta)
        for n, value in frozen.items():
            assert torch.equal(module.get_parameter(n), value)
        outputs.load(outputs.unflatten(2 * theta))
        assert torch.equal(OutputMap(module, outputs.inputs).parameters, 2 * theta)


# ---------------------------------------------------------------------- what is refused


class Forward(nn.Module):
    """A linear layer, after or before a function that a map may not have."""

    def __init__(self, before=None, after=None):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.before, self.after = before, after
        self.double()

    def forward(self, x):
        x = self.layer(x if self.before is None else self.before(x))
        return x if self.after is None else self.after(x)


def refused(module, inputs=...):
    inputs = normal(5, 3) if inputs is ... else inputs
    with pytest.raises(SubriemError) as caught:
        OutputMap(module, inputs)
    return caught


@pytest.mark.parametrize("module", [None, torch.sin, nn.Linear, {"weight": 1.0}])
def test_not_a_module(module):
    caught = refused(module)
    assert caught.type is InputTypeError
    assert f"expected a torch.nn.Module, got {type(module).__name__}" in str(caught.value)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d(3), nn.BatchNorm1d(3, affine=False), nn.SyncBatchNorm(3)]
)
def test_batchnorm_in_train_mode(norm):
    module = nn.Sequential(nn.Linear(3, 3), nn.Sequential(norm)).double()
    state = copy.deepcopy(module.state_dict())
    caught = refused(module.train())
    assert caught.type is InputError
    assert "layer '1.0'" in str(caught.value)
    assert "module.eval()" in str(caught.value)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_batchnorm_without_statistics_in_eval_mode():
    norm = nn.BatchNorm1d(3, track_running_stats=False)
    module = nn.Sequential(nn.Linear(3, 3), norm).double().eval()
    assert "keep track_running_stats=True" in str(refused(module).value)


@pytest.mark.parametrize("dropout", [nn.Dropout(0.1), nn.AlphaDropout(0.1), nn.Dropout1d(0.1)])
def test_dropout_in_train_mode(dropout):
    module = nn.Sequential(nn.Linear(3, 3), dropout).double()
    assert "draws at random" in str(refused(module).value)
    assert OutputMap(module.eval(), normal(5, 3)).size == 15


def test_dropout_that_drops_nothing_is_no_dropout():
    module = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.0)).double().train()
    assert OutputMap(module, normal(5, 3)).size == 15


@pytest.mark.parametrize(
    "chance",
    [
        lambda x: nn.functional.dropout(x, 0.5),
        lambda x: x + 1e-6 * torch.randn_like(x),
        lambda x: nn.functional.rrelu(x, training=True),
    ],
)
def test_chance_inside(chance):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert "deterministic" in str(refused(Forward(chance)).value)


def test_dropout_of_attention_in_train_mode():
    attention = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)
    module = Apply(lambda m, x: m.a(x, x, x, need_weights=False)[0], a=attention).double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert "deterministic" in str(refused(module.train(), normal(3, 3, 4)).value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x - x.mean(0),
        lambda x: (x - x.mean(0)) / x.std(0),
        lambda x: x.cumsum(0),
        lambda x: x.flip(0).cumsum(0).flip(0),
        lambda x: x.softmax(0),
        lambda x: x + 1e-9 * x.roll(1, 0),
        lambda x: nn.functional.batch_norm(x, None, None, training=True),
    ],
    ids=["centred", "standardised", "causal", "anticausal", "softmax", "slightly", "batch_norm"],
)
@pytest.mark.parametrize("where", ["before", "after"])
def test_samples_that_see_each_other(mix, where):
    caught = refused(Forward(**{where: mix}))
    assert caught.type is InputError
    assert "outputs that do not depend on the other samples" in str(caught.value)


def test_attention_over_the_first_axis():
    module = nn.TransformerEncoderLayer(4, 2, 6, batch_first=False).double().eval()
    assert "do not depend on the other samples" in str(refused(module, normal(3, 2, 4)).value)


class Counts(nn.Module):
    def __init__(self, rebinds, fails=False):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("calls", torch.zeros(()))
        self.rebinds, self.fails = rebinds, fails
        self.double()

    def forward(self, x):
        if self.rebinds:
            self.calls = self.calls + 1
        else:
            self.calls += 1
        return self.layer(x) * (float("nan") if self.fails else 1.0)


@pytest.mark.parametrize("rebinds", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_a_module_that_changes_its_buffers(rebinds, fails):
    module = Counts(rebinds, fails)
    caught = refused(module)
    assert ("NaN or Inf" if fails else "changes its buffers ['calls']") in str(caught.value)
    assert float(module.calls) == 0.0


def test_instance_normalisation_with_statistics_in_train_mode():
    norm = nn.InstanceNorm1d(2, track_running_stats=True)
    module = nn.Sequential(nn.Conv1d(1, 2, 2), norm).double().train()
    assert "buffers" in str(refused(module, normal(3, 1, 4)).value)
    assert torch.equal(norm.running_mean, torch.zeros(2).double())
    assert int(norm.num_batches_tracked) == 0


def test_a_module_that_changes_its_parameters():
    module = nn.Embedding(5, 3, max_norm=0.1).double()
    before = module.weight.detach().clone()
    assert "changes its parameters" in str(refused(module, torch.tensor([0, 1, 2])).value)
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_inputs_that_are_not_finite(bad):
    inputs = normal(5, 3)
    inputs[3, 1] = bad
    for given_as in (inputs, inputs.numpy(), inputs.tolist(), xr.DataArray(inputs.numpy())):
        assert "first in sample 3" in str(refused(mlp(), given_as).value)


def test_inputs_that_overflow_the_modules_precision():
    assert "first in sample 1" in str(refused(nn.Linear(1, 1), [[1.0], [1e300]]).value)


def mlp():
    return case("tanh").module()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["0.weight", "4.bias"])
def test_parameters_that_are_not_finite(bad, name):
    module = mlp()
    outputs = OutputMap(module, normal(5, 3))
    with torch.no_grad():
        module.get_parameter(name).view(-1)[0] = bad
    assert "parameters have NaN or Inf" in str(refused(module).value)
    theta = outputs.parameters.clone()
    theta[3] = bad
    named = outputs.unflatten(outputs.parameters.clone())
    named[name].view(-1)[0] = bad
    for at in (theta, theta.numpy(), theta.tolist(), named):
        with pytest.raises(InputError, match="NaN or Inf"):
            outputs(at)
        with pytest.raises(InputError, match="NaN or Inf"):
            outputs.linearize(at)


def test_outputs_that_are_not_finite():
    assert "outputs have NaN or Inf" in str(refused(Forward(after=lambda x: x / 0.0)).value)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_no_samples(shape):
    for inputs in (torch.zeros(shape), np.zeros(shape)):
        message = str(refused(mlp(), inputs).value)
        assert f"shape {shape}" in message
        assert "N >= 1 samples" in message


def test_a_single_number_is_no_sample():
    assert "shape ()" in str(refused(mlp(), 3.0).value)


@pytest.mark.parametrize(
    "inputs", [None, "text", [["a"]], [[1.0], [1.0, 2.0]], {"a": 1.0}, object()]
)
def test_inputs_that_are_no_array(inputs):
    caught = refused(mlp(), inputs)
    assert caught.type is InputTypeError
    assert "not an array of numbers" in str(caught.value)


def test_complex_inputs():
    for inputs in (normal(5, 3) * 1j, (normal(5, 3) * 1j).numpy(), [[1j, 0.0, 0.0]]):
        caught = refused(mlp(), inputs)
        assert caught.type is InputTypeError
        assert "complex" in str(caught.value)


def test_inputs_of_the_wrong_shape():
    message = str(refused(mlp(), normal(5, 4)).value)
    assert "inputs of shape (5, 4)" in message


@pytest.mark.parametrize("module", [nn.ReLU(), nn.Sequential(), nn.BatchNorm1d(3, affine=False)])
def test_no_parameter(module):
    assert "no parameter with requires_grad=True" in str(refused(module.eval()).value)


def test_no_trained_parameter():
    assert "requires_grad=True" in str(refused(mlp().requires_grad_(False)).value)
    empty = Apply(lambda m, x: x, empty=nn.Parameter(torch.zeros(0, 3).double()))
    assert "requires_grad=True" in str(refused(empty).value)


def test_parameters_without_a_shape():
    assert "'0.weight' has no shape yet" in str(refused(nn.Sequential(nn.LazyLinear(2))).value)


def test_mixed_precision():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2).double())
    message = str(refused(module).value)
    assert "torch.float32" in message
    assert "torch.float64" in message
    assert "module.double()" in message


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.complex64, torch.complex128]
)
def test_precisions_without_factorizations(dtype):
    message = str(refused(nn.Linear(3, 2, dtype=dtype)).value)
    assert str(dtype) in message
    assert "float32 or float64" in message


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        (lambda x: (x, x), "tuple"),
        (lambda x: {"out": x}, "dict"),
        (lambda x: None, "NoneType"),
        (lambda x: x > 0, "torch.bool"),
        (lambda x: x.long(), "torch.int64"),
        (lambda x: x + 0j, "torch.complex128"),
    ],
)
def test_outputs_of_the_wrong_kind(after, kind):
    caught = refused(Forward(after=after))
    assert caught.type is InputTypeError
    assert kind in str(caught.value)
    assert "expected one floating tensor" in str(caught.value)


@pytest.mark.parametrize(
    "after", [lambda x: x.sum(), lambda x: x.mT, lambda x: x[:, :0], lambda x: x[:-1]]
)
def test_outputs_without_a_row_a_sample(after):
    assert "for 5 samples; expected (5, ...)" in str(refused(Forward(after=after)).value)


@pytest.mark.parametrize("memory", [0, -1])
def test_memory_must_be_positive(memory):
    with pytest.raises(InputError, match=f"positive number of bytes, got {memory}"):
        tanh_map(memory=memory)


def test_memory_by_default():
    import psutil

    assert 0 < tanh_map().memory < psutil.virtual_memory().total
    assert tanh_map(memory=123).memory == 123


@pytest.mark.parametrize("shape", [(), (1,), (25,), (1, 77), (77, 1), (78,)])
def test_wrong_shapes_of_a_point(shape):
    outputs = tanh_map()
    assert outputs.dimension == 71
    bad = torch.zeros(shape, dtype=torch.float64)
    for act in (outputs, outputs.linearize, outputs.gram, outputs.load, outputs.rank):
        with pytest.raises(InputError, match=r"parameters: expected shape \(71,\), got \("):
            act(bad)
    with pytest.raises(InputError, match=r"expected shape \(71,\)"):
        outputs.unflatten(bad)


@pytest.mark.parametrize("name", ["jvp", "vjp", "lift", "project"])
def test_wrong_shapes_of_a_vector(name):
    outputs = tanh_map()
    size = outputs.dimension if name == "jvp" else outputs.size
    act = getattr(outputs, name)
    for shape in [(), (1,), (size - 1,), (size + 1,), (size, 1), (2, 1), (1, 1, size)]:
        for bad in (np.zeros(shape), torch.zeros(shape, dtype=torch.float64)):
            with pytest.raises(InputError, match=rf"expected shape \({size},\) or \(B, {size}\)"):
                act(bad)
    for bad in (None, "text", {"a": 1.0}, [[1.0], [1.0, 2.0]]):
        with pytest.raises(InputTypeError, match="not an array of numbers"):
            act(bad)
    for bad in (np.ones(size) * 1j, torch.ones(size) * 1j):
        with pytest.raises(InputTypeError, match="complex"):
            act(bad)


def test_names_missing_or_unknown():
    outputs = tanh_map()
    named = outputs.unflatten(outputs.parameters)
    less = {name: value for name, value in named.items() if name != "2.bias"}
    with pytest.raises(InputError, match=r"missing \['2.bias'\], unknown \[\]"):
        outputs(less)
    with pytest.raises(InputError, match=r"missing \[\], unknown \['bias'\]"):
        outputs({**named, "bias": 1.0})
    with pytest.raises(InputError, match=r"'0.weight' has shape \(3, 6\), expected \(6, 3\)"):
        outputs({**named, "0.weight": named["0.weight"].mT})
    with pytest.raises(InputError, match=r"'4.bias' has shape \(\), expected \(2,\)"):
        outputs({**named, "4.bias": 1.0})
    with pytest.raises(InputTypeError, match=r"'4.bias': not an array of numbers"):
        outputs({**named, "4.bias": "text"})


# ---------------------------------------------------------------------- being an object


def test_repr():
    assert repr(tanh_map()) == (
        "OutputMap(Sequential: 5 samples x 2 outputs, 71 parameters, float64, cpu)"
    )
    single = OutputMap(nn.Linear(3, 2), normal(4, 3))
    assert repr(single) == "OutputMap(Linear: 4 samples x 2 outputs, 8 parameters, float32, cpu)"
    assert repr(single.linearize()) == f"Linearization of {single!r}"


def test_pickling():
    outputs = tanh_map(memory=10_000_000)
    at = outputs.linearize(outputs.parameters + 0.5)
    w = normal(outputs.size)
    lifted = at.lift(w)
    assert at.rank().full
    for copied in (pickle.loads(pickle.dumps(outputs)), copy.deepcopy(outputs)):
        assert repr(copied) == repr(outputs)
        assert copied.memory == outputs.memory
        assert torch.equal(copied.parameters, outputs.parameters)
        assert torch.equal(copied.lift(w), outputs.lift(w))
    for copied in (pickle.loads(pickle.dumps(at)), copy.deepcopy(at)):
        assert torch.equal(copied.parameters, at.parameters)
        assert torch.equal(copied.lift(w), lifted)
    rank = at.rank()
    again = pickle.loads(pickle.dumps(rank))
    assert repr(again) == repr(rank)
    assert again.full
    assert np.array_equal(again.singular_values, rank.singular_values)


@pytest.mark.slow
def test_pickling_to_a_spawned_process():
    outputs = tanh_map()
    at = outputs.linearize()
    w = normal(outputs.size)
    expected = at.lift(w)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(_lift_elsewhere, (outputs, at, w.numpy()))
    assert np.allclose(found[0], expected.numpy(), rtol=1e-12, atol=0.0)
    assert np.allclose(found[1], expected.numpy(), rtol=1e-12, atol=0.0)


def _lift_elsewhere(outputs, at, w):
    torch.set_num_threads(1)
    return outputs.lift(w).numpy(), at.lift(w).numpy()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", ["tanh", "cnn", "transformer", "embedding", "under-parametrized"])
def test_cuda(name):
    module, inputs = case(name).module(), case(name).inputs()
    here = OutputMap(module, inputs)
    there = OutputMap(copy.deepcopy(module).cuda(), inputs)
    w = normal(here.size)
    assert there.device.type == "cuda"
    for act in ("vjp", "lift", "project"):
        found = getattr(there, act)(w)
        assert found.device.type == "cuda"
        assert far(found.cpu(), getattr(here, act)(w)) <= 1e-9
    assert far(there.gram().cpu(), here.gram()) <= 1e-12
    assert int(there.rank()) == int(here.rank())


# ---------------------------------------------------------------------- at the edge


def test_adjoint_where_a_part_is_evaluated_without_gradients():
    def forward(m, x):
        with torch.no_grad():
            hidden = m.a(x)
        return m.b(hidden)

    module = Apply(forward, a=nn.Linear(3, 3), b=nn.Linear(3, 2)).double()
    outputs = OutputMap(module, normal(4, 3))
    v = normal(outputs.dimension)
    assert far(outputs.jvp(v), outputs.jacobian() @ v) <= 1e-12


def test_adjoint_with_a_padded_embedding():
    module = nn.Sequential(nn.Embedding(5, 3, padding_idx=0), nn.Flatten()).double()
    outputs = OutputMap(module, torch.tensor([[0, 1], [2, 0], [4, 4]]))
    v = normal(outputs.dimension)
    assert far(outputs.jvp(v), outputs.jacobian() @ v) <= 1e-12


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: OldSine.apply(m.a(x)),
        lambda m, x: checkpoint(m.a, x, use_reentrant=False),
        lambda m, x: m.a(x) * torch.from_numpy(np.sin(x.detach().numpy()))[:, :1],
    ],
    ids=["custom function of the old style", "checkpoint", "numpy inside"],
)
def test_modules_that_only_plain_autograd_takes(forward):
    module = Apply(forward, a=nn.Linear(3, 2)).double()
    outputs = OutputMap(module, normal(4, 3))
    jacobian = dense(module, outputs.inputs)
    assert far(outputs.gram(), jacobian @ jacobian.mT) <= 100 * EPS


def test_forward_mode_that_errs_only_away_from_the_start():
    def forward(m, x):
        with torch.no_grad():
            hidden = m.a(x)
        return m.b(x) + m.gate * hidden

    module = Apply(
        forward, a=nn.Linear(3, 2), b=nn.Linear(3, 2), gate=nn.Parameter(torch.zeros(()))
    ).double()
    outputs = OutputMap(module, normal(4, 3))
    v = normal(outputs.dimension)
    assert far(outputs.jvp(v), outputs.jacobian() @ v) <= 1e-12
    theta = outputs.parameters + 0.5
    assert far(outputs.jvp(v, theta), outputs.jacobian(theta) @ v) <= 1e-12


def test_an_operator_without_forward_and_without_second_derivative():
    module = nn.EmbeddingBag(5, 2, mode="sum").double()
    outputs = OutputMap(module, torch.tensor([[0, 1], [2, 0], [4, 4]]))
    v = normal(outputs.dimension)
    assert far(outputs.jvp(v), outputs.jacobian() @ v) <= 1e-12


def test_samples_that_see_each_other_behind_a_closed_gate():
    module = Forward(lambda x: x - x.mean(0))
    nn.init.zeros_(module.layer.weight)
    refused(module)
