import casadi as ca
import numpy as np
import pytest
from by_hand import drifting

import subriem as sr
from subriem.errors import InputError, InputTypeError
from subriem.testing import assert_conserved


def balance(q):
    """U1' U1 - U2 U2' of a linear network (2, 2, 2), entry (1, 2): Du, Hu, Lee 2018."""
    return q.u1_11 * q.u1_12 + q.u1_21 * q.u1_22 - q.u2_11 * q.u2_21 - q.u2_12 * q.u2_22


def test_known_laws_are_conserved():
    network = sr.models.linear_network([2, 2, 2])
    assert_conserved(balance, network)
    assert_conserved(lambda q: ca.sin(balance(q)) ** 3, network)
    assert_conserved(lambda q: q.a**2 + q.b**2 + q.c**2 + q.d**2, sr.models.hopf())
    contact = sr.models.contact_times_line()
    assert_conserved(contact.state[3], contact, points=[1, 2, 3, 4])


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_units_do_not_matter(unit):
    # f = (y, -x) turns circles, in other units too
    turn = sr.Structure.define("turn", "x y", lambda q: [(q.y / unit, -q.x * unit)])
    assert_conserved(lambda q: (unit * q.x) ** 2 + q.y**2, turn)
    with pytest.raises(AssertionError, match="f1 changes it"):
        assert_conserved(lambda q: (unit * q.x) ** 2 * (1 + 1e-9) + q.y**2, turn)


def test_rounding_of_constants_is_no_violation():
    # 3 * 0.1 - 0.3 is 6e-17 in floats, and CasADi folds it into one constant
    line = sr.Structure.define("line", "x y", lambda q: [(0.1, 0.3)])
    assert_conserved(lambda q: 3 * q.x - q.y, line)
    with pytest.raises(AssertionError):
        assert_conserved(lambda q: 3 * q.x - (1 + 1e-9) * q.y, line)


def test_the_field_the_point_and_the_amount_are_named():
    with pytest.raises(AssertionError) as caught:
        assert_conserved(lambda q: q.z, sr.models.heisenberg(), points=[[0, 0, 5], [4, 0, 1]])
    assert str(caught.value) == (
        "heisenberg: the function is not conserved: f2 changes it\n"
        "  at x=4, y=0, z=1 the derivative along f2 is 2, where its terms add up to 2"
    )
    with pytest.raises(AssertionError, match="f1, f2 change it"):
        assert_conserved(lambda q: q.x + q.y, sr.models.heisenberg())


def test_the_drift_counts():
    pushed = drifting()
    still = sr.Structure.define(
        "still", "x v w", lambda q: [(0, 0, 1)], drift=lambda q: (q.v, -q.x, 0)
    )
    assert_conserved(lambda q: q.x**2 + q.v**2, still)
    with pytest.raises(AssertionError, match="drift changes it"):
        assert_conserved(lambda q: q.x, still)
    with pytest.raises(AssertionError, match="f1 changes it"):
        assert_conserved(lambda q: q.x**2 + q.v**2, pushed)


def test_parameters_may_appear():
    turn = sr.Structure.define(
        "turn", "x y", lambda q, p: [(q.y, -p.k * q.x)], parameters={"k": 0.37}
    )
    assert_conserved(lambda q, p: p.k * q.x**2 + q.y**2, turn)
    with pytest.raises(AssertionError):
        assert_conserved(lambda q: 0.36 * q.x**2 + q.y**2, turn)


@pytest.mark.parametrize(
    "constant",
    [lambda q: 3, lambda q: q.x - q.x, lambda q: ca.sin(q.x) ** 2 + ca.cos(q.x) ** 2, ca.SX(1)],
)
def test_a_constant_is_refused(constant):
    with pytest.raises(InputError, match="does not depend on the coordinates of heisenberg"):
        assert_conserved(constant, sr.models.heisenberg())


def test_what_is_no_function_is_refused():
    heisenberg = sr.models.heisenberg()
    with pytest.raises(InputError, match="expected a scalar expression"):
        assert_conserved(heisenberg.state, heisenberg)
    with pytest.raises(InputError, match="foreign is not a symbol of heisenberg"):
        assert_conserved(ca.SX.sym("foreign"), heisenberg)
    with pytest.raises(InputTypeError, match="expected a number or a CasADi SX"):
        assert_conserved("x", heisenberg)
    with pytest.raises(InputError, match="no coordinate 'w'"):
        assert_conserved(lambda q: q.w, heisenberg)
    with pytest.raises(InputError, match="not finite at x=0"):
        assert_conserved(lambda q: ca.sqrt(q.x), heisenberg, points=[0, 0, 0])
    with pytest.raises(InputError, match="at least one"):
        assert_conserved(lambda q: q.x, heisenberg, points=np.zeros((0, 3)))
