"""The dimension of orbits against published counts, closed forms and other methods."""

import itertools
import json
from pathlib import Path

import casadi as ca
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from law_cases import balancedness_rank, linear_list, relu_list

import subriem as sr
from subriem.brackets.field_family import FieldFamily, field_family
from subriem.brackets.modular_orbit import modular_orbit, modular_rank, verify_laws
from subriem.errors import InputError, InputTypeError, NumericalError

DATA = Path(__file__).parents[1] / "data"


def test_the_published_linear_networks_are_certified() -> None:
    for dims in linear_list():
        orbit = sr.orbit_dimension(sr.models.linear_network(dims))
        assert int(orbit.codimension) == balancedness_rank(dims), dims
        assert bool(orbit.certified), dims


def test_the_published_relu_networks_are_certified() -> None:
    for dims, bias in relu_list():
        orbit = sr.orbit_dimension(sr.models.relu_network(dims, bias=bias))
        assert int(orbit.codimension) == sum(dims[1:-1]), (dims, bias)
        assert bool(orbit.certified), (dims, bias)


@pytest.mark.parametrize(
    ("dims", "total", "dimension"),
    [((5, 3, 2), 21, 15), ((5, 5, 4, 4, 5), 81, 46), ((3, 4, 2, 4), 28, 15), ((4, 2, 5), 18, 15)],
)
def test_published_dimensions_of_lie_algebras(
    dims: tuple[int, ...], total: int, dimension: int
) -> None:
    orbit = sr.orbit_dimension(sr.models.linear_network(dims))
    assert int(orbit.dimension) == dimension
    assert int(orbit.codimension) == total - dimension


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_two_layers_follow_the_published_formula(n: int, r: int, m: int) -> None:
    orbit = sr.orbit_dimension(sr.models.linear_network([n, r, m]))
    rank = min(r, n + m)
    if n * m == 1:
        # a single field: all of its lines' first integrals
        assert int(orbit.codimension) == 2 * r - 1
    else:
        assert int(orbit.codimension) == rank * (2 * r + 1 - rank) // 2
    assert bool(orbit.certified)


def test_a_scalar_output_conserves_more_than_balancedness() -> None:
    orbit = sr.orbit_dimension(sr.models.linear_network([1, 2, 2, 1]))
    assert (int(orbit.codimension), bool(orbit.certified)) == (7, True)
    assert int(orbit.first_integrals) == 6


@pytest.mark.slow
def test_large_networks_are_certified() -> None:
    linear = sr.orbit_dimension(sr.models.linear_network([10] * 6))
    assert (int(linear.codimension), bool(linear.certified)) == (4 * 55, True)
    relu = sr.orbit_dimension(sr.models.relu_network([12] * 8, bias=True))
    assert (int(relu.codimension), bool(relu.certified)) == (72, True)


@pytest.mark.parametrize("degree", [2, 3, 5])
def test_the_product_of_all_coordinates_has_one_law_less_than_factors(degree: int) -> None:
    names = [f"x{k}" for k in range(degree)]

    def frame(q: object) -> list[list[object]]:
        x = [q[k] for k in range(degree)]  # type: ignore[index]
        return [[np.prod([x[j] for j in range(degree) if j != k] or [1]) for k in range(degree)]]

    orbit = sr.orbit_dimension(sr.Structure.define("product", names, frame))
    assert (int(orbit.codimension), bool(orbit.certified)) == (degree - 1, True)


def test_random_fields_leave_nothing_invariant() -> None:
    generator = np.random.default_rng(3)
    table = generator.integers(-3, 4, (2, 5, 5, 5))

    def frame(q: object) -> list[list[object]]:
        x = [q[k] for k in range(5)]  # type: ignore[index]
        return [
            [
                sum(int(c) * x[i] * x[j] for (i, j), c in np.ndenumerate(table[f, k]))
                for k in range(5)
            ]
            for f in range(2)
        ]

    orbit = sr.orbit_dimension(sr.Structure.define("random", "a b c d e", frame))
    assert (int(orbit.dimension), bool(orbit.certified)) == (5, True)


@pytest.mark.parametrize(
    ("name", "dimension"),
    [("heisenberg", 3), ("integrable_saddle", 2), ("contact_times_line", 3), ("cartan", 5)],
)
def test_control_systems(name: str, dimension: int) -> None:
    orbit = sr.orbit_dimension(getattr(sr.models, name)())
    assert (int(orbit.dimension), bool(orbit.certified)) == (dimension, True)


def test_trigonometric_fields_go_by_singular_values_and_balls() -> None:
    orbit = sr.orbit_dimension(sr.models.trailers(2))
    assert (int(orbit.dimension), bool(orbit.certified)) == (5, True)
    assert orbit.attrs["arithmetic"] == "floating"
    alone = sr.orbit_dimension(sr.models.trailers(2), certify=False)
    assert (int(alone.dimension), str(alone.status.item())) == (5, "settled")
    assert float(alone.rank_gap) > 1e3


