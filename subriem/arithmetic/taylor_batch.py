"""Taylor coefficients of a differential equation on Torch tensors, and the method on them.

The same method as ``taylor_driver.c``, for a machine without a C compiler or with a GPU: all
solutions of a batch take a step at once, each its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from subriem.arithmetic.first_zero import first_zero
from subriem.arithmetic.recurrences import Node, Recurrences

if TYPE_CHECKING:
    from subriem.arithmetic.taylor_method import Solutions

__all__ = ["TaylorBatch"]

Tensor = torch.Tensor

#: Bytes that the series of the solutions worked on together may take: what a CPU's cache holds
#: about, and what keeps a GPU busy.
_MEMORY_CPU, _MEMORY_GPU = 1 << 24, 1 << 29


def _truth(name: str) -> Any:
    function = getattr(torch, name)
    return lambda a, b: function(a, b).to(torch.float64)


_FUNCTIONS: dict[str, Any] = {
    **{name: getattr(torch, name) for name in ("add", "sub", "mul", "div", "neg", "sqrt")},
    **{name: getattr(torch, name) for name in ("exp", "log", "expm1", "log1p", "pow")},
    **{name: getattr(torch, name) for name in ("sin", "cos", "tan", "asin", "acos", "atan")},
    **{name: getattr(torch, name) for name in ("sinh", "cosh", "tanh", "erf", "atan2", "hypot")},
    **{name: getattr(torch, name) for name in ("asinh", "acosh", "atanh", "floor", "ceil")},
    **{name: getattr(torch, name) for name in ("fmin", "fmax", "fmod", "copysign", "sign")},
    **{name: _truth(name) for name in ("lt", "le", "eq", "ne")},
    "inv": torch.reciprocal,
    "fabs": torch.abs,
    "twice": lambda a: 2.0 * a,
    "sq": lambda a: a * a,
    "constpow": torch.pow,
    "remainder": lambda a, b: a - b * torch.round(a / b),
    "not": lambda a: (a == 0).to(torch.float64),
    "and": lambda a, b: ((a != 0) & (b != 0)).to(torch.float64),
    "or": lambda a, b: ((a != 0) | (b != 0)).to(torch.float64),
    "if_else_zero": lambda c, a: torch.where(c != 0, a, torch.zeros_like(a)),
}


class TaylorBatch:
    """The Taylor method on tensors.

    Parameters
    ----------
    recurrences : Recurrences
    groups : sequence of sequences of int
        States that share one scale for the choice of the step.
    tangents : int
        How many tangent vectors follow each solution.
    device : str or torch.device

    Examples
    --------
    >>> import casadi as ca
    >>> from subriem.arithmetic.program import Program
    >>> y, w = ca.SX.sym("y"), ca.SX.sym("w", 0)
    >>> growth = Recurrences(Program(ca.Function("f", [y, w], [y])))
    >>> batch = TaylorBatch(growth, [[0]], 0, "cpu")
    >>> one = torch.ones(1, 1, dtype=torch.float64)
    >>> states, _, _ = batch.expand(4, one, one[None, :0], one[0])
    >>> states[0, :, 0] * torch.tensor([1, 1, 2, 6, 24])
    tensor([1., 1., 1., 1., 1.], dtype=torch.float64)
    """

    def __init__(
        self,
        recurrences: Recurrences,
        groups: Sequence[Sequence[int]],
        tangents: int,
        device: Any,
    ) -> None:
        self.r = recurrences
        self.groups = [list(group) for group in groups]
        self.tangents = tangents
        self.device = torch.device(device)
        self._slots = {
            tangent: {
                index: slot
                for slot, index in enumerate(
                    k
                    for k, node in enumerate(recurrences.nodes)
                    if node.moving and node.tangent == tangent
                )
            }
            for tangent in (False, True)
        }
        self._sums = {}
        for tangent in (False, True):
            pairs = recurrences.sums(tangent)
            first = torch.tensor([self._slots[False][a] for a, _ in pairs], dtype=torch.long)
            second = torch.tensor([self._slots[tangent][b] for _, b in pairs], dtype=torch.long)
            self._sums[tangent] = (pairs, first.to(self.device), second.to(self.device))
        # which node is watched, whether it is a kink, and its number among the events
        self._events = [
            (index, number >= len(recurrences.watched), number)
            for number, index in enumerate([*recurrences.watched, *recurrences.kinks])
            if recurrences.nodes[index].moving
        ]

    # ------------------------------------------------------------------ the series

    def expand(self, order: int, y: Tensor, z: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Taylor coefficients of solutions and tangents.

        Parameters
        ----------
        order : int
        y : Tensor, shape (N, L)
        z : Tensor, shape (N, Q, L)
        w : Tensor, shape (number of parameters,)

        Returns
        -------
        states : Tensor, shape (N, order + 1, L)
        tangents : Tensor, shape (N, order + 1, Q, L)
        events : Tensor, shape (number of events, order, L)
        """
        lanes = y.shape[1:]
        states = y.new_zeros(len(y), order + 1, *lanes)
        tangents = y.new_zeros(len(z), order + 1, *z.shape[1:])
        states[:, 0], tangents[:, 0] = y, z
        series = {
            False: y.new_zeros(len(self._slots[False]), order, *lanes),
            True: y.new_zeros(len(self._slots[True]), order, *z.shape[1:]),
        }
        start: list[Tensor] = []
        for index, node in enumerate(self.r.nodes):
            start.append(self._order_zero(node, start, y, z, w))
            if node.moving:
                series[node.tangent][self._slots[node.tangent][index], 0] = start[index]
        kinds = [(False, states, self.r.rates)]
        kinds += [(True, tangents, self.r.tangent_rates)] if self.tangents else []
        for _, found, rates in kinds:
            for k, rate in enumerate(rates):
                found[k, 1] = start[rate]
        for l in range(1, order):
            values: dict[int, Tensor] = {}
            for tangent, found, rates in kinds:
                own = series[tangent]
                sums = self._inner_sums(tangent, series[False], own, l)
                for index, slot in self._slots[tangent].items():
                    node = self.r.nodes[index]
                    if node.kind == "state":
                        values[index] = found[node.position, l]
                    else:
                        values[index] = self._order_l(index, l, start, values, sums)
                    own[slot, l] = values[index]
                for k, rate in enumerate(rates):
                    if rate in values:
                        found[k, l + 1] = values[rate] / (l + 1)
        chosen = [self._slots[False][index] for index, _, _ in self._events]
        return states, tangents, series[False][chosen]

    def _inner_sums(
        self, tangent: bool, base: Tensor, own: Tensor, l: int
    ) -> dict[tuple[int, int], Tensor]:
        pairs, first, second = self._sums[tangent]
        if not pairs:
            return {}
        a, b = base[first, 1:l], own[second, 1:l].flip(1)
        totals = ((a[:, :, None] if tangent else a) * b).sum(1)
        return dict(zip(pairs, totals, strict=True))

    def _order_zero(
        self, node: Node, start: list[Tensor], y: Tensor, z: Tensor, w: Tensor
    ) -> Tensor:
        # of log and power, the own derivative comes later and has no order 0
        a = [start[k] for k in node.operands if k < len(start)]
        if node.kind == "constant":
            return y.new_tensor(node.constant)
        if node.kind == "parameter":
            return w[node.position]
        if node.kind == "state":
            return z[node.position] if node.tangent else y[node.position]
        if node.kind == "scale":
            return a[0] * a[1]
        if node.kind == "derivative":
            return torch.zeros_like(a[0])
        if node.kind == "select":
            return torch.where(a[0] != 0, a[1], a[2])
        if node.kind == "log":
            return torch.log(a[0])
        if node.kind == "power":
            return torch.pow(a[0], a[1])
        name = node.name if node.kind in ("value", "integral") else node.kind
        arguments = a[:1] if node.kind == "integral" and name != "atan2" else a
        return _FUNCTIONS[name](*arguments)

    def _order_l(
        self,
        index: int,
        l: int,
        start: list[Tensor],
        values: dict[int, Tensor],
        sums: dict[tuple[int, int], Tensor],
    ) -> Tensor:
        node = self.r.nodes[index]
        kind, operands = node.kind, node.operands
        a: list[Any] = [values.get(k, 0.0) for k in operands]
        own = [sums[pair] for pair in self.r.sums_of(index)]
        if kind == "add":
            return a[0] + a[1]
        if kind == "sub":
            return a[0] - a[1]
        if kind == "neg":
            return -a[0]
        if kind == "scale":
            return start[operands[0]] * a[1]
        if kind == "derivative":
            return l * a[0]
        if kind == "select":
            first, second = (torch.as_tensor(term, dtype=torch.float64) for term in a[1:])
            like = start[index]
            return torch.where(start[operands[0]] != 0, first.to(like), second.to(like))
        if kind == "mul":
            return own[0] + start[operands[0]] * a[1] + start[operands[1]] * a[0]
        if kind == "div":
            return (a[0] - own[0] - start[index] * a[1]) / start[operands[1]]
        if kind == "sqrt":
            return (a[0] - own[0]) / (2.0 * start[index])
        if kind == "log":
            return (a[0] - own[0] / l) / start[operands[0]]
        if kind == "power":
            base, exponent, slope, _ = operands
            moved = values[slope] * start[index] + own[0]
            return (start[exponent] * moved - own[1]) / (start[base] * l)
        total = torch.zeros_like(start[index])
        remaining = iter(own)
        for d, g, sign in node.pairs:
            term = values[d] * start[g]
            if self.r.nodes[g].moving:
                term = term + next(remaining)
            total = total + sign * term
        return total / l

    # ------------------------------------------------------------------ the method

    def integrate(
        self,
        order: int,
        rtol: float,
        max_steps: int,
        direction: float,
        initial: np.ndarray,
        parameters: np.ndarray,
        wanted: np.ndarray,
        found: Solutions,
    ) -> None:
        """Fill in solutions at the times wanted: see `TaylorMethod.solve`.

        Parameters
        ----------
        order : int
        rtol : float
        max_steps : int
        direction : float
            1 forward, -1 backward.
        initial : ndarray, shape (B, N (1 + Q))
        parameters : ndarray
        wanted : ndarray, shape (T,)
            Increasing, not negative.
        found : Solutions
            Written to.
        """
        nodes = len(self._slots[False]) + self.tangents * len(self._slots[True])
        each = 8 * (order + 1) * (nodes + initial.shape[1])
        memory = _MEMORY_CPU if self.device.type == "cpu" else _MEMORY_GPU
        share = max(1, min(len(initial), memory // each))
        w = torch.as_tensor(parameters, device=self.device)
        for first in range(0, len(initial), share):
            lanes = np.arange(first, min(first + share, len(initial)))
            self._integrate(order, rtol, max_steps, direction, initial, w, wanted, found, lanes)

    def _integrate(
        self,
        order: int,
        rtol: float,
        max_steps: int,
        direction: float,
        initial: np.ndarray,
        w: Tensor,
        wanted: np.ndarray,
        found: Solutions,
        lanes: np.ndarray,
    ) -> None:
        n, q = len(self.r.rates), self.tangents
        now = torch.as_tensor(initial[lanes], device=self.device).T.contiguous()
        t, rest = np.zeros(len(lanes)), np.zeros(len(lanes))
        next_time = np.zeros(len(lanes), dtype=int)
        end = wanted[-1]
        for taken in range(1, max_steps + 2):
            y = now[:n]
            z = now[n:].reshape(q, n, len(lanes)).transpose(0, 1)
            states, tangents, events = self.expand(order, y, z, w)
            whole = torch.cat(
                [states, tangents.permute(2, 0, 1, 3).reshape(q * n, order + 1, len(lanes))]
            )
            step = self._step(whole, order, rtol).cpu().numpy()
            left = (end - t) - rest
            found.steps[lanes] = taken
            stopped = ~(step > np.finfo(float).eps * t) & (left > 0)
            limited = (taken > max_steps) & (left > 0) & ~stopped
            found.status[lanes[stopped]] = 2
            found.status[lanes[limited]] = 3
            ended = stopped | limited
            found.event_time[lanes[ended]] = t[ended]
            ending = (left <= step) & ~ended
            step = np.where(ended, 0.0, np.minimum(step, np.maximum(left, 0.0)))
            self._watch(events, step, direction, t, lanes, found, ended)
            status = found.status[lanes]
            until = np.where(status > 0, found.event_time[lanes], t + step)
            while True:
                at = wanted[np.minimum(next_time, len(wanted) - 1)]
                due = np.where(status > 0, at < until, ending | (at <= until))
                due &= next_time < len(wanted)
                if not due.any():
                    break
                which = np.flatnonzero(due)
                s = np.where(
                    ending[which] & (status[which] == 0) & (at[which] == end),
                    step[which],
                    (at[which] - t[which]) - rest[which],
                )
                chosen = whole[..., torch.as_tensor(which, device=self.device)]
                value, rate = self._evaluate(chosen, direction * s)
                found.states[lanes[which], next_time[which]] = value.T.cpu().numpy()
                if found.rates is not None:
                    found.rates[lanes[which], next_time[which]] = rate.T.cpu().numpy()
                next_time[which] += 1
            go = np.flatnonzero((status == 0) & ~ending)
            if not len(go):
                return
            kept = torch.as_tensor(go, device=self.device)
            now, _ = self._evaluate(whole[..., kept], direction * step[go])
            add = step[go] + rest[go]
            total = t[go] + add
            rest = add - (total - t[go])
            t, lanes, next_time = total, lanes[go], next_time[go]

    def _step(self, whole: Tensor, order: int, rtol: float) -> Tensor:
        n = len(self.r.rates)
        step = torch.full_like(whole[0, 0], 2.0**1000).log2()
        sane = torch.zeros_like(step)
        moving = set(self.r.moving_states)
        blocks = [[[i for i in group if i in moving]] for group in self.groups]
        if self.tangents:
            blocks += [
                [[n * (k + 1) + i for i in group] for k in range(self.tangents)]
                for group in self.groups
            ]
        for block in blocks:
            rows = [i for group in block for i in group]
            if not rows:
                continue
            part = whole[rows][:, [0, 1, order - 1, order]].abs().sum(0)
            sane = sane + part.sum(0) * 0.0
            size, speed, *last = (part.log2()).clamp(min=-1023.0)
            for power, term, raw in zip((order - 1, order), last, part[2:], strict=True):
                by_size = (size + math.log2(rtol) - term) / power
                by_speed = (speed + math.log2(rtol) - term) / (power - 1)
                limit = torch.maximum(by_size, by_speed)
                step = torch.where(raw > 0, torch.minimum(step, limit), step)
        return torch.exp2(step) + sane

    def _watch(
        self,
        events: Tensor,
        step: np.ndarray,
        direction: float,
        t: np.ndarray,
        lanes: np.ndarray,
        found: Solutions,
        ended: np.ndarray,
    ) -> None:
        for series, (_, kink, number) in zip(events, self._events, strict=True):
            h = torch.as_tensor(step, device=self.device)
            bound = torch.zeros_like(h)
            for l in range(len(series) - 1, 0, -1):
                bound = (bound + series[l].abs()) * h
            near = (series[0].abs() <= bound) | (series[0] <= 0 if not kink else series[0] == 0)
            for lane in np.flatnonzero(near.cpu().numpy() & ~ended):
                coefficients = series[:, lane].cpu().numpy()
                coefficients = coefficients * direction ** np.arange(len(coefficients))
                if kink:
                    coefficients = np.copysign(1.0, coefficients[0]) * coefficients
                    if not coefficients.any():
                        continue
                zero = first_zero(coefficients, step[lane])
                b = lanes[lane]
                if zero is None or (found.status[b] and t[lane] + zero >= found.event_time[b]):
                    continue
                found.status[b] = 4 if kink else 1
                found.event_time[b] = t[lane] + zero
                found.event[b] = number

    def _evaluate(self, series: Tensor, s: np.ndarray) -> tuple[Tensor, Tensor]:
        at = torch.as_tensor(s, device=self.device)
        value, rate = series[:, -1], torch.zeros_like(series[:, 0])
        for l in range(series.shape[1] - 2, -1, -1):
            rate = rate * at + value
            value = value * at + series[:, l]
        return value, rate
