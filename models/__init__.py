"""The zoo: one file a model.

Each module of this package holds one model or one small family, as a function of the module's own
name; a new file is all that a new model takes. The first line of the function's docstring is what
`available` and ``subriem models`` print.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["available"]


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


def available() -> dict[str, str]:
    """The models of the zoo with one line each.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> sorted(available())
    ['convolutional_network', 'multilayer_perceptron']
    """
    lines = {}
    for name in _names():
        importlib.import_module(f"{__name__}.{name}")
        lines[name] = (getattr(sys.modules[__name__], name).__doc__ or "").strip().splitlines()[0]
    return lines


def __getattr__(name: str) -> Callable[..., Any]:
    if name not in _names():
        raise AttributeError(f"no model {name!r}; there are {_names()}")
    importlib.import_module(f"{__name__}.{name}")
    return sys.modules[__name__].__dict__[name]
