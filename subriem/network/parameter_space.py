"""The trained parameters of a module as one vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from subriem.errors import InputError
from subriem.network.reading import as_tensor

__all__ = ["ParameterSpace"]


class ParameterSpace:
    """R^K, the trained parameters of a module stacked in the order of its ``named_parameters()``.

    Parameters
    ----------
    module : torch.nn.Module
        Parameters with ``requires_grad=False`` are constants.

    Attributes
    ----------
    parameters : Tensor, shape (K,)
        The module's own when this was made.
    shapes : dict of str to torch.Size
        Of the trained parameters, by name.

    Raises
    ------
    InputError
        If nothing is trained, or the parameters have no shape yet, are neither float32 nor
        float64, are of several dtypes or devices, or are not finite.

    Examples
    --------
    >>> space = ParameterSpace(torch.nn.Linear(2, 1))
    >>> space.dimension, list(space.shapes)
    (3, ['weight', 'bias'])
    >>> space.unflatten(torch.tensor([1.0, 2.0, 3.0]))["bias"]
    tensor([3.])
    """

    def __init__(self, module: torch.nn.Module) -> None:
        trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        for name, parameter in trained.items():
            if torch.nn.parameter.is_lazy(parameter):
                raise InputError(
                    f"parameter {name!r} has no shape yet; expected an initialised module: "
                    "evaluate it once"
                )
        if not trained or not sum(p.numel() for p in trained.values()):
            raise InputError(
                "the module has no parameter with requires_grad=True; expected at least one, as "
                "the parameters are the state"
            )
        first = next(iter(trained.values()))
        if first.dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"the module's parameters are {first.dtype}; expected float32 or float64, in which "
                "the factorizations exist: call module.double()"
            )
        kinds = {(p.dtype, str(p.device)) for p in module.parameters()}
        if len(kinds) > 1:
            raise InputError(
                f"the module's parameters have several dtypes or devices, {sorted(map(str, kinds))}"
                "; expected one (try module.double())"
            )
        self.module = module
        self.dtype: torch.dtype = first.dtype
        self.device: torch.device = first.device
        self.shapes = {name: p.shape for name, p in trained.items()}
        self._sizes = [p.numel() for p in trained.values()]
        self.parameters = torch.cat([p.detach().reshape(-1) for p in trained.values()]).clone()
        if not bool(torch.isfinite(self.parameters).all()):
            raise InputError("the module's parameters have NaN or Inf; expected finite numbers")

    @property
    def dimension(self) -> int:
        """K, the number of trained parameters."""
        return sum(self._sizes)

    def flatten(self, parameters: Mapping[str, Any]) -> torch.Tensor:
        """Stack parameters given by name into a vector of shape (K,).

        Parameters
        ----------
        parameters : mapping of str to array_like

        Returns
        -------
        Tensor, shape (K,)

        Raises
        ------
        InputError
            If a name is missing or unknown, or a shape is wrong.
        InputTypeError
            If a value is not an array of numbers.
        """
        if set(parameters) != set(self.shapes):
            missing = sorted(set(self.shapes) - set(parameters))
            unknown = sorted(set(parameters) - set(self.shapes))
            raise InputError(f"parameters by name: missing {missing}, unknown {unknown}")
        parts = []
        for name, shape in self.shapes.items():
            value = as_tensor(parameters[name], f"parameter {name!r}", self.dtype, self.device)
            if value.shape != shape:
                raise InputError(
                    f"parameter {name!r} has shape {tuple(value.shape)}, expected {tuple(shape)}"
                )
            parts.append(value.reshape(-1))
        return torch.cat(parts)

    def unflatten(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        """Split a vector of shape (K,) into the named parameters (views of it).

        Parameters
        ----------
        theta : Tensor, shape (K,)

        Returns
        -------
        dict of str to Tensor

        Raises
        ------
        InputError
            If the shape is wrong.
        """
        if theta.shape != (self.dimension,):
            raise InputError(
                f"parameters: expected shape ({self.dimension},), got {tuple(theta.shape)}"
            )
        parts = torch.split(theta, self._sizes)
        return {
            name: part.view(shape)
            for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        }

    def load(self, theta: Any) -> None:
        """Write a parameter vector into the module (in place), for instance a trained one.

        Parameters
        ----------
        theta : array_like or mapping, shape (K,)

        Raises
        ------
        InputError, InputTypeError
            If an argument is not finite numbers of that shape.
        """
        values = self.unflatten(self.as_parameters(theta))
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                if name in values:
                    parameter.copy_(values[name])

    def as_parameters(self, at: Any = None) -> torch.Tensor:
        """Read a point of parameter space: a vector, a mapping by name, or None for the own one.

        Parameters
        ----------
        at : array_like, mapping or None

        Returns
        -------
        Tensor, shape (K,)

        Raises
        ------
        InputError
            If the shape is wrong or entries are not finite.
        InputTypeError
            If they are not numbers.
        """
        if at is None:
            return self.parameters
        if isinstance(at, Mapping):
            at = self.flatten(at)
        vector = as_tensor(at, "parameters", self.dtype, self.device)
        if vector.shape != (self.dimension,):
            raise InputError(
                f"parameters: expected shape ({self.dimension},), got {tuple(vector.shape)}"
            )
        if not bool(torch.isfinite(vector).all()):
            raise InputError("parameters: NaN or Inf; expected finite numbers")
        return vector
