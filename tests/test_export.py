"""A lowered module against torch itself, run on the same parameters, and its derivatives."""

import functools
import math

import casadi as ca
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from network_cases import CASES, Apply, Case, case, far, normal
from subriem.models.multilayer_perceptron import ACTIVATIONS, multilayer_perceptron
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from subriem.errors import InputError, InputTypeError
from subriem.export import OPERATORS, lower, lowering


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def in_torch(module, inputs, names):
    """theta -> x as torch computes it, differentiable by torch.func."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    shapes = {name: parameters[name].shape for name in names}

    def flat(theta):
        parts = torch.split(theta, [shape.numel() for shape in shapes.values()])
        given = {
            name: part.reshape(shape)
            for part, (name, shape) in zip(parts, shapes.items(), strict=True)
        }
        return torch.func.functional_call(module, given, (inputs.clone(),)).reshape(-1)

    return flat


def near(module, names, seed=5):
    """Parameters a little beside the module's own, as nothing may be baked in."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    theta = torch.cat([parameters[name].detach().double().reshape(-1) for name in names])
    return theta + 0.05 * normal(len(theta), seed=seed)


def numbers(matrix) -> torch.Tensor:
    return torch.from_numpy(np.array(matrix))


def jacobian_of(function: ca.Function) -> ca.Function:
    theta = ca.MX.sym("theta", function.size1_in(0))
    return ca.Function("jacobian", [theta], [ca.densify(ca.jacobian(function(theta), theta))])


def assert_agree(module, inputs, names=None, theta=None, tolerance=1e-13):
    """Values, the expanded function and the Jacobian, against torch."""
    names = list(trained(module)) if names is None else names
    function = lower(module, inputs, names)
    theta = near(module, names) if theta is None else theta
    flat = in_torch(module, inputs, names)
    # Plain reverse mode, row by row, through the one attention kernel that is differentiable.
    with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        expected = flat(theta).detach()
        slopes = torch.autograd.functional.jacobian(flat, theta)
    assert far(numbers(function(theta.numpy()))[:, 0], expected) <= tolerance
    assert far(numbers(function.expand()(theta.numpy()))[:, 0], expected) <= tolerance
    assert far(numbers(jacobian_of(function)(theta.numpy())), slopes) <= tolerance


# ---------------------------------------------------------------------- whole modules

REFUSED = {
    "control flow": "cannot be traced",
    "control flow, N = Q": "cannot be traced",
    "derivatives by inputs": "cannot be traced",
    "stopped gradient": "stops the gradient",
}


