"""The actions of D as flat programs of tensor operations, traced once and run at every point.

Automatic differentiation decides anew at every call what to compute. Where an output map is
differentiated thousands of times, its derivatives are written out once instead, as lists of tensor
operations in the parameters and a vector, and split: what depends on the parameters alone is
computed once a point, the rest once a vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from subriem.probe import probe_vector

if TYPE_CHECKING:
    from subriem.network.output_map import OutputMap

__all__ = ["TracedMap", "TracedPoint", "trace"]

_Action = Callable[[torch.Tensor], torch.Tensor]


# identities in a program without mutations
_SAME = (torch.ops.aten.alias.default, torch.ops.aten.detach.default)
_ZERO = (torch.ops.aten.zeros.default, torch.ops.aten._efficientzerotensor.default)
# zero where their first, or any, argument is
_ZERO_OF_FIRST = (
    torch.ops.aten.expand.default,
    torch.ops.aten.view.default,
    torch.ops.aten.t.default,
    torch.ops.aten._to_copy.default,
)
_ZERO_OF_ANY = (torch.ops.aten.mm.default, torch.ops.aten.mul.Tensor)


def _simplify(graph: torch.fx.Graph) -> None:
    """Take out identities, and what forward mode does with the zero derivatives of inputs."""
    zeros: set[torch.fx.Node] = set()
    for node in list(graph.nodes):
        target, sources = node.target, node.args
        if target in _SAME:
            node.replace_all_uses_with(sources[0])
        elif (
            target in _ZERO
            or (target in _ZERO_OF_FIRST and sources[0] in zeros)
            or (target in _ZERO_OF_ANY and any(source in zeros for source in sources))
        ):
            zeros.add(node)
        elif target == torch.ops.aten.add.Tensor and not node.kwargs:
            for zero, other in (sources, sources[::-1]):
                if zero in zeros and other not in zeros and _like(node, other):
                    node.replace_all_uses_with(other)
                    break
    graph.eliminate_dead_code()


def _like(node: torch.fx.Node, other: Any) -> bool:
    one, two = node.meta.get("val"), getattr(other, "meta", {}).get("val")
    return one is not None and two is not None and one.shape == two.shape and one.dtype == two.dtype


def _split(traced: torch.fx.GraphModule) -> tuple[Any, list[tuple[Any, list[int]]]]:
    """Split a trace of (theta, v, w) -> (value, results) by what depends on theta alone.

    Returns
    -------
    first : GraphModule
        theta -> (value, what the results need of theta).
    rest : list of (GraphModule, list of int)
        For each result a module (vector, *needed) -> result, and which of those it needs.
    """
    theta, *vectors = (node for node in traced.graph.nodes if node.op == "placeholder")
    last = next(node for node in traced.graph.nodes if node.op == "output")
    value, *results = last.args[0]
    moving = set(vectors)
    for node in traced.graph.nodes:
        if node is not last and any(source in moving for source in node.all_input_nodes):
            moving.add(node)
    first = torch.fx.Graph()
    copies: dict[torch.fx.Node, torch.fx.Node] = {theta: first.placeholder("theta")}
    # the derivatives each trace the outputs anew: equal operations are done once
    done: dict[Any, torch.fx.Node] = {}
    for node in traced.graph.nodes:
        if node not in moving and node.op not in ("placeholder", "output"):
            mapped = torch.fx.node.map_arg((node.args, node.kwargs), copies.__getitem__)
            key = (node.op, node.target, repr(mapped))
            if key not in done:
                done[key] = first.node_copy(node, copies.__getitem__)
            copies[node] = done[key]
    kept: list[torch.fx.Node] = []
    rest = []
    for result in results:
        graph = torch.fx.Graph()
        own: dict[torch.fx.Node, torch.fx.Node] = {}
        needed: list[int] = []
        ancestors = _ancestors(result)
        vector = next((v for v in vectors if v in ancestors), vectors[0])
        own[vector] = graph.placeholder("vector")
        order = [node for node in traced.graph.nodes if node in ancestors and node in moving]
        sources = [s for node in order for s in node.all_input_nodes if s not in moving]
        for source in dict.fromkeys(sources if result in moving else [result]):
            if copies[source] not in kept:
                kept.append(copies[source])
            number = kept.index(copies[source])
            own[source] = graph.placeholder(f"kept{number}_{len(needed)}")
            needed.append(number)
        for node in order:
            if node.op != "placeholder":
                own[node] = graph.node_copy(node, own.__getitem__)
        graph.output(own[result])
        rest.append((torch.fx.GraphModule(traced, graph), needed))
    first.output((copies[value], tuple(kept)))
    first.eliminate_dead_code()
    return torch.fx.GraphModule(traced, first), rest


def _ancestors(node: torch.fx.Node) -> set[torch.fx.Node]:
    found = {node}
    waiting = [node]
    while waiting:
        new = [source for source in waiting.pop().all_input_nodes if source not in found]
        found.update(new)
        waiting.extend(new)
    return found


class TracedPoint:
    """A `TracedMap` at one point of parameter space.

    Parameters
    ----------
    value : Tensor, shape (NQ,)
        The outputs.
    jvp, vjp : callable
        v -> D v and w -> D' w.
    bend : callable or None
        v -> the second derivative of the outputs along v, shape (NQ,), where torch knows it.
    """

    def __init__(
        self, value: torch.Tensor, jvp: _Action, vjp: _Action, bend: _Action | None
    ) -> None:
        self.value = value
        self.jvp = jvp
        self.vjp = vjp
        self.bend = bend

    def gram_action(self, w: torch.Tensor) -> torch.Tensor:
        """D D' w for w of shape (NQ,)."""
        return self.jvp(self.vjp(w))