def test_the_dimension_drops_at_singular_points() -> None:
    network = sr.models.linear_network([2, 2, 2])
    rows = [[1, 2, 3, 5, 7, 11, 13, 17], [1, 0, 0, 0, 0, 0, 0, 0], [0] * 8]
    orbit = sr.orbit_dimension(network, at=rows)
    # at (E_11, 0) only the second factor's first row and the first factor's column move
    assert orbit.dimension.values.tolist() == [5, 3, 0]
    assert orbit.certified.values.all()
    assert orbit.dimension.dims == ("point",)


def test_a_point_is_read_exactly() -> None:
    martinet = sr.Structure.define(
        "shifted", "x y z", lambda q: [(1, 0, 0), (0, q.x - 1 / 3, (q.x - 1 / 3) ** 2)]
    )
    there = sr.orbit_dimension(martinet, at=["1/3", 0, 0])
    assert bool(there.certified)
    line = sr.Structure.define("line", "x y", lambda q: [(q.x - 1 / 3, 0), (0, q.x - 1 / 3)])
    assert int(sr.orbit_dimension(line, at=["1/3", 0]).dimension) == 0
    assert int(sr.orbit_dimension(line, at=[0.3333333333, 0]).dimension) == 2


def test_a_drift_takes_part() -> None:
    moving = sr.Structure.define("moving", "x v", lambda q: [(0, 1)], drift=lambda q: (q.v, 0))
    assert int(sr.orbit_dimension(moving).dimension) == 2
    wave = sr.Structure.define("wave", "x v", lambda q: [(0, 1)], drift=lambda q: (ca.sin(q.v), 0))
    assert int(sr.orbit_dimension(wave).dimension) == 2


def test_the_lower_bound_can_be_rechecked() -> None:
    network = sr.models.linear_network([2, 3, 2])
    orbit = sr.orbit_dimension(network)
    # brackets of length 1 and 2 at the same point modulo the same prime, by another way
    prime, point = int(orbit.prime), [int(x) for x in orbit.base_point]
    state = network.state
    frame = network.frame
    fields = [frame[:, k] for k in range(network.rank)]
    fields += [
        ca.jacobian(fields[j], state) @ fields[i] - ca.jacobian(fields[i], state) @ fields[j]
        for i in range(4)
        for j in range(i)
    ]
    from subriem.arithmetic.prime_field import PrimeField
    from subriem.arithmetic.program import Program

    program = Program(ca.Function("fields", [state], [ca.densify(ca.horzcat(*fields))]))
    (values,) = program.run(PrimeField(prime), point)
    matrix = np.array(values).reshape(len(fields), network.dimension)
    assert modular_rank(matrix, prime) == int(orbit.dimension) == int(orbit.order_rank[-1])


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_no_seed_changes_the_answer(seed: int) -> None:
    orbit = sr.orbit_dimension(sr.models.linear_network([3, 2, 2, 3]), seed=seed)
    assert (int(orbit.dimension), bool(orbit.certified)) == (10, True)


@given(st.permutations(range(6)), st.lists(st.integers(1, 5), min_size=6, max_size=6))
@settings(max_examples=20, deadline=None)
def test_permuted_and_rescaled_coordinates(order: list[int], scales: list[int]) -> None:
    family = field_family(sr.models.relu_network([2, 2, 1]))
    state, weights = ca.SX.sym("q", 6), ca.SX.sym("w", family.weights)
    matrix = ca.DM(np.eye(6)[order] * np.array(scales))
    moved = matrix @ family.fields(ca.solve(matrix, state), weights)
    other = FieldFamily(
        "moved",
        family.coordinates,
        ca.Function("fields", [state, weights], [moved]),
        family.count,
        "all",
    )
    assert modular_orbit(other).dimension == modular_orbit(family).dimension == 4


def test_a_false_law_does_not_pass() -> None:
    family = field_family(sr.models.linear_network([2, 2, 2]))
    q = ca.SX.sym("q", 8)
    true = q[0] ** 2 + q[2] ** 2 - q[4] ** 2 - q[5] ** 2
    laws = ca.Function("laws", [q], [ca.vertcat(true, true + 1e-9 * q[0] ** 4, q[0] * q[1])])
    found = verify_laws(family, laws, [3, 1, 4, 1, 5, 9, 2, 6], 2**29 - 3)
    assert found.kept == (0,)
    assert 0 < found.error_probability < 1e-40