@pytest.mark.parametrize("one", [c for c in CASES if c.name not in REFUSED], ids=lambda c: c.name)
def test_cases_agree_with_torch(one: Case):
    assert_agree(one.module(), one.inputs())


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_expression_is_refused(name):
    module = case(name).module()
    with pytest.raises(InputError, match=REFUSED[name]):
        lower(module, case(name).inputs(), list(trained(module)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_multilayer_perceptrons(activation):
    module = multilayer_perceptron([3, 5, 4, 2], activation)
    assert_agree(module, normal(6, 3))


@pytest.mark.parametrize(
    "activation",
    [
        nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardswish, nn.Hardtanh,
        nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU,
        nn.Sigmoid, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink,
        functools.partial(nn.GELU, "tanh"), functools.partial(nn.Softplus, 3.0, 1.0),
        functools.partial(nn.ELU, 0.3), functools.partial(nn.Threshold, 0.1, 20.0),
        functools.partial(nn.Softmax, -1), functools.partial(nn.LogSoftmax, -1),
        functools.partial(nn.Softmin, 0), functools.partial(nn.GLU, 1),
    ],
    ids=str,
)  # fmt: skip
def test_activations(activation):
    module = Apply(lambda m, x: m.f(m.a(x)), a=nn.Linear(3, 6), f=activation()).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(3.0 * normal(*parameter.shape, seed=1))
    assert_agree(module, normal(7, 3))


def test_hardsigmoid():
    # Torch's own derivative has 1/6 in single precision: against the formula instead.
    module = Apply(lambda m, x: F.hardsigmoid(m.a(x)), a=nn.Linear(2, 4)).double()
    formula = Apply(lambda m, x: (m.a(x) + 3).clamp(0, 6) / 6, a=module.a)
    names, inputs = list(trained(module)), 5 * normal(5, 2)
    theta = near(module, names)
    function, flat = lower(module, inputs, names), in_torch(formula, inputs, names)
    assert far(numbers(function(theta.numpy()))[:, 0], flat(theta).detach()) <= 1e-15
    slopes = torch.func.jacrev(flat)(theta)
    assert far(numbers(jacobian_of(function)(theta.numpy())), slopes) <= 1e-15


def test_the_jacobian_is_that_of_torch_func():
    module = nn.Sequential(
        nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.LayerNorm(8), nn.Linear(8, 3)
    ).double()
    names, inputs = list(trained(module)), normal(4, 1, 3, 3)
    theta = near(module, names)
    expected = torch.func.jacrev(in_torch(module, inputs, names))(theta)
    found = jacobian_of(lower(module, inputs, names))(theta.numpy())
    assert far(numbers(found), expected) <= 1e-13


def test_a_closed_form():
    # One neuron with two weights: x = tanh(a s + b), dx/da = s (1 - x^2).
    neuron = nn.Sequential(nn.Linear(1, 1), nn.Tanh())
    function = lower(neuron, torch.tensor([[2.0]]), ["0.weight", "0.bias"])
    a, b = 0.3, -0.2
    x = math.tanh(2 * a + b)
    assert float(function([a, b])) == pytest.approx(x, rel=1e-15)
    slopes = jacobian_of(function)([a, b])
    assert numbers(slopes)[0].tolist() == pytest.approx([2 * (1 - x**2), 1 - x**2], rel=1e-14)


def test_third_derivatives_agree():
    module = Apply(
        lambda m, x: F.gelu(m.a(x)).softmax(-1).logsumexp(-1), a=nn.Linear(2, 3)
    ).double()
    names = list(trained(module))
    inputs, theta = normal(2, 2), near(module, names)
    function = lower(module, inputs, names)
    symbol = ca.MX.sym("theta", len(theta))
    out, direction = function(symbol), normal(len(theta), seed=9)
    flat = in_torch(module, inputs, names)
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    expected = list(flat(theta + t * direction))
    for _ in range(3):
        out = ca.jtimes(out, symbol, ca.DM(direction.numpy()))
        expected = [torch.autograd.grad(x, t, create_graph=True)[0] for x in expected]
    found = ca.Function("third", [symbol], [out])(theta.numpy())
    assert far(numbers(found)[:, 0], torch.stack(expected).detach()) <= 1e-12


# ---------------------------------------------------------------------- parameters and constants


def test_theta_is_stacked_in_the_order_of_the_names():
    module, inputs = nn.Linear(2, 2).double(), normal(3, 2)
    function = lower(module, inputs, ["bias", "weight"])
    theta = torch.arange(6.0, dtype=torch.float64)
    expected = inputs @ theta[2:].reshape(2, 2).T + theta[:2]
    assert far(numbers(function(theta.numpy()))[:, 0], expected.reshape(-1)) <= 1e-15


def test_parameters_that_are_not_named_are_constants():
    module = multilayer_perceptron([2, 3, 1])
    assert_agree(module, normal(4, 2), names=["2.weight"])
    assert lower(module, normal(4, 2), []).size1_in(0) == 0


def test_a_shared_parameter_goes_by_either_name():
    module = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)).double()
    module[2].weight = module[0].weight
    theta = near(module, ["0.weight"])
    one = lower(module, normal(3, 2), ["0.weight"])(theta.numpy())
    other = lower(module, normal(3, 2), ["2.weight"])(theta.numpy())
    assert numbers(one).tolist() == numbers(other).tolist()
    assert_agree(module, normal(3, 2))