class TracedMap:
    """An output map with its derivatives written out; made by `trace`.

    Parameters
    ----------
    outputs : OutputMap
    theta : Tensor, shape (K,)
        Where it is traced.
    bends : bool
        Whether the second derivative is traced too, by nested forward mode.
    """

    def __init__(self, outputs: OutputMap, theta: torch.Tensor, bends: bool) -> None:
        # takes most of a second to import
        from torch.fx.experimental.proxy_tensor import make_fx

        flat = outputs.flat

        def push(at: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return torch.func.jvp(flat, (at,), (v,))[1]

        def derivatives(
            at: torch.Tensor, v: torch.Tensor, w: torch.Tensor
        ) -> tuple[torch.Tensor, ...]:
            value, pull = torch.func.vjp(flat, at)[:2]
            first = value, push(at, v), pull(w)[0]
            if not bends:
                return first
            return *first, torch.func.jvp(lambda t: push(t, v), (at,), (v,))[1]

        self.outputs = outputs
        # without mutations the order of the operations is free within their dependences
        pure = torch.func.functionalize(derivatives, remove="mutations")
        traced = make_fx(pure)(theta, torch.ones_like(theta), theta.new_ones(outputs.size))
        _simplify(traced.graph)
        self._first, self._rest = _split(traced)
        self.bends = bends

    def at(self, theta: torch.Tensor) -> TracedPoint:
        """The map at a point.

        Parameters
        ----------
        theta : Tensor, shape (K,)

        Returns
        -------
        TracedPoint
        """
        value, kept = self._first(theta)

        def action(program: Any, needed: list[int]) -> _Action:
            own = [kept[number] for number in needed]
            return lambda vector: program(vector, *own)

        push, pull, *bend = (action(*part) for part in self._rest)
        return TracedPoint(value, push, pull, bend[0] if bend else None)


def trace(outputs: OutputMap, theta: torch.Tensor) -> TracedMap | None:
    """Trace an output map, if what is traced is the map.

    The programs are compared with automatic differentiation at two points: a module whose control
    flow depends on values, or whose operators have no forward mode, is not traced.

    Parameters
    ----------
    outputs : OutputMap
    theta : Tensor, shape (K,)

    Returns
    -------
    TracedMap or None
    """
    # torch's nested forward mode is missing for some operators, and wrong for some
    return _trace(outputs, theta.detach(), True) or _trace(outputs, theta.detach(), False)


def _trace(outputs: OutputMap, theta: torch.Tensor, bends: bool) -> TracedMap | None:
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # of torch's own use of torch.jit
            warnings.simplefilter("ignore")
            traced = TracedMap(outputs, theta, bends)
            size = float(torch.linalg.vector_norm(theta)) or 1.0
            other = theta + 0.1 * size * probe_vector(len(theta), theta) / len(theta) ** 0.5
            agree = all(_agrees(traced, point) for point in (theta, other))
    except (NotImplementedError, RuntimeError, TypeError, ValueError):
        return None
    return traced if agree else None


def _agrees(traced: TracedMap, theta: torch.Tensor) -> bool:
    exact, found = traced.outputs.linearize(theta), traced.at(theta)
    v = probe_vector(traced.outputs.dimension, theta)
    w = probe_vector(traced.outputs.size, theta, seed=1)
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]] = (
        (found.value, exact.value),
        (found.jvp(v), exact.jvp(v)),
        (found.vjp(w), exact.vjp(w)),
    )
    norm, small = torch.linalg.vector_norm, 1e3 * torch.finfo(theta.dtype).eps
    if not all(bool(norm(a - b) <= small * norm(b)) for a, b in pairs):
        return False
    if found.bend is None:
        return True
    # <w, second derivative along (v, v)>, here and by reverse mode
    bent = found.bend(v)
    error = torch.dot(bent, w) - torch.dot(exact.bend(w, v), v)
    return bool(error.abs() <= small * norm(bent) * norm(w))
