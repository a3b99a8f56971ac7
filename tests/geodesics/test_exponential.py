"""The exponential map against closed forms, symmetries and a second engine."""

import json
import math
import multiprocessing
from pathlib import Path

import casadi as ca
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import subriem as sr
from subriem.arithmetic.native_library import compiler
from subriem.errors import InputError, InputTypeError, MissingDependencyError, NumericalError
from subriem.geodesics import exponential, flow_map, hamiltonian
from subriem.geodesics.hamiltonian import conserved_momenta
from subriem.results.schema import validate

ENGINES = ["batch"] + (["compiled"] if compiler() else [])
STRUCTURES = {
    "heisenberg": sr.models.heisenberg,
    "grushin": sr.models.grushin,
    "martinet": sr.models.martinet,
    "se2": sr.models.unicycle,
    "engel": sr.models.engel,
}
CASES = json.loads((Path(__file__).parents[1] / "data" / "geodesics.json").read_text())


OTHERS = {
    "so3": sr.models.so3,
    "car": sr.models.car,
    "trailers": lambda: sr.models.trailers(2),
    "tanh_network": sr.models.tanh_network,
}


def numbers(values):
    return np.array([float(value) for value in values])


def skewed():
    """Every frame entry, inner product and parameter plays a part."""
    return sr.Structure.define(
        "skewed",
        "x y z",
        lambda q, p: [(1, 0, -p.a * q.y), (q.z / 4, 1, p.a * q.x)],
        inner_product=lambda q: [[2 + ca.sin(q.x), 0.3 * q.y], [0.3 * q.y, 1 + q.y**2]],
        parameters={"a": 0.5},
    )


# ---------------------------------------------------------------------- exact geodesics


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("k", range(len(CASES)))
def test_reference_geodesics(k, engine):
    case = CASES[k]
    structure = STRUCTURES[case["system"]]()
    start, covector, time = numbers(case["q0"]), numbers(case["p0"]), float(case["t"])
    for rtol, allowed in ((1e-10, 1e-9), (1e-12, 1e-11)):
        found = exponential(structure, start, covector, time, rtol=rtol, engine=engine)
        np.testing.assert_allclose(found.state[-1], numbers(case["q"]), rtol=0, atol=allowed)
        np.testing.assert_allclose(found.covector[-1], numbers(case["p"]), rtol=0, atol=allowed)
    still = case["note"].startswith("H=0")
    assert found.status == ("constant" if still else "ok")
    assert found.attrs["engine"] == engine


def test_the_error_follows_the_tolerance():
    cases = [case for case in CASES if case["system"] == "se2"]
    start = np.array([numbers(case["q0"]) for case in cases])
    covector = np.array([numbers(case["p0"]) for case in cases])
    errors = []
    for rtol in (1e-4, 1e-6, 1e-8, 1e-10, 1e-12):
        error = 0.0
        for k, case in enumerate(cases):
            found = flow_map(sr.models.unicycle(), start[k], covector[k], [float(case["t"])], rtol)
            error = max(error, np.abs(found.state[0, 0] - numbers(case["q"])).max())
        errors.append(error)
    assert (np.array(errors) < 20 * np.array([1e-4, 1e-6, 1e-8, 1e-10, 1e-12])).all()


def test_inner_product_and_parameters_against_a_runge_kutta_method():
    structure = skewed().with_parameters(a=0.7)
    function = ca.Function(
        "h",
        [structure.state, structure.parameter_symbols, p := ca.SX.sym("p", 3)],
        [0.5 * p.T @ structure.frame @ ca.inv(structure.metric) @ structure.frame.T @ p],
    )
    q = ca.SX.sym("q", 3)
    energy = function(q, structure.parameter_values, p)
    velocity = ca.Function("v", [q, p], [ca.gradient(energy, p), -ca.gradient(energy, q)])

    def rates(_, y):
        return np.concatenate([np.asarray(part).ravel() for part in velocity(y[:3], y[3:])])

    start = np.array([0.2, -0.4, 0.5, 1.0, 0.7, -1.2])
    expected = solve_ivp(rates, (0, 2), start, "DOP853", rtol=1e-13, atol=1e-13).y[:, -1]
    found = exponential(structure, start[:3], start[3:], 2.0, rtol=1e-12)
    np.testing.assert_allclose(found.state[-1], expected[:3], rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.covector[-1], expected[3:], rtol=0, atol=1e-10)
    assert float(found.hamiltonian[0]) == pytest.approx(
        float(structure.hamiltonian_at(start[:3], start[3:])), rel=1e-14
    )