def test_a_module_in_float32_is_lowered_exactly():
    # Its double is the same function: the weights are the same numbers.
    single = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GELU(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        single[1].running_var.copy_(torch.tensor([0.1, 0.7, 1.3, 2.9]))
    inputs = normal(5, 3).float()
    names = list(trained(single))
    function = lower(single, inputs, names)
    theta = near(single, names).float()
    found = numbers(function(theta.double().numpy()))[:, 0]
    assert far(found, in_torch(single, inputs, names)(theta).detach()) <= 1e-6
    twice = in_torch(single.double(), inputs.double(), names)(theta.double())
    assert far(found, twice.detach()) <= 1e-14


def test_constants_keep_the_precision_torch_gives_them():
    # A third in float32 inside a module in float64.
    module = Apply(
        lambda m, x: m.a(x) * (torch.arange(1, 4) / 3) + torch.tensor([0.1]), a=nn.Linear(2, 3)
    ).double()
    assert_agree(module, normal(4, 2))


def test_conversions_between_floating_types_do_not_round():
    module = Apply(lambda m, x: (m.a(x).float() * 3).double(), a=nn.Linear(2, 3)).double()
    without = Apply(lambda m, x: m.a(x) * 3, a=module.a)
    names, inputs = list(trained(module)), normal(4, 2)
    theta = near(module, names)
    found = numbers(lower(module, inputs, names)(theta.numpy()))[:, 0]
    assert far(found, in_torch(without, inputs, names)(theta).detach()) <= 1e-15


def test_a_buffer_outside_the_state_is_a_constant():
    module = Apply(lambda m, x: m.a(x) * m.scale, a=nn.Linear(2, 3))
    module.register_buffer("scale", torch.tensor([1.0, 2.0, 5.0]), persistent=False)
    assert_agree(module.double(), normal(4, 2))


def test_the_module_is_left_as_it_was():
    module = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.0), nn.Linear(3, 1)).double().eval()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    inputs = normal(3, 2)
    before = inputs.clone()
    lower(module, inputs, list(trained(module)))
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert not module.training
    assert torch.equal(inputs, before)


def test_a_wide_network_stays_small():
    module = multilayer_perceptron([64, 64, 10])
    function = lower(module, normal(20, 64), list(trained(module)))
    assert function.n_instructions() < 50
    assert function.expand().n_instructions() > 100_000


# ---------------------------------------------------------------------- operator by operator

