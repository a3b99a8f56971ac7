"""Rows of the Jacobian from per-sample derivatives, in blocks of bounded memory, for any module."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from subriem.probe import probe_vector

if TYPE_CHECKING:
    from subriem.network.output_map import OutputMap

__all__ = ["column_blocks", "jacobian_rows", "row_blocks"]


def jacobian_rows(
    outputs: OutputMap, theta: torch.Tensor, names: Sequence[str], start: int, stop: int
) -> torch.Tensor:
    """Rows of D that belong to samples start..stop, columns of some parameters.

    Parameters
    ----------
    outputs : OutputMap
    theta : Tensor, shape (K,)
    names : sequence of str
        Parameters whose columns are wanted, in order.
    start, stop : int
        Samples.

    Returns
    -------
    Tensor, shape ((stop - start) Q, K_names)
    """
    # Tensors of inference mode take no part in derivatives: leave it, with copies.
    with torch.inference_mode(False):
        return _rows(outputs, theta.detach().clone(), names, start, stop)


def _rows(
    outputs: OutputMap, theta: torch.Tensor, names: Sequence[str], start: int, stop: int
) -> torch.Tensor:
    everything = outputs.unflatten(theta)
    wanted = {name: everything[name] for name in names}
    rest = {name: value for name, value in everything.items() if name not in wanted}

    def sample(own: dict[str, torch.Tensor], one: torch.Tensor) -> torch.Tensor:
        return outputs.evaluate({**rest, **own}, one[None])[0]

    count = (stop - start) * outputs.width
    part = outputs.inputs[start:stop]
    with contextlib.suppress(RuntimeError, ValueError), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        blocks = torch.func.vmap(torch.func.jacrev(sample), (None, 0))(wanted, part)
        rows = torch.cat([blocks[name].reshape(count, -1) for name in names], dim=1)
        if _rows_agree(outputs, rows, wanted, rest, part):
            return rows
    # Operators without a batching rule (or with a wrong one: PReLU in torch 2.13 mixes the
    # samples with the outputs where they are equally many), or control flow on values.
    return torch.cat([_sample_rows(sample, wanted, one) for one in part])


def _rows_agree(
    outputs: OutputMap,
    rows: torch.Tensor,
    wanted: dict[str, torch.Tensor],
    rest: dict[str, torch.Tensor],
    part: torch.Tensor,
) -> bool:
    probe = probe_vector(rows.shape[0], rows)
    leaves = {name: value.detach().requires_grad_() for name, value in wanted.items()}
    with torch.enable_grad():
        out = outputs.evaluate({**rest, **leaves}, part).reshape(-1)
    exact = torch.zeros_like(rows[0])
    if out.requires_grad:
        gradient = torch.autograd.grad(out, list(leaves.values()), probe, materialize_grads=True)
        exact = torch.cat([g.reshape(-1) for g in gradient])
    error = torch.linalg.vector_norm(probe @ rows - exact)
    eps = torch.finfo(rows.dtype).eps
    return bool(error <= 1e3 * eps * torch.linalg.matrix_norm(rows) * probe.norm())


def _sample_rows(
    sample: Callable[[dict[str, torch.Tensor], torch.Tensor], torch.Tensor],
    wanted: dict[str, torch.Tensor],
    one: torch.Tensor,
) -> torch.Tensor:
    leaves = {name: value.detach().requires_grad_() for name, value in wanted.items()}
    with torch.enable_grad():
        out = sample(leaves, one)
    rows = []
    for component in out:
        if not component.requires_grad:
            rows.append(out.new_zeros(sum(v.numel() for v in wanted.values())))
            continue
        gradient = torch.autograd.grad(
            component, list(leaves.values()), retain_graph=True, materialize_grads=True
        )
        rows.append(torch.cat([g.reshape(-1) for g in gradient]))
    return torch.stack(rows)


def row_blocks(
    outputs: OutputMap, theta: torch.Tensor, names: Sequence[str], memory: int
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Blocks of rows of D as they fit the memory.

    Parameters
    ----------
    outputs : OutputMap
    theta : Tensor, shape (K,)
    names : sequence of str
    memory : int
        Bytes for one block.

    Yields
    ------
    slice, Tensor
        Which rows, and the rows.
    """
    columns = sum(math.prod(outputs.shapes[name]) for name in names)
    # vmap holds the stacked blocks and their concatenation at once.
    per_sample = 3 * outputs.width * columns * outputs.parameters.element_size()
    step = max(1, min(outputs.samples, memory // max(1, per_sample)))
    for start in range(0, outputs.samples, step):
        stop = min(start + step, outputs.samples)
        rows = slice(start * outputs.width, stop * outputs.width)
        yield rows, jacobian_rows(outputs, theta, names, start, stop)


def column_blocks(
    outputs: OutputMap, theta: torch.Tensor, names: Sequence[str], memory: int
) -> Iterator[torch.Tensor]:
    """Blocks of columns of D (all rows) as they fit the memory.

    Parameters
    ----------
    outputs : OutputMap
    theta : Tensor, shape (K,)
    names : sequence of str
    memory : int
        Bytes for one block; a parameter larger than that is evaluated several times.

    Yields
    ------
    Tensor, shape (NQ, k)
    """
    limit = max(1, memory // (2 * outputs.size * outputs.parameters.element_size()))
    group: list[str] = []
    groups: list[list[str]] = []
    filled = 0
    for name in names:
        count = math.prod(outputs.shapes[name])
        if group and filled + count > limit:
            groups.append(group)
            group, filled = [], 0
        group.append(name)
        filled += count
    if group:
        groups.append(group)
    for members in groups:
        columns = sum(math.prod(outputs.shapes[name]) for name in members)
        for first in range(0, columns, limit):
            last = min(first + limit, columns)
            block = outputs.parameters.new_empty(outputs.size, last - first)
            for rows, values in row_blocks(outputs, theta, members, memory // 2):
                block[rows] = values[:, first:last]
            yield block
