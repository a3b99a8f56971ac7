"""The dimension of the orbit through a point, proved where it can be."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

import casadi as ca
import numpy as np
import xarray as xr

from subriem.arithmetic.exact import evaluate_exact
from subriem.arithmetic.prime_field import RATIONAL
from subriem.brackets.certificate import exact_entries
from subriem.brackets.exact import CertifiedFlag, certified_flag
from subriem.brackets.field_family import FieldFamily, check_data, field_family
from subriem.brackets.flag import lie_flag
from subriem.brackets.modular_orbit import VerifiedLaws, base_point, modular_orbit, verify_laws
from subriem.brackets.orbit_result import Orbit, orbit_dataset
from subriem.brackets.polynomial_laws import polynomial_laws, verify_polynomials
from subriem.errors import InputError, NumericalError
from subriem.structure import Structure

__all__ = ["orbit_dimension"]

Arithmetic = Literal["auto", "modular", "floating"]

#: Structures up to this dimension and number of fields are also tried by exact brackets.
_SMALL = 30
_WORK = 2_000_000
#: Networks up to so many parameters are written in CasADi.
_WRITTEN = 2000
#: First integrals are searched where they have at most so many coefficients.
_UNKNOWNS = 5000


def orbit_dimension(
    target: Any,
    at: Any = None,
    *,
    arithmetic: Arithmetic = "auto",
    certify: bool = True,
    data: Literal["given", "all"] = "given",
    seed: int = 0,
    strict: bool = False,
) -> xr.Dataset:
    """Dimension of the orbit through a point: the rank of the whole Lie algebra of the fields.

    The fields' first integrals are as many as the orbit's codimension, near a generic point. For a
    network they are the quantities that gradient flows conserve, whatever the loss.

    Parameters
    ----------
    target : Structure, OutputMap or FieldFamily
        A drift takes part as a field.
    at : points, optional
        One point or a batch; a generic point by default.
    arithmetic : {"auto", "modular", "floating"}
        ``"modular"``: power series modulo a prime, for rational fields; the rank is a proved lower
        bound. ``"floating"``: decided by a gap of singular values. By default the first where the
        fields are rational and the point is.
    certify : bool
        Look for a proof from above: first integrals declared by the model, verified; a single
        field; or exact brackets that close.
    data : {"given", "all"}
        For an `OutputMap`: fields of its own samples, or of all inputs.
    seed : int
        Of the point, the path and the prime.
    strict : bool
        Raise where the dimension neither is certified nor settled.

    Returns
    -------
    xarray.Dataset
        Over ``point`` for a batch:

        ``dimension``, ``codimension``
            The best number known.
        ``lower_bound``, ``upper_bound``
            Proved.
        ``certified``
            Whether the bounds meet.
        ``status``
            ``"certified"``; ``"settled"``: longer series, or more paths, added nothing; ``"open"``.
        ``certificate``
            What is proved, and how.
        ``first_integrals``
            How many independent ones of the model's declared ones are verified.
        ``error_probability``
            That the upper bound rests on an identity which only looked like one (see
            `verify_laws`); 0 if no random choice entered it.
        ``prime``, ``order_rank``, ``base_point``
            To recheck the lower bound: the prime, the rank for each number of orders, the point
            (in integers modulo the prime).

        The attribute ``scope`` says for which motions the count holds.

    Raises
    ------
    InputError
        If the point does not fit, the arithmetic cannot treat the fields, or ``data`` is not known
        or is ``"all"`` for something else than an `OutputMap`.
    InputTypeError
        If ``target`` is of another kind.
    NumericalError
        With ``strict``.
    MissingDependencyError
        Without python-flint.

    References
    ----------
    Sussmann, *Trans. Amer. Math. Soc.* 180 (1973) 171; Marcotte, Gribonval, Peyre, *Abide by the
    law and follow the flow*, NeurIPS 2023, arXiv 2307.00144.

    Examples
    --------
    >>> heisenberg = Structure.define("h", "x y z", lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)])
    >>> orbit = orbit_dimension(heisenberg)
    >>> int(orbit.dimension), bool(orbit.certified)
    (3, True)
    >>> leaf = Structure.define("leaf", "x y z", lambda q: [(1, 0, q.y), (0, 1, q.x)])
    >>> orbit_dimension(leaf, at=[1, 2, 3]).codimension.item()
    1
    """
    if arithmetic not in ("auto", "modular", "floating"):
        raise InputError(f"arithmetic: expected auto, modular or floating, got {arithmetic!r}")
    check_data(target, data)
    network = not isinstance(target, Structure | FieldFamily)
    points: list[Any] = [None]
    single = True
    if at is not None:
        points, single = _read(target, at)
    # written out once, whatever the number of points
    family = _family(target, arithmetic, data)
    found = []
    for entries in points:
        if network and arithmetic != "modular":
            found.append(_of_network(target, family, entries, certify, data, seed))
        elif family is None:
            found.append(_floating(_as_structure(target), entries, certify, seed))
        else:
            found.append(_rational(target, family, entries, arithmetic, certify, seed))
    dataset = orbit_dataset(
        found,
        target,
        single=single,
        seed=seed,
        arguments={"at": at, "arithmetic": arithmetic, "certify": certify, "data": data},
    )
    undecided = [orbit for orbit in found if orbit.status == "open"]
    if strict and undecided:
        raise NumericalError(
            f"orbit_dimension: open, between {undecided[0].lower} and {undecided[0].upper}: "
            f"{'; '.join(undecided[0].words)}"
        )
    return dataset


def _read(target: Any, at: Any) -> tuple[list[Any], bool]:
    if isinstance(target, Structure):
        batch = exact_entries(target, at)
        inside = target.inside(at)
        if not np.all(inside):
            raise InputError(f"at: {at!r} is outside the chart of {target.name}")
        return batch, target.points(at).ndim == 1
    array = np.asarray(at.detach().cpu() if hasattr(at, "detach") else at, dtype=object)
    dimension = target.dimension
    if array.ndim not in (1, 2) or array.shape[-1] != dimension:
        raise InputError(
            f"at: expected shape ({dimension},) or (B, {dimension}), got {array.shape}"
        )
    return [list(row) for row in np.atleast_2d(array)], array.ndim == 1


def _fractions(entries: Sequence[Any]) -> list[Fraction] | None:
    """The point in fractions; None where it has an irrational entry."""
    try:
        return [evaluate_exact(entry, Fraction, {}) for entry in entries]
    except InputError:
        return None


def _family(
    target: Any, arithmetic: Arithmetic, data: Literal["given", "all"]
) -> FieldFamily | None:
    """The fields as one expression; None where the arithmetic has no use for it."""
    if isinstance(target, Structure | FieldFamily):
        return None if arithmetic == "floating" else field_family(target)
    from subriem.network import OutputMap

    if not isinstance(target, OutputMap) or arithmetic == "modular":
        return field_family(target, data)  # refuses what is no target
    if arithmetic == "floating" or target.dimension > _WRITTEN:
        return None
    try:
        return field_family(target, data)
    except InputError:
        return None  # an operator has no CasADi form


def _rational(
    target: Any,
    family: FieldFamily,
    entries: Sequence[Any] | None,
    arithmetic: Arithmetic,
    certify: bool,
    seed: int,
) -> Orbit:
    point = None if entries is None else _fractions(entries)
    refused = ""
    if not family.rational:
        strange = ", ".join(sorted(family.program.operations - RATIONAL))
        refused = f"its fields are not rational ({strange})"
    elif entries is not None and point is None:
        refused = "the point is not rational"
    if refused and (arithmetic == "modular" or not isinstance(target, Structure)):
        raise InputError(f"arithmetic='modular' cannot treat {family.name}: {refused}")
    if refused:
        return _floating(_as_structure(target), entries, certify, seed)
    n = family.dimension
    upper, laws, words = n, VerifiedLaws(), []
    if certify and family.laws is not None:
        prime, base = base_point(family, point, seed)
        laws = verify_laws(family, family.laws, base, prime, seed)
        upper = n - laws.independent
        words.append(
            f"{laws.independent} independent first integrals bound it from above, verified at "
            "random points modulo random primes"
        )
    if certify and family.count == 1 and upper > 1:
        upper, laws = 1, VerifiedLaws(laws.kept, laws.independent, 0.0)
        words = ["a single field commutes with itself: at most 1"]
    found = modular_orbit(family, at=point, aim=upper, seed=seed)
    lower = found.dimension
    words.insert(0, f"rank {lower} of the series modulo {found.prime} bounds it from below")
    if certify and lower < upper and isinstance(target, Structure):
        proof = _closed(target, point, seed)
        if proof is not None and proof.upper and proof.upper[-1] is not None:
            if proof.upper[-1] < upper:
                upper, laws = int(proof.upper[-1]), VerifiedLaws((), laws.independent, 0.0)
                words.append("exact brackets close: the bound from above")
            lower = max(lower, proof.lower[-1])
    if certify and lower < upper and not laws.kept:
        laws = _searched(family, point, seed)
        if n - laws.independent < upper:
            upper = n - laws.independent
            words.append(
                f"{laws.independent} independent polynomial first integrals, found and verified, "
                "bound it from above"
            )
    if lower > upper:
        raise NumericalError(
            f"{family.name}: bounds contradict each other, {lower} from below, {upper} from above"
        )
    return Orbit(
        lower,
        lower,
        upper,
        "modular",
        words,
        found.settled or lower == upper,
        laws.independent,
        found.prime,
        laws.error_probability if upper < n else 0.0,
        found.point,
        found.orders,
        found.ranks,
        scope=family.scope,
    )


def _as_structure(target: Any) -> Structure:
    """The structure whose fields are all fields of the family, the drift among them."""
    if not isinstance(target, Structure):
        raise InputError("arithmetic='floating' needs a Structure or an OutputMap")
    if not target.has_drift:
        return target
    state, values = target.state, target.parameter_symbols
    m = target.rank + 1
    outputs = [
        ca.horzcat(target.frame, target.drift),
        ca.SX.eye(m),
        ca.SX.zeros(target.dimension, 1),
        target.margins,
    ]
    return Structure(
        target.name,
        target.coordinates,
        ca.Function("model", [state, values], outputs),
        parameters=target.parameters,
        periods=target.periods,
        bounds=target.bounds,
        field_names=(*target.field_names, "drift"),
    )


def _searched(family: FieldFamily, point: Sequence[Any] | None, seed: int) -> VerifiedLaws:
    """Polynomial first integrals of degree 2, where the search is cheap."""
    if math.comb(family.dimension + 2, 2) > _UNKNOWNS:
        return VerifiedLaws()
    laws = polynomial_laws(family, 2, seed)
    if not laws:
        return VerifiedLaws()
    prime, base = base_point(family, point, seed)
    return verify_polynomials(family, laws, base, prime, seed)


def _closed(target: Structure, point: Sequence[Any] | None, seed: int) -> CertifiedFlag | None:
    """Exact brackets at the point, if they close there; at a generic one, for all generic ones."""
    if target.dimension > _SMALL or target.rank > _SMALL:
        return None
    structure = _as_structure(target)
    entries = point
    if entries is None:
        generator = np.random.default_rng(seed)
        entries = [Fraction(round(x * 64), 64) for x in structure.sample(1, generator)[0]]
    proof = certified_flag(structure, entries, work_limit=_WORK)
    if not proof.closed:
        return None
    # a flag closed only in a subspace through the point says nothing of other points
    if point is None and any("subspace" in note for note in proof.notes):
        return None
    return proof


def _floating(
    structure: Structure, entries: Sequence[Any] | None, certify: bool, seed: int
) -> Orbit:
    n = structure.dimension
    at: Any = entries
    if entries is None:
        sample = structure.sample(1, np.random.default_rng(seed))[0]
        at = [Fraction(round(x * 64), 64) for x in sample]
    flag = lie_flag(structure, [str(entry) for entry in at], certify=False)
    dimension = int(flag.growth_vector[-1])
    last = int(flag.growth_vector.sizes["step"]) - 1
    settled = str(flag.status.item()) in ("filled", "closed")
    orbit = Orbit(
        dimension,
        0,
        n,
        "floating",
        [f"rank decided by singular values (Lie flag to step {last + 1})"],
        settled,
        scope="all controls",
        point=[float(x) for x in structure.points([str(entry) for entry in at])],
        singular_values=flag.singular_values.values[last],
        gap=float(flag.rank_gap[last]),
    )
    if certify:
        proof = certified_flag(structure, list(at), work_limit=_WORK)
        orbit.lower = proof.lower[-1] if proof.lower else 0
        narrow = entries is None and any("subspace" in note for note in proof.notes)
        if proof.closed and proof.upper[-1] is not None and not narrow:
            orbit.upper = int(proof.upper[-1])
        orbit.words.append(
            f"exact brackets ({proof.method}) prove {orbit.lower} from below"
            + (f", {orbit.upper} from above" if orbit.upper < n or proof.closed else "")
            + (f"; {proof.reason}" if proof.reason else "")
        )
        if orbit.lower > dimension or orbit.upper < dimension:
            # what is proved stands; the tolerance was wrong
            orbit.dimension = max(orbit.lower, min(dimension, orbit.upper))
            orbit.words.append(f"the singular values alone had given {dimension}")
    return orbit


def _of_network(
    outputs: Any,
    family: FieldFamily | None,
    entries: Sequence[Any] | None,
    certify: bool,
    data: Literal["given", "all"],
    seed: int,
) -> Orbit:
    """Modular where the network is written in CasADi as a rational map, floating otherwise."""
    from subriem.brackets.floating_orbit import floating_orbit
    from subriem.brackets.network_family import data_scope

    if family is not None:
        # fields or a point that are not rational are refused
        with contextlib.suppress(InputError):
            return _rational(outputs, family, entries, "modular", certify, seed)
    at = None if entries is None else np.array(entries, dtype=np.float64)
    found = floating_orbit(outputs, data=data, at=at, seed=seed)
    return Orbit(
        found.dimension,
        0,
        outputs.dimension,
        "floating",
        [
            f"rank by singular values after {found.legs} legs of paths ({found.status}): the "
            f"smallest counted is {found.gap:.0e} times the largest not counted or the noise"
        ],
        found.settled,
        scope=data_scope(outputs, data),
        singular_values=np.asarray(found.singular_values),
        gap=found.gap,
    )