def test_the_expression_of_the_hamiltonian():
    structure = skewed()
    symbols = ca.symvar(hamiltonian(structure))
    names = {symbol.name() for symbol in symbols}
    assert names == {"x", "y", "z", "p_x", "p_y", "p_z", "a"}


# ---------------------------------------------------------------------- what must hold


def sample(structure, count, seed=0):
    generator = np.random.default_rng(seed)
    return structure.sample(count, generator), generator.standard_normal(
        (count, structure.dimension)
    )


@pytest.mark.parametrize("name", [*STRUCTURES, "skewed", "so3", "car", "trailers"])
def test_diagnostics_of_a_batch(name):
    structure = {**STRUCTURES, **OTHERS, "skewed": skewed}[name]()
    q, p = sample(structure, 20)
    fan = exponential(structure, q, p, [0.0, 0.4, 1.0], rtol=1e-12)
    validate(fan)
    ok = fan.isel(geodesic=np.flatnonzero(fan.status == "ok"))
    assert ok.sizes["geodesic"] >= 10
    assert fan.state.dims == ("geodesic", "time", "coordinate")
    np.testing.assert_array_equal(fan.state[:, 0], q)
    assert float(ok.hamiltonian_drift.max()) < 1e-10
    assert float(ok.horizontality_error.max()) < 1e-8
    speed = np.sqrt(2 * ok.hamiltonian[:, :1])
    np.testing.assert_allclose(ok.length, speed * ok.time.values, rtol=1e-12)
    metric = structure.metric_at(ok.state.values.reshape(-1, structure.dimension))
    control = ok.control.values.reshape(len(metric), -1)
    norm = np.einsum("bi,bij,bj->b", control, metric, control)
    np.testing.assert_allclose(norm, 2 * ok.hamiltonian.values.ravel(), rtol=1e-10)


@pytest.mark.parametrize("make", [sr.models.unicycle, sr.models.engel, skewed])
def test_time_reversal(make):
    structure = make()
    q, p = sample(structure, 10)
    there = exponential(structure, q, p, 1.5, rtol=1e-13)
    back = exponential(structure, there.state[:, -1], -there.covector[:, -1], 1.5, rtol=1e-13)
    np.testing.assert_allclose(back.state[:, -1], q, atol=1e-11)
    backward = exponential(structure, there.state[:, -1], there.covector[:, -1], -1.5, rtol=1e-13)
    np.testing.assert_allclose(backward.state[:, -1], q, atol=1e-11)
    np.testing.assert_allclose(backward.length[:, -1], there.length[:, -1], rtol=1e-12)


def test_a_faster_covector_runs_the_same_way_sooner():
    structure = sr.models.unicycle()
    q, p = sample(structure, 10)
    slow = exponential(structure, q, p, 3.0, rtol=1e-13)
    fast = exponential(structure, q, 3 * p, 1.0, rtol=1e-13)
    np.testing.assert_allclose(fast.state[:, -1], slow.state[:, -1], atol=1e-11)


def test_left_translations_of_the_heisenberg_group():
    structure = sr.models.heisenberg()
    q, p = sample(structure, 10)
    a = np.array([0.7, -1.3, 2.0])

    def translate(point):
        x, y, z = np.moveaxis(point, -1, 0)
        return np.stack([a[0] + x, a[1] + y, a[2] + z + (a[0] * y - a[1] * x) / 2], axis=-1)

    # the covector of the image is p (dL)^-1: p_z stays, p_x and p_y change with it
    moved = p + p[:, 2:] * np.array([a[1] / 2, -a[0] / 2, 0])
    fan = exponential(structure, q, p, [0.5, 2.0], rtol=1e-12)
    image = exponential(structure, translate(q), moved, [0.5, 2.0], rtol=1e-12)
    np.testing.assert_allclose(image.state, translate(fan.state.values), atol=1e-10)


