"""What is known about a model from elsewhere: data that its checks hold it against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["Truth"]


@dataclass(frozen=True)
class Truth:
    """A published or independently computed growth vector of a model at a point.

    Parameters
    ----------
    at : sequence
        The point; texts such as ``"pi/2"`` are exact.
    growth : tuple of int
        Dimensions of D^1, D^2, ... at the point, up to the space or until the flag is closed.
    generating : bool
        Whether the last entry is the dimension of the state space.
    arguments : mapping, optional
        What the model's function is called with.
    source : str
        Who says so.

    Examples
    --------
    >>> Truth((0, 0, 0), (2, 3), source="classical").step
    2
    """

    at: Sequence[Any]
    growth: tuple[int, ...]
    generating: bool = True
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    source: str = ""

    @property
    def step(self) -> int:
        """The length of the growth vector: the degree of nonholonomy where it fills the space."""
        return len(self.growth)
