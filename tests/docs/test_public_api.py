"""The whole public API is documented: parameters, results, errors, examples, no idle keyword."""

import dataclasses
import inspect
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from docstring_rules import DEPTH, complaints, function_of
from public_names import methods_of, properties_of, public_objects
from raised_errors import raised_by

import subriem as sr
from subriem.errors import InputError, SubriemError

ROOT = Path(__file__).parents[2]

# Errors of the source that no caller meets: (documented name, who raises, what), and why not.
UNREACHABLE = {
    ("_flag", "NumericalError"): "with strict=True alone, which is not passed on",
    ("_variable", "InputError"): "the library's own dataset would be malformed",
    ("_variable", "InputTypeError"): "the library's own dataset would be malformed",
    ("Program.__init__", "InputError"): "the library's own function would not be scalar",
    ("lie_bracket", "InputError"): "the family's own expressions would not fit each other",
    ("lie_bracket", "InputTypeError"): "the family's own expressions would not fit each other",
    ("Model.__init__", "InputError"): "a structure has a name",
    ("decode_json", "InputError"): "a damaged file is a ResultsError",
    ("plain_values", "InputTypeError"): "a damaged file is a ResultsError; save tells of its own",
    ("write_report", "InputTypeError"): "an accessor has a dataset",
    ("run_from_command_line", "UsageError"): "main ends with SystemExit, as it says",
    ("run_from_command_line", "Exit"): "main ends with SystemExit, as it says",
    ("OutputMap.__init__", "InputTypeError"): "the model's own module would be wrong",
}
# Whoever calls one of these hands it on what came from the user: nothing is taken off.
HANDED_ON = {"subriem.lie_bracket", "subriem.testing.Model", "subriem.OutputMap"}

PUBLIC = public_objects()
METHODS = {}
PROPERTIES = {}
for _public in PUBLIC.values():
    if inspect.isclass(_public.target):
        for _method in methods_of(_public):
            METHODS.setdefault(_method.target, _method)
        for _name, _getter in properties_of(_public):
            PROPERTIES.setdefault(_getter, _name)
CALLABLES = [*PUBLIC.values(), *METHODS.values()]


def reachable(name: str, complaint: str) -> bool:
    """Whether a complaint about an error stands."""
    return name in HANDED_ON or not any(
        complaint.startswith(f"raises {kind} (in {where})") for where, kind in UNREACHABLE
    )


@pytest.mark.parametrize("public", CALLABLES, ids=lambda public: public.name)
def test_documentation_is_whole(public):
    example = public.owner is None
    found = complaints(public.target, owner=public.owner, example=example)
    assert not [text for text in found if reachable(public.name, text)]


@pytest.mark.parametrize("getter", PROPERTIES, ids=PROPERTIES.get)
def test_properties_say_what_they_are(getter):
    assert (inspect.getdoc(getter) or "").strip()
    assert inspect.signature(getter).return_annotation is not inspect.Signature.empty


def test_every_room_and_model_was_walked():
    names = set(PUBLIC)
    assert {f"subriem.{n}" for n in sr.__all__ if not inspect.ismodule(getattr(sr, n))} <= names
    assert {f"subriem.models.{name}" for name in sr.models.available()} <= names
    assert len(CALLABLES) > 180
    assert len(PROPERTIES) > 30


def test_nothing_is_excused_that_no_source_raises():
    raised = set()
    for public in CALLABLES:
        owner = public.target if inspect.isclass(public.target) else public.owner
        for kind, where in raised_by(
            function_of(public.target), owner, "subriem", depth=DEPTH
        ).items():
            raised.add((where, kind.__name__))
    assert set(UNREACHABLE) <= raised


def test_examples_are_collected():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert "--doctest-modules" in options["addopts"]
    for public in PUBLIC.values():
        folder = Path(inspect.getfile(public.target)).relative_to(ROOT).parts[0]
        assert folder in options["testpaths"], public.name


# ---------------------------------------------------------------------- keywords

HEISENBERG = sr.models.heisenberg()


def network():
    return sr.OutputMap(sr.models.multilayer_perceptron([1, 4, 1]), [[-1.0], [1.0]])


def flow(**options):
    return sr.flow(network(), sr.SquaredLoss([0.0, 1.0]), **options)


def geodesic(**options):
    return sr.exponential(HEISENBERG, [0, 0, 0], [1, 0, 1], 1.0, **options)


# Every public callable with **keywords: what it does with one that it does not know.
UNKNOWN_KEYWORDS = {
    "subriem.Structure.with_parameters": lambda: HEISENBERG.with_parameters(mass=1.0),
    "subriem.results.select_task": lambda: sr.results.select_task(
        sr.results.combine_tasks([xr.Dataset({"loss": 1.0})], {"seed": [0]}), speed=1
    ),
}


def takes_any_keyword(public):
    parameters = inspect.signature(public.target).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def test_unknown_keywords_are_refused():
    open_ended = {
        public.name
        for public in CALLABLES
        if not (inspect.isclass(public.target) and issubclass(public.target, Exception))
        and takes_any_keyword(public)
    }
    assert open_ended == set(UNKNOWN_KEYWORDS)
    for call in UNKNOWN_KEYWORDS.values():
        with pytest.raises(SubriemError):
            call()


