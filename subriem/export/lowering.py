"""The walk over a traced module: every operator of it becomes CasADi expressions."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Sequence
from typing import Any

import casadi as ca
import torch
from torch.export.graph_signature import InputKind, OutputKind

from subriem.errors import InputError, InputTypeError
from subriem.export.arrays import Array, entries
from subriem.export.operators import KEPT, OPERATORS, find_operator

__all__ = ["lower"]

#: Of the names that a trace gives to what belongs to the module.
_PREFIX = "module."

#: Checks of the trace that compute nothing.
_CHECKS = ("_assert_tensor_metadata", "_assert_scalar")


def lower(module: torch.nn.Module, inputs: torch.Tensor, names: Sequence[str]) -> ca.Function:
    """Write a torch module on fixed inputs as a CasADi function of its parameters.

    The module is traced by ``torch.export`` in the mode it is in (train or eval), decomposed into
    core ATen operators, and each of them written with CasADi's matrix operations. The function
    computes in float64 and can be expanded, differentiated and embedded as any other. What depends
    on no parameter is evaluated once, by torch, in the module's own precision.

    Parameters
    ----------
    module : torch.nn.Module
        Of any dtype, on any device.
    inputs : Tensor, shape (N, ...)
        The fixed inputs, as the module takes them.
    names : sequence of str
        The parameters that are variables, in the order in which they are stacked. The other
        parameters, the buffers and the inputs are constants.

    Returns
    -------
    casadi.Function
        ``outputs``: theta (K,) to x (NQ,), the outputs stacked sample-major. ``.expand()`` gives
        the same function in scalar operations.

    Raises
    ------
    InputTypeError
        If ``module`` is not a torch module, ``inputs`` not a tensor, or what the module returns
        not one floating tensor.
    InputError
        If a name is unknown or given twice, the module cannot be traced (values choose its
        operations, or it calls ``torch.func``), draws at random, changes its buffers or
        normalises over the batch (train mode), stops a gradient (``detach``, ``no_grad``: the
        derivatives of the expression would not be the module's), or has an operator that is not
        among `subriem.export.OPERATORS`.

    Notes
    -----
    Derivatives are those of the operations of the forward pass. ReLU, clamp, ELU and softplus keep
    torch's values, thresholds and first derivatives, at the kink too. Where several arguments of
    a maximum are largest at once, the derivative is shared among them, which need not be torch's
    choice.

    Softmax is exp(x_i) / sum_j exp(x_j), and logsumexp log sum_j exp(x_j): no maximum is
    subtracted, so that both are smooth expressions, equal to torch's. In exchange the largest
    argument must lie within about +-700; beyond, the result overflows to Inf or NaN, or vanishes.

    Conversions between floating types do not round. For a module in float32 the function is that
    of its weights, exact, in float64 arithmetic.

    References
    ----------
    Core ATen operators: https://docs.pytorch.org/docs/stable/torch.compiler_ir.html

    Examples
    --------
    >>> module = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Tanh()).double()
    >>> inputs = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    >>> outputs = lower(module, inputs, ["0.weight", "0.bias"])
    >>> outputs
    Function(outputs:(theta[3])->(x[2]) MXFunction)
    >>> outputs([0.0, 0.5, -1.0])
    DM([-0.761594, 0])
    """
    if not isinstance(module, torch.nn.Module):
        raise InputTypeError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    if not isinstance(inputs, torch.Tensor):
        raise InputTypeError(f"inputs: expected a torch.Tensor, got {type(inputs).__name__}")
    sizes = _sizes(module, names)
    theta = ca.MX.sym("theta", sum(sizes))
    ends = [sum(sizes[:k]) for k in range(len(sizes) + 1)]
    parts = ca.vertsplit(theta, ends) if sizes else []
    traced = _trace(module, inputs, names)
    _refuse_stopped_gradients(traced)
    program = _decomposed(traced)
    changed = sorted(program.graph_signature.buffers_to_mutate.values())
    if changed:
        raise InputError(
            "module: evaluating it changes its buffers "
            f"{[name.removeprefix(_PREFIX) for name in changed]}; expected a map of the "
            "parameters alone: call module.eval()"
        )
    out = _Walk(program, inputs, parts).output()
    return ca.Function("outputs", [theta], [ca.MX(entries(out))], ["theta"], ["x"])


def _sizes(module: torch.nn.Module, names: Sequence[str]) -> list[int]:
    """Entries of each variable parameter."""
    known = dict(module.named_parameters(remove_duplicate=False))
    if isinstance(names, str):
        raise InputTypeError(f"names: expected a sequence of names, got the text {names!r}")
    if any(name not in known for name in names):
        raise InputError(f"names: expected names of parameters, {list(known)}; got {names!r}")
    if len({id(known[name]) for name in names}) < len(names):
        raise InputError(f"names: expected each parameter once, got {list(names)}")
    return [known[name].numel() for name in names]


class _Applied(torch.nn.Module):
    """A module as a function of its inputs and of its variable parameters.

    Evaluated as the output map evaluates it: one value for all uses of a shared parameter, and
    layers that assemble their weights when called (recurrent, pruned) see the variables.
    """

    def __init__(self, module: torch.nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self.names = tuple(names)

    def forward(self, inputs: torch.Tensor, variables: tuple[torch.Tensor, ...]) -> Any:
        given = dict(zip(self.names, variables, strict=True))
        return torch.func.functional_call(self.module, given, (inputs,))


def _user_inputs(program: torch.export.ExportedProgram) -> list[str]:
    """Names in the trace of the inputs and the variable parameters, in this order."""
    specs = program.graph_signature.input_specs
    return [spec.arg.name for spec in specs if spec.kind is InputKind.USER_INPUT]


def _ignore_notes_of_torch() -> None:
    # On torch's own use of a deprecated class of its own; and on attributes that a layer assigns
    # when called, as recurrent and pruned ones do: the trace follows them.
    warnings.filterwarnings("ignore", r".*LeafSpec.*", FutureWarning)
    warnings.filterwarnings("ignore", r"The tensor attributes? .*assigned during export")


def _trace(
    module: torch.nn.Module, inputs: torch.Tensor, names: Sequence[str]
) -> torch.export.ExportedProgram:
    variables = tuple(module.get_parameter(name) for name in names)
    with warnings.catch_warnings():
        _ignore_notes_of_torch()
        try:
            return torch.export.export(_Applied(module, names), (inputs, variables), strict=False)
        except Exception as error:  # torch.export lets through whatever the module raises
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(
                f"module: {type(module).__name__} cannot be traced by torch.export on inputs of "
                f"shape {tuple(inputs.shape)}; expected operations that no value chooses, and "
                f"none of torch.func: {reason[0]}"
            ) from error


def _decomposed(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    table = torch.export.default_decompositions()
    for target in list(table):
        if str(target).split(".")[1] in KEPT:
            table.pop(target)
    with warnings.catch_warnings():
        _ignore_notes_of_torch()
        return program.run_decompositions(table)


def _place(node: torch.fx.Node) -> str:
    """Where in the module, and on which line, a node of the trace comes from."""
    stack = node.meta.get("nn_module_stack") or {}
    path, kind = list(stack.values())[-1] if stack else ("", "")
    path = path.removeprefix("module").removeprefix(".")
    place = f"in {f'layer {path!r}' if path else 'the module'} ({str(kind).rsplit('.', 1)[-1]})"
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").strip().splitlines()]
    return f"{place}, at `{lines[-1]}`" if lines else place


def _refuse_stopped_gradients(program: torch.export.ExportedProgram) -> None:
    """Refuse a detached quantity that depends on the variable parameters.

    The decomposition drops the mark, so it is looked for before.
    """
    depends = set(_user_inputs(program)[1:])
    for node in program.graph.nodes:
        if not any(source.name in depends for source in node.all_input_nodes):
            continue
        depends.add(node.name)
        name = str(node.target)
        no_grad = name == "wrap_with_set_grad_enabled" and node.args[0] is False
        if no_grad or name.startswith("aten.detach"):
            raise InputError(
                f"module: {'torch.no_grad()' if no_grad else 'detach'} stops the gradient of a "
                f"quantity that depends on the parameters, {_place(node)}; expected none, as the "
                "derivatives of an expression cannot be stopped"
            )


class _Walk:
    """One pass over a decomposed trace, with the value of every node."""

    def __init__(
        self, program: torch.export.ExportedProgram, inputs: torch.Tensor, parts: Sequence[Any]
    ) -> None:
        self.program = program
        self.values: dict[torch.fx.Node, Any] = {}
        self.given: dict[str, Any] = {}
        variables = list(_user_inputs(program))[1:]
        column = dict(zip(variables, parts, strict=True))
        for node in program.graph.find_nodes(op="placeholder"):
            if node.name in column:
                self.given[node.name] = Array(column[node.name], tuple(node.meta["val"].shape))
        for spec in program.graph_signature.input_specs:
            name = spec.arg.name
            if name in self.given:
                continue
            held = program.state_dict.get(spec.target, program.constants.get(spec.target))
            value = inputs if spec.kind is InputKind.USER_INPUT else held
            self.given[name] = value.detach().cpu() if isinstance(value, torch.Tensor) else value

    def output(self) -> Any:
        """The one tensor that the module returns."""
        specs = self.program.graph_signature.output_specs
        returned = [k for k, s in enumerate(specs) if s.kind is OutputKind.USER_OUTPUT]
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self.given[node.name]
            elif node.op == "get_attr":
                self.values[node] = getattr(self.program.graph_module, node.target)
            elif node.op == "call_function":
                self.values[node] = self._call(node)
            else:
                outputs = [node.args[0][k] for k in returned]
        kinds = [getattr(node, "meta", {}).get("val") for node in outputs]
        if len(kinds) != 1 or not getattr(kinds[0], "dtype", torch.bool).is_floating_point:
            raise InputTypeError(
                "module: expected it to return one floating tensor, got "
                f"{[str(getattr(kind, 'dtype', kind)) for kind in kinds]}"
            )
        return self.values[outputs[0]]

    def _call(self, node: Any) -> Any:
        """The value of one operator: torch's where it is constant, an expression elsewhere."""
        arguments, options = torch.fx.node.map_arg((node.args, node.kwargs), self.values.get)
        if node.target is operator.getitem:
            part = arguments[0][arguments[1]]
            if part is None:
                raise self._unsupported(node.args[0], f"its output number {arguments[1]}")
            return part
        name = str(node.target)
        if self._draws(node, arguments):
            raise InputError(
                f"module: operator {name} draws at random, {_place(node)}; expected a "
                "deterministic map: call module.eval()"
            )
        if not any(self._is_symbolic(source) for source in node.all_input_nodes):
            if "device" in options:
                options = {**options, "device": torch.device("cpu")}
            with torch.no_grad():
                return node.target(*arguments, **options)
        if any(check in name for check in _CHECKS):
            return None
        lowered = find_operator(node.target) if name.count(".") == 2 else None
        if lowered is None:
            raise self._unsupported(node, "")
        meta = node.meta["val"]
        shape = tuple((meta[0] if isinstance(meta, list | tuple) else meta).shape)
        try:
            value = lowered(shape, *arguments, **options)
        except NotImplementedError as reason:
            raise self._unsupported(node, str(reason)) from None
        made = value[0] if isinstance(value, list | tuple) else value
        if made.shape != shape or made.entries.shape != (math.prod(shape), 1):
            raise self._unsupported(node, f"outputs of shape {shape} (made: {made.shape})")
        return value

    @staticmethod
    def _draws(node: torch.fx.Node, arguments: Sequence[Any]) -> bool:
        """Whether the operator draws at random; attention does only with dropout."""
        if str(node.target).startswith("aten.scaled_dot_product_attention"):
            return bool([*arguments, 0.0, 0.0][4])
        return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())

    def _is_symbolic(self, node: torch.fx.Node) -> bool:
        value = self.values[node]
        return isinstance(value, Array) or (
            isinstance(value, list | tuple) and any(isinstance(v, Array) for v in value)
        )

    @staticmethod
    def _unsupported(node: torch.fx.Node, reason: str) -> InputError:
        means = f" with {reason}" if reason else ""
        return InputError(
            f"module: operator {node.target}{means} cannot be lowered to CasADi, {_place(node)}; "
            f"expected one of subriem.export.OPERATORS ({len(OPERATORS)} operators)"
        )