# One parameter w, (3, 4) or as given, and one input x of the same shape.
EXAMPLES = {
    "_adaptive_avg_pool2d": ((2, 2, 5, 4), lambda w, x: F.adaptive_avg_pool2d(w, (2, 3))),
    "_adaptive_avg_pool3d": ((1, 2, 3, 3, 4), lambda w, x: F.adaptive_avg_pool3d(w, 2)),
    "_log_softmax": lambda w, x: (w * x).log_softmax(0),
    "_native_batch_norm_legit.no_stats": ((2, 3, 5), lambda w, x: F.instance_norm(w * x)),
    "_native_batch_norm_legit_no_training": ((2, 3, 5), lambda w, x: F.batch_norm(
        w, x[0, :, 0], x[0, :, 1].square(), w[0, :, 2], w[0, :, 3], eps=1e-3)),
    "_softmax": lambda w, x: (w * x).softmax(0) * (w + x).softmax(-1),
    "_to_copy": lambda w, x: w * (w > x).to(torch.float64),
    "abs": lambda w, x: w.abs() + x,
    "acos": lambda w, x: (w / 4).acos(),
    "acosh": lambda w, x: (1.5 + w.square()).acosh(),
    "add": lambda w, x: torch.add(w, x, alpha=0.3) + 2 + w[0],
    "addmm": ((4, 4), lambda w, x: torch.addmm(w[0], w, x, beta=0.5, alpha=-2.0) + w.addmm(x, w)),
    "alias": lambda w, x: torch.ops.aten.alias(w) * x,
    "amax": lambda w, x: w.amax(1) + w.amax() + w.amax((0, 1)),
    "amin": lambda w, x: w.amin(0, keepdim=True) * x,
    "asin": lambda w, x: (w / 4).asin(),
    "asinh": lambda w, x: w.asinh(),
    "atan": lambda w, x: w.atan(),
    "atan2": lambda w, x: torch.atan2(w, x),
    "atanh": lambda w, x: (w / 4).atanh(),
    "avg_pool2d": ((2, 2, 5, 4), lambda w, x: F.avg_pool2d(
        w, (3, 2), stride=2, padding=1, ceil_mode=True, count_include_pad=False)),
    "avg_pool3d": ((2, 2, 2, 4, 4), lambda w, x: F.avg_pool3d(w, 2)),
    "bitwise_and": lambda w, x: torch.where((w > 0) & (w > x), w, x),
    "bitwise_not": lambda w, x: torch.where(~(w > 0), w, x),
    "bitwise_or": lambda w, x: torch.where((w > 0) | (w > x), w, x),
    "bmm": ((2, 3, 3), lambda w, x: w @ x @ w + torch.einsum("bij,bkj->bik", x, w)),
    "cat": lambda w, x: torch.cat([w, x, w * x], 1) + torch.hstack([x, x, torch.stack([w[0]] * 3)]),
    "ceil": lambda w, x: w * (3 * w).ceil(),
    "clamp": lambda w, x: w.clamp(-0.5, 0.5) + w.clamp(min=x) + w.clamp(max=0.1),
    "clone": lambda w, x: w.clone().t().contiguous() * x.t(),
    "constant_pad_nd": lambda w, x: F.pad(w, (1, 2, 0, 1), value=3.0),
    "convolution": ((4, 4, 3, 2), lambda w, x: F.conv2d(
        x, w[:, :2, :2], w[0, :, 0, 0], 2, (1, 2), (1, 2), groups=2).sum((2, 3))
        + F.conv_transpose2d(w, x[:, :2, :, :1], None, (2, 1), (1, 0), (1, 0), 2).sum((2, 3))),
    "copy": lambda w, x: _assigned(w, x, (slice(None), slice(1, 2)), w[:, :1]),
    "cos": lambda w, x: w.cos(),
    "cosh": lambda w, x: w.cosh(),
    "diagonal": lambda w, x: w.diagonal(1) * x.diagonal(),
    "div": lambda w, x: w / x + x / w + 2 / w + w / 3,
    "elu": lambda w, x: F.elu(3 * w, 0.7) + F.selu(w),
    "embedding": lambda w, x: F.embedding(torch.tensor([[0, 2], [1, 2]]), w),
    "eq": lambda w, x: torch.where(w.floor() == 0, w, x),
    "erf": lambda w, x: w.erf(),
    "exp": lambda w, x: w.exp(),
    "expand": lambda w, x: w[:1].expand(3, 4) * x + w[0, 0].expand(3, 4) * x[0, 0],
    "expm1": lambda w, x: w.expm1(),
    "flip": lambda w, x: w.flip(0, 1) * x,
    "floor": lambda w, x: w * w.floor(),
    "gather": lambda w, x: w.gather(1, torch.tensor([[3, 0], [1, 1], [2, 0]])),
    "ge": lambda w, x: torch.where(w >= x, w, 2 * x),
    "gelu": lambda w, x: F.gelu(w) + F.gelu(x * w, approximate="tanh"),
    "gt": lambda w, x: torch.where(w > x, w, 2 * x),
    "hardtanh": lambda w, x: F.hardtanh(3 * w, -0.4, 0.8) + F.relu6(7 * w),
    "index": lambda w, x: w[torch.tensor([2, 0]), 1:][:, torch.tensor([2, 0])],
    "index_put": lambda w, x: x.index_put((torch.tensor([1, 0]),), w[:2]),
    "index_select": lambda w, x: w.index_select(1, torch.tensor([3, 3, 0])),
    "le": lambda w, x: torch.where(w <= x, w, 2 * x),
    "leaky_relu": lambda w, x: F.leaky_relu(w, 0.3),
    "linalg_vector_norm": lambda w, x: F.normalize(w) + w.norm() + w.norm(1, dim=0),
    "log": lambda w, x: w.square().log(),
    "log10": lambda w, x: w.square().log10(),
    "log1p": lambda w, x: w.square().log1p(),
    "log2": lambda w, x: w.square().log2(),
    "logical_and": lambda w, x: torch.where(torch.logical_and(w > 0, w > x), w, x),
    "logical_not": lambda w, x: torch.where(torch.logical_not(w > x), w, x),
    "logical_or": lambda w, x: torch.where(torch.logical_or(w > 0, w > x), w, x),
    "logsumexp": lambda w, x: w.logsumexp(0) + w.logsumexp((0, 1)) + x.logsumexp(1, True)[0],
    "lt": lambda w, x: torch.where(w < x, w, 2 * x),
    "max": lambda w, x: w.max() * x,
    "max.dim": lambda w, x: w.max(1).values,
    "max_pool2d_with_indices": ((2, 2, 5, 4), lambda w, x: F.max_pool2d(
        w, 2, stride=1, padding=1, dilation=2) * x[:, :, :, :1] + F.max_pool2d(w, (2, 3)).sum()),
    "maximum": lambda w, x: torch.maximum(w, x),
    "mean": lambda w, x: w.mean() + w.mean(0) + w.mean((0, 1), keepdim=True) * x,
    "min": lambda w, x: w.min() * x,
    "min.dim": lambda w, x: w.min(0, keepdim=True)[0] * x,
    "minimum": lambda w, x: torch.minimum(w, x),
    "mm": lambda w, x: w @ x.t() + x @ w.t() @ (w @ w.t()),
    "mul": lambda w, x: w * x * 3 * w[:, :1] * w[0],
    "native_group_norm": ((2, 4, 3), lambda w, x: F.group_norm(w, 2, w[0, :, 0], x[0, :, 0])),
    "native_layer_norm": ((2, 4, 3), lambda w, x: F.layer_norm(w, (4, 3), w[0], x[0], 1e-3)
        + F.layer_norm(x, (3,), w[0, 0])),
    "ne": lambda w, x: torch.where(w.floor() != 0, w, x),
    "neg": lambda w, x: -w,
    "permute": ((2, 3, 4), lambda w, x: w.permute(2, 0, 1) * x.movedim(2, 0) + w.mT.mT.mean()),
    "pow": lambda w, x: w**3 + w.square() ** 0.7 + w**-2 + 1.7**w + w.exp() ** w + w.exp() ** x,
    "reciprocal": lambda w, x: w.reciprocal(),
    "relu": lambda w, x: w.relu(),
    "repeat": lambda w, x: w.repeat(2, 3),
    "rsqrt": lambda w, x: w.square().rsqrt(),
    "scaled_dot_product_attention": ((2, 3, 4), lambda w, x: F.scaled_dot_product_attention(
        w, x * w, w + x, scale=0.3)),
    "select": lambda w, x: w[1] * w.select(1, 0)[:, None],
    "sigmoid": lambda w, x: w.sigmoid(),
    "sign": lambda w, x: w * w.sign(),
    "sin": lambda w, x: w.sin(),
    "sinh": lambda w, x: w.sinh(),
    "slice": lambda w, x: w[1:, ::2] * x[:2, 1::2],
    "slice_scatter": lambda w, x: torch.slice_scatter(x, w[:, :2], 1, 0, 4, 2),
    "split_with_sizes": lambda w, x: w.split([1, 3], 1)[0] * w.chunk(2, 1)[1],
    "sqrt": lambda w, x: w.square().sqrt(),
    "squeeze": lambda w, x: w[:, :1].squeeze(1) * w[0, 0].reshape(1, 1).squeeze(),
    "sub": lambda w, x: torch.sub(w, x, alpha=2.0) - w.mean() - 1 + (3 - w),
    "sum": lambda w, x: w.sum() + w.sum(0) + w.sum((0, 1)) + (w.sum(-1, keepdim=True) * x).sum(0),
    "tan": lambda w, x: w.tan(),
    "tanh": lambda w, x: w.tanh(),
    "unfold": lambda w, x: w.unfold(1, 3, 1),
    "unsqueeze": lambda w, x: w[:, None] * x[None],
    "upsample_nearest2d": ((1, 2, 3, 2), lambda w, x: F.interpolate(w, scale_factor=2)),
    "var": lambda w, x: w.var() + w.var(0) + w.std(1, correction=0)[:, None],
    "view.default": lambda w, x: w.view(2, 6).flatten().reshape(4, 3) * x.t(),
    "where": lambda w, x: torch.where(x > 0, w, -math.pi) + torch.where(w > 0, w**2, x),
}  # fmt: skip


