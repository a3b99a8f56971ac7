"""Which checks a model must pass, and running them without pytest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from subriem.structure import Structure
from subriem.testing.bracket_checks import (
    check_bracket_algebra,
    check_brackets_against_differences,
    check_brackets_against_flows,
)
from subriem.testing.flag_checks import (
    check_growth_under_diffeomorphism,
    check_growth_under_scaling,
    check_truths,
)
from subriem.testing.frame_checks import (
    check_definition,
    check_frame,
    check_inner_product,
    check_periods,
    check_smoothness,
)
from subriem.testing.model import Model, read_model
from subriem.testing.round_trip_checks import (
    check_coordinates_and_back,
    check_pickle,
    check_points,
)

__all__ = ["Check", "Outcome", "checks_of", "run_checks"]

Check = Callable[[Model | Structure], None]


@dataclass(frozen=True)
class Outcome:
    """What one check of a model said.

    Attributes
    ----------
    check : str
        The name, without ``check_``.
    demand : str
        What it demands, in one line.
    passed : bool
    message : str
        Why it failed; empty where it passed.
    seconds : float
    """

    check: str
    demand: str
    passed: bool
    message: str
    seconds: float


def checks_of(model: Model | Structure) -> list[Check]:
    """The checks that apply to a model; each raises AssertionError where the model fails it.

    Parameters
    ----------
    model : Model or Structure

    Returns
    -------
    list of callable
        Each takes the model. If the model's function does not make a structure, only the check
        that says so.

    Raises
    ------
    InputTypeError
        If it is neither.

    Examples
    --------
    >>> from subriem.models import unicycle
    >>> for check in checks_of(unicycle()):
    ...     check(unicycle())
    """
    model = read_model(model)
    found: list[Check] = [check_definition]
    try:
        structure = model.structure
    except Exception:  # check_definition says why
        return found
    found += [check_frame, check_inner_product, check_smoothness]
    if structure.periods:
        found.append(check_periods)
    if structure.rank + structure.has_drift > 1:
        found += [
            check_brackets_against_differences,
            check_brackets_against_flows,
            check_bracket_algebra,
        ]
    if model.truths:
        found.append(check_truths)
    found += [check_growth_under_diffeomorphism, check_growth_under_scaling]
    found += [check_pickle, check_coordinates_and_back, check_points]
    return found


def run_checks(model: Model | Structure) -> list[Outcome]:
    """Run the checks of a model.

    Parameters
    ----------
    model : Model or Structure

    Returns
    -------
    list of Outcome

    Raises
    ------
    InputTypeError
        If it is neither.

    Examples
    --------
    >>> from subriem.models import unicycle
    >>> all(outcome.passed for outcome in run_checks(unicycle()))
    True
    """
    model = read_model(model)
    outcomes = []
    for check in checks_of(model):
        start = time.perf_counter()
        message = ""
        try:
            check(model)
        except AssertionError as error:
            message = str(error)
        except Exception as error:  # a model may fail in ways that no check foresees
            message = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - start
        demand = (check.__doc__ or "").strip().splitlines()[0]
        name = check.__name__.removeprefix("check_")
        outcomes.append(Outcome(name, demand, not message, message, seconds))
    return outcomes
