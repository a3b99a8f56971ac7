"""One task, from its call to its file; what runs in a worker."""

from __future__ import annotations

import inspect
import os
import select
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import xarray as xr

from subriem.errors import InputError, InputTypeError
from subriem.results import provenance, save, validate
from subriem.study.definition import FILLED_IN, Study
from subriem.study.loading import load_study
from subriem.study.parts import mark_running, write_part

__all__ = [
    "OUTCOME",
    "STARTED",
    "Outcome",
    "TaskCall",
    "compute_part",
    "execute",
    "serve",
    "serve_on",
    "write_failure",
]

#: Attribute of a part file that holds the outcome.
OUTCOME = "task_outcome"
#: What a worker answers when a task begins.
STARTED = "started"

_LONGEST_MESSAGE = 500


@dataclass(frozen=True)
class TaskCall:
    """One task of a run; plain values only, so that it reaches any process.

    Parameters
    ----------
    number
        Its place in the grid.
    point
        Name to value.
    variant
        Name of the variant, or None.
    part
        File to write.
    study_file, study_name
        Where a worker finds the study.

    Examples
    --------
    >>> TaskCall(0, {"seed": 1}, None, "a.nc", "x.py", "x").point
    {'seed': 1}
    """

    number: int
    point: dict[str, Any]
    variant: str | None
    part: str
    study_file: str
    study_name: str


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Parameters
    ----------
    status
        ``"ok"`` or ``"failed"``.
    message
        What went wrong, in one line.
    seconds
        How long it took.
    traceback
        The whole traceback.

    Examples
    --------
    >>> Outcome("ok", seconds=0.5).status
    'ok'
    """

    status: str
    message: str = ""
    seconds: float = 0.0
    traceback: str = ""


def serve_on(file: int, idle: float | None) -> None:
    """What a worker process runs: serve on an open socket, and end when its other end closes.

    Parameters
    ----------
    file
        Number of the open file.
    idle
        As for `serve`.
    """
    # what a task starts must not keep the socket open
    os.set_inheritable(file, False)
    _leave_with_parent(file)
    with suppress(EOFError, OSError), Connection(file) as connection:
        serve(connection, idle)


def serve(connection: Connection, idle: float | None = None) -> None:
    """Run in a worker: answer calls until the other end closes.

    Each call is answered by `STARTED`, when the study is loaded and the task begins, and by its
    outcome.

    Parameters
    ----------
    connection
        Where calls come from and answers go.
    idle
        Seconds without a call after which it returns; None: never.

    Examples
    --------
    >>> import multiprocessing
    >>> here, there = multiprocessing.Pipe()
    >>> here.send(TaskCall(0, {}, None, "a.nc", "none.py", "x"))
    >>> here.send(None)
    >>> serve(there)
    >>> here.recv().status
    'failed'
    """
    with suppress(EOFError, OSError):
        while connection.poll(idle) and (call := connection.recv()) is not None:
            connection.send(execute(call, started=lambda: connection.send(STARTED)))


def execute(call: TaskCall, started: Callable[[], None] = lambda: None) -> Outcome:
    """Run one task in a worker: load the study, compute, write the part.

    Parameters
    ----------
    call
        The task.
    started
        Called when the study is loaded and the task begins.

    Returns
    -------
    Outcome
        Never raises for what the task does: its failure is data.

    Examples
    --------
    >>> execute(TaskCall(0, {}, None, "a.nc", "none.py", "x")).message
    'ResultsError: there is no file none.py'
    """
    try:
        study = load_study(call.study_file, call.study_name)
    except (Exception, SystemExit) as error:
        return _failure(error, 0.0)
    started()
    return compute_part(study, call)


def compute_part(study: Study, call: TaskCall) -> Outcome:
    """Compute one task and write its part file.

    Parameters
    ----------
    study
        The study.
    call
        The task.

    Returns
    -------
    Outcome
        What became of it; a failure writes nothing.

    Examples
    --------
    >>> compute_part(Study("x", {"k": [1]}), TaskCall(0, {"k": 1}, None, "a.nc", "", "x")).message
    "InputError: study 'x' has no task; decorate one with @study.task"
    """
    start = time.perf_counter()
    try:
        with mark_running(Path(call.part)):
            dataset = compute_point(study, call.point, call.variant)
            outcome = Outcome("ok", seconds=time.perf_counter() - start)
            write_part(dataset.assign_attrs({OUTCOME: vars(outcome)}), Path(call.part))
    except (Exception, SystemExit) as error:
        return _failure(error, time.perf_counter() - start)
    return outcome


def compute_point(study: Study, point: Mapping[str, Any], variant: str | None) -> xr.Dataset:
    """Call the task of a study for one point.

    Parameters
    ----------
    study
        The study.
    point
        Name to value.
    variant
        Name of the variant that the task is told, or None.

    Returns
    -------
    xarray.Dataset
        What the task returned; its provenance is added where the task did not give any.

    Raises
    ------
    InputError
        If the study has no task, or the dataset is not of the shape of a result.

    Examples
    --------
    >>> import xarray as xr
    >>> study = Study("two", {"power": [2, 3]})
    >>> @study.task
    ... def task(power):
    ...     value = xr.Variable((), 2.0**power, {"long_name": "power of two", "units": "1"})
    ...     return xr.Dataset({"value": value})
    >>> compute_point(study, {"power": 3}, None).value.item()
    8.0
    """
    task = study.task_function
    if task is None:
        raise InputError(f"study {study.name!r} has no task; decorate one with @study.task")
    seed = study.task_seed(point)
    arguments = dict(point)
    for name, value in zip(FILLED_IN, (seed, variant), strict=True):
        if name in inspect.signature(task).parameters and name not in point:
            arguments[name] = value
    dataset = task(**arguments)
    if not isinstance(dataset, xr.Dataset):
        raise InputTypeError(
            f"task {task.__name__!r}: expected an xarray.Dataset, got {type(dataset).__name__}"
        )
    if "created_at" not in dataset.attrs:
        where = provenance(f"{study.name}.{task.__name__}", arguments, seed=seed)
        dataset = dataset.assign_attrs({**where, **dataset.attrs})
    validate(dataset)
    return dataset


def write_failure(path: Path, outcome: Outcome) -> None:
    """Write the part file of a task that failed.

    Parameters
    ----------
    path
        The file.
    outcome
        What became of the task.

    Raises
    ------
    ResultsError
        If the file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from subriem.results import open_results
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "0.failed.nc")
    ...     write_failure(path, Outcome("failed", "ValueError: no"))
    ...     open_results(path).attrs["task_outcome"]["message"]
    'ValueError: no'
    """
    save(xr.Dataset(attrs={OUTCOME: vars(outcome)}), path)


def _leave_with_parent(file: int) -> None:
    """Let this process end when the one that started it is gone, also by SIGKILL."""
    poll = select.poll()
    poll.register(file, 0)  # no event but the closing of the other end

    def wait() -> None:
        poll.poll()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _failure(error: BaseException, seconds: float) -> Outcome:
    line = " ".join("".join(traceback.format_exception_only(error)).split())
    message = line.removeprefix("subriem.errors.")
    if len(message) > _LONGEST_MESSAGE:
        message = message[:_LONGEST_MESSAGE] + "..."
    return Outcome("failed", message, seconds, "".join(traceback.format_exception(error)))
