"""How the datasets of a grid are laid out in one: found by looking at each of them once.

A `Survey` keeps of each dataset its lengths, its attributes and which layout it has, and of all
together the longest coordinates: little, however large the values are. `Survey.skeleton` is then
the combined dataset whose larger variables are nothing but padding that takes no memory, and
`Survey.blocks` gives their values piece by piece, reading each dataset once more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from subriem.results.grid_blocks import (
    GridBlock,
    attribute_column,
    attribute_kind,
    described,
    padding,
    plain,
)
from subriem.results.json_text import encode_json
from subriem.results.schema import index_coordinate
from subriem.results.stored import Contents

__all__ = ["Survey"]

COMBINATION = "combination"
LAYOUT = "task_layout"
# what a study adds to the combined dataset
_OF_THE_STUDY = frozenset({LAYOUT, "task_status", "task_message", "task_seconds"})

_Form = tuple[str, tuple[Any, ...]]


def _contents(dataset: xr.Dataset | Contents) -> Contents:
    return Contents.of(dataset) if isinstance(dataset, xr.Dataset) else dataset


@dataclass
class _Column:
    """One variable in all datasets that have it."""

    first: xr.Variable
    dtypes: set[np.dtype] = field(default_factory=set)
    shapes: set[tuple[int, ...]] = field(default_factory=set)
    count: int = 0
    coordinates: int = 0
    # the coordinate of which all others are the first part, while there is one
    longest: xr.Variable | None = None

    def add(self, variable: xr.Variable, is_coordinate: bool) -> None:
        values = plain(variable)
        self.dtypes.add(values.dtype)
        self.shapes.add(variable.shape)
        self.count += 1
        if not is_coordinate:
            return
        self.coordinates += 1
        if self.coordinates == 1:
            self.longest = variable
        elif self.longest is not None:
            self.longest = _longer(self.longest, variable)


@dataclass
class _Dimension:
    sizes: set[int] = field(default_factory=set)
    lengths: dict[int, int] = field(default_factory=dict)


class Survey:
    """What must be known of all datasets to combine them.

    Parameters
    ----------
    grid
        Name to values, in the order of the dimensions.

    Examples
    --------
    >>> survey = Survey({"seed": [0, 1]})
    >>> tasks = [xr.Dataset({"loss": ("time", [4.0, 1.0])}), xr.Dataset({"loss": ("time", [3.0])})]
    >>> for number, dataset in enumerate(tasks):
    ...     survey.add(number, dataset)
    >>> survey.combine({}, tasks.__getitem__).loss.values
    array([[ 4.,  1.], [ 3., nan]])
    """

    def __init__(self, grid: Mapping[str, Sequence[Any]]) -> None:
        self._grid = grid
        self._shape = tuple(len(values) for values in grid.values())
        self._columns: dict[str, _Column] = {}
        self._dimensions: dict[str, _Dimension] = {}
        self._attributes: dict[str, dict[int, Any]] = {}
        self._texts: dict[str, dict[str, Any]] = {}
        self._numbers: dict[int, int] = {}
        self._layouts: list[dict[str, Any]] = []
        self._places: dict[tuple[Any, ...], int] = {}
        self._signatures: dict[tuple[tuple[str, _Form], ...], int] = {}
        self._signature_of: dict[int, int] = {}
        self._streamed: dict[str, xr.Variable] = {}

    def add(self, number: int, dataset: xr.Dataset | Contents) -> None:
        """Look at one dataset.

        Parameters
        ----------
        number
            Its place in the grid, the last dimension of the grid running fastest.
        dataset
            The dataset; nothing of it is kept but its coordinates and attributes.

        Raises
        ------
        InputTypeError
            If an attribute cannot be written.
        """
        variables, coordinates, attrs = _contents(dataset)
        signature = tuple((n, (_kind(v), v.dims)) for n, v in variables.items())
        place = self._signatures.setdefault(signature, len(self._signatures))
        self._signature_of[number] = place
        sizes = {
            str(d): n for v in variables.values() for d, n in zip(v.dims, v.shape, strict=True)
        }
        for dim, size in sizes.items():
            dimension = self._dimensions.setdefault(dim, _Dimension())
            dimension.sizes.add(size)
            dimension.lengths[number] = size
        for name, variable in variables.items():
            if name not in self._columns:
                shape_only = np.broadcast_to(0.0, variable.shape)
                self._columns[name] = _Column(
                    xr.Variable(variable.dims, shape_only, variable.attrs)
                )
            self._columns[name].add(variable, name in coordinates)
        for key, value in attrs.items():
            text = encode_json(value, f"attribute {key!r}")
            # equal values are kept once
            shared = self._texts.setdefault(key, {}).setdefault(text, value)
            self._attributes.setdefault(key, {})[number] = shared
        self._numbers[number] = self._number_of_layout(variables, coordinates, attrs)

    def _number_of_layout(
        self, variables: dict[str, xr.Variable], coordinates: set[str], attrs: dict[str, Any]
    ) -> int:
        kinds = {name: attribute_kind(value) for name, value in attrs.items()}
        parts: list[Any] = [*kinds.items()]
        for name, variable in variables.items():
            parts += [name, variable.dims, plain(variable).dtype.str, name in coordinates]
            texts = all(isinstance(value, str) for value in variable.attrs.values())
            parts += [tuple(variable.attrs.items()) if texts else encode_json(variable.attrs)]
        key = tuple(parts)
        number = self._places.setdefault(key, len(self._places))
        if number == len(self._layouts):
            forms = {
                name: {
                    "dims": list(variable.dims),
                    "dtype": plain(variable).dtype.str,
                    "coordinate": name in coordinates,
                    "attrs": dict(variable.attrs),
                }
                for name, variable in variables.items()
            }
            self._layouts.append({"variables": forms, "attributes": kinds})
        return number

    def conflicts(self) -> dict[int, str]:
        """Find the datasets that cannot be combined with the others.

        Returns
        -------
        dict
            Number of a dataset to what is wrong with it, in words.
        """
        counts = Counter(self._signature_of.values())
        forms: dict[str, Counter[_Form]] = {}
        for signature, place in self._signatures.items():
            for name, form in signature:
                forms.setdefault(name, Counter())[form] += counts[place]
        usual = {name: counter.most_common(1)[0][0] for name, counter in forms.items()}
        taken = {*self._grid, *_OF_THE_STUDY}
        for name, dimension in self._dimensions.items():
            taken |= {f"{name}_index"} if self._coordinate(name).dims != (name,) else set()
            taken |= {f"{name}_length"} if len(dimension.sizes) > 1 else set()
        wrong = {
            place: problem
            for signature, place in self._signatures.items()
            if (problem := _conflict(dict(signature), usual, taken)) is not None
        }
        return {
            number: wrong[place]
            for number, place in sorted(self._signature_of.items())
            if place in wrong
        }

    def skeleton(self, attributes: Mapping[str, Any]) -> xr.Dataset:
        """The combined dataset, with padding that takes no memory for what comes in blocks.

        Parameters
        ----------
        attributes
            Attributes of the combined dataset itself.

        Returns
        -------
        xarray.Dataset
            The dataset. The variables that are nothing but padding are `streamed`.

        Raises
        ------
        InputTypeError
            If an attribute cannot be written.
        """
        grid = tuple(self._grid)
        combined = xr.Dataset(
            coords={
                name: xr.Variable(name, np.asarray(list(values)), described(name.replace("_", " ")))
                for name, values in self._grid.items()
            },
            attrs=dict(attributes),
        )
        coordinates: dict[str, xr.Variable] = {}
        variables: dict[str, xr.Variable] = {}
        renamed = self._add_dimensions(coordinates, variables)
        sizes = {name: values.size for name, values in coordinates.items()}
        self._streamed = {}
        for name, column in self._columns.items():
            dims = tuple(renamed.get(str(dim), str(dim)) for dim in column.first.dims)
            shape = tuple(sizes[dim] for dim in dims)
            shared = column.longest if column.coordinates == column.count else None
            if shared is not None and dims == column.first.dims and shared.shape == shape:
                coordinates[name] = shared.copy()
                continue
            dtype = np.result_type(*column.dtypes)
            nothing = padding(dtype)
            attrs = dict(column.first.attrs)
            full = column.count == math.prod(self._shape) and column.shapes == {shape}
            if dtype.kind in "iu" and not full:
                attrs["padding_value"] = nothing.item()
            padded = np.broadcast_to(nothing, self._shape + shape)
            variables[name] = xr.Variable(grid + dims, padded, attrs)
            self._streamed[name] = variables[name]
        combined = combined.assign_coords(coordinates).assign(variables)
        placed = self._add_attributes(combined)
        numbers = np.full(self._shape, -1, np.int32)
        numbers.flat[list(self._numbers)] = list(self._numbers.values())
        combined[LAYOUT] = xr.Variable(
            grid, numbers, described("number of the layout in 'combination', -1: no dataset")
        )
        combined.attrs[COMBINATION] = {
            "grid": list(grid),
            "renamed": renamed,
            "attributes": placed,
            "layouts": self._layouts,
        }
        return combined

    @property
    def streamed(self) -> list[str]:
        """Names of the variables of the skeleton whose values come in blocks."""
        return list(self._streamed)

    def blocks(
        self, read: Callable[[int], xr.Dataset | Contents | None]
    ) -> Iterator[tuple[str, tuple[int, ...], np.ndarray]]:
        """The values that the skeleton lacks, in blocks along its chunks.

        Parameters
        ----------
        read
            Gives the dataset of a number that was added; called once for each, in order.

        Yields
        ------
        tuple
            Name, index of the first value, values.
        """
        buffers = {name: GridBlock(v, self._shape) for name, v in self._streamed.items()}
        for number in range(math.prod(self._shape)):
            dataset = read(number) if number in self._numbers else None
            variables = {} if dataset is None else dataset.variables
            for name, buffer in buffers.items():
                values = plain(variables[name]) if name in variables else None
                complete = buffer.put(number, values)
                if complete is not None:
                    yield name, *complete

    def combine(
        self, attributes: Mapping[str, Any], read: Callable[[int], xr.Dataset | Contents | None]
    ) -> xr.Dataset:
        """The combined dataset, in memory.

        Parameters
        ----------
        attributes
            Attributes of the combined dataset itself.
        read
            As for `blocks`.

        Returns
        -------
        xarray.Dataset
            The dataset.
        """
        return self.fill(self.skeleton(attributes), read)

    def fill(
        self, skeleton: xr.Dataset, read: Callable[[int], xr.Dataset | Contents | None]
    ) -> xr.Dataset:
        """Put the values into a skeleton, in memory.

        Parameters
        ----------
        skeleton
            What `skeleton` gave, perhaps with further variables.
        read
            As for `blocks`.

        Returns
        -------
        xarray.Dataset
            The dataset.
        """
        arrays = {name: np.empty(v.shape, v.dtype) for name, v in self._streamed.items()}
        for name, corner, block in self.blocks(read):
            place = tuple(slice(i, i + n) for i, n in zip(corner, block.shape, strict=True))
            arrays[name][place] = block
        filled = skeleton.copy()
        for name, array in arrays.items():
            variable = skeleton.variables[name]
            filled[name] = xr.Variable(variable.dims, array, variable.attrs)
        return filled

    def _coordinate(self, name: str) -> xr.Variable:
        """The combined coordinate of a dimension; of another dimension where it is renamed."""
        dimension, column = self._dimensions[name], self._columns.get(name)
        if column is None:
            return index_coordinate(name, max(dimension.sizes))
        shared = column.longest if column.coordinates == len(dimension.lengths) else None
        if shared is None or shared.dims != (name,):
            return index_coordinate(f"{name}_index", max(dimension.sizes))
        return shared

    def _add_dimensions(
        self, coordinates: dict[str, xr.Variable], variables: dict[str, xr.Variable]
    ) -> dict[str, str]:
        """Add coordinates and lengths; return the new name of each renamed dimension."""
        renamed: dict[str, str] = {}
        for name, dimension in self._dimensions.items():
            coordinate = self._coordinate(name)
            stored = str(coordinate.dims[0])
            coordinates[stored] = coordinate.copy()
            if stored != name:
                renamed[name] = stored
            if len(dimension.sizes) > 1:
                lengths = np.zeros(self._shape, np.int64)
                lengths.flat[list(dimension.lengths)] = list(dimension.lengths.values())
                variables[f"{name}_length"] = xr.Variable(
                    tuple(self._grid), lengths, described(f"number of entries along {name}")
                )
        return renamed

    def _add_attributes(self, combined: xr.Dataset) -> dict[str, list[str]]:
        """Place the attributes; return where each one is and under which name."""
        own = set(combined.attrs) | {COMBINATION}
        placed: dict[str, list[str]] = {}
        for name, values in self._attributes.items():
            texts = self._texts[name]
            agree = len(texts) == 1
            stored = name
            if not (agree and name in own and encode_json(combined.attrs.get(name)) in texts):
                while stored in {*combined.attrs, *combined.variables, *_OF_THE_STUDY, COMBINATION}:
                    stored = f"task_{stored}"
            if agree:
                combined.attrs[stored] = next(iter(texts.values()))
                placed[name] = ["attribute", stored]
                continue
            where, array, attrs = attribute_column(values, self._shape)
            attrs |= described(f"attribute {name!r} of the task" + " as JSON" * (where == "json"))
            combined[stored] = xr.Variable(tuple(self._grid), array, attrs)
            placed[name] = [where, stored]
        return placed


def _conflict(
    signature: Mapping[str, _Form], usual: Mapping[str, _Form], taken: set[str]
) -> str | None:
    problem = None
    dims = {str(dim) for _, own in signature.values() for dim in own}
    for name in sorted(taken & {*signature, *dims}):
        problem = f"has a variable or dimension {name!r}, and that name is taken"
    for name, (kind, own) in signature.items():
        usual_kind, usual_dims = usual[name]
        if (kind, own) != (usual_kind, usual_dims):
            problem = (
                f"has {name!r} as {kind} over {own}, the others as {usual_kind} over {usual_dims}"
            )
        elif kind == "objects":
            problem = f"has {name!r} as objects, not as numbers, text or times"
    return problem


def _longer(longest: xr.Variable, variable: xr.Variable) -> xr.Variable | None:
    """The longer of two coordinates, if the other one is its first part."""
    longest, variable = sorted((longest, variable), key=lambda one: -one.size)
    whole, part = plain(longest), plain(variable)
    same_type = part.dtype == whole.dtype or part.dtype.kind == whole.dtype.kind == "U"
    if variable.dims != longest.dims or not same_type:
        return None
    corner = whole[tuple(map(slice, part.shape))]
    equal = np.array_equal(part, corner, equal_nan=part.dtype.kind in "fcmM")
    return longest if equal else None


def _kind(variable: xr.Variable) -> str:
    kind = variable.dtype.kind
    if kind == "O" and all(isinstance(item, str) for item in variable.values.ravel()):
        kind = "U"
    kinds = {"b": "truth values", "U": "text", "T": "text", "M": "times", "m": "durations"}
    return "numbers" if kind in "iufc" else kinds.get(kind, "objects")