@pytest.mark.parametrize(
    ("make", "weights"),
    [
        (sr.models.heisenberg, (1, 1, 2)),
        (sr.models.engel, (1, 1, 2, 3)),
        (sr.models.martinet, (1, 1, 3)),
        (sr.models.grushin, (1, 2)),
    ],
)
def test_dilations(make, weights):
    structure, factor = make(), 1.7
    scale = factor ** np.array(weights, dtype=float)
    q, p = sample(structure, 10)
    fan = exponential(structure, q, p, 1.0, rtol=1e-12)
    dilated = exponential(structure, scale * q, factor**2 * p / scale, 1.0, rtol=1e-12)
    # lengths grow by the factor: H by its square
    np.testing.assert_allclose(dilated.state[:, -1], scale * fan.state[:, -1], atol=1e-9)
    np.testing.assert_allclose(dilated.length[:, -1], factor * fan.length[:, -1], rtol=1e-11)


def test_change_of_coordinates():
    structure = sr.models.unicycle()
    other = structure.change_coordinates(
        "u v w",
        lambda q: (q.x + q.y**2, q.y, q.theta + q.x / 2 + q.y**2 / 2),
        lambda z: (z.u - z.v**2, z.v, z.w - z.u / 2),
    )

    def forward(point):
        x, y, theta = np.moveaxis(point, -1, 0)
        return np.stack([x + y**2, y, theta + x / 2 + y**2 / 2], axis=-1)

    q, p = sample(structure, 10)
    one = np.ones(len(q))
    slope = np.array(
        [[one, 2 * q[:, 1], 0 * one], [0 * one, one, 0 * one], [one / 2, q[:, 1], one]]
    )
    covector = np.linalg.solve(np.moveaxis(slope, -1, 0).swapaxes(1, 2), p[..., None])[..., 0]
    fan = exponential(structure, q, p, [1.0, 2.0], rtol=1e-12)
    same = exponential(other, forward(q), covector, [1.0, 2.0], rtol=1e-12)
    np.testing.assert_allclose(same.state, forward(fan.state.values), atol=1e-9)


def test_momenta_of_ignorable_coordinates_do_not_move():
    structure = sr.models.unicycle()
    assert conserved_momenta(structure) == ("x", "y")
    fan = exponential(structure, *sample(structure, 5), [0.0, 1.0, 10.0])
    assert fan.attrs["conserved_momenta"] == ["x", "y"]
    momenta = fan.covector.sel(coordinate=["x", "y"]).values
    np.testing.assert_array_equal(momenta, np.repeat(momenta[:, :1], 3, axis=1))


def test_angles_are_not_brought_back_to_one_period():
    turn = exponential(sr.models.unicycle(), [0, 0, 0], [0, 0, 2], 10.0)
    assert float(turn.state.sel(coordinate="theta")[-1]) == pytest.approx(20, rel=1e-14)


