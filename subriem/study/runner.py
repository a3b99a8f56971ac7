"""A run of a study: what is left to do, each task on disk at once, one merge at the end."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import xarray as xr

from subriem.errors import InputError, ResultsError
from subriem.results import check_output
from subriem.study.executors import (
    ClusterLostError,
    Executor,
    in_processes,
    in_this_process,
)
from subriem.study.folder import Prepared, RunFolder, make_manifest
from subriem.study.grid import Grid
from subriem.study.merge import merge_parts, open_merged
from subriem.study.progress import tell, watch
from subriem.study.worker import TaskCall

if TYPE_CHECKING:
    from distributed import Client

    from subriem.study.definition import Study

__all__ = ["Cluster", "run_study"]


class Cluster(NamedTuple):
    """Where tasks run, if not in processes of this machine.

    Parameters
    ----------
    scheduler, client, memory_limit, exchange
        As for `subriem.study.Study.run`.

    Examples
    --------
    >>> Cluster(scheduler="local").is_asked_for
    True
    """

    scheduler: str | None = None
    client: Client | None = None
    memory_limit: str | int | None = None
    exchange: str | None = None

    @property
    def is_asked_for(self) -> bool:
        """Whether there is to be a cluster."""
        return self.scheduler is not None or self.client is not None


def run_study(
    study: Study,
    out: Path,
    *,
    workers: int,
    resume: bool,
    fresh: bool,
    variant: str | None,
    grid: Grid,
    progress: bool,
    time_limit: float | None,
    retries: int,
    accept_changes: bool,
    cluster: Cluster,
) -> xr.Dataset:
    """Run a study; see `subriem.study.Study.run`.

    Parameters
    ----------
    study
        The study.
    out
        The file to write.
    workers
        Number of processes.
    resume, fresh
        Whether to keep, or throw away, what an earlier run finished.
    variant
        Name of the variant, which the tasks are told.
    grid
        The grid of this run.
    progress
        Whether to say how far it is.
    time_limit
        Seconds that a task may take, or None.
    retries
        How often a task is tried again whose worker died.
    accept_changes
        Keep what another version of the study finished.
    cluster
        The Dask cluster, if any.

    Returns
    -------
    xarray.Dataset
        The combined dataset.

    Raises
    ------
    InputError
        If resume and fresh are both asked for, or changes accepted without resume, if the study
        has no task, or if a time limit is asked for where tasks run in this process.
    ResultsError
        If another run, or the folder of an earlier one, is in the way, or something cannot be
        written.
    KeyboardInterrupt
        On Ctrl-C; what is finished is kept.

    Examples
    --------
    See `subriem.study.Study.run`.
    """
    if resume and fresh:
        raise InputError("resume and fresh exclude each other: keep what is finished, or not")
    if accept_changes and not resume:
        raise InputError("accept_changes says what to do with finished tasks: expected resume")
    if study.task_function is None:
        raise InputError(f"study {study.name!r} has no task; decorate one with @study.task")
    check_output(out)
    manifest = make_manifest(study, grid, variant)
    count = math.prod(len(values) for values in grid.values())
    folder = RunFolder(out.with_name(f"{out.stem}.parts"), count)
    find_complete = partial(_complete_result, study, out, folder, manifest, progress)
    if resume and (complete := find_complete()) is not None:
        return complete
    executor = _choose_executor(study, workers, progress, time_limit, retries, cluster)
    start = time.perf_counter()
    with folder.hold():
        # again: the run that had the folder may have ended since
        if resume and (complete := find_complete()) is not None:
            folder.remove()
            return complete
        prepared = folder.prepare(
            manifest, resume=resume, fresh=fresh, accept_changes=accept_changes
        )
        _tell_of_damage(study.name, folder, prepared, progress)
        points = [dict(zip(grid, p, strict=True)) for p in itertools.product(*grid.values())]
        calls = [
            TaskCall(
                number,
                points[number],
                variant,
                str(folder.part(number).resolve()),
                str(study.file or ""),
                study.name,
            )
            for number in prepared.left
        ]
        _compute(study.name, folder, calls, executor, progress)
        everything = {**manifest, **prepared.earlier}
        combined, failed = merge_parts(study, folder, grid, everything, out)
        if not failed:
            folder.remove()
    seconds = time.perf_counter() - start
    summary = f"{study.name}: {count - failed} of {count} tasks ok, {seconds:.1f} s, {out}"
    if failed:
        summary += f"; {failed} failed, --resume runs them again (kept in {folder.path})"
    tell(summary, show=progress)
    return combined


def _tell_of_damage(name: str, folder: RunFolder, prepared: Prepared, progress: bool) -> None:
    if prepared.damaged:
        files = ", ".join(folder.part(number).name for number in prepared.damaged)
        tell(
            f"{name}: {len(prepared.damaged)} finished tasks are computed again, because their "
            f"files in {folder.path} are damaged: {files}",
            show=progress,
        )


def _choose_executor(
    study: Study,
    workers: int,
    progress: bool,
    time_limit: float | None,
    retries: int,
    cluster: Cluster,
) -> Executor:
    if cluster.is_asked_for:
        if study.file is None:
            raise InputError(
                f"study {study.name!r} is not a global of a Python file, so no other process can "
                "load it: expected no Dask cluster"
            )
        from subriem.study.dask_client import choose_cluster
        from subriem.study.dask_executor import on_cluster
        from subriem.study.exchange import check_exchange

        connect = choose_cluster(cluster.scheduler, cluster.client, workers, cluster.memory_limit)
        return on_cluster(
            study,
            connect,
            time_limit=time_limit,
            retries=retries,
            exchange=None if cluster.exchange is None else check_exchange(cluster.exchange),
            say=lambda message: tell(f"{study.name}: {message}", show=progress),
        )
    if cluster.memory_limit is not None or cluster.exchange is not None:
        raise InputError("memory_limit and exchange are of a Dask cluster: expected a scheduler")
    if study.file is not None:
        return in_processes(workers, study.threads_per_task, time_limit=time_limit, retries=retries)
    if time_limit is not None:
        raise InputError(
            f"study {study.name!r} is not a global of a Python file, so its tasks run in this "
            "process: expected no time limit"
        )
    tell(
        f"{study.name}: the study is not a global of a Python file, so its tasks run one after "
        "the other in this process",
        show=progress,
    )
    return in_this_process(study)


def _compute(
    name: str, folder: RunFolder, calls: Sequence[TaskCall], executor: Executor, progress: bool
) -> None:
    total = folder.count
    done = total - len(calls)
    try:
        with (
            watch(name, total, done, show=progress) as update,
            closing(executor(calls)) as outcomes,
        ):
            for call, outcome in outcomes:
                folder.record(call.number, outcome)
                done += 1
                update(outcome)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{name}: stopped, {done} of {total} tasks are kept in {folder.path}; go on with "
            "--resume"
        ) from None
    except ClusterLostError as error:
        raise ClusterLostError(
            f"{name}: {error}; {done} of {total} tasks are kept in {folder.path}; go on with "
            "--resume, on a cluster or without one"
        ) from error


def _complete_result(
    study: Study, out: Path, folder: RunFolder, manifest: dict[str, Any], progress: bool
) -> xr.Dataset | None:
    if folder.read_manifest() is not None or not out.exists():
        return None
    try:
        dataset = open_merged(out)
    except ResultsError:
        return None
    if dataset.attrs.get("study_manifest") != manifest or (dataset["task_status"] != "ok").any():
        return None
    tell(f"{study.name}: {out} is complete, nothing is left to do", show=progress)
    return dataset
