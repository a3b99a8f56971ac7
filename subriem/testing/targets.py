"""From what a user names (a model of the zoo, a file, a function) to the models to check."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from subriem.errors import InputError, InputTypeError
from subriem.structure import Structure, Truth
from subriem.study.loading import load_module
from subriem.testing.model import Model

__all__ = ["models_of"]


def models_of(target: Any) -> list[Model]:
    """The models that a target names.

    Parameters
    ----------
    target : str, callable, Structure or Model
        The name of a model of the zoo; the path of a Python file; ``"module:function"``; or the
        thing itself. A function makes one model for each set of ``arguments`` in the ``TRUTHS``
        of its module (if it bears the module's name, or is the only model there), or one without
        arguments. Of a file, every public structure and function that makes one is taken.

    Returns
    -------
    list of Model

    Raises
    ------
    InputError
        If there is no such model, file or function, it needs arguments and there are no truths to
        say which, or it does not load.
    InputTypeError
        If the target is of a wrong kind.

    Examples
    --------
    >>> models_of("grushin")
    [Model grushin(), 2 truths, Model grushin(alpha=2), 1 truth, Model grushin(alpha=3), 2 truths]
    """
    if isinstance(target, Model):
        return [target]
    if isinstance(target, Structure):
        return [Model(target)]
    if isinstance(target, str):
        return _named(target)
    if callable(target):
        return _of_function(target, _truths_of(target))
    raise InputTypeError(
        f"expected a name, a function, a Structure or a Model, got {type(target).__name__}"
    )


def _named(target: str) -> list[Model]:
    if target.endswith(".py") or "/" in target or "\\" in target:
        return _of_file(target)
    if ":" in target:
        return _of_module_function(target)
    from subriem import models as zoo

    known = zoo.available()
    if target not in known:
        close = difflib.get_close_matches(target, known, 3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise InputError(
            f"there is no model {target!r}{hint} (`subriem models` lists them; a file ends in .py)"
        )
    function = getattr(zoo, target)
    truths = _truths_of(function)
    if not truths and not _returns_structure(function):
        raise InputError(f"{target} makes no Structure: only structures have checks")
    return _of_function(function, truths)


def _of_module_function(target: str) -> list[Model]:
    name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever the module raises
        raise InputError(
            f"{target}: the module {name!r} does not import: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(module, attribute):
        raise InputError(f"{target}: the module {name} has no {attribute!r}")
    value = getattr(module, attribute)
    if isinstance(value, str) or not (callable(value) or isinstance(value, Structure | Model)):
        raise InputError(
            f"{target}: expected a function or a Structure, got {type(value).__name__}"
        )
    return models_of(value)


def _of_file(path: str) -> list[Model]:
    file = Path(path)
    if not file.is_file():
        raise InputError(f"there is no file {path}")
    module = load_module(file.resolve())
    found: list[Model] = []
    functions = _public_functions(module)
    for name, value in vars(module).items():
        if not name.startswith("_") and isinstance(value, Structure):
            found.append(Model(value))
    for function in functions:
        truths = _truths_of(function)
        if truths:
            found += _of_function(function, truths)
        elif not _required(function) and _returns_structure(function):
            found += _of_function(function, ())
    if not found:
        raise InputError(
            f"{path}: expected a Structure, or a function that makes one without arguments or has "
            "TRUTHS that say with which; found none"
        )
    return found


def _public_functions(module: ModuleType) -> list[Callable[..., Any]]:
    return [
        value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and not name.startswith("_")
        and value.__module__ == module.__name__
    ]


def _truths_of(function: Callable[..., Any]) -> tuple[Truth, ...]:
    """The truths of a function's module, if they are this function's."""
    if not inspect.isfunction(function):
        return ()
    module = sys.modules.get(function.__module__)
    truths = tuple(getattr(module, "TRUTHS", ()))
    if module is None or not truths:
        return ()
    file = getattr(module, "__file__", None)
    own = Path(file).stem if file else module.__name__.rpartition(".")[2]
    namesake = inspect.isfunction(getattr(module, own, None))
    if function.__name__ == own or (not namesake and _public_functions(module) == [function]):
        return truths
    return ()


def _required(function: Callable[..., Any]) -> list[str]:
    """The arguments that a function cannot be called without."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return []
    return [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _returns_structure(function: Callable[..., Any]) -> bool:
    """By its annotation; a function that has none is called."""
    annotation = getattr(function, "__annotations__", {}).get("return")
    if annotation is not None:
        text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
        return text.rpartition(".")[2] == "Structure"
    try:
        return isinstance(function(), Structure)
    except Exception:  # a check then says what it raises
        return True


def _of_function(function: Callable[..., Any], truths: Iterable[Truth]) -> list[Model]:
    name = _function_name(function)
    groups: dict[str, tuple[Mapping[str, Any], list[Truth]]] = {}
    for truth in truths:
        if not isinstance(truth, Truth):
            raise InputTypeError(f"TRUTHS of {name}: expected Truth, got {type(truth).__name__}")
        shown = ", ".join(f"{key}={value!r}" for key, value in truth.arguments.items())
        groups.setdefault(shown, (truth.arguments, []))[1].append(truth)
    if not groups:
        missing = _required(function)
        if missing:
            raise InputError(
                f"{name} needs {', '.join(missing)}: give a structure, a functools.partial, or "
                "TRUTHS whose arguments say with which values to check it"
            )
        return [Model(function, name=_call_text(function, name))]
    return [
        Model(functools.partial(function, **arguments), known, f"{name}({shown})")
        for shown, (arguments, known) in groups.items()
    ]


def _function_name(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def _call_text(function: Callable[..., Any], name: str) -> str:
    if not isinstance(function, functools.partial):
        return f"{name}()"
    given = [repr(value) for value in function.args]
    given += [f"{key}={value!r}" for key, value in function.keywords.items()]
    return f"{name}({', '.join(given)})"
