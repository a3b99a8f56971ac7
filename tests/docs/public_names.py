"""All that users may rely on: the names of the rooms, and what their classes offer."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

ROOMS = (
    "subriem",
    "subriem.structure",
    "subriem.brackets",
    "subriem.geodesics",
    "subriem.network",
    "subriem.flows",
    "subriem.study",
    "subriem.results",
    "subriem.testing",
)


#: The inside of `OutputMap`, which documents these actions: for solvers.
INNER = {"subriem.network.Linearization"}


@dataclass(frozen=True)
class Public:
    """A public object, and the class it belongs to if it is a method."""

    name: str
    target: Any
    owner: type | None = None


def public_objects() -> dict[str, Public]:
    """Functions and classes of the rooms and of the zoo by the shortest name they have."""
    found: dict[str, Public] = {}
    seen: set[int] = set()
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in sorted(getattr(module, "__all__", None) or vars(module)):
            target = getattr(module, name)
            ours = getattr(target, "__module__", None) or ""
            if name.startswith("_") or not ours.startswith("subriem.") or id(target) in seen:
                continue
            known = f"{room}.{name}" in INNER
            if not known and (inspect.isclass(target) or inspect.isfunction(target)):
                seen.add(id(target))
                found[f"{room}.{name}"] = Public(f"{room}.{name}", target)
    zoo = importlib.import_module("subriem.models")
    for name in ["available", *zoo._names()]:
        found[f"subriem.models.{name}"] = Public(f"subriem.models.{name}", getattr(zoo, name))
    return found


def methods_of(public: Public) -> Iterator[Public]:
    """The public methods of a class that this package wrote."""
    for name in sorted(dir(public.target)):
        if name.startswith("_"):
            continue
        owner = next((c for c in public.target.__mro__ if name in vars(c)), None)
        if owner is None or not owner.__module__.startswith("subriem."):
            continue
        member = inspect.getattr_static(public.target, name)
        if isinstance(member, classmethod | staticmethod):
            member = member.__func__
        if inspect.isfunction(member):
            yield Public(f"{public.name}.{name}", member, owner)


def properties_of(public: Public) -> Iterator[tuple[str, Any]]:
    """The public properties of a class that this package wrote."""
    for name in sorted(dir(public.target)):
        member = inspect.getattr_static(public.target, name)
        getter: Callable[..., Any] | None = getattr(member, "fget", getattr(member, "func", None))
        ours = getter is not None and (getter.__module__ or "").startswith("subriem.")
        if not name.startswith("_") and ours:
            yield f"{public.name}.{name}", getter
