"""What a module must satisfy to be a map of its parameters: checked once, at definition."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from subriem.errors import InputError, InputTypeError
from subriem.probe import probe_vector

if TYPE_CHECKING:
    from subriem.network.output_map import OutputMap

__all__ = ["check_outputs", "refuse_batch_dependence"]


def _identical(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors hold the same numbers, NaN where the other has it."""
    return one.shape == other.shape and torch.allclose(one, other, 0.0, 0.0, equal_nan=True)


def refuse_batch_dependence(module: torch.nn.Module) -> None:
    """Refuse layers that mix the samples of a batch, or draw at random, in their present mode.

    Parameters
    ----------
    module : torch.nn.Module

    Raises
    ------
    InputError
        If there is one; the message names the layer and the mend.
    """
    for name, layer in module.named_modules():
        where = f"layer {name!r} ({type(layer).__name__})"
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) and (
            layer.training or layer.running_mean is None
        ):
            raise InputError(
                f"{where} normalises over the batch, so that the outputs of a sample depend "
                "on the others; expected a map of each sample alone: call module.eval() (and "
                "keep track_running_stats=True)"
            )
        if isinstance(layer, torch.nn.modules.dropout._DropoutNd) and layer.training and layer.p:
            raise InputError(
                f"{where} draws at random; expected deterministic outputs: call module.eval()"
            )


def check_outputs(outputs: OutputMap) -> torch.Size:
    """Evaluate the module, whole and sample by sample, and refuse what is not a map.

    Parameters
    ----------
    outputs : OutputMap
        In the making: its module, inputs and parameters are there.

    Returns
    -------
    torch.Size
        Shape of the outputs of one sample.

    Raises
    ------
    InputError, InputTypeError
        If the outputs are not one finite floating tensor with a row a sample, are random,
        depend on other samples, or if evaluating changes the module.
    """
    buffers = {name: value.clone() for name, value in outputs.module.named_buffers()}
    before = outputs.parameters.clone()
    try:
        with torch.no_grad():
            shape = _compare_outputs(outputs, outputs.parameters)
            # A head of zeros hides what the layers before it do; nearby parameters do not.
            noise = probe_vector(len(before), before)
            nearby = before + 0.01 * (before.square().mean().sqrt() + 1.0) * noise
            if bool(torch.isfinite(outputs.call(outputs.unflatten(nearby), outputs.inputs)).all()):
                _compare_outputs(outputs, nearby)
    finally:
        changed = [
            name
            for name, buffer in outputs.module.named_buffers()
            if not _identical(buffer, buffers[name])
        ]
        with torch.no_grad():
            for name in changed:
                outputs.module.get_buffer(name).copy_(buffers[name])
    if changed:
        raise InputError(
            f"evaluating the module changes its buffers {changed}; expected a fixed map: call "
            "module.eval()"
        )
    if not torch.equal(outputs.parameters, before):
        raise InputError(
            "evaluating the module changes its parameters in place; expected a fixed map"
        )
    return shape


def _compare_outputs(outputs: OutputMap, theta: torch.Tensor) -> torch.Size:
    names = outputs.unflatten(theta)
    count = outputs.inputs.shape[0]
    try:
        raw = outputs.call(names, outputs.inputs)
    except Exception as error:
        raise InputError(
            f"the module cannot be evaluated on inputs of shape {tuple(outputs.inputs.shape)} and "
            f"dtype {outputs.inputs.dtype}: {error}"
        ) from error
    if not isinstance(raw, torch.Tensor) or not raw.is_floating_point():
        kind = f"a {raw.dtype} one" if isinstance(raw, torch.Tensor) else type(raw).__name__
        raise InputTypeError(f"the module returned {kind}; expected one floating tensor")
    if raw.ndim == 0 or raw.shape[0] != count or raw.numel() == 0:
        raise InputError(
            f"the module returned shape {tuple(raw.shape)} for {count} samples; expected "
            f"({count}, ...), one row a sample"
        )
    if not bool(torch.isfinite(raw).all()):
        raise InputError("the outputs have NaN or Inf at the module's parameters")
    scale = float(raw.abs().max()) or 1.0
    close = 1e4 * torch.finfo(outputs.dtype).eps * scale
    if not float((outputs.call(names, outputs.inputs) - raw).abs().max()) <= close:
        raise InputError(
            "two evaluations gave different outputs; expected a deterministic module: call "
            "module.eval()"
        )
    for row in sorted({0, count - 1}):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                alone = outputs.call(names, outputs.inputs[row : row + 1])
        except Exception as error:
            raise InputError(
                f"the module cannot be evaluated on sample {row} alone: {error}; expected "
                "outputs that do not depend on the other samples"
            ) from error
        # NaN, as from the spread of one sample, is a difference too.
        same = alone.shape == raw[row : row + 1].shape
        if not same or not float((alone - raw[row : row + 1]).abs().max()) <= close:
            raise InputError(
                "a sample evaluated alone gave other outputs than within the batch; expected "
                "outputs that do not depend on the other samples"
            )
    return raw.shape[1:]