def _assigned(w, x, place, value):
    out = w * x
    out[place] = value
    return out


def example(name):
    given = EXAMPLES[name]
    shape, function = given if isinstance(given, tuple) else ((3, 4), given)
    module = Apply(lambda m, x: function(m.w, x), w=nn.Parameter(normal(*shape, seed=3)))
    return module, normal(*shape, seed=4)


def test_every_operator_has_an_example():
    assert set(EXAMPLES) == set(OPERATORS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_operators_agree_with_torch(name, monkeypatch):
    met = []
    find = lowering.find_operator

    def recorded(target):
        full = str(target).partition(".")[2]
        met.extend([full, full.partition(".")[0]])
        return find(target)

    monkeypatch.setattr(lowering, "find_operator", recorded)
    assert_agree(*example(name))
    assert name in met


def attention(function, shape=(2, 2, 3, 4)):
    """Attention on heads with queries, keys and values from one parameter."""
    module = Apply(
        lambda m, x: function(m.w[0], m.w[1] * x, m.w[2] + x),
        w=nn.Parameter(normal(3, *shape, seed=3)),
    )
    return module, normal(*shape, seed=4)


MASKS = {
    "causal": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    "of truth values": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, BLIND),
    "of numbers": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, 3.0 * BLIND.double()),
    "of infinities": lambda q, k, v: F.scaled_dot_product_attention(
        q, k, v, torch.zeros(3, 3, dtype=torch.float64).masked_fill(~SEEING, -math.inf)
    ),
    "of parameters": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, q[0, :, :, :3]),
    "by hand": lambda q, k, v: (
        (q @ k.mT).masked_fill(~SEEING, -math.inf).softmax(-1) @ v
    ),
    "fewer keys, one head for all": lambda q, k, v: F.scaled_dot_product_attention(
        q, k[:, :1, :2], v[:, :1, :2, :3]
    ),
}  # fmt: skip
# The last query of the one sees no key.
SEEING = torch.tensor([[True, False, False], [True, True, False], [False, True, True]])
BLIND = torch.tensor([[True, False, True], [True, True, False], [False, False, False]])