# Keywords that an other one leaves without effect are refused, not ignored.
IDLE = {
    "tau of another flow": lambda: flow(tau=0.5),
    "rank loss of a gradient flow": lambda: flow(kind="gradient", on_rank_loss="stop"),
    "steps of a gradient flow": lambda: flow(kind="gradient", max_steps=3),
    "steps of an interpolated flow": lambda: flow(kind="interpolated", tau=0.5, max_steps=3),
    "rtol of the symplectic method": lambda: geodesic(symplectic_step=0.1, rtol=1e-3),
    "device of the symplectic method": lambda: geodesic(symplectic_step=0.1, device="cuda"),
    "device of compiled code": lambda: geodesic(engine="compiled", device="cuda"),
    "data of a structure": lambda: sr.orbit_dimension(HEISENBERG, data="all"),
    "data of the laws of a structure": lambda: sr.conservation_laws(HEISENBERG, data="all"),
    "unknown data": lambda: sr.orbit_dimension(HEISENBERG, data="some"),
    "classes of label distributions": lambda: sr.CrossEntropyLoss([[0.5, 0.5]], classes=2),
    "velocity of a polygon": lambda: sr.horizontal_lift(
        network(), np.zeros((2, 2)), velocity=lambda t: np.zeros(2)
    ),
}


@pytest.mark.parametrize("case", IDLE, ids=str)
def test_idle_keywords_are_refused(case):
    with pytest.raises(InputError):
        IDLE[case]()


def test_another_device_chooses_the_engine_that_runs_there():
    method = sr.geodesics.flow_map
    with pytest.raises((NotImplementedError, RuntimeError)):  # a device that holds no numbers
        method(HEISENBERG, [[0.0, 0.0, 0.0]], [[1.0, 0.0, 1.0]], [1.0], device="meta")
    assert geodesic(device=torch.device("cpu")).attrs["engine"] == geodesic().attrs["engine"]


# ---------------------------------------------------------------------- the rules can fail


def _check(value: int) -> None:
    if value < 0:
        raise InputError("negative")


def whole(value: int, scale: float = 1.0) -> float:
    """A value in other units.

    Parameters
    ----------
    value : int
    scale : float

    Returns
    -------
    float

    Raises
    ------
    InputError
        If it is negative.

    Examples
    --------
    >>> whole(2, 3.0)
    6.0
    """
    _check(value)
    return value * scale


def bare(value: int) -> int:
    return value


def undocumented_parameter(value: int, scale: float) -> None:
    """Take two numbers.

    Parameters
    ----------
    value : int
    """
    print(value, scale)


def parameter_that_is_gone(value: int) -> None:
    """Take a number.

    Parameters
    ----------
    value : int
    scale : float
    """
    print(value)


def wrong_order(value: int, scale: float) -> None:
    """Take two numbers.

    Parameters
    ----------
    scale : float
    value : int
    """
    print(value, scale)


def no_returns(value: int) -> int:
    """Give a number.

    Parameters
    ----------
    value : int
    """
    return value


def error_of_a_helper(value: int) -> None:
    """Check a number.

    Parameters
    ----------
    value : int
    """
    _check(value)


def error_that_is_caught(value: int) -> None:
    """Check a number.

    Parameters
    ----------
    value : int
    """
    try:
        _check(value)
    except ValueError:
        print("never mind")


def builtin_error(value: int) -> None:
    """Refuse a number.

    Parameters
    ----------
    value : int
    """
    raise KeyError(value)


def ignored(value: int, scale: float) -> None:
    """Take two numbers.

    Parameters
    ----------
    value : int
    scale : float
    """
    print(value)


def never_run(value: int) -> None:
    print(value)


class Holder:
    """Hold a number.

    Parameters
    ----------
    value : int
    """

    def __init__(self, value: int) -> None:
        self._refuse(value)

    def _refuse(self, value: int) -> None:
        if value:
            raise TypeError(value)


@dataclasses.dataclass
class Record:
    """Two numbers.

    Attributes
    ----------
    value : int
    """

    value: int
    scale: float


BAD = {
    bare: ["has no docstring", "parameter 'value' is not documented", "has no section Returns"],
    undocumented_parameter: ["parameter 'scale' is not documented"],
    parameter_that_is_gone: ["there is no parameter 'scale' as documented"],
    wrong_order: ["parameters are documented in the order ['scale', 'value']"],
    no_returns: ["has no section Returns"],
    error_of_a_helper: ["raises InputError (in _check), which is not documented"],
    error_that_is_caught: [],
    builtin_error: ["raises KeyError (in builtin_error), which is not documented"],
    ignored: ["parameter 'scale' is never read"],
    Holder: ["raises TypeError (in Holder._refuse), which is not documented"],
    Record: ["parameter 'scale' is not documented"],
    whole: [],
}


@pytest.mark.parametrize("target", BAD, ids=lambda target: target.__name__)
def test_the_rules_see_what_is_wrong(target):
    found = complaints(target, package=__name__, example=False)
    assert len(found) == len(BAD[target]), found
    for complaint, expected in zip(found, BAD[target], strict=True):
        assert complaint.startswith(expected)


def test_a_missing_or_skipped_example_is_seen():
    assert complaints(whole, package=__name__) == []
    assert "has no section Examples" in complaints(no_returns, package=__name__)
    # given here only, so that the suite does not count a skipped example
    never_run.__doc__ = (
        "Take a number.\n\nParameters\n----------\nvalue : int\n\n"
        "Examples\n--------\n>>> never_run(1)  # doctest: +SKIP\n"
    )
    assert complaints(never_run, package=__name__) == ["none of its examples runs"]
