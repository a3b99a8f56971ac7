"""The merge at the end of a run: all parts in one file, in bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from subriem.errors import ResultsError
from subriem.results import (
    Contents,
    Survey,
    open_results,
    provenance,
    save,
    save_blocks,
    validate,
)
from subriem.study.folder import RunFolder
from subriem.study.grid import Grid
from subriem.study.worker import Outcome

if TYPE_CHECKING:
    from subriem.study.definition import Study

__all__ = ["LARGEST_IN_MEMORY", "merge_parts", "open_merged"]

#: Bytes of a combined dataset up to which it is made, and returned, in memory.
LARGEST_IN_MEMORY = 1 << 28
# about what a dataset takes beside its values
_OVERHEAD = 1 << 14


def merge_parts(
    study: Study, folder: RunFolder, grid: Grid, manifest: dict[str, Any], out: Path
) -> tuple[xr.Dataset, int]:
    """Combine what the tasks left and write it.

    Each part is read once to learn its form and, where all of them together are large, once more
    for its values, which then go to the file block by block: the memory that this takes does not
    grow with the sum of the parts.

    Parameters
    ----------
    study
        The study.
    folder
        The folder of the run.
    grid
        The grid of the run.
    manifest
        What decides its results.
    out
        The file to write.

    Returns
    -------
    tuple
        The combined dataset, which is read from the file when its values are asked for if it is
        larger than `LARGEST_IN_MEMORY`, and the number of tasks that failed.

    Raises
    ------
    ResultsError
        If the file, or that a task failed after all, cannot be written.
    """
    outcomes: list[Outcome] = []
    kept: dict[int, Contents] | None = {}
    survey, room = Survey(grid), LARGEST_IN_MEMORY
    for number in range(folder.count):
        dataset, outcome = _read_or_discard(folder, number)
        outcomes.append(outcome)
        if dataset is not None:
            survey.add(number, dataset)
            room -= dataset.nbytes + _OVERHEAD
            if kept is not None and room >= 0:
                kept[number] = dataset
            else:
                kept = None

    def read(number: int) -> Contents | None:
        return folder.read(number)[0] if kept is None else kept[number]

    if problems := survey.conflicts():
        for number, problem in problems.items():
            message = f"the returned dataset {problem}"
            outcomes[number] = Outcome("failed", message, outcomes[number].seconds)
            folder.discard(number, outcomes[number])
        survey = Survey(grid)
        for number, outcome in enumerate(outcomes):
            if outcome.status == "ok" and (dataset := read(number)) is not None:
                survey.add(number, dataset)
    combined = survey.skeleton(_attributes(study, grid, manifest))
    combined = combined.assign(_columns(outcomes, grid))
    validate(combined)
    failed = sum(outcome.status != "ok" for outcome in outcomes)
    if combined.nbytes <= LARGEST_IN_MEMORY:
        combined = survey.fill(combined, read)
        save(combined, out)
        return combined, failed
    save_blocks(combined, out, survey.blocks(read), survey.streamed)
    return open_results(out, lazy=True), failed


def open_merged(out: Path) -> xr.Dataset:
    """Read a combined dataset, into memory if it is not larger than `LARGEST_IN_MEMORY`.

    Parameters
    ----------
    out
        The file.

    Returns
    -------
    xarray.Dataset
        The dataset.

    Raises
    ------
    ResultsError
        If it cannot be read.
    """
    dataset = open_results(out, lazy=True)
    if dataset.nbytes > LARGEST_IN_MEMORY:
        return dataset
    dataset.close()
    return open_results(out)


def _attributes(study: Study, grid: Grid, manifest: dict[str, Any]) -> dict[str, Any]:
    arguments = {"grid": grid, "variant": manifest["variant"]}
    attributes = provenance("Study.run", arguments, seed=study.seed)
    attributes |= {"study": study.name, "study_manifest": manifest}
    if study.question:
        attributes["question"] = study.question
    return attributes


def _columns(outcomes: list[Outcome], grid: Grid) -> dict[str, xr.Variable]:
    shape = tuple(len(values) for values in grid.values())
    columns: dict[str, tuple[list[Any], str, str]] = {
        "task_status": ([one.status for one in outcomes], "what became of the task", "1"),
        "task_message": ([one.message for one in outcomes], "why the task failed", "1"),
        "task_seconds": ([one.seconds for one in outcomes], "duration of the task", "s"),
    }
    return {
        name: xr.Variable(
            tuple(grid),
            np.array(values).reshape(shape),
            {"long_name": long_name, "units": units},
        )
        for name, (values, long_name, units) in columns.items()
    }


def _read_or_discard(folder: RunFolder, number: int) -> tuple[Contents | None, Outcome]:
    try:
        return folder.read(number)
    except ResultsError as error:
        outcome = Outcome("failed", f"ResultsError: {error}")
        folder.discard(number, outcome)
        return None, outcome
