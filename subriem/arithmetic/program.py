"""A CasADi function as a straight-line program that any number system can run.

This is the only place that reads CasADi's instructions. A number system is an object with a method
``constant(value)`` and one method an operation it knows (``add``, ``mul``, ``sin``, ...): floats in
batches, truncated series, exact rationals, balls, torch tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import casadi as ca

from subriem.errors import InputError

__all__ = ["OPERATIONS", "Instruction", "Program"]

#: Names of the operations of CasADi's scalar functions, as number systems spell them.
OPERATIONS: dict[int, str] = {
    getattr(ca, f"OP_{name.upper()}"): name
    for name in (
        *("add", "sub", "mul", "div", "neg", "inv", "twice", "sq", "sqrt", "pow", "constpow"),
        *("exp", "log", "expm1", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "atan2"),
        *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "hypot"),
        *("lt", "le", "eq", "ne", "not", "and", "or", "if_else_zero", "fmin", "fmax", "fabs"),
        *("sign", "copysign", "floor", "ceil", "fmod", "remainder"),
    )
}


@dataclass(frozen=True)
class Instruction:
    """One operation of a program in single-assignment form.

    Attributes
    ----------
    operation : str
        A name of `OPERATIONS`, or ``"constant"`` or ``"input"``.
    operands : tuple of int
        Indices of earlier instructions; of an input, which argument and which nonzero.
    value : float
        Of a constant.
    """

    operation: str
    operands: tuple[int, ...] = ()
    value: float = 0.0


class Program:
    """The instructions of a CasADi function, each computed once.

    Parameters
    ----------
    function : casadi.Function
        Scalar (SX), or one that expands to it.

    Raises
    ------
    InputError
        If the function does not expand to scalar operations, or has one without a name here.

    Examples
    --------
    >>> x = ca.SX.sym("x")
    >>> program = Program(ca.Function("f", [x], [2 * x + 1]))
    >>> [instruction.operation for instruction in program.instructions]
    ['input', 'twice', 'constant', 'add']
    """

    def __init__(self, function: ca.Function) -> None:
        if not function.is_a("SXFunction"):
            try:
                function = function.expand()
            except RuntimeError as error:
                raise InputError(f"{function.name()} does not expand to scalars") from error
        self.function = function

    def __getstate__(self) -> dict[str, Any]:
        return {"function": self.function}

    def __repr__(self) -> str:
        return f"Program of {len(self.instructions)} instructions of {self.function}"

    @cached_property
    def _read(self) -> tuple[list[Instruction], list[list[int]]]:
        function = self.function
        written: dict[int, int] = {}  # register -> the instruction that wrote it last
        known: dict[Instruction, int] = {}
        instructions: list[Instruction] = []
        outputs = [[-1] * function.nnz_out(k) for k in range(function.n_out())]
        for k in range(function.n_instructions()):
            code = function.instruction_id(k)
            targets = function.instruction_output(k)
            sources = function.instruction_input(k)
            if code == ca.OP_OUTPUT:
                outputs[targets[0]][targets[1]] = written[sources[0]]
                continue
            if code == ca.OP_PARAMETER:
                raise InputError(f"{function.name()} has a free symbol that is not an argument")
            if code == ca.OP_INPUT:
                instruction = Instruction("input", tuple(sources))
            elif code == ca.OP_CONST:
                value = float(function.instruction_constant(k))
                instruction = Instruction("constant", (), value)
            elif code == ca.OP_ASSIGN:
                written[targets[0]] = written[sources[0]]
                continue
            elif code in OPERATIONS:
                operands = tuple(written[source] for source in sources)
                instruction = Instruction(OPERATIONS[code], operands)
            else:
                raise InputError(f"operation {code} of {function.name()} has no scalar form")
            # NaN is not equal to itself, so that such constants are simply not shared.
            index = known.setdefault(instruction, len(instructions))
            if index == len(instructions):
                instructions.append(instruction)
            written[targets[0]] = index
        return instructions, outputs

    @property
    def instructions(self) -> list[Instruction]:
        """The operations in the order of evaluation."""
        return self._read[0]

    @property
    def outputs(self) -> list[list[int]]:
        """For each output, the instruction behind each of its structural nonzeros."""
        return self._read[1]

    @cached_property
    def operations(self) -> frozenset[str]:
        """Which operations occur, without constants and inputs."""
        names = {instruction.operation for instruction in self.instructions}
        return frozenset(names - {"constant", "input"})

    def run(self, system: Any, *arguments: Sequence[Any]) -> list[list[Any]]:
        """Evaluate in a number system.

        Parameters
        ----------
        system : object
            Has ``constant`` and a method for each of `operations`.
        *arguments : sequences of numbers
            For each argument of the function its structural nonzeros, as numbers of the system.

        Returns
        -------
        list of lists of numbers
            For each output its structural nonzeros (column by column, as CasADi stores them).

        Raises
        ------
        InputError
            If the number system does not know an operation, or the arguments do not fit.
        """
        function = self.function
        given = [len(argument) for argument in arguments]
        expected = [function.nnz_in(k) for k in range(function.n_in())]
        if given != expected:
            raise InputError(
                f"{function.name()}: expected arguments of {expected} numbers, got {given}"
            )
        methods = self.methods(system)
        values: list[Any] = []
        for instruction in self.instructions:
            if instruction.operation == "input":
                which, position = instruction.operands
                values.append(arguments[which][position])
            elif instruction.operation == "constant":
                values.append(system.constant(instruction.value))
            else:
                operands = [values[operand] for operand in instruction.operands]
                values.append(methods[instruction.operation](*operands))
        return [[values[index] for index in output] for output in self.outputs]

    def methods(self, system: Any) -> dict[str, Callable[..., Any]]:
        """The system's method for each operation that occurs.

        Parameters
        ----------
        system : object

        Returns
        -------
        dict of str to callable

        Raises
        ------
        InputError
            If it lacks one.
        """
        missing = sorted(name for name in self.operations if not hasattr(system, name))
        if missing:
            raise InputError(
                f"{type(system).__name__} does not know {', '.join(missing)}, which "
                f"{self.function.name()} uses"
            )
        return {name: getattr(system, name) for name in self.operations}
