import casadi as ca
import numpy as np
import pytest

import subriem as sr
from subriem.errors import InputError, InputTypeError
from subriem.testing import assert_bracket_generating, assert_growth_vector


def steep(power):
    """Steps to [1, 2] at x = 0 with brackets of length power + 1, by hand."""
    return sr.Structure.define("steep", "x y", lambda q: [(1, 0), (0, q.x**power)])


def failure(function, *arguments, **keywords):
    with pytest.raises(AssertionError) as caught:
        function(*arguments, **keywords)
    return str(caught.value)


def test_generating_structures_pass_at_a_point_and_in_a_batch():
    assert_bracket_generating(sr.models.heisenberg(), [0, 0, 0])
    assert_bracket_generating(sr.models.heisenberg(), [[0, 0, 0], [1, 2, 3]], step=2)
    assert_bracket_generating(sr.models.trailers(2), (0, 0, "pi/2", 0, 0), step=5)
    assert_bracket_generating(steep(3), {"x": 0, "y": 1}, step=4)


def test_step_is_the_most_that_is_allowed():
    assert_bracket_generating(steep(3), [0, 0], step=7)
    message = failure(assert_bracket_generating, steep(3), [0, 0], step=3)
    assert message.startswith("steep is not bracket-generating with step 3 at x=0, y=0")
    assert "growth vector (1, 1, 1, 2), status: filled" in message
    assert "degree of nonholonomy 4, expected 3" in message
    # off the line x = 0 the two fields span the plane
    assert "where the growth vector is (2)" in message


def test_a_closed_flag_fails_with_its_rank_and_figures():
    message = failure(assert_bracket_generating, sr.models.contact_times_line(), [0, 0, 0, 0])
    assert "growth vector (2, 3), status: closed at rank 3 of 4" in message
    table = message.splitlines()[2:5]
    assert table[0].split() == ["step", "dim", "accepted", "rejected", "singular", "values"]
    assert [row.split()[:2] for row in table[1:]] == [["1", "2"], ["2", "3"]]
    assert "it holds at none of" in message


def test_an_undecided_flag_is_not_taken_for_generating():
    message = failure(assert_bracket_generating, steep(40), [0, 0])
    assert "status: not decided at step 32, at rank 1 of 2" in message
    message = failure(assert_growth_vector, steep(40), [0, 0], (1,))
    assert "so far at x=0, y=0, expected (1)" in message


def test_a_failing_point_of_a_batch_is_named():
    message = failure(assert_bracket_generating, steep(1), [[1, 0], [0, 5], [2, 0], [0, 7]], step=1)
    assert "with step 1 at x=0, y=5" in message
    assert "it fails at 2 of the 4 points given" in message


def test_the_nearest_point_where_it_holds_does_hold():
    message = failure(assert_bracket_generating, sr.models.grushin(), [0, 3], step=1)
    named = message.split("the nearest ")[1].split(", where")[0]
    point = dict(part.split("=") for part in named.split(", "))
    assert_bracket_generating(sr.models.grushin(), point, step=1)
    assert np.hypot(float(point["x"]), float(point["y"]) - 3) < 0.1


def test_growth_vectors_are_compared_exactly():
    assert_growth_vector(sr.models.cartan(), [0] * 5, (2, 3, 5))
    assert_growth_vector(sr.models.contact_times_line(), [0] * 4, [2, 3])
    assert_growth_vector(sr.models.hopf(), [0] * 4, np.array([0]))


@pytest.mark.parametrize(
    ("growth", "difference"),
    [
        ((2, 4), "at step 2: dim D^2 is 3, expected 4"),
        ((2,), "at step 2: dim D^2 is 3, expected the end at step 1"),
        ((2, 3, 4), "at step 3: the flag is filled at step 2, expected dim D^3 = 4"),
        ((1, 3), "at step 1: dim D^1 is 2, expected 1"),
    ],
)
def test_the_first_step_that_differs_is_named(growth, difference):
    four = sr.Structure.define(
        "two planes", "x y z w", lambda q: [(1, 0, 0, 0), (0, 1, q.x, 0), (0, 0, 0, 1)]
    ).restrict(["f1", "f2"])
    three = sr.models.heisenberg()
    structure = four if growth[-1] == 4 else three
    message = failure(assert_growth_vector, structure, [0] * structure.dimension, growth)
    expected = difference.replace("filled", "closed") if structure is four else difference
    assert f"first difference {expected}" in message


@pytest.mark.parametrize(
    ("growth", "error", "message"),
    [
        ((3, 2), InputError, "do not fall"),
        ((2, 4), InputError, "from 0 to 3"),
        ((2, 3, 3), InputError, "repeats its last entry"),
        ((), InputError, "do not fall"),
        ((2, 3.0), InputTypeError, "got 3.0"),
        (3, InputTypeError, "tuple of integers"),
    ],
)
def test_what_is_no_growth_vector_is_refused(growth, error, message):
    with pytest.raises(error, match=message):
        assert_growth_vector(sr.models.heisenberg(), [0, 0, 0], growth)


def test_other_arguments_are_checked():
    with pytest.raises(InputTypeError, match="expected a Structure"):
        assert_bracket_generating("heisenberg", [0, 0, 0])
    with pytest.raises(InputError, match="at least 1"):
        assert_bracket_generating(sr.models.heisenberg(), [0, 0, 0], step=0)
    with pytest.raises(InputTypeError, match="an integer"):
        assert_bracket_generating(sr.models.heisenberg(), [0, 0, 0], step=2.0)
    with pytest.raises(InputError, match="outside the chart"):
        assert_bracket_generating(sr.models.car(), [0, 0, 0, 3])


def test_names_of_casadi_functions_do_not_matter():
    bent = sr.Structure.define("bent", "x y", lambda q: [(1, ca.sin(q.x)), (0, ca.exp(q.y))])
    assert_growth_vector(bent, [0, 0], (2,))
