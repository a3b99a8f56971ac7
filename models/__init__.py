"""The zoo: one file a model.

Each module of this package holds one model or one small family, as a function of the module's own
name; a new file is all that a new model takes. The first line of the function's docstring is what
`available` and ``subriem models`` print.

Other packages add models by the entry-point group ``subriem.models``, from the model's name to its
function::

    [project.entry-points."subriem.models"]
    hovercraft = "my_package.hovercraft:hovercraft"
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

__all__ = ["available"]

#: The group of entry points by which other packages add models.
GROUP = "subriem.models"


class _Zoo(ModuleType):
    """A package whose submodules appear as the function that bears their name."""

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system binds a submodule here when it is loaded.
        if isinstance(value, ModuleType):
            value = getattr(value, name, value)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Zoo


def _names() -> list[str]:
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def _registered() -> dict[str, EntryPoint]:
    """Models of other packages by name; a name that is taken is left out with a warning."""
    found: dict[str, EntryPoint] = {}
    own = set(_names())
    for point in entry_points(group=GROUP):
        package = point.dist.name if point.dist else point.value
        if point.name in own:
            message = f"the model {point.name!r} of {package} is not used: subriem has one"
        elif point.name in found:
            message = f"the model {point.name!r} of {package} is not used: another package has one"
        else:
            found[point.name] = point
            continue
        warnings.warn(message, UserWarning, stacklevel=3)
    return found


def available() -> dict[str, str]:
    """The models of the zoo, and those that other packages add, with one line each.

    Returns
    -------
    dict of str to str
        A model of another package that fails to load is listed with the reason.

    Warns
    -----
    UserWarning
        If another package adds a model under a name that is taken; the first one is kept.

    Examples
    --------
    >>> available()["heisenberg"]
    'Heisenberg group H_n: curves of R^(2n) with the area that they sweep.'
    """
    lines = {}
    for name in _names():
        importlib.import_module(f"{__name__}.{name}")
        lines[name] = _first_line(getattr(sys.modules[__name__], name))
    for name, point in _registered().items():
        try:
            lines[name] = _first_line(point.load())
        except Exception as error:  # whatever a foreign module raises
            lines[name] = f"Does not load: {type(error).__name__}: {error}"
    return dict(sorted(lines.items()))


def _first_line(model: Any) -> str:
    return ((getattr(model, "__doc__", None) or "").strip().splitlines() or [""])[0]


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith("_"):
        raise AttributeError(name)
    names, registered = _names(), _registered()
    if name in names:
        importlib.import_module(f"{__name__}.{name}")
    elif name in registered:
        setattr(sys.modules[__name__], name, registered[name].load())
    else:
        raise AttributeError(f"no model {name!r}; there are {sorted([*names, *registered])}")
    return sys.modules[__name__].__dict__[name]
