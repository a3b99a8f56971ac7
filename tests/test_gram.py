import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_cases import CASES, EPS, NAMES, Apply, case, dense, far, normal
from torch import nn

from subriem.gram import LayerTerm, assemble_gram, layer_terms, mirror_lower, rank_k_update
from subriem.network import OutputMap


def collect(name_or_module, inputs=None):
    """Terms and leftover names of a module at its own parameters, and the shapes (N, Q)."""
    if isinstance(name_or_module, str):
        name_or_module, inputs = case(name_or_module).module(), case(name_or_module).inputs()
    outputs = OutputMap(name_or_module, inputs)
    named = outputs.unflatten(outputs.parameters)
    terms, leftover = layer_terms(outputs.module, outputs.evaluate, named, outputs.inputs)
    return outputs, terms, leftover


def column_ranges(outputs):
    ends, last = {}, 0
    for name, value in outputs.unflatten(outputs.parameters).items():
        ends[name] = slice(last, last + value.numel())
        last += value.numel()
    return ends


#: Cases where a parameter acts past its layer's rule, so that the sum of terms is not D D'.
UNSEEN = {
    "weight outside its layer",
    "output changed by hand",
    "layer on a table of N rows",
    "samples in another order inside",
    "pruned",
    "derivatives by inputs",
}


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in UNSEEN], ids=lambda c: c.name)
def test_terms_and_leftover_columns_sum_to_the_gram_matrix(case):
    outputs, terms, leftover = collect(case.module(), case.inputs())
    jacobian = dense(outputs.module, outputs.inputs)
    ranges = column_ranges(outputs)
    rest = [jacobian[:, ranges[name]] for name in leftover]
    like = outputs().view(outputs.samples, outputs.width)
    for memory in (1, 2000, 10**8):
        gram = assemble_gram(terms, iter(rest), like, memory)
        assert far(gram, jacobian @ jacobian.mT) <= 100 * EPS
        assert torch.equal(gram, gram.mT)


@pytest.mark.parametrize("name", sorted(UNSEEN - {"derivatives by inputs"}))
def test_the_unseen_are_unseen(name):
    # Otherwise the tests that the probe catches them would test nothing.
    outputs, terms, leftover = collect(name)
    jacobian = dense(outputs.module, outputs.inputs)
    ranges = column_ranges(outputs)
    rest = [jacobian[:, ranges[left]] for left in leftover]
    like = outputs().view(outputs.samples, outputs.width)
    assert far(assemble_gram(terms, rest, like, 10**8), jacobian @ jacobian.mT) > 1e-3


def test_every_case_is_known():
    assert set(NAMES) >= UNSEEN


@pytest.mark.parametrize(
    ("name", "leftover"),
    [
        ("tanh", []),
        ("nested", []),
        ("cnn", []),
        ("cnn, one by one", []),
        ("conv1d", []),
        ("batchnorm", []),
        ("batchnorm 1d, sequence", []),
        ("groupnorm", []),
        ("layernorm", []),
        ("layernorm on positions", []),
        ("outputs of several axes", []),
        ("frozen first layer", []),
        ("tied weights", ["0.weight", "0.bias", "4.bias"]),
        ("called twice", ["a.weight", "a.bias"]),
        ("cnn, groups", ["0.weight", "0.bias"]),
        ("cnn, same", ["0.weight", "0.bias"]),
        ("cnn, valid", ["0.weight", "0.bias"]),
        ("cnn, circular", ["0.weight", "0.bias"]),
        ("conv3d", ["0.weight", "0.bias"]),
        ("instancenorm", ["1.weight", "1.bias"]),
        ("embedding", ["0.weight"]),
        ("prelu", ["1.weight"]),
        ("unused parameters", ["b.weight", "b.bias"]),
        ("layer on a vector of N entries", ["v", "a.weight", "a.bias"]),
        ("conv without a sample axis", ["c.weight", "c.bias"]),
    ],
)
def test_what_is_left_over(name, leftover):
    assert collect(name)[2] == leftover


def test_a_subclass_has_no_rule():
    class Doubled(nn.Linear):
        def forward(self, x):
            return super().forward(2.0 * x)

    _, terms, leftover = collect(nn.Sequential(Doubled(3, 2)).double(), normal(4, 3))
    assert terms == []
    assert leftover == ["0.weight", "0.bias"]


def test_the_layer_itself_as_the_module():
    outputs, terms, leftover = collect(nn.Linear(3, 2).double(), normal(4, 3))
    assert leftover == []
    (term,) = terms
    assert term.signal.shape == (4, 2, 1, 2)
    assert torch.equal(term.activation[:, 0], outputs.inputs)
    assert term.bias
    assert not term.diagonal


@pytest.mark.parametrize(
    ("frozen", "bias", "activation"),
    [("weight", True, None), ("bias", False, (4, 1, 3))],
)
def test_half_frozen_layers(frozen, bias, activation):
    layer = nn.Linear(3, 2).double()
    layer.get_parameter(frozen).requires_grad_(False)
    _, (term,), leftover = collect(layer, normal(4, 3))
    assert leftover == []
    assert term.bias == bias
    assert (None if term.activation is None else term.activation.shape) == activation


def test_terms_carry_no_graph_and_hooks_are_gone():
    outputs, terms, _ = collect("transformer")
    assert terms
    for term in terms:
        assert not term.signal.requires_grad
        assert term.activation is None or not term.activation.requires_grad
    assert not any(layer._forward_hooks for layer in outputs.module.modules())


