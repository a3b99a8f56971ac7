"""A study reached through its file, in whichever process."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from subriem.errors import InputError, ResultsError
from subriem.study.definition import Study

__all__ = ["is_loaded_copy", "load_module", "load_study"]

_PREFIX = "_subriem_study_"
_SPAWNED_MAIN = "__mp_main__"  # how multiprocessing calls the script of the parent in a child


def load_study(path: str | os.PathLike[str], name: str | None = None) -> Study:
    r"""Load the study that a file defines.

    The file runs as a module, once in a process, with its folder in front of ``sys.path`` as it
    would be for a script. A change of the file is seen by the next process.

    Parameters
    ----------
    path
        A Python file with a `Study` among its globals.
    name
        Name of the study; needed where the file defines several.

    Returns
    -------
    Study
        The study.

    Raises
    ------
    ResultsError
        If there is no such file.
    InputError
        If the file does not run, or defines no study, or several and no name is given.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "x.py")
    ...     _ = file.write_text("from subriem.study import Study\nstudy = Study('x', {'k': [1]})")
    ...     load_study(file)
    Study('x', 1 tasks: k 1)
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise ResultsError(f"there is no file {path}")
    studies: dict[str, Study] = {}
    for value in vars(load_module(file)).values():
        if isinstance(value, Study):
            studies[value.name] = value
    if name is None and len(studies) == 1:
        return next(iter(studies.values()))
    if name in studies:
        return studies[name]
    found = ", ".join(studies) or "none"
    expected = "one study" if name is None else f"a study {name!r}"
    raise InputError(f"{path}: expected {expected} among the globals of the file, found {found}")


def is_loaded_copy(module_name: str) -> bool:
    """Whether a module is a study's file that was loaded for its study, not run as a script.

    Parameters
    ----------
    module_name
        Its ``__name__``.

    Returns
    -------
    bool
        True in a worker and under ``subriem run``.

    Examples
    --------
    >>> is_loaded_copy("__main__")
    False
    """
    return module_name == _SPAWNED_MAIN or module_name.startswith(_PREFIX)


def load_module(file: Path) -> ModuleType:
    """Run a Python file once and keep it, by its path.

    Parameters
    ----------
    file : Path
        Resolved.

    Returns
    -------
    module

    Raises
    ------
    InputError
        If it is not a Python file, or fails.
    """
    spawned = sys.modules.get(_SPAWNED_MAIN)
    if spawned is not None and _is_file_of(spawned, file):
        return spawned
    name = _PREFIX + hashlib.sha256(os.fsencode(file)).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file}: expected a Python file, ending in .py")
    module = importlib.util.module_from_spec(spec)
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"{file} does not run: {type(error).__name__}: {error}") from error
    return module


def _is_file_of(module: ModuleType, file: Path) -> bool:
    path = getattr(module, "__file__", None)
    return path is not None and Path(path).resolve() == file
