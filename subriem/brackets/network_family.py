"""The gradient fields of a torch network as one CasADi expression, on its data or on all data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import casadi as ca
import torch

from subriem.arithmetic.free_switches import FreeSwitches
from subriem.arithmetic.prime_field import RATIONAL
from subriem.arithmetic.program import Program
from subriem.brackets.field_family import FieldFamily
from subriem.errors import InputError
from subriem.export import lower
from subriem.structure import Block

if TYPE_CHECKING:
    from subriem.network import OutputMap

__all__ = ["data_scope", "network_family"]


#: Operations that `FreeSwitches` has besides rational ones.
_SWITCHES = frozenset(("lt", "le", "eq", "ne", "not", "if_else_zero", "fmax", "fmin", "fabs"))


class _WithInputs(torch.nn.Module):
    """A module whose input is a parameter too, so that it is lowered as a variable."""

    def __init__(self, module: torch.nn.Module, inputs: torch.Tensor) -> None:
        super().__init__()
        self.module = module
        self.given = torch.nn.Parameter(inputs.detach().clone())

    def forward(self, ignored: torch.Tensor) -> torch.Tensor:
        """The module at the input held."""
        return self.module(self.given)


def network_family(outputs: OutputMap, data: Literal["given", "all"] = "given") -> FieldFamily:
    """Fields grad_theta <c, x(theta)>, for the samples of an `OutputMap` or for any input.

    Parameters
    ----------
    outputs : OutputMap
    data : {"given", "all"}
        ``"given"``: the fields are combinations of the rows of D on the samples given.
        ``"all"``: the input of one sample is a weight of the family as c is. In a network of ReLUs
        and other piecewise linear operations so is each switch: the family then has the fields of
        all activation patterns, also of those that no input reaches.

    Returns
    -------
    FieldFamily
        Its blocks are the module's parameters by name.

    Raises
    ------
    InputError
        If the module cannot be written in CasADi, or for all data its inputs are not floats.

    Examples
    --------
    >>> from subriem.network import OutputMap
    >>> module = torch.nn.Linear(2, 1, bias=False).double()
    >>> network_family(OutputMap(module, [[1.0, 2.0]]), "all")
    FieldFamily Linear on all data: 2 coordinates, a continuum of fields
    """
    if data not in ("given", "all"):
        raise InputError(f"data: expected given or all, got {data!r}")
    names, module, sample = list(outputs.shapes), outputs.module, outputs.inputs[:1]
    theta = ca.SX.sym("theta", outputs.dimension)
    if data == "given":
        values = lower(module, outputs.inputs, names).expand()(theta)
        free = ca.SX(0, 1)
    else:
        if not sample.is_floating_point():
            raise InputError("data='all' needs inputs of floats: tokens cannot vary continuously")
        free = ca.SX.sym("x", sample.numel())
        wrapped = _WithInputs(module, sample)
        function = lower(wrapped, sample, [*(f"module.{name}" for name in names), "given"])
        values = function.expand()(ca.vertcat(theta, free))
    combination = ca.SX.sym("c", values.shape[0])
    program = Program(ca.Function("outputs", [theta, free], [ca.densify(values)]))
    kinks = program.operations - RATIONAL
    if data == "all" and kinks and kinks <= _SWITCHES:
        system = FreeSwitches()
        (entries,) = program.run(system, ca.vertsplit(theta), ca.vertsplit(free))
        values, free = ca.vertcat(*entries), ca.vertcat(free, *system.switches)
    field = ca.densify(ca.gradient(ca.dot(combination, values), theta))
    weights = ca.vertcat(combination, free)
    samples = f"{outputs.samples} sample{'s' * (outputs.samples != 1)}"
    name = type(module).__name__
    return FieldFamily(
        f"{name} on all data" if data == "all" else f"{name} on {samples}",
        tuple(f"theta{k + 1}" for k in range(outputs.dimension)),
        ca.Function("fields", [theta, weights], [field]),
        outputs.size if data == "given" else None,
        "all data, activation patterns and losses"
        if data == "all" and kinks
        else data_scope(outputs, data),
        None,
        tuple(Block(key, tuple(shape) or (1,)) for key, shape in outputs.shapes.items()),
    )


def data_scope(outputs: OutputMap, data: str) -> str:
    """For which training runs a count holds.

    Parameters
    ----------
    outputs : OutputMap
    data : {"given", "all"}

    Returns
    -------
    str

    Examples
    --------
    >>> from subriem.network import OutputMap
    >>> data_scope(OutputMap(torch.nn.Linear(2, 1), [[1.0, 2.0]]), "given")
    'these 1 samples, all losses'
    """
    return (
        "all data and losses" if data == "all" else f"these {outputs.samples} samples, all losses"
    )
