"""Write the reference pages of the rooms that grow by a file: models, results, testing.

    python docs/list_rooms.py

A test says when a public name is missing from docs/api.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

_INTRODUCTIONS = {
    "models": (
        "The zoo, `sr.models`: one file a model. `subriem models` prints this list, "
        "`subriem check NAME` holds a model against its known truths."
    ),
    "results": (
        "The shape of datasets, files, merging, pictures. Every dataset has "
        "`.subriem.summary()` and `.subriem.plot`, which is `Pictures`."
    ),
    "testing": "For pytest, and for models: `subriem.testing`.",
}


def names_of(room: str) -> list[str]:
    """The public functions and classes of a room.

    Parameters
    ----------
    room : str

    Returns
    -------
    list of str
    """
    module = importlib.import_module(f"subriem.{room}")
    if room == "models":
        return ["available", *(name for name in module.available() if name in module._names())]
    found = []
    for name in sorted(getattr(module, "__all__", None) or vars(module)):
        target = getattr(module, name)
        ours = (getattr(target, "__module__", None) or "").startswith("subriem.")
        kind = inspect.isclass(target) or inspect.isfunction(target)
        if ours and kind and not name.startswith("_"):
            found.append(name)
    # `save` and `open_results` stand under the names that users type
    return [name for name in found if name not in ("open_results", "save")]


def main() -> None:
    """Write the pages."""
    for room, introduction in _INTRODUCTIONS.items():
        lines = [f"# {room.capitalize()}", "", introduction, "", "```{eval-rst}"]
        lines += [f".. currentmodule:: subriem.{room}", "", ".. autosummary::"]
        lines += ["   :toctree: generated", "", *(f"   {name}" for name in names_of(room)), "```"]
        page = Path(__file__).parent / "api" / f"{room}.md"
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
