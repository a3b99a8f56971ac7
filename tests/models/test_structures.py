"""The structures of the zoo against frames, points and growth vectors written down elsewhere."""

import importlib
import json
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import sympy

import subriem as sr
from subriem.errors import InputError

REFERENCE = {
    entry["name"]: entry
    for entry in json.loads((Path(__file__).parents[1] / "data" / "growth.json").read_text())
}

#: Which model, with which arguments, each reference frame is of; coordinates are in one order.
MODELS = {
    "H1": ("heisenberg", {}),
    "H3": ("heisenberg", {"n": 3}),
    "Grushin_regular": ("grushin", {}),
    "alphaGrushin2_singular": ("grushin", {"alpha": 2}),
    "alphaGrushin3_regular": ("grushin", {"alpha": 3}),
    "Martinet_on2": ("martinet", {}),
    "Martinet_near": ("martinet", {}),
    "LiuSussmann_0": ("liu_sussmann", {}),
    "LiuSussmann_1": ("liu_sussmann", {}),
    "Engel": ("engel", {}),
    "chained_5": ("chained_form", {"n": 5}),
    "chained_7": ("chained_form", {"n": 7}),
    "KumperaRuiz5_sing": ("kumpera_ruiz", {"word": "RV"}),
    "Goursat6_RVR": ("kumpera_ruiz", {"word": "RVR"}),
    "Goursat6_RVV": ("kumpera_ruiz", {"word": "RVV"}),
    "Goursat7_RVVV": ("kumpera_ruiz", {"word": "RVVV"}),
    "Cartan_flat": ("cartan", {}),
    "SE2_unicycle": ("unicycle", {}),
    "car_rear": ("car", {}),
    "trailer1_straight": ("trailers", {"n": 1}),
    "trailer2_straight": ("trailers", {"n": 2}),
    "trailer2_last_right": ("trailers", {"n": 2}),
    "trailer3_straight": ("trailers", {"n": 3}),
    "trailer3_B": ("trailers", {"n": 3}),
    "trailer3_T": ("trailers", {"n": 3}),
    "trailer3_last_right": ("trailers", {"n": 3}),
    "steeredcar_2trailers_right": ("car_with_trailers", {"n": 2}),
    "steeredcar_2trailers_straight": ("car_with_trailers", {"n": 2}),
    "rolling_sphere_off": ("rolling_sphere", {}),
    "SO3_gibbs": ("so3", {}),
    "S3_quaternion_ambient": ("hopf", {}),
    "SE3_w2w3v1": ("se3", {}),
    "SE3_w1w2v1_off": ("se3", {"controls": ("w1", "w2", "v1")}),
    "SE3_w2v1": ("se3", {"controls": ("w2", "v1")}),
    "free_2_3": ("free_nilpotent", {"rank": 2, "step": 3}),
    "free_2_5": ("free_nilpotent", {"rank": 2, "step": 5}),
    "free_3_3": ("free_nilpotent", {"rank": 3, "step": 3}),
    "integrable_saddle": ("integrable_saddle", {}),
    "deep_linear_uv": ("linear_network", {"dims": (2, 1, 1)}),
}


def truths(name):
    return importlib.import_module(f"subriem.models.{name}").TRUTHS


def every_truth():
    for info in pkgutil.iter_modules(sr.models.__path__):
        module = importlib.import_module(f"subriem.models.{info.name}")
        for k, truth in enumerate(getattr(module, "TRUTHS", ())):
            yield pytest.param(info.name, truth, id=f"{info.name}-{k}")


