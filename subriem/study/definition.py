"""What a study is: a question, a grid of parameters and a task."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from subriem.errors import InputError
from subriem.study.grid import (
    TAKEN_OPTIONS,
    Grid,
    Variant,
    checked_grid,
    checked_resources,
    positive_seconds,
    whole_number,
)

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

__all__ = ["FILLED_IN", "Study"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

#: Parameters of a task that are filled in besides those of the grid.
FILLED_IN = ("seed", "variant")


class Study:
    """A grid of parameters times a task: one dataset.

    Parameters
    ----------
    name
        Letters, digits, ``_`` and ``-``; the default file is ``results/<name>.nc``.
    grid
        Name of a parameter to its values: texts, whole numbers, numbers or truth values. Each
        name becomes a dimension of the result; the last one runs fastest.
    question
        What the study asks, in a sentence; it is kept with the result.
    seed
        The seed from which every task gets its own.
    threads_per_task
        Threads of each task in NumPy, SciPy and torch. It belongs to the study and not to a run,
        because sums in another order are other numbers: with it fixed the results are the same
        whatever the number of workers.
    resources
        What a task needs of a Dask worker: with ``{"GPU": 1}`` one started with ``--resources
        "GPU=1"`` computes one task at a time, one without computes none. Processes ignore it.

    Raises
    ------
    InputError, InputTypeError
        If a name or a value cannot be right, or the grid is no mapping to sequences of values.

    Notes
    -----
    A task is called with the values of one point of the grid, by name. If it has a parameter
    ``seed`` that is not in the grid, it gets a whole number below 2**32 that depends on the seed
    of the study and on the values of the point alone; a parameter ``variant`` gets the name of
    the chosen variant, or None.

    The file of the study is loaded again in each worker, so that its module level should only
    define things; ``study.main()`` there does nothing unless the file is run as a script.

    Examples
    --------
    >>> import subriem.results as results
    >>> study = Study("halving", {"rate": [0.5, 0.25], "seed": [0, 1]}, question="How fast?")
    >>> @study.task
    ... def task(rate, seed):
    ...     return results.build_dataset(
    ...         {"loss": ((), rate**2, "loss at the end", "1")}, function="halving"
    ...     )
    >>> study
    Study('halving', 4 tasks: rate 2, seed 2)
    >>> study.points()[1]
    {'rate': 0.5, 'seed': 1}
    """

    def __init__(
        self,
        name: str,
        grid: Mapping[str, Sequence[Any]],
        *,
        question: str | None = None,
        seed: int = 0,
        threads_per_task: int = 1,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
            raise InputError(f"name of a study: expected letters, digits, '_', '-', got {name!r}")
        self.name = name
        self._grid = checked_grid(grid, f"study {name!r}")
        self.question = question
        self.seed = whole_number(seed, "seed", least=0)
        self.threads_per_task = whole_number(threads_per_task, "threads_per_task", least=1)
        self.resources = checked_resources(resources or {}, f"study {name!r}")
        self.variants: dict[str, Variant] = {}
        self.task_function: Callable[..., Any] | None = None
        self.after_function: Callable[..., Any] | None = None
        defining = sys._getframe(1).f_globals
        self._module = str(defining.get("__name__"))
        file = defining.get("__file__")
        self._file = Path(file).resolve() if file else None

    def __repr__(self) -> str:
        count = math.prod(len(values) for values in self._grid.values())
        sizes = ", ".join(f"{name} {len(values)}" for name, values in self._grid.items())
        return f"Study({self.name!r}, {count} tasks: {sizes})"

    def __reduce__(self) -> Any:
        file = self.file
        if file is None:
            return super().__reduce__()
        from subriem.study.loading import load_study

        return load_study, (str(file), self.name)

    def task(self, function: _Function) -> _Function:
        """Decorate the function that computes one point of the grid.

        Parameters
        ----------
        function
            Called with the point's values by name; returns an `xarray.Dataset` whose variables
            have ``long_name`` and ``units``.

        Returns
        -------
        callable
            The function itself.

        Raises
        ------
        InputError
            If the study has a task already, or the function's parameters do not fit the grid.

        Examples
        --------
        >>> study = Study("one", {"rate": [1.0]})
        >>> @study.task
        ... def task(speed): ...
        Traceback (most recent call last):
        subriem.errors.InputError: task 'task' of study 'one' has no parameter 'rate' of the grid
        """
        if self.task_function is not None:
            raise InputError(
                f"study {self.name!r} has a task already: {self.task_function.__name__!r}"
            )
        where = f"task {function.__name__!r} of study {self.name!r}"
        parameters = inspect.signature(function).parameters.values()
        named = {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)
        for name in self._grid:
            if name not in named and not any_name:
                raise InputError(f"{where} has no parameter {name!r} of the grid")
        for name, parameter in named.items():
            known = name in self._grid or name in FILLED_IN
            if not known and parameter.default is parameter.empty:
                raise InputError(f"{where} has a parameter {name!r} that the grid does not give")
        self.task_function = function
        return function

    def variant(self, name: str, *, help: str) -> Callable[[_Function], _Function]:
        """Decorate a function that gives another grid, chosen by ``--name``.

        Parameters
        ----------
        name
            Name of the flag, without dashes.
        help
            What the flag does, for ``--help``.

        Returns
        -------
        callable
            A decorator that returns the function itself.

        Raises
        ------
        InputError
            If the name is taken or is no flag.

        Examples
        --------
        >>> study = Study("digits", {"samples": [200]})
        >>> @study.variant("full", help="train on all images")
        ... def full():
        ...     return {"samples": [1797]}
        >>> study.points(variant="full")
        [{'samples': 1797}]
        """
        if not name.replace("-", "_").isidentifier() or name in (*TAKEN_OPTIONS, *self.variants):
            raise InputError(f"study {self.name!r}: {name!r} cannot be the name of a variant")

        def decorate(function: _Function) -> _Function:
            self.variants[name] = Variant(name, function, help)
            return function

        return decorate

    def after(self, function: _Function) -> _Function:
        """Decorate what is called after a run from the command line: a table, a picture.

        It is not called where every task failed, and its code may change without making finished
        tasks out of date.

        Parameters
        ----------
        function
            Called with the combined dataset and the `pathlib.Path` of the written file.

        Returns
        -------
        callable
            The function itself.

        Examples
        --------
        >>> study = Study("digits", {"samples": [200]})
        >>> @study.after
        ... def show(dataset, out):
        ...     print(dataset.loss.min().item())
        """
        self.after_function = function
        return function

    @property
    def file(self) -> Path | None:
        """File from which another process can load the study, or None.

        None in an interactive session and where the study is no global of its module; such a study
        runs in the process that it is in.
        """
        module = sys.modules.get(self._module)
        found = module is not None and any(value is self for value in vars(module).values())
        return self._file if found else None

    def grid(
        self, variant: str | None = None, values: Mapping[str, Sequence[Any]] | None = None
    ) -> Grid:
        """Grid of a run.

        Parameters
        ----------
        variant
            Name of a variant; None for the grid of the study itself.
        values
            Values that replace those of some of the names.

        Returns
        -------
        dict
            Name to list of values.

        Raises
        ------
        InputError
            If there is no such variant, or a name is not in the grid.
        InputTypeError
            If values are not a sequence of plain values.

        Examples
        --------
        >>> Study("digits", {"samples": [200], "seed": [0, 1]}).grid(values={"seed": [7]})
        {'samples': [200], 'seed': [7]}
        """
        chosen = self._grid
        if variant is not None:
            if variant not in self.variants:
                known = ", ".join(self.variants) or "none"
                raise InputError(f"study {self.name!r} has no variant {variant!r}; it has {known}")
            where = f"variant {variant!r} of study {self.name!r}"
            chosen = checked_grid(self.variants[variant].make_grid(), where)
            if set(chosen) != set(self._grid):
                raise InputError(f"{where}: expected values for {', '.join(self._grid)}")
        for name in values or {}:
            if name not in chosen:
                raise InputError(f"study {self.name!r} has no {name!r} in its grid")
        return checked_grid({**chosen, **(values or {})}, f"study {self.name!r}")

    def points(
        self, variant: str | None = None, grid: Mapping[str, Sequence[Any]] | None = None
    ) -> list[dict[str, Any]]:
        """Points of the grid, the last name running fastest.

        Parameters
        ----------
        variant, grid
            As for `run`.

        Returns
        -------
        list of dict
            Name to value, one for each task.

        Raises
        ------
        InputError, InputTypeError
            As `grid`.

        Examples
        --------
        >>> Study("two", {"seed": [0, 1]}).points()
        [{'seed': 0}, {'seed': 1}]
        """
        chosen = self.grid(variant, grid)
        return [dict(zip(chosen, p, strict=True)) for p in itertools.product(*chosen.values())]

    def task_seed(self, point: Mapping[str, Any]) -> int:
        """Seed of the task of one point.

        It depends on the seed of the study and on the values of the point, not on their order,
        the other points, the process or the number of workers.

        Parameters
        ----------
        point
            Name to value.

        Returns
        -------
        int
            At least 0, less than 2**32: what torch, NumPy and scikit-learn all take.

        Examples
        --------
        >>> study = Study("digits", {"width": [16, 64]}, seed=1)
        >>> study.task_seed({"width": 16}) != study.task_seed({"width": 64})
        True
        """
        content = json.dumps([self.seed, sorted(point.items())])
        return int.from_bytes(hashlib.sha256(content.encode()).digest()[:4], "little")

    def run(
        self,
        out: str | os.PathLike[str] | None = None,
        *,
        workers: int = 1,
        resume: bool = False,
        fresh: bool = False,
        variant: str | None = None,
        grid: Mapping[str, Sequence[Any]] | None = None,
        progress: bool | None = None,
        time_limit: float | None = None,
        retries: int = 0,
        accept_changes: bool = False,
        scheduler: str | None = None,
        client: Client | None = None,
        memory_limit: str | int | None = None,
        exchange: str | None = None,
    ) -> xr.Dataset:
        """Compute every point of the grid and write one file.

        Each finished task is at once a file of its own in the folder ``<out>.parts``. A failing
        task is recorded (``task_status``, ``task_message``) and stops no other. The folder goes
        when every task is ok and the result is written; otherwise it stays for ``resume``.

        Parameters
        ----------
        out
            The file to write; by default ``results/<name>.nc``, or ``results/<name>_<variant>.nc``.
            A name that ends in ``.zarr`` becomes a Zarr store.
        workers
            Number of processes. The numbers do not depend on it.
        resume
            Take what an earlier run finished, compute what is missing or failed.
        fresh
            Throw away what an earlier run left.
        variant, grid
            Name of the variant whose grid is taken; values that replace some of a grid's.
        progress
            Whether to say how far it is: a bar on a terminal, one line elsewhere. None: True.
        time_limit
            Seconds after which a task is stopped and has failed; None: it may take any time.
        retries
            How often a task is tried again whose worker process died. One that raises is not.
        accept_changes
            With resume: keep finished tasks also where the study's code, the version of subriem
            or the threads changed since; ``study_manifest`` of the result then says so.
        scheduler
            Run on a Dask cluster: ``"local"`` with ``workers`` workers on this machine, or the
            address of a scheduler, such as ``tcp://host:8786``.
        client
            Run on the cluster of this client, instead of ``scheduler``. It is not closed.
        memory_limit
            Of each worker of a local Dask cluster: bytes, or a text such as ``"2 GiB"``. A task
            that takes more is killed and has failed, as under the limits of other clusters.
        exchange
            Address of a folder that Dask workers and this process reach by fsspec, such as
            ``s3://bucket/folder``: for results above 1 MiB of workers that miss the run folder.

        Returns
        -------
        xarray.Dataset
            The combined dataset (see `subriem.results.combine_tasks`). Up to 256 MiB it is in
            memory; a larger one is read from the file when its values are asked for, as by
            ``open_results(out, lazy=True)``, and is to be closed.

        Raises
        ------
        InputError, InputTypeError
            If an argument cannot be right.
        ResultsError
            If another run writes the same file, if an earlier run left a folder and neither
            ``resume`` nor ``fresh`` is given, if it belongs to another version of the study, or
            if something cannot be written; if no scheduler answers, or it is lost on the way, and
            then what is finished is kept.
        KeyboardInterrupt
            On Ctrl-C; what is finished is kept, and the message says how to go on.

        Examples
        --------
        >>> import tempfile, xarray as xr
        >>> study = Study("two", {"power": [2, 3]})
        >>> @study.task
        ... def task(power):
        ...     value = xr.Variable((), 2.0**power, {"long_name": "power of two", "units": "1"})
        ...     return xr.Dataset({"value": value})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     study.run(folder + "/two.nc", progress=False).value.values
        array([4., 8.])
        """
        from subriem.study.runner import Cluster, run_study

        return run_study(
            self,
            self.default_out(variant) if out is None else Path(out),
            workers=whole_number(workers, "workers", least=1),
            resume=resume,
            fresh=fresh,
            variant=variant,
            grid=self.grid(variant, grid),
            progress=progress is not False,
            time_limit=None if time_limit is None else positive_seconds(time_limit, "time_limit"),
            retries=whole_number(retries, "retries", least=0),
            accept_changes=accept_changes,
            cluster=Cluster(scheduler, client, memory_limit, exchange),
        )

    def default_out(self, variant: str | None = None) -> Path:
        """File that is written where none is named.

        Parameters
        ----------
        variant
            Name of the variant.

        Returns
        -------
        pathlib.Path
            ``results/<name>.nc``, or ``results/<name>_<variant>.nc``.

        Examples
        --------
        >>> Study("digits", {"seed": [0]}).default_out().as_posix()
        'results/digits.nc'
        """
        name = self.name if variant is None else f"{self.name}_{variant}"
        return Path("results", f"{name}.nc")

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Run from the command line: the last line of a study's file.

        Parameters
        ----------
        arguments
            The arguments; those of the process by default.

        Raises
        ------
        SystemExit
            Always, with the exit code: 0 ok, 1 a task failed, 2 a user's mistake, 130 Ctrl-C.

        Examples
        --------
        >>> Study("digits", {"seed": [0]}).main(["--help"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        SystemExit: 0
        """
        from subriem.study.console import study_command
        from subriem.study.loading import is_loaded_copy

        # a worker, or `subriem run`, loads the file to get the study and not to run it again
        if not is_loaded_copy(self._module):
            study_command(self).main(
                args=None if arguments is None else list(arguments),
                prog_name=None if self._file is None else f"python {self._file.name}",
            )
