"""The Gram matrix D D' assembled layer by layer, without the dense Jacobian.

For a linear layer z = W a + b the rows of D that belong to W are outer products of the signal
delta = dx/dz, back-propagated from an output, with the layer's input a; so the layer's share of
D D' is the Hadamard product of two small Gram matrices,

    (D D')_{(i,q),(j,r)} += <delta_iq, delta_jr> (<a_i, a_j> + 1),

the 1 standing for the bias. Layers that act at several positions of a sample (convolutions,
linear layers on sequences) sum the outer products over the positions first; normalisation layers
have few parameters and their columns of D are formed outright. What no rule here covers is left
over, by name, to the caller.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

__all__ = ["LayerTerm", "assemble_gram", "layer_terms", "rank_k_update"]

Evaluate = Callable[[dict[str, torch.Tensor], torch.Tensor], torch.Tensor]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_NORMALISATIONS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class LayerTerm:
    """What one layer contributes to D D'.

    Parameters
    ----------
    signal : Tensor, shape (N, Q, T, d_out)
        Derivatives of the outputs with respect to the layer's own output at its T positions.
    activation : Tensor, shape (N, T, d_in), or None
        The layer's input; None where only the bias is trained.
    bias : bool
        Whether the bias is trained.
    diagonal : bool
        True for the elementwise scale of a normalisation layer (d_in = d_out, and the columns
        are products instead of outer products).
    """

    signal: torch.Tensor
    activation: torch.Tensor | None
    bias: bool
    diagonal: bool = False


def _positions_last(tensor: torch.Tensor, channel: int) -> torch.Tensor:
    """Move the channel axis last and merge the others behind the sample axis: (N, T, d)."""
    moved = tensor.movedim(channel, -1)
    return moved.reshape(moved.shape[0], -1, moved.shape[-1])


def _normalised(layer: nn.Module, value: torch.Tensor) -> torch.Tensor:
    """The input of the affine part of a normalisation layer."""
    if isinstance(layer, nn.LayerNorm):
        return nn.functional.layer_norm(value, layer.normalized_shape, eps=layer.eps)
    if isinstance(layer, nn.GroupNorm):
        return nn.functional.group_norm(value, layer.num_groups, eps=layer.eps)
    assert isinstance(layer, nn.modules.batchnorm._BatchNorm)
    return nn.functional.batch_norm(value, layer.running_mean, layer.running_var, eps=layer.eps)


def _split(layer: nn.Module, tensor: torch.Tensor) -> torch.Tensor:
    """Bring an input or output of a layer to the shape (N, T, d)."""
    if isinstance(layer, nn.Linear):
        return _positions_last(tensor, -1)
    if isinstance(layer, nn.LayerNorm):
        flat = tensor.reshape(*tensor.shape[: -len(layer.normalized_shape)], -1)
        return _positions_last(flat, -1)
    return _positions_last(tensor, 1)


def _unfolded(layer: nn.Module, value: torch.Tensor) -> torch.Tensor:
    """Patches under the kernel of a convolution: (N, T, d_in * kernel size)."""
    if isinstance(layer, nn.Conv1d):
        value = value.unsqueeze(2)
        kernel, dilation, padding, stride = (
            (1, layer.kernel_size[0]),
            (1, layer.dilation[0]),
            (0, int(layer.padding[0])),
            (1, layer.stride[0]),
        )
    else:
        assert isinstance(layer, nn.Conv2d)
        kernel, dilation = layer.kernel_size, layer.dilation  # type: ignore[assignment]
        padding, stride = layer.padding, layer.stride  # type: ignore[assignment]
    patches = nn.functional.unfold(value, kernel, dilation, padding, stride)
    return patches.mT


def _batched(layer: nn.Module, value: torch.Tensor, samples: int) -> bool:
    """Whether the input of a layer has the samples as its first axis."""
    axes = value.ndim
    if isinstance(layer, _CONVOLUTIONS):
        axes -= len(layer.kernel_size)
    elif isinstance(layer, nn.LayerNorm):
        axes -= len(layer.normalized_shape) - 1
    return axes >= 2 and value.shape[0] == samples


def _has_rule(layer: nn.Module) -> bool:
    # Exact types: a subclass may do anything in its forward.
    if type(layer) is nn.Linear or type(layer) in _NORMALISATIONS:
        return True
    if type(layer) in _CONVOLUTIONS:
        assert isinstance(layer, _CONVOLUTIONS)
        numbers = not isinstance(layer.padding, str)
        return layer.groups == 1 and layer.padding_mode == "zeros" and numbers
    return False


def _candidates(module: nn.Module, names: Iterable[str]) -> dict[str, nn.Module]:
    """Layers with a rule, by prefix, none of whose parameters is shared with another layer."""
    wanted = set(names)
    owners: dict[int, int] = {}
    for _, parameter in module.named_parameters(remove_duplicate=False):
        owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    found = {}
    for prefix, layer in module.named_modules():
        own = dict(layer.named_parameters(recurse=False))
        keys = {f"{prefix}.{name}" if prefix else name for name in own}
        if keys & wanted and _has_rule(layer) and all(owners[id(p)] == 1 for p in own.values()):
            found[prefix] = layer
    return found


def layer_terms(
    module: nn.Module,
    evaluate: Evaluate,
    parameters: dict[str, torch.Tensor],
    inputs: torch.Tensor,
    memory: int | None = None,
) -> tuple[Iterable[LayerTerm], list[str]]:
    """Run the module once forward and Q times backward, and collect every layer's term.

    Parameters
    ----------
    module : torch.nn.Module
        Its forward hooks are used and removed again.
    evaluate : callable
        ``evaluate(parameters, inputs)`` gives the outputs, shape (N, Q), from ``module``.
    parameters : dict of str to Tensor
        The trained parameters by name.
    inputs : Tensor, shape (N, ...)
    memory : int, optional
        Bytes for the signals. Where those of all layers together exceed it, the terms come one
        after the other, each with a backward pass of its own; a layer whose signal alone exceeds
        a third of it (back-propagation holds some three at a time) is left over.

    Returns
    -------
    terms : list of LayerTerm, or an iterator over them
    leftover : list of str
        Names of parameters that no term covers (shared weights, layers without a rule, layers
        called more than once).
    """
    calls: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    layers = _candidates(module, parameters)
    handles = []

    def record(prefix: str) -> Callable[..., torch.Tensor]:
        def hook(
            _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: torch.Tensor
        ) -> torch.Tensor:
            if not out.requires_grad:
                out = out.detach().requires_grad_()
            value = args[0] if args else kwargs["input"]
            calls.setdefault(prefix, []).append((value.detach(), out))
            # A layer that works in place after this one must not overwrite what was recorded.
            return out.clone()

        return hook

    try:
        for prefix, layer in layers.items():
            handles.append(layer.register_forward_hook(record(prefix), with_kwargs=True))
        with torch.enable_grad():
            frozen = {name: value.detach() for name, value in parameters.items()}
            outputs = evaluate(frozen, inputs)
    finally:
        for handle in handles:
            handle.remove()

    samples, width = outputs.shape
    chosen: dict[str, set[str]] = {}
    covered: set[str] = set()
    sizes = []
    for prefix, pairs in calls.items():
        layer, (value, out) = layers[prefix], pairs[0]
        size = width * out.numel() * out.element_size()
        if len(pairs) > 1 or not _batched(layer, value, samples):
            continue
        if memory is not None and 3 * size > memory:
            continue
        sizes.append(size)
        dot = f"{prefix}." if prefix else ""
        own = (name for name, _ in layer.named_parameters(recurse=False))
        chosen[prefix] = {name for name in own if dot + name in parameters}
        covered |= {dot + name for name in chosen[prefix]}
    at = [calls[prefix][0][1] for prefix in chosen]

    def term(prefix: str, signal: torch.Tensor) -> LayerTerm:
        return _term(layers[prefix], calls[prefix][0][0], signal, chosen[prefix])

    leftover = [name for name in parameters if name not in covered]
    if memory is None or sum(sizes) <= memory:
        signals = _signals(outputs, at)
        return [term(*pair) for pair in zip(chosen, signals, strict=True)], leftover
    one_by_one = (
        term(prefix, _signals(outputs, [out])[0]) for prefix, out in zip(chosen, at, strict=True)
    )
    return one_by_one, leftover


def _term(
    layer: nn.Module, value: torch.Tensor, signal: torch.Tensor, trained: set[str]
) -> LayerTerm:
    # (Q, N, ...) -> (N, Q, T, d)
    split = torch.stack([_split(layer, part) for part in signal], dim=1)
    activation = None
    diagonal = isinstance(layer, _NORMALISATIONS)
    if "weight" in trained:
        if diagonal:
            activation = _split(layer, _normalised(layer, value))
        elif isinstance(layer, nn.Linear):
            activation = _split(layer, value)
        else:
            activation = _unfolded(layer, value)
    return LayerTerm(split.detach(), activation, "bias" in trained, diagonal)


def _signals(outputs: torch.Tensor, at: list[torch.Tensor]) -> list[torch.Tensor]:
    """Derivatives of every output component with respect to the tensors: (Q, N, ...) each."""
    samples, width = outputs.shape
    if not at or not outputs.requires_grad:
        return [value.new_zeros((width, *value.shape)) for value in at]
    one_hot = torch.eye(width, dtype=outputs.dtype, device=outputs.device)
    one_hot = one_hot[:, None, :].expand(width, samples, width)
    try:
        gradients = torch.autograd.grad(
            outputs, at, one_hot, retain_graph=True, is_grads_batched=True, allow_unused=True
        )
    except RuntimeError:
        # Some operators have no batching rule for their backward: one output at a time.
        rows = [
            torch.autograd.grad(outputs, at, row, retain_graph=True, materialize_grads=True)
            for row in one_hot
        ]
        gradients = tuple(torch.stack(column) for column in zip(*rows, strict=True))
    return [
        value.new_zeros((width, *value.shape)) if gradient is None else gradient
        for gradient, value in zip(gradients, at, strict=True)
    ]


def rank_k_update(gram: torch.Tensor, rows: torch.Tensor, block: int) -> None:
    """Add ``rows @ rows.T`` to the lower block triangle of ``gram``, in place.

    Parameters
    ----------
    gram : Tensor, shape (n, n)
    rows : Tensor, shape (n, k)
    block : int
        Rows taken at a time.
    """
    for start in range(0, gram.shape[0], block):
        stop = min(start + block, gram.shape[0])
        gram[start:stop, :stop].addmm_(rows[start:stop], rows[:stop].mT)


def _add_outer_products(gram: torch.Tensor, term: LayerTerm, block: int) -> None:
    """Add the term of a layer as Hadamard products of two Grams, a pair of positions at a time."""
    samples, width, positions = term.signal.shape[:3]
    signals = [s.reshape(samples * width, -1) for s in term.signal.unbind(2)]
    step = max(1, block // width)
    for start in range(0, samples, step):
        stop = min(start + step, samples)
        rows, columns = slice(start * width, stop * width), slice(0, stop * width)
        shape = (stop - start, width, stop, width)
        target = gram[rows, columns]
        for t, u in itertools.product(range(positions), repeat=2):
            product = signals[t][rows] @ signals[u][columns].mT
            if term.activation is None:
                target.add_(product)
                continue
            inner = term.activation[start:stop, t] @ term.activation[:stop, u].mT
            if term.bias:
                inner += 1.0
            target.view(shape).addcmul_(product.view(shape), inner[:, None, :, None])


def _prefers_outer_products(term: LayerTerm) -> bool:
    """Whether the Hadamard form takes fewer operations than forming the columns of D."""
    if term.diagonal:
        return False
    positions, fan_out = term.signal.shape[2:]
    fan_in = 0 if term.activation is None else term.activation.shape[-1]
    # A pass over the product costs about as much as eight multiplications an entry.
    return positions == 1 or positions**2 * (fan_out + 8) < fan_in * fan_out


def _columns(term: LayerTerm, limit: int) -> Iterable[torch.Tensor]:
    """The columns of D of a term with positions, in chunks of about ``limit`` columns."""
    samples, width, _, fan_out = term.signal.shape
    rows = samples * width
    if term.bias or term.activation is None:
        yield term.signal.sum(2).reshape(rows, fan_out)
    if term.activation is None:
        return
    if term.diagonal:
        yield torch.einsum("nqto,nto->nqo", term.signal, term.activation).reshape(rows, fan_out)
        return
    fan_in = term.activation.shape[-1]
    step = max(1, limit // fan_in)
    for start in range(0, fan_out, step):
        part = term.signal[..., start : start + step]
        # (N, Q d, T) @ (N, T, d_in): one batched product a sample.
        left = part.permute(0, 1, 3, 2).reshape(samples, -1, part.shape[2])
        yield torch.bmm(left, term.activation).reshape(rows, -1)


def mirror_lower(gram: torch.Tensor, block: int) -> torch.Tensor:
    """Copy the lower block triangle to the upper one, in place."""
    for start in range(0, gram.shape[0], block):
        stop = min(start + block, gram.shape[0])
        gram[:start, start:stop] = gram[start:stop, :start].mT
        corner = gram[start:stop, start:stop]
        corner.copy_(corner.tril() + corner.tril(-1).mT)
    return gram


def assemble_gram(
    terms: Iterable[LayerTerm],
    columns: Iterable[torch.Tensor],
    like: torch.Tensor,
    memory: int,
) -> torch.Tensor:
    """Sum the layers' terms, and dense columns of D for what they leave over, to D D'.

    Parameters
    ----------
    terms : iterable of LayerTerm
    columns : iterable of Tensor, shape (NQ, k)
        Blocks of columns of D.
    like : Tensor, shape (N, Q)
        Gives sizes, dtype and device.
    memory : int
        Bytes to work with, beside the NQ x NQ result.

    Returns
    -------
    Tensor, shape (NQ, NQ)
    """
    samples, width = like.shape
    size = samples * width
    item = like.element_size()
    # A row block of 512 keeps two operands of a product in cache and still feeds BLAS well.
    block = max(width, min(512, memory // (4 * size * item) or 1))
    limit = max(1, memory // (4 * size * item))
    gram = torch.zeros(size, size, dtype=like.dtype, device=like.device)
    for term in terms:
        if _prefers_outer_products(term):
            _add_outer_products(gram, term, block)
        else:
            for part in _columns(term, limit):
                rank_k_update(gram, part, block)
    for part in columns:
        rank_k_update(gram, part, block)
    return mirror_lower(gram, block)
