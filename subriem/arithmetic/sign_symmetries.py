"""Changes of sign of the variables under which a program's outputs only change sign.

Every value of the program is given the product of unknown signs that it takes. A product adds such
characters, a sum demands that its terms have the same one. What is left of the group {1, -1}^N is
found by elimination over the field of two elements; nothing is evaluated.
"""

from __future__ import annotations

from subriem.arithmetic.program import Program

__all__ = ["sign_characters"]


class _Characters:
    """Characters as bit masks over the variables; None is the number zero, of any character."""

    def __init__(self) -> None:
        self.demands: list[int] = []

    def constant(self, value: float) -> int | None:
        return None if value == 0 else 0

    def add(self, a: int | None, b: int | None) -> int | None:
        if a is None or b is None:
            return b if a is None else a
        if a != b:
            self.demands.append(a ^ b)
        return a

    sub = add

    def mul(self, a: int | None, b: int | None) -> int | None:
        return None if a is None or b is None else a ^ b

    def div(self, a: int | None, b: int | None) -> int | None:
        return None if a is None else a ^ (b or 0)

    def sq(self, a: int | None) -> int | None:
        return None if a is None else 0

    def neg(self, a: int | None) -> int | None:
        return a

    twice = inv = neg


def sign_characters(program: Program) -> list[int]:
    """The character of each state under the sign symmetries of a family of fields.

    Parameters
    ----------
    program : Program
        (state, weights) to a field with as many entries as the state, of rational operations.

    Returns
    -------
    list of int
        A bit mask a state. Two monomials belong to the same character of the symmetry group if
        the exclusive or of their variables' masks, with multiplicity, is the same.

    Examples
    --------
    In x' = w y, y' = w x signs of x and y may change alone:

    >>> import casadi as ca
    >>> q, w = ca.SX.sym("q", 2), ca.SX.sym("w")
    >>> field = ca.Function("f", [q, w], [w * ca.vertcat(q[1], q[0])])
    >>> sign_characters(Program(field))
    [1, 2]
    """
    sizes = [program.function.nnz_in(k) for k in range(2)]
    system = _Characters()
    (outputs,) = program.run(
        system,
        [1 << k for k in range(sizes[0])],
        [1 << (sizes[0] + k) for k in range(sizes[1])],
    )
    demands = list(system.demands)
    demands += [
        out ^ (1 << k) for k, out in enumerate(outputs) if out is not None and out != 1 << k
    ]
    echelon: dict[int, int] = {}  # leading bit -> demand
    for demand in demands:
        while demand:
            lead = demand.bit_length() - 1
            if lead not in echelon:
                echelon[lead] = demand
                break
            demand ^= echelon[lead]
    total = sum(sizes)
    free = [k for k in range(total) if k not in echelon]
    characters = [0] * sizes[0]
    # each free sign generates a symmetry; lower bits first, as a demand's lead depends on them
    signs = [0] * total
    for bit, k in enumerate(free):
        signs[k] = 1 << bit
    for lead in sorted(echelon):
        rest = echelon[lead] ^ (1 << lead)
        value = 0
        while rest:
            low = rest & -rest
            value ^= signs[low.bit_length() - 1]
            rest ^= low
        signs[lead] = value
    characters[:] = signs[: sizes[0]]
    return characters