def test_hooks_are_gone_after_an_error():
    module = nn.Sequential(nn.Linear(3, 2), nn.Tanh()).double()

    def fail(named, inputs):
        module(inputs)
        raise ZeroDivisionError

    named = {name: p.detach() for name, p in module.named_parameters()}
    with pytest.raises(ZeroDivisionError):
        layer_terms(module, fail, named, normal(4, 3))
    assert not module[0]._forward_hooks


def test_recorded_values_survive_layers_in_place():
    def forward(m, x):
        h = m.a(x)
        h.mul_(3.0).tanh_()
        return m.b(h)

    module = Apply(forward, a=nn.Linear(3, 4), b=nn.Linear(4, 2)).double()
    outputs, terms, leftover = collect(module, normal(4, 3))
    assert (len(terms), leftover) == (2, [])
    jacobian = dense(module, outputs.inputs)
    gram = assemble_gram(terms, [], outputs().view(4, 2), 10**8)
    assert far(gram, jacobian @ jacobian.mT) <= 100 * EPS


# ---------------------------------------------------------------------- the sums


def columns_of(term):
    """The columns of D of a term, from the definition."""
    samples, width, _, fan_out = term.signal.shape
    parts = []
    if term.activation is not None:
        if term.diagonal:
            parts.append(torch.einsum("nqto,nto->nqo", term.signal, term.activation))
        else:
            full = torch.einsum("nqto,nti->nqoi", term.signal, term.activation)
            parts.append(full.reshape(samples, width, -1))
    if term.bias or term.activation is None:
        parts.append(term.signal.sum(2))
    assert parts[-1].shape[-1] >= fan_out or term.diagonal
    return torch.cat(parts, dim=-1).reshape(samples * width, -1)


terms_drawn = st.tuples(
    st.integers(1, 3),  # positions
    st.integers(1, 4),  # fan in
    st.integers(1, 3),  # fan out
    st.sampled_from(["weight", "bias", "both", "scale", "scale and shift"]),
)


@given(
    st.integers(1, 7),
    st.integers(1, 4),
    st.lists(terms_drawn, max_size=3),
    st.integers(0, 3),
    st.sampled_from([1, 500, 3000, 10**7]),
    st.integers(0, 10**6),
)
@settings(max_examples=80, deadline=None)
def test_any_sum_of_terms_in_any_memory(samples, width, drawn, extra, memory, seed):
    terms, expected = [], torch.zeros(samples * width, samples * width, dtype=torch.float64)
    for number, (positions, fan_in, fan_out, kind) in enumerate(drawn):
        signal = normal(samples, width, positions, fan_out, seed=seed + number)
        diagonal = kind.startswith("scale")
        features = fan_out if diagonal else fan_in
        activation = normal(samples, positions, features, seed=seed + number + 50)
        terms.append(
            LayerTerm(
                signal,
                None if kind == "bias" else activation,
                kind in ("bias", "both", "scale and shift"),
                diagonal,
            )
        )
        columns = columns_of(terms[-1])
        expected += columns @ columns.mT
    rest = [normal(samples * width, 2, seed=seed + 90 + k) for k in range(extra)]
    for block in rest:
        expected += block @ block.mT
    like = torch.zeros(samples, width, dtype=torch.float64)
    gram = assemble_gram(terms, iter(rest), like, memory)
    assert gram.shape == expected.shape
    assert (gram - expected).norm() <= 20 * EPS * max(float(expected.norm()), 1.0)
    assert torch.equal(gram, gram.mT)


@given(st.integers(1, 9), st.integers(0, 4), st.integers(1, 12), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_rank_k_update_and_mirror_in_any_block(size, columns, block, seed):
    rows = normal(size, columns, seed=seed)
    gram = torch.zeros(size, size, dtype=torch.float64)
    rank_k_update(gram, rows, block)
    rank_k_update(gram, rows, block)
    assert (gram.tril() - 2 * (rows @ rows.mT).tril()).norm() <= 1e2 * EPS * (1 + rows.norm() ** 2)
    # What lies above the diagonal is not read.
    gram += torch.full_like(gram, 7.0).triu(1)
    found = mirror_lower(gram, block)
    assert found is gram
    assert torch.equal(found, found.mT)
    assert (found - 2 * rows @ rows.mT).norm() <= 1e2 * EPS * (1 + rows.norm() ** 2)


def test_precision_and_device_follow_the_outputs():
    for dtype in (torch.float32, torch.float64):
        like = torch.zeros(2, 2, dtype=dtype)
        gram = assemble_gram([], [], like, 100)
        assert (gram.dtype, gram.device) == (like.dtype, like.device)
        assert torch.equal(gram, torch.zeros(4, 4, dtype=dtype))


def test_layer_signals_keep_to_the_memory_allowed():
    """Layers one after the other, and those too large left over, give the same matrix."""
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(48, 2)
    ).double()
    inputs = torch.randn(5, 1, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    outputs = OutputMap(module, inputs)
    named = outputs.unflatten(outputs.parameters)
    signal = 8 * 2 * 5 * 3 * 16  # of the convolution: Q N d T doubles
    plenty, none = layer_terms(module, outputs.evaluate, named, inputs)
    assert isinstance(plenty, list)
    assert none == []
    in_turn, none = layer_terms(module, outputs.evaluate, named, inputs, 3 * signal)
    assert none == []
    few, left = layer_terms(module, outputs.evaluate, named, inputs, 3 * signal - 1)
    assert left == ["0.weight", "0.bias"]
    assert len(list(few)) == 1
    for one, other in zip(in_turn, plenty, strict=True):
        assert torch.equal(one.signal, other.signal)
    expected = outputs.jacobian() @ outputs.jacobian().T
    for memory in (6 * signal, 2 * signal):
        gram = OutputMap(module, inputs, memory=memory).gram()
        assert torch.allclose(gram, expected, rtol=1e-12, atol=1e-13)
