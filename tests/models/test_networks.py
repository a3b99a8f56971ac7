"""The torch models of the zoo: sizes, seeds, refusals."""

import pytest
import torch

import subriem as sr
from subriem.errors import InputError


def test_available_lists_every_model_with_one_line():
    lines = sr.models.available()
    assert {"multilayer_perceptron", "convolutional_network"} <= set(lines)
    assert all(line.endswith(".") and "\n" not in line for line in lines.values())


def test_models_are_functions_however_their_module_was_imported():
    import subriem.models.convolutional_network  # noqa: F401

    assert callable(sr.models.convolutional_network)
    with pytest.raises(AttributeError, match="no model 'trailer_park'"):
        sr.models.trailer_park  # noqa: B018


def test_perceptron_follows_its_equations():
    network = sr.models.multilayer_perceptron([3, 5, 2], "gelu")
    first, second = network[0], network[2]
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hidden = torch.nn.functional.gelu(x @ first.weight.T + first.bias)
    torch.testing.assert_close(network(x), hidden @ second.weight.T + second.bias)


@pytest.mark.parametrize(
    "make",
    [
        lambda generator: sr.models.multilayer_perceptron([3, 5, 2], generator=generator),
        lambda generator: sr.models.convolutional_network(4, 2, 3, generator=generator),
    ],
)
def test_seed_decides_the_weights_and_the_global_state_does_not(make):
    torch.manual_seed(1)
    first = make(torch.Generator().manual_seed(7))
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    second = make(torch.Generator().manual_seed(7))
    third = make(torch.Generator().manual_seed(8))
    flat = [torch.nn.utils.parameters_to_vector(m.parameters()) for m in (first, second, third)]
    assert torch.equal(flat[0], flat[1])
    assert not torch.equal(flat[0], flat[2])
    assert len(state)  # drawing the module's own default weights may advance it; ours must not care


def test_convolutional_network_reads_odd_sides():
    assert sr.models.convolutional_network(7, 2, 3)(torch.zeros(2, 7, 7).double()).shape == (2, 3)


def test_nonsense_is_refused():
    with pytest.raises(InputError, match="two or more positive"):
        sr.models.multilayer_perceptron([3])
    with pytest.raises(InputError, match="'swish'"):
        sr.models.multilayer_perceptron([3, 1], "swish")
    with pytest.raises(InputError, match="must be positive"):
        sr.models.convolutional_network(0)