@pytest.mark.parametrize("mask", MASKS)
def test_attention_masks(mask):
    assert_agree(*attention(MASKS[mask]))


@pytest.mark.parametrize("need_weights", [False, True])
def test_a_transformer_block(need_weights):
    def block(m, x):
        h = m.norm(x)
        x = x + m.mha(h, h, h, need_weights=need_weights)[0]
        return x + m.last(F.silu(m.first(x)))

    module = Apply(
        block,
        norm=nn.LayerNorm(4),
        mha=nn.MultiheadAttention(4, 2, batch_first=True),
        first=nn.Linear(4, 5),
        last=nn.Linear(5, 4),
    )
    assert_agree(module.double().eval(), normal(2, 3, 4))


def test_a_layer_in_its_fast_mode_is_lowered_as_well():
    # Frozen and without gradients, torch would take a fused kernel.
    module = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True).double().eval()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.startswith("norm2"))
    with torch.no_grad():
        assert_agree(module, normal(2, 3, 4))


# ---------------------------------------------------------------------- kinks and overflow


@pytest.mark.parametrize(
    ("function", "at"),
    [
        (F.relu, [-1.0, 0.0, 1.0]),
        (F.leaky_relu, [-1.0, 0.0, 1.0]),
        (F.elu, [-800.0, 0.0, 800.0]),
        (F.softplus, [-800.0, 0.0, 20.0, 800.0]),
        (F.hardtanh, [-1.0, 0.0, 1.0]),
        (lambda w: w.clamp(-1.0, 1.0), [-1.0, 0.0, 1.0]),
        (torch.abs, [-1.0, 0.0, 1.0]),
        (torch.sigmoid, [-300.0, 0.0, 800.0]),
        (lambda w: torch.maximum(w, 2 * w), [-1.0, 0.0, 1.0]),
    ],
)
def test_kinks_and_large_arguments_as_torch_has_them(function, at):
    theta = torch.tensor(at, dtype=torch.float64)
    module = Apply(lambda m, x: function(m.w) * x, w=nn.Parameter(theta))
    assert_agree(module, torch.ones(1, dtype=torch.float64), theta=theta, tolerance=1e-15)


@pytest.mark.parametrize(
    "function", [F.relu, F.elu, F.softplus, F.hardtanh, F.leaky_relu, lambda w: w.clamp(0.0, 1.0)]
)
def test_nan_is_not_passed_over(function):
    module = Apply(lambda m, x: function(m.w) * x, w=nn.Parameter(torch.zeros(2)))
    found = numbers(lower(module.double(), torch.ones(1).double(), ["w"])([math.nan, 0.5]))
    assert found.isnan().tolist() == [[True], [False]]


def test_softmax_out_of_range_is_nan():
    module = Apply(lambda m, x: m.w.softmax(0) * x, w=nn.Parameter(torch.zeros(2).double()))
    function = lower(module, torch.ones(1).double(), ["w"])
    assert numbers(function([800.0, 801.0])).isnan().all()
    assert numbers(function([699.0, -699.0]))[:, 0].tolist() == [1.0, 0.0]