# ---------------------------------------------------------------------- events


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("direction", [1, -1])
def test_leaving_the_chart(engine, direction):
    structure = sr.Structure.define(
        "strip", "x y", lambda q: [(1, 0), (0, q.x)], domain={"x": (-2, 0.5)}
    )
    # x = sin(t / 2) / (1 / 2), -t, t and t / 10
    covector = direction * np.array([[1, 0.5], [-1, 0], [1, 0], [0.1, 0]])
    times = direction * np.array([0.25, 1.0, 3.0])
    fan = exponential(structure, [0, 0], covector, times, rtol=1e-12, engine=engine)
    assert fan.status.values.tolist() == [*["left the chart"] * 3, "ok"]
    expected = [2 * math.asin(0.25), 2, 0.5, math.nan]
    np.testing.assert_allclose(fan.event_time, expected, rtol=1e-11)
    reached = np.isfinite(fan.state.values).all(axis=2)
    np.testing.assert_array_equal(reached, [[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 1]])
    assert np.isnan(fan.length.values[0, 1])
    with pytest.raises(NumericalError, match=r"geodesic 0 from .* left the chart at time 0.505"):
        exponential(structure, [0, 0], covector, times, engine=engine, strict=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_blow_up_in_finite_time(engine):
    structure = sr.Structure.define("blow-up", "x y", lambda q: [(1 + q.x**2, 0), (0, 1)])
    times = [0.25, 1.0, 1.5, 1.6]
    found = exponential(structure, [0, 0], [1, 0], times, rtol=1e-12, engine=engine)
    assert found.status == "blew up"
    assert float(found.event_time) == pytest.approx(math.pi / 2, rel=1e-10)
    np.testing.assert_allclose(found.state[:3, 0], np.tan(times[:3]), rtol=1e-10)
    assert np.isnan(found.state[3]).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_kink_of_the_model_ends_a_geodesic(engine):
    structure = sr.Structure.define("kink", "x y", lambda q: [(1, 0), (0, 1 + ca.fabs(q.x - 0.5))])
    fan = exponential(structure, [0, 0], [[1, 0], [-1, 0]], [0.2, 1.0], engine=engine)
    assert fan.status.values.tolist() == ["met a kink", "ok"]
    assert float(fan.event_time[0]) == pytest.approx(0.5, abs=1e-14)


def test_covectors_that_annihilate_the_distribution():
    structure = sr.models.heisenberg()
    fan = exponential(structure, [1, 2, 3], [[0, 0, 0], [1, -0.5, 1], [1, 0, 0]], [1.0, 100.0])
    assert fan.status.values.tolist() == ["constant", "constant", "ok"]
    np.testing.assert_array_equal(fan.state[:2], np.broadcast_to([1.0, 2, 3], (2, 2, 3)))
    np.testing.assert_array_equal(fan.length[:2], 0)
    np.testing.assert_array_equal(fan.hamiltonian_drift[:2], 0)


# ---------------------------------------------------------------------- the two engines


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
@pytest.mark.parametrize("name", [*STRUCTURES, "skewed", "trailers", "tanh_network"])
def test_engines_agree(name):
    structure = {**STRUCTURES, **OTHERS, "skewed": skewed}[name]()
    q, p = sample(structure, 9)
    flows = [flow_map(structure, q, p, [0.3, 1.0], 1e-12, engine=engine) for engine in ENGINES]
    np.testing.assert_array_equal(flows[0].status, flows[1].status)
    for one, other in zip(flows[0][:4], flows[1][:4], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_without_a_compiler(monkeypatch):
    monkeypatch.setenv("CC", "")
    found = exponential(sr.models.heisenberg(), [0, 0, 0], [1, 0, 1], 2 * math.pi)
    assert found.attrs["engine"] == "batch"
    np.testing.assert_allclose(found.state[-1], [0, 0, math.pi], atol=1e-9)
    with pytest.raises(MissingDependencyError):
        exponential(sr.models.heisenberg(), [0, 0, 0], [1, 0, 1], 1.0, engine="compiled")


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_a_hundred_thousand_covectors_at_once(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    covectors = np.random.default_rng(0).standard_normal((100_000, 3))
    fan = exponential(sr.models.heisenberg(), [0, 0, 0], covectors, 1.0, rtol=1e-12)
    # the arc of a circle, and the area under it
    px, py, w = covectors.T
    x = (px * np.sin(w) - py * (1 - np.cos(w))) / w
    y = (py * np.sin(w) + px * (1 - np.cos(w))) / w
    z = (px**2 + py**2) * (w - np.sin(w)) / (2 * w**2)
    exact = np.stack([x, y, z], axis=1)
    near = np.abs(w) > 1e-3  # the closed form cancels at w = 0
    assert near.sum() > 99_000
    assert np.abs(fan.state.values[near, -1] - exact[near]).max() < 1e-9
    assert (fan.status == "ok").all()


def _end(structure):
    return exponential(structure, [0, 0, 0], [1, 2, 3], 1.0).state.values


def test_a_spawned_process_finds_the_same():
    structure = skewed()
    here = _end(structure)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(_end, (structure,)), here)


# ---------------------------------------------------------------------- input


def test_start_at_several_points():
    structure = sr.models.heisenberg()
    points = np.array([[0, 0, 0], [1, 2, 3.0]])
    fan = exponential(structure, points, [1, 0, 2], 1.0)
    for k in range(2):
        alone = exponential(structure, points[k], [1, 0, 2], 1.0)
        assert alone.state.dims == ("time", "coordinate")
        np.testing.assert_allclose(fan.state[k], alone.state, atol=1e-14)
    named = exponential(structure, {"x": 1, "y": 2, "z": 3}, {"x": 1, "y": 0, "z": 2}, 1.0)
    np.testing.assert_array_equal(named.state, alone.state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 0], [1, 0, 0], 1.0), "at: expected shape"),
        (([0, 0, 0], [1, 0], 1.0), "covector: expected shape"),
        (([0, 0, np.nan], [1, 0, 0], 1.0), "at: nan at .* is not finite"),
        (([0, 0, 0], [1, np.inf, 0], 1.0), "covector: inf at .* is not finite"),
        (([[0, 0, 0]] * 2, [[1, 0, 0]] * 3, 1.0), "expected one point or 3, got 2"),
        (([0, 0, 0], [1, 0, 0], 0.0), "horizon that is finite and not 0"),
        (([0, 0, 0], [1, 0, 0], np.nan), "horizon that is finite and not 0"),
        (([0, 0, 0], [1, 0, 0], [1.0, 0.5]), "strictly in order"),
        (([0, 0, 0], [1, 0, 0], [-1.0, 0.5]), "of one sign"),
        (([0, 0, 0], [1, 0, 0], []), "a number or a list"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        exponential(sr.models.heisenberg(), *arguments)


def test_bad_options():
    structure = sr.models.heisenberg()
    start = ([0, 0, 0], [1, 0, 0], 1.0)
    with pytest.raises(InputError, match="rtol: expected a number between"):
        exponential(structure, *start, rtol=1e-16)
    with pytest.raises(InputError, match="engine: expected"):
        exponential(structure, *start, engine="fast")
    with pytest.raises(InputTypeError, match="expected a Structure"):
        exponential("heisenberg", *start)
    with pytest.raises(InputTypeError, match="time: expected a number"):
        exponential(structure, [0, 0, 0], [1, 0, 0], "soon")
    with pytest.raises(InputError, match="flow_map: expected finite"):
        flow_map(structure, [0, 0, 0], [np.nan, 0, 0], [1.0])
    strip = sr.Structure.define("strip", "x", lambda q: [(1,)], domain={"x": (-1, 1)})
    with pytest.raises(InputError, match="outside the chart"):
        exponential(strip, [2], [1], 1.0)
    drifting = sr.Structure.define(
        "integrator", "x v", lambda q: [(0, 1)], drift=lambda q: (q.v, 0)
    )
    with pytest.raises(InputError, match="has a drift"):
        exponential(drifting, [0, 0], [1, 0], 1.0)


# ---------------------------------------------------------------------- derivatives


@pytest.mark.parametrize("make", [sr.models.unicycle, sr.models.engel, skewed, sr.models.so3])
def test_derivatives_by_the_covector_against_differences(make):
    structure = make()
    q, p = sample(structure, 4, seed=3)
    times, h, n = [0.3, 0.8], 1e-3, structure.dimension
    flow = flow_map(structure, q, 0.5 * p, times, 1e-13)
    assert (flow.status == 0).all()
    for j in range(n):
        # sixth order: errors of h^6 and of rounding / h
        total_q, total_p = 0.0, 0.0
        for k, weight in ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60)):
            shift = k * h * np.eye(n)[j]
            ahead = flow_map(structure, q, 0.5 * p + shift, times, 1e-13, jacobian=False)
            behind = flow_map(structure, q, 0.5 * p - shift, times, 1e-13, jacobian=False)
            total_q = total_q + weight * (ahead.state - behind.state) / h
            total_p = total_p + weight * (ahead.covector - behind.covector) / h
        np.testing.assert_allclose(flow.state_jacobian[..., j], total_q, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(flow.covector_jacobian[..., j], total_p, rtol=1e-8, atol=1e-9)


def test_the_flow_is_symplectic():
    structure = skewed()
    q, p = sample(structure, 5)
    flow = flow_map(structure, q, p, [1.0], 1e-13)
    dq, dp = flow.state_jacobian[:, 0], flow.covector_jacobian[:, 0]
    # two columns of a symplectic matrix: dq' dp is symmetric
    product = dq.swapaxes(1, 2) @ dp
    np.testing.assert_allclose(product, product.swapaxes(1, 2), rtol=1e-9, atol=1e-9)
