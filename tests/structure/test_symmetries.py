"""Declared symmetries: what is refused, and that those of the zoo are isometries."""

import pickle

import casadi as ca
import numpy as np
import pytest

import subriem as sr
from subriem.errors import InputError, InputTypeError

DECLARED = {
    "heisenberg": {},
    "heisenberg, n = 2": {"n": 2},
    "unicycle": {},
    "martinet": {},
    "martinet, perturbed": {"perturbation": 0.3},
    "grushin": {},
    "grushin, alpha = 2": {"alpha": 2},
    "engel": {},
    "cartan": {},
}


def plane(symmetries):
    return sr.Structure.define("plane", "x y", lambda q: [(1, 0), (0, 1)], symmetries=symmetries)


@pytest.mark.parametrize("name", DECLARED)
def test_symmetries_of_the_zoo_carry_geodesics_to_geodesics(name):
    structure = getattr(sr.models, name.split(",")[0])(**DECLARED[name])
    assert structure.symmetries
    generator = np.random.default_rng(1)
    n = structure.dimension
    start, covector = 0.3 * generator.standard_normal((2, n))
    path = sr.exponential(structure, start, covector, [0.4, 0.8], rtol=1e-13)
    for symmetry in structure.symmetries:
        image, slope = (np.asarray(value) for value in symmetry.map(start, 0.7))
        carried = np.linalg.solve(slope.T, covector)
        other = sr.exponential(structure, image[:, 0], carried, [0.4, 0.8], rtol=1e-13)
        expected = [np.asarray(symmetry.map(state, 0.7)[0])[:, 0] for state in path.state.values]
        np.testing.assert_allclose(other.state, expected, atol=1e-11, err_msg=symmetry.name)


def test_what_is_no_isometry_is_refused():
    with pytest.raises(InputError, match="symmetry stretch: not an isometry"):
        plane({"stretch": lambda q: (2 * q.x, q.y)})
    with pytest.raises(InputError, match=r"symmetry shear: not an isometry .*s = "):
        plane({"shear": lambda q, s: (q.x + s * q.y, q.y)})
    with pytest.raises(InputError, match="identity at s = 0"):
        plane({"shift": lambda q, s: (q.x + s + 1, q.y)})
    # the distribution of the Heisenberg group is kept, the inner product is not
    with pytest.raises(InputError, match="not an isometry"):
        sr.Structure.define(
            "heisenberg",
            "x y z",
            lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)],
            symmetries={"dilation": lambda q, s: (ca.exp(s) * q.x, q.y, ca.exp(s) * q.z)},
        )
    # a projection: where the frame does not see it, the derivative shows it
    with pytest.raises(InputError, match="not an isometry"):
        sr.Structure.define(
            "line", "x y", lambda q: [(1, 0)], symmetries={"flat": lambda q: (q.x, 0)}
        )


def test_a_symmetry_must_hold_for_all_parameters():
    def frame(q, p):
        return [(1, 0), (0, 1 + p.tilt * q.x)]

    with pytest.raises(InputError, match="not an isometry"):
        sr.Structure.define(
            "tilted",
            "x y",
            frame,
            parameters={"tilt": 0.0},
            domain=lambda q, p: 1 + p.tilt * q.x,
            symmetries={"mirror": lambda q: (-q.x, q.y)},
        )


def test_bad_declarations():
    with pytest.raises(InputTypeError, match="expected a mapping"):
        plane([lambda q: q])
    with pytest.raises(InputTypeError, match="expected a function of q"):
        plane({"mirror": 3})
    with pytest.raises(InputTypeError, match="of q and s, got 3"):
        plane({"mirror": lambda q, s, t: (q.x, q.y)})
    with pytest.raises(InputError, match="expected 2 entries, got 1"):
        plane({"mirror": lambda q: (q.x,)})
    with pytest.raises(InputError, match="coordinates and s only"):
        plane({"mirror": lambda q: (q.x, ca.SX.sym("w"))})


def test_symmetries_survive_pickling_and_parameters():
    structure = pickle.loads(pickle.dumps(sr.models.martinet(perturbation=0.5)))
    changed = structure.with_parameters(perturbation=0.1)
    assert [symmetry.name for symmetry in changed.symmetries] == ["mirror y", "shift y", "shift z"]
    assert structure.restrict([0]).symmetries == ()
