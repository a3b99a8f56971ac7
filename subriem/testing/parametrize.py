"""One pytest test for each model and check, in the manner of scikit-learn's estimator checks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from subriem.errors import InputError, InputTypeError, MissingDependencyError
from subriem.testing.checks import checks_of
from subriem.testing.targets import models_of

if TYPE_CHECKING:
    import pytest

__all__ = ["parametrize_with_checks"]


def parametrize_with_checks(targets: Iterable[Any]) -> pytest.MarkDecorator:
    """Pytest decorator: one test for each model and each check that applies to it.

    Parameters
    ----------
    targets : iterable
        Structures, model functions, `Model` objects, or names as for ``subriem check``.

    Returns
    -------
    pytest.MarkDecorator
        For a test with the arguments ``model`` and ``check``.

    Raises
    ------
    InputError
        If there is no target; and as `models_of`.
    InputTypeError
        If targets are not a list; and as `models_of`.
    MissingDependencyError
        If pytest is not installed.

    Notes
    -----
    Models are made when tests are collected, as the checks depend on them. The functions that run
    are those of `checks_of`, which do not need pytest.

    Examples
    --------
    >>> from subriem.models import hopf
    >>> @parametrize_with_checks([hopf(), "heisenberg"])
    ... def test_models(model, check):
    ...     check(model)
    >>> [mark.name for mark in test_models.pytestmark]
    ['parametrize']
    """
    try:
        import pytest
    except ImportError as error:
        raise MissingDependencyError(
            "parametrize_with_checks needs pytest: pip install pytest"
        ) from error
    if isinstance(targets, str) or not isinstance(targets, Iterable):
        raise InputTypeError(f"targets: expected a list, got {type(targets).__name__}")
    cases = [
        pytest.param(model, check, id=f"{model.name}-{check.__name__.removeprefix('check_')}")
        for target in targets
        for model in models_of(target)
        for check in checks_of(model)
    ]
    if not cases:
        raise InputError("targets: expected at least one model, got none")
    return pytest.mark.parametrize(("model", "check"), cases)
