"""Kumpera-Ruiz normal forms: the germs of Goursat distributions, by their word in R, V and T.

Start from f = d_1 + x_3 d_2 and d_3 on R^3. Each letter adds a coordinate x_k, whose direction d_k
is the other field, and changes f to

    R:  f + (x_k + c) d_{k-1},        V:  x_k f + d_{k-1},        T:  f + x_k d_{k-1},

with c = 1 where the letter before is V or T, else c = 0: R is the regular choice of direction, V
the vertical one (along d_{k-1}), T the one tangent to the singular locus that the V before it has
made. The origin is a point of the class; the growth vector there depends on the word only. Words
with R alone are the chained form. A car with trailers meets V where two of its bodies stand at a
right angle.

Source: Kumpera, Ruiz, in *Monge-Ampere Equations and Related Topics* (Florence 1980), 1982; the
words: Montgomery, Zhitomirskii, *Points and Curves in the Monster Tower*, Memoirs AMS 956 (2010);
growth vectors: Jean, *ESAIM COCV* 1 (1996) 241.
"""

from __future__ import annotations

import re
from typing import Any

from subriem.errors import InputError
from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0,) * 5, (2, 3, 4, 4, 5), arguments={"word": "RV"}, source="Jean 1996"),
    Truth((0,) * 6, (2, 3, 4, 5, 5, 6), arguments={"word": "RVR"}, source="Jean; Mormul"),
    Truth(
        (0,) * 6,
        (2, 3, 4, 5, 5, 5, 6),
        arguments={"word": "RVT"},
        source="Jean 1996, as the three trailers in that class; exact brackets",
    ),
    Truth((0,) * 6, (2, 3, 4, 4, 5, 5, 5, 6), arguments={"word": "RVV"}, source="Jean 1996"),
    Truth(
        (0,) * 7,
        (2, 3, 4, 4, 5, 5, 5, 6, 6, 6, 6, 6, 7),
        arguments={"word": "RVVV"},
        source="Jean 1996: the step is the Fibonacci number F_7 = 13",
    ),
)


def kumpera_ruiz(word: str = "RVR") -> Structure:
    """Goursat distribution in Kumpera-Ruiz normal form, singular at the origin as its word says.

    Parameters
    ----------
    word : str
        One or more of the letters R, V, T; the first is R, and T follows V or T.

    Returns
    -------
    Structure
        Coordinates ``x1 ... xn``, n three more than there are letters.

    Raises
    ------
    InputError
        If it is not such a word.

    Examples
    --------
    >>> kumpera_ruiz("RV")
    Structure kumpera_ruiz(RV): 5 coordinates (x1, x2, x3, x4, x5), 2 fields
    >>> kumpera_ruiz("RV").velocity([0, 0, 3, 4, 2], [0, 1])
    array([2., 6., 8., 1., 0.])
    """
    if not isinstance(word, str) or not re.fullmatch(r"R+(VT*R*)*", word):
        raise InputError(
            "kumpera_ruiz: expected a word in R, V, T that begins with R and has T after V or T "
            f"only, such as 'RVR', got {word!r}"
        )
    n = len(word) + 3

    def frame(q: Any) -> list[list[Any]]:
        field: list[Any] = [1, q[2]]
        for k, letter in enumerate(word, start=3):
            if letter == "V":
                field = [q[k] * entry for entry in field] + [1]
            else:
                regular = letter == "R" and k > 3 and word[k - 4] != "R"
                field = [*field, q[k] + 1 if regular else q[k]]
        return [[0] * (n - 1) + [1], [*field, 0]]

    return Structure.define(f"kumpera_ruiz({word})", [f"x{i}" for i in range(1, n + 1)], frame)
