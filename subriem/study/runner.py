"""A run of a study: what is left to do, each task on disk at once, one merge at the end."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from subriem.errors import InputError, ResultsError
from subriem.results import (
    combine_tasks,
    find_conflicts,
    open_results,
    provenance,
    save,
    validate,
)
from subriem.study.executors import Executor, in_processes, in_this_process
from subriem.study.folder import RunFolder, make_manifest
from subriem.study.grid import Grid
from subriem.study.progress import tell, watch
from subriem.study.worker import Outcome, TaskCall

if TYPE_CHECKING:
    from subriem.study.definition import Study

__all__ = ["run_study"]


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

    Returns
    -------
    xarray.Dataset
        The combined dataset.

    Raises
    ------
    InputError
        If resume and fresh are both asked for, or the study has no task.
    ResultsError
        If the folder of an earlier run is in the way, or something cannot be written.
    KeyboardInterrupt
        On Ctrl-C; what is finished is kept.

    Examples
    --------
    See `subriem.study.Study.run`.
    """
    if resume and fresh:
        raise InputError("resume and fresh exclude each other: keep what is finished, or not")
    if study.task_function is None:
        raise InputError(f"study {study.name!r} has no task; decorate one with @study.task")
    manifest = make_manifest(study, grid, variant)
    count = math.prod(len(values) for values in grid.values())
    folder = RunFolder(out.with_name(f"{out.stem}.parts"), count)
    if resume and not folder.path.exists():
        complete = _complete_result(out, manifest)
        if complete is not None:
            tell(f"{study.name}: {out} is complete, nothing is left to do", show=progress)
            return complete
    start = time.perf_counter()
    left = folder.prepare(manifest, resume=resume, fresh=fresh)
    points = [dict(zip(grid, point, strict=True)) for point in itertools.product(*grid.values())]
    calls = [
        TaskCall(
            number,
            points[number],
            variant,
            str(folder.part(number).resolve()),
            str(study.file or ""),
            study.name,
        )
        for number in left
    ]
    executor = _choose_executor(study, workers, progress)
    _compute(study.name, folder, calls, executor, progress)
    combined, failed = _merge(study, folder, grid, manifest)
    save(combined, out)
    seconds = time.perf_counter() - start
    summary = f"{study.name}: {count - failed} of {count} tasks ok, {seconds:.1f} s, {out}"
    if failed:
        summary += f"; {failed} failed, --resume runs them again (kept in {folder.path})"
    else:
        folder.remove()
    tell(summary, show=progress)
    return combined


def _choose_executor(study: Study, workers: int, progress: bool) -> Executor:
    if study.file is not None:
        return in_processes(workers, study.threads_per_task)
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


def _merge(
    study: Study, folder: RunFolder, grid: Grid, manifest: dict[str, Any]
) -> tuple[xr.Dataset, int]:
    parts = [folder.read(number) for number in range(folder.count)]
    datasets = [dataset for dataset, _ in parts]
    outcomes = [outcome for _, outcome in parts]
    for number, problem in find_conflicts(datasets, grid).items():
        datasets[number] = None
        message = f"the returned dataset {problem}"
        outcomes[number] = Outcome("failed", message, outcomes[number].seconds)
        folder.record(number, outcomes[number])
        # so that --resume computes it again
        folder.part(number).unlink()
    arguments = {"grid": grid, "variant": manifest["variant"]}
    attributes = provenance("Study.run", arguments, seed=study.seed)
    attributes |= {"study": study.name, "study_manifest": manifest}
    if study.question:
        attributes["question"] = study.question
    combined = combine_tasks(datasets, grid, attributes)
    shape = tuple(len(values) for values in grid.values())
    columns: dict[str, tuple[list[Any], str, str]] = {
        "task_status": ([one.status for one in outcomes], "what became of the task", "1"),
        "task_message": ([one.message for one in outcomes], "why the task failed", "1"),
        "task_seconds": ([one.seconds for one in outcomes], "duration of the task", "s"),
    }
    for name, (values, long_name, units) in columns.items():
        attrs = {"long_name": long_name, "units": units}
        combined[name] = (tuple(grid), np.array(values).reshape(shape), attrs)
    validate(combined)
    return combined, sum(one.status != "ok" for one in outcomes)


def _complete_result(out: Path, manifest: dict[str, Any]) -> xr.Dataset | None:
    if not out.exists():
        return None
    try:
        dataset = open_results(out)
    except ResultsError:
        return None
    same = dataset.attrs.get("study_manifest") == manifest
    return dataset if same and bool((dataset["task_status"] == "ok").all()) else None
