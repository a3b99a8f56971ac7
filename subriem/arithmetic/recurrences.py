"""A program as recurrences for Taylor coefficients, order by order.

Every operation becomes one or a few nodes. Coefficient l of a node follows from coefficients
0..l of its operands (Griewank, Walther, *Evaluating Derivatives*, 2nd ed., 2008, chapter 13); the
sums over two series that occur in it are all of the one form

    I(a, b)_l = sum_{j=1}^{l-1} a_j b_{l-j},

which needs orders below l only. An engine therefore computes the sums of all nodes together, and
then the nodes one after the other. `subriem.arithmetic.taylor_source` writes C from the nodes,
`subriem.arithmetic.taylor_batch` runs them on tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from subriem.arithmetic.program import Program
from subriem.errors import InputError

__all__ = ["Node", "Recurrences"]

#: Operations that are constant between the zeros of the difference of their operands.
_COMPARISONS = ("lt", "le", "eq", "ne")
_LOGIC = ("not", "and", "or")


@dataclass
class Node:
    """One series.

    Attributes
    ----------
    kind : str
        ``constant``, ``parameter`` and ``state`` (``position``); ``value`` (an operation ``name``
        on order 0 alone, zero beyond); ``add``, ``sub``, ``neg``, ``scale`` (by the first
        operand, which does not move), ``mul``, ``div``, ``sqrt``, ``select`` (the second operand
        where the first is not zero, else the third), ``derivative`` (l a_l), ``integral`` (an
        operation ``name`` with y' = sum sign g d over the ``pairs`` (d, g, sign), d a derivative),
        ``log`` (operands a, y') and ``power`` (operands a, exponent, a', y').
    moving : bool
        Whether it has coefficients beyond order 0.
    tangent : bool
        Whether it depends on the tangent vector, and so is computed for each.
    """

    kind: str
    operands: tuple[int, ...] = ()
    name: str = ""
    position: int = 0
    constant: float = 0.0
    moving: bool = False
    tangent: bool = False
    pairs: list[tuple[int, int, float]] = field(default_factory=list)


class Recurrences:
    """The recurrences of an autonomous differential equation y' = f(y, w).

    Parameters
    ----------
    program : Program
        (y, w) to f and, optionally, to functions e(y, w) that are watched for a change of sign;
        or (y, w, z) to f, e and (df/dy) z, for tangent vectors z' = (df/dy) z.

    Attributes
    ----------
    nodes : list of Node
        In an order in which they can be evaluated.
    rates : list of int
        The node of each f_k.
    moving_states : list of int
        The k with f_k not identically zero.
    watched : list of int
        The nodes of the e, in order.
    tangent_rates : list of int
        The node of each component of (df/dy) z.
    kinks : list of int
        Nodes at whose zeros an operation is not smooth.

    Raises
    ------
    InputError
        If the program uses an operation that has no series.

    Examples
    --------
    >>> import casadi as ca
    >>> y, w = ca.SX.sym("y", 2), ca.SX.sym("w", 0)
    >>> pendulum = Program(ca.Function("f", [y, w], [ca.vertcat(y[1], -ca.sin(y[0]))]))
    >>> Recurrences(pendulum)
    Recurrences of 2 states: 6 nodes, 2 sums
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.nodes: list[Node] = []
        self.kinks: list[int] = []
        self._derivatives: dict[int, int] = {}
        self._pairs: dict[tuple[str, int], tuple[int, int]] = {}
        instructions, outputs = program.instructions, program.outputs
        if len(outputs[0]) != program.function.nnz_in(0):
            raise InputError(
                f"{program.function.name()}: expected as many rates as states, "
                f"{program.function.nnz_in(0)}, got {len(outputs[0])}"
            )

        def still(rates: list[int]) -> set[int]:
            chosen = [instructions[k] for k in rates]
            return {
                k
                for k, rate in enumerate(chosen)
                if (rate.operation, rate.value) == ("constant", 0)
            }

        fixed = {which: still(outputs[which]) for which in (0, 2) if which < len(outputs)}
        self.moving_states = [k for k in range(len(outputs[0])) if k not in fixed[0]]
        made: list[int] = []
        for instruction in instructions:
            if instruction.operation == "input":
                which, position = instruction.operands
                if which == 1:
                    node = Node("parameter", position=position)
                else:
                    moving = position not in fixed[which]
                    node = Node("state", (), "", position, moving=moving, tangent=which == 2)
                made.append(self._add(node))
            elif instruction.operation == "constant":
                made.append(self._constant(instruction.value))
            else:
                operands = [made[k] for k in instruction.operands]
                made.append(self._operation(instruction.operation, operands))
        self.rates = [made[k] for k in outputs[0]]
        self.watched = [made[k] for k in outputs[1]] if len(outputs) > 1 else []
        self.tangent_rates = [made[k] for k in outputs[2]] if len(outputs) > 2 else []
        self._drop_unused()

    def __repr__(self) -> str:
        return (
            f"Recurrences of {len(self.rates)} states: {len(self.nodes)} nodes, "
            f"{len(self.sums(False))} sums"
        )

    def sums(self, tangent: bool) -> list[tuple[int, int]]:
        """The pairs (a, b) whose I(a, b) occur, each once.

        Parameters
        ----------
        tangent : bool
            Those with a tangent vector (then b depends on it), or those without.

        Returns
        -------
        list of (int, int)
        """
        found = {
            pair
            for k, node in enumerate(self.nodes)
            if node.tangent == tangent
            for pair in self.sums_of(k)
        }
        return sorted(found)

    def sums_of(self, index: int) -> list[tuple[int, int]]:
        """The pairs (a, b) whose I(a, b) occur in one node, in the order of its formula.

        Parameters
        ----------
        index : int

        Returns
        -------
        list of (int, int)
        """
        node = self.nodes[index]
        pairs: list[tuple[int, int]] = []
        if node.kind == "mul":
            pairs = [node.operands[:2]]  # type: ignore[list-item]
        elif node.kind == "div":
            pairs = [(index, node.operands[1])]
        elif node.kind == "sqrt":
            pairs = [(index, index)]
        elif node.kind == "integral":
            pairs = [(d, g) for d, g, _ in node.pairs if self.nodes[g].moving]
        elif node.kind == "log":
            pairs = [(node.operands[1], node.operands[0])]
        elif node.kind == "power":
            base, _, slope, own = node.operands
            pairs = [(slope, index), (own, base)]
        return [self._ordered(*pair) for pair in pairs]

    def _ordered(self, a: int, b: int) -> tuple[int, int]:
        if (self.nodes[a].tangent, a) > (self.nodes[b].tangent, b):
            return b, a
        return a, b

    # ------------------------------------------------------------------ making nodes

    def _add(self, node: Node) -> int:
        node.tangent |= any(self.nodes[k].tangent for k in node.operands)
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _moves(self, *operands: int) -> bool:
        return any(self.nodes[k].moving for k in operands)

    def _node(self, kind: str, *operands: int) -> int:
        return self._add(Node(kind, operands, moving=self._moves(*operands)))

    def _constant(self, value: float) -> int:
        return self._add(Node("constant", constant=value))

    def _value(self, name: str, *operands: int) -> int:
        return self._add(Node("value", operands, name=name))

    def _operation(self, name: str, operands: list[int]) -> int:
        if name in _COMPARISONS or name in _LOGIC:
            if name in _COMPARISONS and self._moves(*operands):
                self.kinks.append(self._node("sub", *operands))
            return self._value(name, *operands)
        if not self._moves(*operands):
            return self._value(name, *operands)
        if name not in _RULES:
            raise InputError(f"{self.program.function.name()}: no power series for {name}")
        return _RULES[name](self, *operands)

    def _drop_unused(self) -> None:
        used = set()
        waiting = [*self.rates, *self.watched, *self.kinks, *self.tangent_rates]
        while waiting:
            index = waiting.pop()
            if index not in used:
                used.add(index)
                node = self.nodes[index]
                waiting += [*node.operands, *(k for d, g, _ in node.pairs for k in (d, g))]
        kept = sorted(used)
        new = {old: k for k, old in enumerate(kept)}
        for old in kept:
            node = self.nodes[old]
            node.operands = tuple(new[k] for k in node.operands)
            node.pairs = [(new[d], new[g], sign) for d, g, sign in node.pairs]
        self.nodes = [self.nodes[old] for old in kept]
        self.rates = [new[k] for k in self.rates]
        self.watched = [new[k] for k in self.watched]
        self.kinks = [new[k] for k in self.kinks]
        self.tangent_rates = [new[k] for k in self.tangent_rates]

    # ------------------------------------------------------------------ what the rules use

    def scale(self, factor: int, a: int) -> int:
        """The factor, which does not move, times a."""
        return self._node("scale", factor, a)

    def multiply(self, a: int, b: int) -> int:
        """The product."""
        if not self._moves(a):
            return self.scale(a, b)
        return self._node("mul", a, b) if self._moves(b) else self.scale(b, a)

    def divide(self, a: int, b: int) -> int:
        """The quotient."""
        if not self._moves(b):
            return self.scale(self._value("inv", b), a)
        return self._node("div", a, b)

    def times(self, factor: float, a: int) -> int:
        """A number times a."""
        return self.scale(self._constant(factor), a)

    def derivative(self, a: int) -> int:
        """The series of l a_l."""
        if a not in self._derivatives:
            self._derivatives[a] = self._node("derivative", a)
        return self._derivatives[a]

    def integral(self, name: str, a: int, *slopes: int) -> int:
        """Name(a), with the slope as its derivative by a; filled in later where none is given."""
        d = self.derivative(a)
        pairs = [(d, g, 1.0) for g in slopes]
        return self._add(Node("integral", (a,), name=name, moving=True, pairs=pairs))

    def coupled(self, first: str, second: str, a: int, sign: float) -> tuple[int, int]:
        """(sin, cos) or (sinh, cosh): s' = c a', c' = sign s a'."""
        if (first, a) not in self._pairs:
            s, c = self.integral(first, a), self.integral(second, a)
            d = self.derivative(a)
            self.nodes[s].pairs = [(d, c, 1.0)]
            self.nodes[c].pairs = [(d, s, sign)]
            self._pairs[first, a] = s, c
        return self._pairs[first, a]

    def exponential(self, a: int) -> int:
        """E to the a."""
        y = self.integral("exp", a)
        self.nodes[y].pairs = [(self.derivative(a), y, 1.0)]
        return y

    def riccati(self, name: str, a: int) -> int:
        """Tanh: y' = (1 - y^2) a'."""
        y = self.integral(name, a)
        slope = self._node("sub", self._constant(1.0), self.multiply(y, y))
        self.nodes[y].pairs = [(self.derivative(a), slope, 1.0)]
        return y

    def logarithm(self, a: int) -> int:
        """The natural logarithm: a y' = a'."""
        y = self._add(Node("log", (a, a), moving=True))
        self.nodes[y].operands = (a, self.derivative(y))
        return y

    def power(self, a: int, b: int) -> int:
        """A to the b: by products for a whole exponent, else a y' = b y a'."""
        exponent = self.nodes[b]
        if exponent.moving:
            return self.exponential(self.multiply(b, self._operation("log", [a])))
        value = exponent.constant
        if exponent.kind == "constant" and value.is_integer() and 1 <= abs(value) <= 64:
            found = self._whole_power(a, abs(int(value)))
            return found if value > 0 else self.inverse(found)
        slope = self.derivative(a)
        y = self._add(Node("power", (a, b, slope, slope), moving=True))
        self.nodes[y].operands = (a, b, slope, self.derivative(y))
        return y

    def _whole_power(self, a: int, exponent: int) -> int:
        if exponent == 1:
            return a
        half = self._whole_power(a, exponent // 2)
        square = self.multiply(half, half)
        return self.multiply(square, a) if exponent % 2 else square

    def one_plus_square(self, a: int, sign: float) -> int:
        """1 + sign a^2."""
        return self._node("add" if sign > 0 else "sub", self._constant(1.0), self.multiply(a, a))

    def inverse(self, a: int) -> int:
        """1 / a."""
        return self.divide(self._constant(1.0), a)

    def root(self, a: int) -> int:
        """The square root."""
        return self._node("sqrt", a)

    def angle(self, y: int, x: int) -> int:
        """Atan2(y, x): the norm squared times its derivative is x y' - y x'."""
        norm = self._node("add", self.multiply(x, x), self.multiply(y, y))
        along, across = self.divide(x, norm), self.divide(y, norm)
        pairs = []
        if self._moves(y):
            pairs.append((self.derivative(y), along, 1.0))
        if self._moves(x):
            pairs.append((self.derivative(x), across, -1.0))
        return self._add(Node("integral", (y, x), name="atan2", moving=True, pairs=pairs))

    def extreme(self, a: int, b: int, less: bool) -> int:
        """The smaller or the larger of two, which is not smooth where they are equal."""
        self.kinks.append(self._node("sub", a, b))
        condition = self._value("le", a, b) if less else self._value("le", b, a)
        return self._node("select", condition, a, b)

    def modulus(self, a: int) -> int:
        """|a|, not smooth at zero."""
        self.kinks.append(a)
        return self.scale(self._value("sign", a), a)

    def sign(self, a: int) -> int:
        """The sign, which jumps at zero."""
        self.kinks.append(a)
        return self._value("sign", a)

    def branch(self, condition: int, a: int) -> int:
        """``a`` where the condition holds, else 0."""
        return self._node("select", condition, a, self._constant(0.0))


def _error_function(r: Recurrences, a: int) -> int:
    bell = r.exponential(r.times(-1.0, r.multiply(a, a)))
    return r.integral("erf", a, r.times(1.1283791670955126, bell))


_RULES: dict[str, Callable[..., int]] = {
    "add": lambda r, a, b: r._node("add", a, b),
    "sub": lambda r, a, b: r._node("sub", a, b),
    "neg": lambda r, a: r._node("neg", a),
    "twice": lambda r, a: r.times(2.0, a),
    "mul": Recurrences.multiply,
    "sq": lambda r, a: r.multiply(a, a),
    "div": Recurrences.divide,
    "inv": Recurrences.inverse,
    "sqrt": Recurrences.root,
    "hypot": lambda r, a, b: r.root(r._node("add", r.multiply(a, a), r.multiply(b, b))),
    "exp": Recurrences.exponential,
    "expm1": lambda r, a: r.integral("expm1", a, r.exponential(a)),
    "log": Recurrences.logarithm,
    "log1p": lambda r, a: r.integral("log1p", a, r.inverse(r._node("add", r._constant(1.0), a))),
    "pow": Recurrences.power,
    "constpow": Recurrences.power,
    "sin": lambda r, a: r.coupled("sin", "cos", a, -1.0)[0],
    "cos": lambda r, a: r.coupled("sin", "cos", a, -1.0)[1],
    "tan": lambda r, a: r.divide(*r.coupled("sin", "cos", a, -1.0)),
    "sinh": lambda r, a: r.coupled("sinh", "cosh", a, 1.0)[0],
    "cosh": lambda r, a: r.coupled("sinh", "cosh", a, 1.0)[1],
    "tanh": lambda r, a: r.riccati("tanh", a),
    "atan": lambda r, a: r.integral("atan", a, r.inverse(r.one_plus_square(a, 1.0))),
    "asin": lambda r, a: r.integral("asin", a, r.inverse(r.root(r.one_plus_square(a, -1.0)))),
    "acos": lambda r, a: r.integral(
        "acos", a, r.times(-1.0, r.inverse(r.root(r.one_plus_square(a, -1.0))))
    ),
    "asinh": lambda r, a: r.integral("asinh", a, r.inverse(r.root(r.one_plus_square(a, 1.0)))),
    "acosh": lambda r, a: r.integral(
        "acosh", a, r.inverse(r.root(r.times(-1.0, r.one_plus_square(a, -1.0))))
    ),
    "atanh": lambda r, a: r.integral("atanh", a, r.inverse(r.one_plus_square(a, -1.0))),
    "erf": _error_function,
    "atan2": Recurrences.angle,
    "fabs": Recurrences.modulus,
    "sign": Recurrences.sign,
    "if_else_zero": Recurrences.branch,
    "fmin": lambda r, a, b: r.extreme(a, b, True),
    "fmax": lambda r, a, b: r.extreme(a, b, False),
}
