"""What is known of the dimension of an orbit, and the dataset that says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from subriem.brackets.field_family import FieldFamily
from subriem.results.schema import build_dataset, coordinate_axis
from subriem.structure import Structure

__all__ = ["Orbit", "orbit_dataset"]


@dataclass
class Orbit:
    """What is known of one orbit.

    Attributes
    ----------
    dimension : int
        The best number known.
    lower, upper : int
        Proved bounds.
    arithmetic : str
        ``"modular"`` or ``"floating"``.
    words : list of str
        What was found, and how.
    settled : bool
        Whether further work added nothing.
    laws : int
        Independent first integrals that were verified.
    prime : int
        0 where there is none.
    error_probability : float
    point : sequence of numbers
        The base point; empty if it is not told.
    orders, ranks : tuple of int
        The rank of the series up to each number of orders.
    singular_values : ndarray or None
    gap : float
        Of the singular values.
    scope : str
        For which motions the count holds.

    Examples
    --------
    >>> Orbit(2, 2, 3, "modular").status, Orbit(3, 3, 3, "modular").status
    ('settled', 'certified')
    """

    dimension: int
    lower: int
    upper: int
    arithmetic: str
    words: list[str] = field(default_factory=list)
    settled: bool = True
    laws: int = 0
    prime: int = 0
    error_probability: float = 0.0
    point: Sequence[Any] = ()
    orders: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()
    singular_values: np.ndarray | None = None
    gap: float = float("nan")
    scope: str = ""

    @property
    def certified(self) -> bool:
        """Whether the bounds meet."""
        return self.lower == self.upper == self.dimension

    @property
    def status(self) -> str:
        """``"certified"``, ``"settled"`` or ``"open"``."""
        if self.certified:
            return "certified"
        return "settled" if self.settled else "open"


def orbit_dataset(
    found: list[Orbit],
    target: Any,
    *,
    single: bool,
    seed: int,
    arguments: Mapping[str, Any],
) -> xr.Dataset:
    """The dataset of `orbit_dimension`.

    Parameters
    ----------
    found : list of Orbit
        One a point.
    target : Structure, OutputMap or FieldFamily
    single : bool
        Whether to leave out the dimension ``point``.
    seed : int
    arguments : mapping
        Of `orbit_dimension`.

    Returns
    -------
    xarray.Dataset
    """
    n = target.dimension
    dims = () if single else ("point",)

    def over(values: list[Any], long_name: str) -> tuple[Any, Any, str, str]:
        return (dims, values[0] if single else np.array(values), long_name, "1")

    variables: dict[str, Any] = {
        "dimension": over([o.dimension for o in found], "dimension of the orbit"),
        "codimension": over([n - o.dimension for o in found], "codimension of the orbit"),
        "lower_bound": over([o.lower for o in found], "proved lower bound of the dimension"),
        "upper_bound": over([o.upper for o in found], "proved upper bound of the dimension"),
        "certified": over([o.certified for o in found], "whether the bounds meet"),
        "status": over([o.status for o in found], "certified, settled or open"),
        "certificate": over(["; ".join(o.words) for o in found], "what is proved, and how"),
        "first_integrals": over(
            [o.laws for o in found], "independent first integrals declared and verified"
        ),
        "error_probability": over(
            [o.error_probability for o in found],
            "bound of the probability that a random check of an identity was passed by chance",
        ),
    }
    coordinates: dict[str, Any] = {}
    if any(o.prime for o in found):
        longest = max((o.orders for o in found), key=len)
        ranks = [[*o.ranks, *[-1] * (len(longest) - len(o.ranks))] for o in found]
        variables["prime"] = over([o.prime for o in found], "prime of the series")
        variables["order_rank"] = (
            (*dims, "order"),
            ranks[0] if single else ranks,
            "rank of the series up to an order (-1: not computed)",
            "1",
        )
        coordinates["order"] = ("order", list(longest), "number of orders of the series", "1")
    if all(len(o.point) == n for o in found):
        where = [list(o.point) for o in found]
        variables["base_point"] = (
            (*dims, "coordinate"),
            where[0] if single else where,
            "base point, modulo the prime where there is one",
            "1",
        )
        if isinstance(target, Structure | FieldFamily):
            coordinates["coordinate"] = coordinate_axis(target.coordinates)
    if all(o.singular_values is not None for o in found):
        width = max(len(o.singular_values) for o in found)  # type: ignore[arg-type]
        values = np.full((len(found), width), np.nan)
        for row, orbit in zip(values, found, strict=True):
            row[: len(orbit.singular_values)] = orbit.singular_values  # type: ignore[arg-type]
        variables["singular_values"] = (
            (*dims, "singular_value"),
            values[0] if single else values,
            "singular values that decide the rank",
            "1",
        )
        variables["rank_gap"] = over([o.gap for o in found], "ratio of singular values at the rank")
    return build_dataset(
        variables,
        coordinates,
        function="orbit_dimension",
        arguments=arguments,
        structure=repr(target),
        seed=seed,
        attributes={
            "arithmetic": found[0].arithmetic,
            "scope": found[0].scope,
            "generic": arguments["at"] is None,
            "regime": "certified"
            if all(o.certified for o in found)
            else "decided modulo a prime"
            if found[0].prime
            else "decided by a tolerance",
            "status": found[0].status if single else "see variable status",
        },
    )