def test_networks_of_torch_on_given_data() -> None:
    case = json.loads((DATA / "training.json").read_text())["conserved_data_dependent"]
    layers = [
        torch.nn.Linear(a, b, bias=False)
        for a, b in zip(case["dims"][:-1], case["dims"][1:], strict=True)
    ]
    inputs = torch.tensor(case["inputs"], dtype=torch.float64)
    outputs = sr.OutputMap(torch.nn.Sequential(*layers).double(), inputs)
    given_data = sr.orbit_dimension(outputs)
    assert int(given_data.codimension) == case["total_local_conserved"]
    assert "1 sample" in given_data.attrs["scope"]
    every = sr.orbit_dimension(outputs, data="all")
    assert int(every.codimension) == case["independent_balancedness"]
    assert every.attrs["scope"] == "all data and losses"


@pytest.mark.parametrize("friction", [0, 1, lambda t: 3 / t])
@pytest.mark.parametrize(("dims", "laws"), [((2, 2, 2), 1), ((2, 3, 2), 3), ((3, 2, 3), 1)])
def test_momentum_leaves_the_antisymmetric_laws_of_linear_networks(
    dims: tuple[int, ...], laws: int, friction: object
) -> None:
    # r (r - 1) / 2: the angular momenta of U' dU - V dV', one for each pair of hidden units
    family = sr.training_family(sr.models.linear_network(dims), friction=friction)
    assert int(sr.orbit_dimension(family).codimension) == laws


@pytest.mark.parametrize("dims", [(2, 1, 2), (2, 2, 2), (3, 2, 2)])
def test_momentum_leaves_nothing_of_relu_and_nonnegative_networks(dims: tuple[int, ...]) -> None:
    # arXiv 2405.12888, abstract
    relu = sr.training_family(sr.models.relu_network(dims), friction=1)
    assert (relu.dimension, int(sr.orbit_dimension(relu).codimension)) == (
        2 * sum(a * b for a, b in itertools.pairwise(dims)) + 1,
        0,
    )
    mirror = sr.training_family(sr.models.linear_network(dims), cometric=lambda q: q, friction=1)
    orbit = sr.orbit_dimension(mirror)
    assert (int(orbit.codimension), bool(orbit.certified)) == (0, True)


def test_mirror_flows_conserve_the_sums_of_factors() -> None:
    family = sr.training_family(sr.models.linear_network([3, 2, 2]), cometric=lambda q: q)
    orbit = sr.orbit_dimension(family)
    assert (int(orbit.codimension), bool(orbit.certified)) == (2, True)


def test_bad_input_is_refused() -> None:
    heisenberg = sr.models.heisenberg()
    with pytest.raises(InputTypeError, match="expected a Structure"):
        sr.orbit_dimension(3)
    with pytest.raises(InputError, match="arithmetic"):
        sr.orbit_dimension(heisenberg, arithmetic="exact")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not rational"):
        sr.orbit_dimension(sr.models.unicycle(), arithmetic="modular")
    with pytest.raises(InputError):
        sr.orbit_dimension(heisenberg, at=[0, 0])
    with pytest.raises(InputError, match="cometric"):
        sr.training_family(heisenberg)
    with pytest.raises(InputError, match="shape"):
        sr.training_family(heisenberg, cometric=lambda q: q[:2])


def test_strict_raises_where_the_number_is_open() -> None:
    # at the point, only the 70th derivative moves: longer than any series tried
    flat = sr.Structure.define("flat", "x y z", lambda q: [(1, 0, 0), (0, 1, q.x**70 * q.z)])
    found = sr.orbit_dimension(flat, at=[0, 0, 1], certify=False)
    assert str(found.status.item()) in ("open", "settled")
    assert int(found.lower_bound) == 2 < int(found.upper_bound)
    assert not bool(found.certified)
    if str(found.status.item()) == "open":
        with pytest.raises(NumericalError, match="open"):
            sr.orbit_dimension(flat, at=[0, 0, 1], certify=False, strict=True)


@pytest.mark.parametrize(
    ("data", "laws"),
    [("all", 0), ("given", 6)],
)
def test_networks_that_are_not_rational_go_by_singular_values(data: str, laws: int) -> None:
    # one input x of two: the weights of each hidden unit move along it alone, and with a = <w, x>
    # and the outgoing weights v of a unit |v|^2 / 2 - sinh(a)^2 / (2 |x|^2) stands still
    module = torch.nn.Sequential(
        torch.nn.Linear(2, 3, bias=False), torch.nn.Tanh(), torch.nn.Linear(3, 2)
    ).double()
    outputs = sr.OutputMap(module, torch.tensor([[1.0, 2.0]], dtype=torch.float64))
    orbit = sr.orbit_dimension(outputs, data=data)  # type: ignore[arg-type]
    assert int(orbit.codimension) == laws
    assert (orbit.attrs["arithmetic"], bool(orbit.certified)) == ("floating", False)
    assert float(orbit.rank_gap) > 1e3 or laws == 0
