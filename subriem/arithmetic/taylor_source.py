"""C source of the Taylor coefficients of a differential equation, for several lanes at once.

From `Recurrences` come two C functions: ``start`` computes order 0 of every node, and ``raise``
computes one further order. All numbers are vectors of two to eight lanes (GCC's and Clang's vector
extension), one solution a lane. The methods around them are ``taylor_driver.c`` and
``gauss_driver.c``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from subriem.arithmetic.recurrences import Recurrences

__all__ = ["taylor_source"]

#: Sums that one loop accumulates: as many as stay in registers.
SUMS_IN_A_LOOP = 8

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_VALUE = {
    "neg": "-{0}",
    "inv": "1.0 / {0}",
    "twice": "{0} + {0}",
    "sq": "{0} * {0}",
    "constpow": "v_pow({0}, {1})",
    "not": "v_not({0})",
    "and": "v_and({0}, {1})",
    "or": "v_or({0}, {1})",
    "if_else_zero": "v_select({0}, {1}, zero)",
}


def taylor_source(
    recurrences: Recurrences,
    groups: Sequence[Sequence[int]],
    tangents: int = 0,
    driver: str = "taylor_driver.c",
) -> str:
    """The C source of a method for a differential equation.

    Parameters
    ----------
    recurrences : Recurrences
    groups : sequence of sequences of int
        Consecutive states that share one scale for the choice of the step.
    tangents : int
        How many tangent vectors z' = (df/dy) z are carried along.
    driver : {"taylor_driver.c", "gauss_driver.c"}
        The method.

    Returns
    -------
    str
        Self-contained; exports ``integrate``, which is described in the driver.

    Examples
    --------
    >>> import casadi as ca
    >>> from subriem.arithmetic.program import Program
    >>> y, w = ca.SX.sym("y"), ca.SX.sym("w", 0)
    >>> growth = Recurrences(Program(ca.Function("f", [y, w], [y])))
    >>> "static void raise(" in taylor_source(growth, [[0]])
    True
    """
    return _Source(recurrences, groups, tangents, driver).text()


class _Source:
    """The layout of the arrays and the statements of the two functions.

    Series that later orders need lie in ``c[order * SERIES + slot]``, the moving states first;
    those that depend on a tangent vector in ``d[order * ROWS + slot]``, its components first.
    Numbers of order 0 that do not move lie in ``k[slot]``.
    """

    def __init__(
        self,
        recurrences: Recurrences,
        groups: Sequence[Sequence[int]],
        tangents: int,
        driver: str,
    ) -> None:
        self.r = recurrences
        self.groups = groups
        self.tangents = tangents
        self.driver = driver
        self.slots: dict[bool, dict[int, int]] = {False: {}, True: {}}
        self.counts = {False: len(recurrences.moving_states), True: len(recurrences.rates)}
        self.fixed: dict[tuple[str, int], int] = {}
        self.state_slot = {state: k for k, state in enumerate(recurrences.moving_states)}
        for index, node in enumerate(recurrences.nodes):
            if node.kind == "state" and node.tangent:
                self.slots[True][index] = node.position
            elif node.kind == "state" and node.moving:
                self.slots[False][index] = self.state_slot[node.position]
        for tangent in (False, True):
            for pair in recurrences.sums(tangent):
                for index in pair:
                    self._slot(index)
        self.events = [k for k in recurrences.watched if recurrences.nodes[k].moving]
        self.kinks = [k for k in recurrences.kinks if recurrences.nodes[k].moving]
        for index in [*self.events, *self.kinks]:
            self._slot(index)
        self._raise = self._raise_lines()  # which also finds what order 0 has to keep
        self._start = self._start_lines()

    def _slot(self, index: int) -> int:
        tangent = self.r.nodes[index].tangent
        slots = self.slots[tangent]
        if index not in slots:
            slots[index] = self.counts[tangent]
            self.counts[tangent] += 1
        return slots[index]

    def _kept(self, what: str, index: int) -> str:
        return f"k[{self.fixed.setdefault((what, index), len(self.fixed))}]"

    # ------------------------------------------------------------------ order 0

    def _start_lines(self) -> list[str]:
        expressions = {"value": "z{0}", "inverse": "1.0 / z{0}", "half inverse": "0.5 / z{0}"}
        lines = [f"c[{slot}] = y[{state}];" for state, slot in self.state_slot.items()]
        lines += self._start_nodes(False)
        for state, slot in self.state_slot.items():
            lines.append(f"c[SERIES + {slot}] = z{self.r.rates[state]};")
        for (what, index), slot in self.fixed.items():
            lines.append(f"k[{slot}] = {expressions[what].format(index)};")
        if self.tangents:
            lines.append("for (int q = 0; q < TANGENTS; q++, d += stride) {")
            lines += self._start_nodes(True)
            for row, index in enumerate(self.r.tangent_rates):
                lines.append(f"d[ROWS + {row}] = z{index};")
            lines.append("}")
        return lines

    def _start_nodes(self, tangent: bool) -> list[str]:
        lines = []
        for index, node in enumerate(self.r.nodes):
            if node.tangent != tangent:
                continue
            lines.append(f"const V z{index} = {self._order_zero(index)};")
            if index in self.slots[tangent] and node.kind != "state":
                lines.append(f"{'d' if tangent else 'c'}[{self.slots[tangent][index]}] = z{index};")
        return lines

    def _order_zero(self, index: int) -> str:
        node = self.r.nodes[index]
        a = [f"z{k}" for k in node.operands]
        simple = {
            "constant": lambda: f"{_number(node.constant)} + zero",
            "parameter": lambda: f"w[{node.position}] + zero",
            "state": lambda: f"{'d' if node.tangent else 'y'}[{node.position}]",
            "scale": lambda: f"{a[0]} * {a[1]}",
            "neg": lambda: f"-{a[0]}",
            "derivative": lambda: "zero",
            "select": lambda: f"v_select({a[0]}, {a[1]}, {a[2]})",
            "sqrt": lambda: f"v_sqrt({a[0]})",
            "log": lambda: f"v_log({a[0]})",
            "power": lambda: f"v_pow({a[0]}, {a[1]})",
        }
        if node.kind in simple:
            return simple[node.kind]()
        name = node.name if node.kind in ("value", "integral") else node.kind
        if name in _INFIX:
            return f"{a[0]} {_INFIX[name]} {a[1]}"
        if name in _VALUE:
            return _VALUE[name].format(*a)
        return f"v_{name}({', '.join(a)})"

    # ------------------------------------------------------------------ higher orders

    def _at_zero(self, index: int) -> str:
        """The order-0 value of a node, in the code of the higher orders."""
        node = self.r.nodes[index]
        if node.tangent:
            return f"d[{self._slot(index)}]"
        if node.moving:
            return f"c[{self._slot(index)}]"
        if node.kind == "constant":
            return _number(node.constant)
        if node.kind == "parameter":
            return f"w[{node.position}]"
        return self._kept("value", index)

    def _at_order(self, index: int) -> str | None:
        """The coefficient of order l, None where it is zero."""
        return f"v{index}" if self.r.nodes[index].moving else None

    def _raise_lines(self) -> list[str]:
        lines = self._raise_nodes(False)
        for state, slot in self.state_slot.items():
            rate = self._at_order(self.r.rates[state])
            lines.append(f"cl[SERIES + {slot}] = {f'{rate} * next' if rate else 'zero'};")
        if self.tangents:
            lines += ["for (int q = 0; q < TANGENTS; q++, d += stride) {", "V *dl = d + l * ROWS;"]
            lines += self._raise_nodes(True)
            for row, index in enumerate(self.r.tangent_rates):
                rate = self._at_order(index)
                lines.append(f"dl[ROWS + {row}] = {f'{rate} * next' if rate else 'zero'};")
            lines.append("}")
        return lines

    def _raise_nodes(self, tangent: bool) -> list[str]:
        sums = self.r.sums(tangent)
        prefix, second = ("t", "d + (l - 1) * ROWS") if tangent else ("s", "c + (l - 1) * SERIES")
        names = {pair: f"{prefix}{k}" for k, pair in enumerate(sums)}
        lines = [f"V {', '.join(f'{name} = zero' for name in names.values())};"] if sums else []
        for first in range(0, len(sums), SUMS_IN_A_LOOP):
            lines.append(f"{{ const V *x = c + SERIES, *u = {second};")
            back = "ROWS" if tangent else "SERIES"
            lines.append(f"for (int j = 1; j < l; j++, x += SERIES, u -= {back}) {{")
            for a, b in sums[first : first + SUMS_IN_A_LOOP]:
                lines.append(f"{names[a, b]} += x[{self._slot(a)}] * u[{self._slot(b)}];")
            lines.append("} }")
        for index, node in enumerate(self.r.nodes):
            if not node.moving or node.tangent != tangent:
                continue
            own = [names[pair] for pair in self.r.sums_of(index)]
            lines.append(f"const V v{index} = {self._order_l(index, own)};")
            if index in self.slots[tangent] and node.kind != "state":
                array = "dl" if tangent else "cl"
                lines.append(f"{array}[{self.slots[tangent][index]}] = v{index};")
        return lines

    def _order_l(self, index: int, own: list[str]) -> str:
        node = self.r.nodes[index]
        a = [self._at_order(k) for k in node.operands]
        kind = node.kind
        if kind == "state":
            return f"{'dl' if node.tangent else 'cl'}[{self._slot(index)}]"
        if kind == "add":
            return " + ".join(term for term in a if term)
        if kind == "sub":
            return f"{a[0] or ''} - {a[1]}" if a[1] else f"{a[0]}"
        if kind == "neg":
            return f"-{a[0]}"
        if kind == "scale":
            return f"{self._at_zero(node.operands[0])} * {a[1]}"
        if kind == "derivative":
            return f"(double)l * {a[0]}"
        if kind == "select":
            terms = [term or "zero" for term in a[1:]]
            return f"v_select({self._at_zero(node.operands[0])} + zero, {terms[0]}, {terms[1]})"
        if kind == "mul":
            first, second = (self._at_zero(k) for k in node.operands)
            if node.operands[0] == node.operands[1]:
                return f"2.0 * {first} * {a[0]} + {own[0]}"
            return f"{own[0]} + {first} * {a[1]} + {second} * {a[0]}"
        if kind == "div":
            value, inverse = self._at_zero(index), self._kept("inverse", node.operands[1])
            return f"({a[0] or 'zero'} - {own[0]} - {value} * {a[1]}) * {inverse}"
        if kind == "sqrt":
            return f"({a[0]} - {own[0]}) * {self._kept('half inverse', index)}"
        if kind == "log":
            inverse = self._kept("inverse", node.operands[0])
            return f"({a[0]} - {own[0]} * this) * {inverse}"
        if kind == "power":
            base, exponent, slope, _ = node.operands
            inverse = self._kept("inverse", base)
            moved = f"v{slope} * {self._at_zero(index)} + {own[0]}"
            return f"({self._at_zero(exponent)} * ({moved}) - {own[1]}) * {inverse} * this"
        terms = []
        remaining = iter(own)
        for d, g, sign in node.pairs:
            total = f"v{d} * {self._at_zero(g)}"
            if self.r.nodes[g].moving:
                total = f"{next(remaining)} + {total}"
            terms.append(f"{'-' if sign < 0 else '+'} ({total})")
        return f"({' '.join(terms)}) * this"

    # ------------------------------------------------------------------ the whole

    def text(self) -> str:
        slots = [
            [self.state_slot[state] for state in group if state in self.state_slot]
            for group in self.groups
        ]
        slots = [group for group in slots if group]
        events = [*self.events, *self.kinks]
        folder = Path(__file__).parent
        definitions = {
            "STATES": len(self.r.rates),
            "MOVING": len(self.r.moving_states),
            "SERIES": self.counts[False] | 1,  # an odd stride keeps the cache's sets evenly used
            "FIXED": max(1, len(self.fixed)),
            "GROUPS": len(slots),
            "WATCHED": len(self.events),
            "EVENTS": len(events),
            "TANGENTS": self.tangents,
            "ROWS": self.counts[True] | 1,
            "ROW_GROUPS": len(self.groups),
        }
        bounds = [0, *(max(group) + 1 for group in self.groups)]
        starts = [sum(map(len, slots[:k])) for k in range(len(slots) + 1)]
        tables = {
            "moving_state": self.r.moving_states,
            "group_start": starts,
            "group_slot": [slot for group in slots for slot in group],
            "row_start": bounds,
            "event_slot": [self._slot(k) for k in events],
            "event_number": [
                *(self.r.watched.index(k) for k in self.events),
                *range(len(self.r.watched), len(self.r.watched) + len(self.kinks)),
            ],
        }
        lines = [f"#define {name} {value}" for name, value in definitions.items()]
        lines += [
            f"static const int {name}[] = {{{', '.join(map(str, [*values, 0]))}}};"
            for name, values in tables.items()
        ]
        lines += [
            (folder / "lanes.c").read_text(),
            "static void start(V *restrict c, V *restrict k, V *restrict d, long stride,",
            "                  const V *y, const double *w) {",
            "(void)d; (void)stride; (void)w;",
            *self._start,
            "}",
            "static void raise(V *restrict c, const V *restrict k, V *restrict d, long stride,",
            "                  const double *w, int l) {",
            "V *cl = c + l * SERIES;",
            "const double this = 1.0 / l, next = 1.0 / (l + 1);",
            "(void)this; (void)k; (void)d; (void)stride; (void)w;",
            *self._raise,
            "}",
            (folder / self.driver).read_text(),
        ]
        return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "(-INFINITY)"
    return f"({value!r})" if value < 0 else repr(float(value))
