"""Conservation laws: polynomial first integrals of a family of fields, and whether they are all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import casadi as ca
import numpy as np
import xarray as xr

from subriem.arithmetic.exact_polynomials import ExactPolynomials
from subriem.arithmetic.generated_ring import WorkLimitReached
from subriem.brackets.field_family import FieldFamily, field_family
from subriem.brackets.law_text import law_text
from subriem.brackets.modular_orbit import base_point, modular_orbit
from subriem.brackets.polynomial_laws import (
    PolynomialLaw,
    laws_function,
    polynomial_laws,
    verify_polynomials,
)
from subriem.errors import InputError
from subriem.results.schema import build_dataset

if TYPE_CHECKING:
    import torch

__all__ = ["ConservationLaws", "conservation_laws"]


@dataclass(frozen=True)
class ConservationLaws:
    """Polynomial first integrals of a family of fields.

    Attributes
    ----------
    family : FieldFamily
    degree : int
        All polynomial laws up to this degree are polynomials in these.
    laws : tuple of PolynomialLaw
        With integer coefficients; none is a combination of products of those before it.
    independent : int
        How many of them are independent near a generic point: a proved lower bound, which equals
        the codimension where they are ``complete``.
    codimension : int
        Codimension of the orbit: how many independent laws there are of any kind, at most.
    complete : bool
        Whether it is proved that every law is a function of these.
    verification : str
        How each law was verified.
    prime, seed : int
        Of the ranks.

    Examples
    --------
    >>> from subriem.models import linear_network
    >>> laws = conservation_laws(linear_network([2, 1, 1]))
    >>> laws.expressions
    ('U1[:,0]·U1[:,0] - U2[0,0]^2',)
    >>> laws([1.0, 2.0, 3.0])
    array([-4.])
    """

    family: FieldFamily
    degree: int
    laws: tuple[PolynomialLaw, ...]
    independent: int
    codimension: int
    complete: bool
    verification: str
    prime: int
    seed: int

    def __repr__(self) -> str:
        end = "complete" if self.complete else f"of codimension {self.codimension}, not complete"
        return (
            f"ConservationLaws of {self.family.name}: {len(self.laws)} to degree {self.degree}, "
            f"{self.independent} independent, {end}"
        )

    def __len__(self) -> int:
        return len(self.laws)

    @cached_property
    def expressions(self) -> tuple[str, ...]:
        """The laws as text."""
        family = self.family
        return tuple(law_text(law.terms, family.coordinates, family.blocks) for law in self.laws)

    @property
    def scope(self) -> str:
        """For which motions the laws hold."""
        return self.family.scope

    @cached_property
    def function(self) -> ca.Function:
        """The laws in CasADi: state (n, 1) to their values (number of laws, 1)."""
        return laws_function(self.laws, self.family.dimension)

    def __call__(self, at: Any) -> np.ndarray:
        """The laws' values at one point, or at a batch.

        Parameters
        ----------
        at : array_like, shape (n,) or (B, n)

        Returns
        -------
        ndarray, shape (number of laws,) or (B, number of laws)

        Raises
        ------
        InputError
            If the points have another dimension.
        """
        points = np.asarray(at, dtype=np.float64)
        if points.ndim not in (1, 2) or points.shape[-1] != self.family.dimension:
            raise InputError(
                f"expected shape ({self.family.dimension},) or (B, {self.family.dimension}), got "
                f"{points.shape}"
            )
        if not self.laws:
            return np.zeros((*points.shape[:-1], 0))
        values = np.asarray(self.function(np.atleast_2d(points).T)).T.reshape(-1, len(self.laws))
        return values[0] if points.ndim == 1 else values

    def torch(self, theta: torch.Tensor) -> torch.Tensor:
        """The laws' values in torch, differentiable, on the device of the parameters.

        Parameters
        ----------
        theta : Tensor, shape (..., n)

        Returns
        -------
        Tensor, shape (..., number of laws)

        Raises
        ------
        InputError
            If the last axis is not the state's.
        """
        import torch

        if theta.shape[-1] != self.family.dimension:
            raise InputError(f"expected {self.family.dimension} entries, got {tuple(theta.shape)}")
        columns = []
        for law in self.laws:
            total = theta.new_zeros(theta.shape[:-1])
            for degree in sorted({len(monomial) for monomial, _ in law.terms}):
                chosen = [(m, c) for m, c in law.terms if len(m) == degree]
                index = torch.tensor([m for m, _ in chosen], device=theta.device)
                factor = theta.new_tensor([c for _, c in chosen])
                total = total + (theta[..., index].prod(dim=-1) * factor).sum(dim=-1)
            columns.append(total)
        return torch.stack(columns, dim=-1) if columns else theta.new_zeros((*theta.shape[:-1], 0))

    def to_dataset(self) -> xr.Dataset:
        """The laws and what is known of them.

        Returns
        -------
        xarray.Dataset
            Over ``law``: ``expression``, ``polynomial_degree``, ``terms``; without a dimension:
            ``independent``, ``codimension``, ``complete``.
        """
        family = self.family
        adapted = (
            "kept: the adapted flow moves in the span of the same fields"
            if "loss" in family.scope
            else "not a family of training"
        )
        return build_dataset(
            {
                "expression": ("law", np.array(self.expressions, dtype=str), "law", "1"),
                "polynomial_degree": (
                    "law",
                    np.array([law.degree for law in self.laws], dtype=np.int64),
                    "degree of the polynomial",
                    "1",
                ),
                "terms": (
                    "law",
                    np.array([len(law.terms) for law in self.laws], dtype=np.int64),
                    "number of monomials",
                    "1",
                ),
                "independent": ((), self.independent, "independent laws at a generic point", "1"),
                "codimension": ((), self.codimension, "codimension of the orbit, at most", "1"),
                "complete": ((), self.complete, "whether all laws are functions of these", "1"),
            },
            function="conservation_laws",
            arguments={"degree": self.degree},
            structure=repr(family),
            seed=self.seed,
            attributes={
                "scope": family.scope,
                "verification": self.verification,
                "adapted_flow": adapted,
                "prime": self.prime,
                "regime": "certified" if self.complete else "complete to the degree",
            },
        )


def conservation_laws(
    target: Any,
    degree: int = 2,
    *,
    data: Literal["given", "all"] = "given",
    seed: int = 0,
) -> ConservationLaws:
    """All polynomial first integrals up to a degree, exactly, and whether there are others.

    Parameters
    ----------
    target : Structure, OutputMap or FieldFamily
        With rational fields. A network of ReLUs is one for all data: its switches are left free.
    degree : int
        Highest total degree.
    data : {"given", "all"}
        For an `OutputMap`: what its own samples conserve, or what all inputs do.
    seed : int
        Of the points and primes.

    Returns
    -------
    ConservationLaws
        ``expressions``, ``independent``, ``complete``; callable; `to_dataset`.

    Raises
    ------
    InputError
        If the fields are not rational, the degree is below 1, ``data`` does not fit or the systems
        are too large.
    InputTypeError
        If ``target`` is of another kind.
    MissingDependencyError
        Without python-flint.

    Notes
    -----
    A law is *verified* by multiplying out its derivative along all fields, where that is
    affordable, else at random points modulo random primes (see `verify_polynomials`). The laws are
    *complete* where their number and the dimension of the orbit, both proved from below, add up
    to that of the space.

    References
    ----------
    Marcotte, Gribonval, Peyre, *Abide by the law and follow the flow*, NeurIPS 2023,
    arXiv 2307.00144.

    Examples
    --------
    >>> from subriem.structure import Structure
    >>> saddle = Structure.define("s", "x y z", lambda q: [(1, 0, q.y), (0, 1, q.x)])
    >>> laws = conservation_laws(saddle)
    >>> laws.expressions, laws.independent, laws.complete
    (('z - x*y',), 1, True)
    >>> laws([2.0, 3.0, 5.0])
    array([-1.])
    """
    if isinstance(degree, bool) or int(degree) != degree or degree < 1:
        raise InputError(f"degree: expected a positive integer, got {degree!r}")
    family = field_family(target, data)
    if not family.rational:
        raise InputError(
            f"conservation_laws: the fields of {family.name} are not rational; orbit_dimension "
            "counts their laws by floating point"
        )
    laws = tuple(polynomial_laws(family, int(degree), seed))
    prime, point = base_point(family, None, seed)
    independent, verification = 0, "no law to verify"
    if laws:
        checked = verify_polynomials(family, laws, point, prime, seed)
        if len(checked.kept) < len(laws):
            raise InputError(f"{family.name}: a law found modulo primes does not hold; report this")
        independent = checked.independent
        verification = (
            "multiplied out over Q"
            if _multiplied_out(family, laws)
            else "at random points modulo random primes; probability of error at most "
            f"{checked.error_probability:.0e}"
        )
    orbit = modular_orbit(family, aim=family.dimension - independent, seed=seed)
    codimension = family.dimension - orbit.dimension
    if family.count == 1:
        # a single field: its lines are the orbits
        codimension = min(codimension, family.dimension - 1)
    return ConservationLaws(
        family,
        int(degree),
        laws,
        independent,
        codimension,
        independent == codimension,
        verification,
        prime,
        seed,
    )


def _multiplied_out(family: FieldFamily, laws: Sequence[PolynomialLaw]) -> bool:
    """Whether the laws' derivatives were seen to vanish as polynomials; False if too large."""
    if family.program.operations & {"div", "inv"} or len(laws) > 200:
        return False
    ring = ExactPolynomials(family.dimension + family.weights)
    state, weights = ring.variables[: family.dimension], ring.variables[family.dimension :]
    try:
        (fields,) = family.program.run(ring, state, weights)
        for law in laws:
            total = ring.constant(0)
            for monomial, coefficient in law.terms:
                for place, k in enumerate(monomial):
                    term = fields[k]
                    for other in (*monomial[:place], *monomial[place + 1 :]):
                        term = ring.mul(term, state[other])
                    total = total + coefficient * term
            if total != 0:
                return False
    except WorkLimitReached:
        return False
    return True