# ---------------------------------------------------------------------- refusals


def refused(module, inputs, match, error=InputError, names=None):
    with pytest.raises(error, match=match):
        lower(module, inputs, list(trained(module)) if names is None else names)


def test_an_unknown_operator_is_named_with_its_place():
    module = nn.Sequential(
        nn.Linear(3, 3), Apply(lambda m, x: torch.linalg.det(m.a(x[None])), a=nn.Linear(3, 3))
    )
    refused(module, normal(3, 3).float(), r"aten\._linalg_det.*layer '1' \(Apply\).*OPERATORS")


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda w, x: torch.div(w, x, rounding_mode="floor"), "rounding_mode='floor'"),
        (lambda w, x: w.max(1).values * w.max(1).indices, "output number 1"),
        (lambda w, x: F.max_pool2d(w[None], 2, ceil_mode=True), "ceil_mode"),
        (lambda w, x: w * w.to(torch.int64), "conversion to torch.int64"),
        (lambda w, x: w.norm(3), "order 3"),
        (lambda w, x: F.embedding(torch.tensor([0, 1]), w, padding_idx=1), "padding_idx"),
        (lambda w, x: x.index_put((torch.tensor([0, 0]),), w[:2], accumulate=True), "accumulate"),
        (lambda w, x: w.view(torch.int64).double(), "aten.view.dtype"),
        (lambda w, x: w.cumsum(0), "aten.cumsum"),
        (lambda w, x: F.dropout(w), "draws at random"),
        (lambda w, x: w * torch.rand(4), "draws at random"),
        (lambda w, x: w * F.dropout(x), "draws at random"),
        (lambda w, x: F.scaled_dot_product_attention(w, w, x, dropout_p=0.5), "draws at random"),
        (lambda w, x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5) * w, "at random"),
        (lambda w, x: w * (w.detach() + x), "detach stops the gradient"),
        (lambda w, x: w * _without_gradient(w), r"no_grad\(\) stops the gradient"),
        (lambda w, x: w * float(w.sum()), "cannot be traced"),
        (lambda w, x: w @ w, "cannot be traced"),
    ],
)
def test_what_is_not_covered_is_refused(function, match):
    module = Apply(lambda m, x: function(m.w, x), w=nn.Parameter(normal(3, 4)))
    refused(module, normal(3, 4), match)


def _without_gradient(w):
    with torch.no_grad():
        return w.sin()


def test_constants_may_be_detached():
    module = Apply(
        lambda m, x: m.w * (_without_gradient(x) + m.c.detach()),
        w=nn.Parameter(normal(3)),
        c=nn.Parameter(normal(3, seed=1)),
    )
    assert_agree(module, normal(2, 3), names=["w"])


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        (nn.Dropout(0.5), "layer '1' .Dropout.*call module.eval"),
        (nn.BatchNorm1d(3), "changes its buffers .*'1.running_mean'.*call module.eval"),
        (nn.BatchNorm1d(3, track_running_stats=False), "over the batch"),
        (nn.RReLU(), "draws at random.*call module.eval"),
    ],
    ids=str,
)
def test_train_mode_is_refused(layer, match):
    refused(nn.Sequential(nn.Linear(2, 3), layer).double(), normal(4, 2), match)


def test_wrong_arguments():
    module, inputs = nn.Linear(2, 1), torch.ones(1, 2)
    refused(module.forward, inputs, "torch.nn.Module, got method", InputTypeError, ["weight"])
    refused(module, [[1.0, 1.0]], "torch.Tensor, got list", InputTypeError)
    refused(module, inputs, "sequence of names", InputTypeError, "weight")
    refused(module, inputs, "names of parameters", InputError, ["weights"])
    refused(module, inputs, "each parameter once", InputError, ["bias", "bias"])
    refused(module, torch.ones(1, 3), r"inputs of shape \(1, 3\)", InputError)


@pytest.mark.parametrize(
    "function",
    [lambda m, x: (m.a(x), x), lambda m, x: m.a(x) > 0, lambda m, x: None, lambda m, x: 2],
)
def test_what_returns_no_single_tensor_is_refused(function):
    refused(
        Apply(function, a=nn.Linear(2, 1)), torch.ones(1, 2), "one floating tensor", InputTypeError
    )
