"""How far a run is, from its files alone: also while another process runs it."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from subriem.errors import ResultsError
from subriem.results import open_results
from subriem.study.folder import RunFolder
from subriem.study.lock import Holder, read_holder
from subriem.study.parts import RUNNING

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

__all__ = ["RunStatus", "print_status", "read_status"]

_SHOWN = 10


@dataclass
class RunStatus:
    """What became of each task so far.

    Parameters
    ----------
    study
        Name of the study.
    total
        Number of tasks.
    done
        Number of those that are finished.
    running
        Point to the seconds since its task began.
    failed
        Point to the message of its failure.
    interrupted
        Points whose task had begun when the run before ended.
    holder
        The process that runs the study, or None.

    Examples
    --------
    >>> RunStatus("digits", 4, 1, failed={"seed=3": "ValueError: no"}).missing
    2
    """

    study: str
    total: int
    done: int = 0
    running: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    interrupted: list[str] = field(default_factory=list)
    holder: Holder | None = None

    @property
    def missing(self) -> int:
        """Number of tasks that are neither done nor running nor failed."""
        return self.total - self.done - len(self.running) - len(self.failed)


def read_status(path: Path) -> RunStatus:
    """Read how far a run is; nothing is written and no lock taken.

    Parameters
    ----------
    path
        The file that the run writes, or its folder ``<file>.parts``. The folder, which stays until
        every task is ok, goes before the file.

    Returns
    -------
    RunStatus
        What its files say now. The checksums of finished tasks are left to ``--resume``.

    Raises
    ------
    ResultsError
        If there is neither a run folder nor a file of a study.

    Examples
    --------
    >>> read_status(Path("results/none.nc"))
    Traceback (most recent call last):
    subriem.errors.ResultsError: there is no file results/none.nc and no run folder ...none.parts
    """
    is_folder = path.is_dir() and path.suffix != ".zarr"
    folder = path if is_folder else path.with_name(f"{path.stem}.parts")
    manifest = RunFolder(folder, 0).read_manifest()
    if manifest is not None:
        return _of_folder(folder, manifest)
    if is_folder:
        raise ResultsError(f"{path} holds no manifest of a run")
    if not path.exists():
        raise ResultsError(f"there is no file {path} and no run folder {folder}")
    return _of_file(path)


def _of_folder(path: Path, manifest: dict[str, Any]) -> RunStatus:
    grid = manifest["grid"]
    points = list(itertools.product(*grid.values()))
    folder = RunFolder(path, len(points))
    status = RunStatus(manifest["study"], len(points))
    holder = read_holder(path)
    if holder is not None and holder.is_alive():
        status.holder = holder
    names = {file.name for file in path.iterdir()}
    now = time.time()
    for number, values in enumerate(points):
        point = ", ".join(f"{n}={value}" for n, value in zip(grid, values, strict=True))
        part = folder.part(number)
        begun = part.with_suffix(RUNNING)
        if part.name in names:
            status.done += 1
        elif begun.name in names and status.holder is not None:
            # the file may go while it is read: that the task began is what counts
            since = now
            with suppress(OSError, ValueError, KeyError):
                since = json.loads(begun.read_text(encoding="utf-8"))["since"]
            status.running[point] = max(0.0, now - since)
        elif folder.failure(number).name in names:
            message = "computed again at this moment"
            with suppress(ResultsError):
                message = folder.read(number)[1].message
            status.failed[point] = message
        elif begun.name in names:
            status.interrupted.append(point)
    return status


def _of_file(path: Path) -> RunStatus:
    with open_results(path, lazy=True) as dataset:
        return _of_dataset(dataset, path)


def _of_dataset(dataset: xr.Dataset, path: Path) -> RunStatus:
    if "task_status" not in dataset:
        raise ResultsError(f"{path} is not the result of a study: it has no 'task_status'")
    states = dataset["task_status"]
    status = RunStatus(str(dataset.attrs.get("study", path.stem)), states.size)
    axes = [states[name].values.tolist() for name in states.dims]
    messages = dataset["task_message"].values.ravel().tolist()
    for values, state, message in zip(
        itertools.product(*axes), states.values.ravel().tolist(), messages, strict=True
    ):
        if state == "ok":
            status.done += 1
        else:
            point = ", ".join(f"{n}={v}" for n, v in zip(states.dims, values, strict=True))
            status.failed[point] = message
    return status


def print_status(status: RunStatus, console: Console) -> None:
    """Print how far a run is, and why tasks failed.

    Parameters
    ----------
    status
        What `read_status` read.
    console
        Where to.

    Examples
    --------
    >>> import sys, rich.console
    >>> console = rich.console.Console(file=sys.stdout, color_system=None)
    >>> print_status(RunStatus("digits", 4, 1, failed={"seed=3": "ValueError: no"}), console)
    digits: 4 tasks, 1 done, 0 running, 1 failed, 2 missing
      failed: seed=3: ValueError: no
    """
    console.print(
        f"[bold]{escape(status.study)}[/]: {status.total} tasks, {status.done} done, "
        f"{len(status.running)} running, {len(status.failed)} failed, {status.missing} missing",
        soft_wrap=True,
    )
    if status.holder is not None:
        console.print(f"  run by {escape(str(status.holder))}", soft_wrap=True)
    lines = [f"running: {point}, for {seconds:.0f} s" for point, seconds in status.running.items()]
    _print_first(lines, console)
    _print_first([f"interrupted: {point}" for point in status.interrupted], console)
    _print_first([f"failed: {p}: {message}" for p, message in status.failed.items()], console)


def _print_first(lines: list[str], console: Console) -> None:
    for line in lines[:_SHOWN]:
        console.print(f"  {escape(line)}", soft_wrap=True)
    if len(lines) > _SHOWN:
        console.print(f"  and {len(lines) - _SHOWN} more {lines[0].split(':')[0]}")
