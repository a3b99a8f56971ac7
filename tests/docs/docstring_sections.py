"""A NumPy-style docstring, taken apart."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

SECTIONS = (
    "Parameters",
    "Other Parameters",
    "Attributes",
    "Returns",
    "Yields",
    "Raises",
    "Warns",
    "Notes",
    "References",
    "See Also",
    "Examples",
)
_NAMES = re.compile(r"[*\w]+(\s*,\s*[*\w]+)*$")


@dataclass
class Docstring:
    """The summary and the sections of a docstring."""

    text: str
    sections: dict[str, list[str]] = field(default_factory=dict)

    @property
    def parameters(self) -> list[str]:
        """Names documented, in order, without their stars."""
        lines = self.sections.get("Parameters", []) + self.sections.get("Other Parameters", [])
        return [name for line in lines for name in _names(line)]

    @property
    def attributes(self) -> list[str]:
        """Names of the attributes documented."""
        return [name for line in self.sections.get("Attributes", []) for name in _names(line)]

    @property
    def shares_entries(self) -> bool:
        """Whether several parameters stand in one entry."""
        return any(len(_names(line)) > 1 for line in self.sections.get("Parameters", []))

    @property
    def raised(self) -> list[str]:
        """Names of the errors documented."""
        return [name for line in self.sections.get("Raises", []) for name in _names(line)]


def read_docstring(target: Any) -> Docstring:
    """The docstring of an object, its own or the one it overrides."""
    text = inspect.getdoc(target) or ""
    found = Docstring(text)
    lines = text.splitlines()
    heads = [
        k
        for k, line in enumerate(lines[:-1])
        if line in SECTIONS and re.fullmatch(r"-{3,}", lines[k + 1])
    ]
    for head, following in pairwise([*heads, len(lines)]):
        found.sections[lines[head]] = lines[head + 2 : following]
    return found


def _names(line: str) -> list[str]:
    """The names that an entry ``a, b : type`` introduces; none if the line is its description."""
    head = line.split(" : ")[0].strip()
    if line[:1].isspace() or not _NAMES.match(head):
        return []
    return [name.strip().lstrip("*") for name in head.split(",")]