@pytest.mark.parametrize("reference", MODELS)
def test_frame_is_that_of_the_reference(reference):
    entry, (name, arguments) = REFERENCE[reference], MODELS[reference]
    structure = getattr(sr.models, name)(**arguments)
    symbols = sympy.symbols(entry["coords"])
    names = {symbol.name: symbol for symbol in symbols}
    given = [[sympy.sympify(text, names) for text in field] for field in entry["frame"]]
    expected = sympy.lambdify(symbols, sympy.Matrix(given).T, "numpy")
    for point in structure.sample(5, np.random.default_rng(1)):
        np.testing.assert_allclose(
            structure.frame_at(point), expected(*point), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("reference", MODELS)
def test_growth_vector_of_the_reference_is_a_truth_of_the_model(reference):
    entry, (name, arguments) = REFERENCE[reference], MODELS[reference]
    same = [
        truth
        for truth in truths(name)
        if dict(truth.arguments) == arguments
        and [sympy.sympify(str(x)) for x in truth.at] == [sympy.sympify(x) for x in entry["point"]]
    ]
    assert [(truth.growth, truth.generating) for truth in same] == [
        (tuple(entry["growth"]), entry["full"])
    ]


@pytest.mark.parametrize(("name", "truth"), list(every_truth()))
def test_truths_fit_their_model(name, truth):
    structure = getattr(sr.models, name)(**truth.arguments)
    assert structure.points(truth.at).shape == (structure.dimension,)
    assert structure.inside(truth.at)
    assert list(truth.growth) == sorted(truth.growth)
    assert truth.generating == (truth.growth[-1] == structure.dimension)
    assert truth.source
    first = np.linalg.matrix_rank(structure.frame_at(truth.at))
    assert truth.growth[0] == first


def test_every_structure_has_truths():
    for info in pkgutil.iter_modules(sr.models.__path__):
        module = importlib.import_module(f"subriem.models.{info.name}")
        if "Structure" in vars(module):
            assert module.TRUTHS, info.name


@pytest.mark.parametrize(("rank", "step"), [(2, 1), (2, 7), (3, 5), (4, 3)])
def test_free_nilpotent_has_the_dimension_of_witt(rank, step):
    layers = [
        sum(sympy.mobius(d) * rank ** (k // d) for d in sympy.divisors(k)) // k
        for k in range(1, step + 1)
    ]
    assert sr.models.free_nilpotent(rank, step).dimension == sum(layers)


def tensor_product(first, second):
    """Of truncated tensor series, one array of k axes for each length k of words."""
    return [
        sum(np.multiply.outer(first[j], second[k - j]) for j in range(k + 1))
        for k in range(len(first))
    ]


def tensor_exponential(x):
    total = power = [np.ones((), complex)] + [np.zeros_like(level) for level in x[1:]]
    for k in range(1, len(x)):
        power = [level / k for level in tensor_product(power, x)]
        total = [a + b for a, b in zip(total, power, strict=True)]
    return total


def bracketed_lyndon_words(rank, step):
    """By the definition: words smaller than their rotations, split at the longest such suffix."""
    found = {}
    for length in range(1, step + 1):
        for word in np.ndindex(*(rank,) * length):
            if any(word[k:] + word[:k] <= word for k in range(1, length)):
                continue
            levels = [np.zeros((rank,) * k, complex) for k in range(step + 1)]
            if length == 1:
                levels[1][word] = 1
            else:
                cut = next(k for k in range(1, length) if word[k:] in found)
                u, v = found[word[:cut]], found[word[cut:]]
                pairs = zip(tensor_product(u, v), tensor_product(v, u), strict=True)
                levels = [a - b for a, b in pairs]
            found[word] = levels
    return list(found.values())


@pytest.mark.parametrize(("rank", "step"), [(2, 4), (2, 6), (3, 4)])
def test_free_nilpotent_fields_are_left_invariant(rank, step):
    """d exp(x) along f_i is exp(x) e_i in the tensor algebra, by a complex step."""
    structure = sr.models.free_nilpotent(rank, step)
    basis = bracketed_lyndon_words(rank, step)
    x = np.random.default_rng(2).standard_normal(structure.dimension)

    def group_element(x):
        levels = [
            sum(x[k] * element[j] for k, element in enumerate(basis)) for j in range(step + 1)
        ]
        return tensor_exponential(levels)

    here = group_element(x.astype(complex))
    for i in range(rank):
        velocity = structure.frame_at(x)[:, i]
        moved = group_element(x + 1e-30j * velocity)
        for level, expected in zip(moved, tensor_product(here, basis[i]), strict=True):
            np.testing.assert_allclose(level.imag / 1e-30, expected.real, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "invariant"),
    [
        ("integrable_saddle", lambda q: q[2] - q[0] * q[1]),
        ("contact_times_line", lambda q: q[3]),
        ("hopf", lambda q: q @ q),
    ],
)
def test_what_is_conserved_is_constant_along_the_fields(name, invariant):
    structure = getattr(sr.models, name)()
    for q in structure.sample(5):
        for velocity in structure.frame_at(q).T:
            assert abs(invariant(q + 1e-30j * velocity).imag) < 1e-43


def test_perturbed_martinet_has_the_same_distribution_and_another_metric():
    q = [0.7, -1.0, 2.0]
    flat, perturbed = (sr.models.martinet(b).frame_at(q) for b in (0, -0.5))
    np.testing.assert_allclose(perturbed, flat * [1, 0.65], rtol=1e-14)
    assert not sr.models.martinet(-0.5).inside([2.5, 0, 0])


def test_long_words_are_read_letter_by_letter():
    """RVTR: the constant 1 comes with the R after T, and none with T."""
    frame = sr.models.kumpera_ruiz("RVTRR").frame_at([0, 0, 2, 3, 5, 7, 11, 13])
    # f after R: (1, 2, 3); V: (5, 10, 15, 1); T: x6; R: x7 + 1; R: x8
    np.testing.assert_array_equal(frame[:, 1], [5, 10, 15, 1, 7, 12, 13, 0])
    np.testing.assert_array_equal(frame[:, 0], [0] * 7 + [1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: m.heisenberg(0), "n >= 1"),
        (lambda m: m.heisenberg(1.5), "n >= 1"),
        (lambda m: m.grushin(0), "alpha >= 1"),
        (lambda m: m.grushin(0.5), "alpha >= 1"),
        (lambda m: m.martinet(float("nan")), "finite perturbation"),
        (lambda m: m.chained_form(2), "n >= 3"),
        (lambda m: m.kumpera_ruiz("VR"), "begins with R"),
        (lambda m: m.kumpera_ruiz("RT"), "T after V or T"),
        (lambda m: m.kumpera_ruiz(""), "begins with R"),
        (lambda m: m.free_nilpotent(1, 2), "rank >= 2"),
        (lambda m: m.free_nilpotent(2, 0), "step >= 1"),
        (lambda m: m.car(0), "positive length"),
        (lambda m: m.trailers(-1), "n >= 0"),
        (lambda m: m.trailers(2, [1.0]), "expected 2 positive lengths"),
        (lambda m: m.trailers(1, [-1.0]), "expected 1 positive lengths"),
        (lambda m: m.car_with_trailers(0), "n >= 1"),
        (lambda m: m.car_with_trailers(1, length=0.0), "positive length"),
        (lambda m: m.rolling_sphere(-1), "positive radius"),
        (lambda m: m.ball_plate(float("inf")), "positive radius"),
        (lambda m: m.so3([]), "different controls"),
        (lambda m: m.so3(["w1", "w1"]), "different controls"),
        (lambda m: m.se3(["w4"]), "w1, w2, w3, v1, v2, v3"),
        (lambda m: m.linear_network([3]), "two or more positive widths"),
        (lambda m: m.linear_network([3, 0]), "two or more positive widths"),
        (lambda m: m.relu_network([2, 1.5]), "two or more positive widths"),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make(sr.models)


def test_sizes_may_be_numpy_integers():
    assert sr.models.trailers(np.int64(2)).dimension == 5
    assert sr.models.linear_network(np.array([2, 3, 4])).dimension == 18
