"""The pytest plugin: readable names of structures and models in the ids of parametrized tests.

pytest loads this module on every start, in every project of the environment; it imports nothing
but the standard library, and looks at a value only if a structure can exist at all.
"""

from __future__ import annotations

import sys

__all__ = ["pytest_make_parametrize_id"]

# Where the classes that have a name to show are defined.
_NAMED = (("subriem.structure.structure", "Structure"), ("subriem.testing.model", "Model"))


def pytest_make_parametrize_id(val: object) -> str | None:
    """The name of a `Structure` or `Model`, in place of ``structure0``, ``structure1``.

    Parameters
    ----------
    val : object

    Returns
    -------
    str or None
        None leaves other values to pytest.
    """
    for module, name in _NAMED:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(val, kind):
            return str(val.name)
    return None
