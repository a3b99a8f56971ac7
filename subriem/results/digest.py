"""A dataset in at most ten lines: who made it, how it ended, the numbers that one asks for first.

Nothing is computed but least and greatest values and counts; what the producer calls an estimate,
a bound or proved is called so here.
"""

from __future__ import annotations

import xarray as xr

from subriem.results.digest_rows import Rows, rows_of
from subriem.results.labels import made_by

__all__ = ["digest", "digest_rows"]

_LINES, _WIDTH = 10, 110


def digest(dataset: xr.Dataset) -> str:
    """What a person wants to know of a dataset first.

    Parameters
    ----------
    dataset : Dataset
        Of any function of subriem; of any other, its scalars are shown and the ranges of the rest.

    Returns
    -------
    str
        At most ten lines: the function and the structure, what was found, and when.

    Examples
    --------
    >>> flag = xr.Dataset(
    ...     {
    ...         "growth_vector": ("step", [2, 3]),
    ...         "degree_of_nonholonomy": 2,
    ...         "homogeneous_dimension": 4.0,
    ...         "certified": True,
    ...         "status": "filled",
    ...     },
    ...     attrs={"function": "lie_flag", "structure": "Structure h: 3 coordinates", "seed": 1},
    ... )
    >>> print(digest(flag))
    lie_flag of Structure h: 3 coordinates
    status                 filled
    growth vector          (2, 3)
    homogeneous dimension  4
    certified              yes
    made                   seed 1
    """
    head, rows = digest_rows(dataset)
    # when it was made comes last, whatever there is no room for
    made = rows[-1:] if rows and rows[-1][0] == "made" else []
    rows = [*rows[: len(rows) - len(made)][: _LINES - 1 - len(made)], *made]
    width = max((len(name) for name, _ in rows), default=0)
    lines = [head, *(f"{name:{width}}  {text}" for name, text in rows)]
    return "\n".join(
        line if len(line) <= _WIDTH else f"{line[: _WIDTH - 4].rstrip()} ..." for line in lines
    )


def digest_rows(dataset: xr.Dataset) -> tuple[str, Rows]:
    """The same as a heading and rows, as many and as long as they are.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    head : str
        The function and the structure.
    rows : list of (str, str)
        A name and a text; a name may be "".

    Examples
    --------
    >>> digest_rows(xr.Dataset({"length": 2.5}, attrs={"function": "mine"}))
    ('mine', [('length', '2.5')])
    """
    function = made_by(dataset)
    rows = [*rows_of(dataset), ("made", _origin(dataset))]
    structure = str(dataset.attrs.get("structure", ""))
    kind = dataset.attrs.get("kind") if function == "flow" else None
    head = f"{function or 'dataset'}{f' ({kind})' if kind else ''}"
    return (
        f"{head} of {structure}" if structure else head,
        [(name, " ".join(text.split())) for name, text in rows if text],
    )


def _origin(dataset: xr.Dataset) -> str:
    attributes = dataset.attrs
    parts = []
    if "created_at" in attributes:
        parts.append(f"{str(attributes['created_at'])[:16].replace('T', ' ')} UTC")
    if "creation_library" in attributes:
        version = attributes.get("creation_library_version", "")
        parts.append(f"{attributes['creation_library']} {version}".strip())
    if "seed" in attributes:
        parts.append(f"seed {attributes['seed']}")
    return ", ".join(parts)
