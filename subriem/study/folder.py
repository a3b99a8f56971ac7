"""The folder of a run: a manifest, and one file for each finished task."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subriem.errors import ResultsError
from subriem.results import library_version, open_results
from subriem.study.grid import Grid
from subriem.study.worker import OUTCOME, Outcome, write_failure

if TYPE_CHECKING:
    import xarray as xr

    from subriem.study.definition import Study

__all__ = ["RunFolder", "make_manifest"]

_MANIFEST = "manifest.json"


def make_manifest(study: Study, grid: Grid, variant: str | None) -> dict[str, Any]:
    """What decides the results of a run; two runs with the same manifest give the same numbers.

    Parameters
    ----------
    study
        The study.
    grid
        Its grid in this run.
    variant
        Name of the variant, or None.

    Returns
    -------
    dict
        Plain values. ``code`` is a fingerprint of the study's file without its comments, its
        docstrings and the function that `Study.after` decorates, so that a better picture does
        not make finished tasks out of date; of a study without a file, of its task alone, and
        ``"unknown"`` where there is no source.

    Examples
    --------
    >>> from subriem.study import Study
    >>> study = Study("x", {"seed": [0]})
    >>> make_manifest(study, study.grid(), None)["grid"]
    {'seed': [0]}
    """
    return {
        "study": study.name,
        "variant": variant,
        "grid": grid,
        "seed": study.seed,
        "threads_per_task": study.threads_per_task,
        "code": _fingerprint(study),
        "subriem_version": library_version(),
    }


def _fingerprint(study: Study) -> str:
    try:
        if study.file is not None:
            source = study.file.read_text(encoding="utf-8")
        else:
            source = textwrap.dedent(inspect.getsource(study.task_function))  # type: ignore[arg-type]
    except (OSError, TypeError):
        return "unknown"
    tree = ast.parse(source)
    after = getattr(study.after_function, "__name__", None)
    for node in ast.walk(tree):
        statements = getattr(node, "body", None)
        if isinstance(statements, list):
            kept = [child for child in statements if not _is_left_out(child, after)]
            vars(node)["body"] = kept
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_left_out(statement: ast.AST, after: str | None) -> bool:
    if isinstance(statement, ast.FunctionDef):
        return statement.name == after
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


class RunFolder:
    """The folder beside the output that holds what is finished.

    Parameters
    ----------
    path
        The folder; it need not exist.
    count
        Number of tasks.

    Examples
    --------
    >>> RunFolder("results/digits.parts", 12).part(3).as_posix()
    'results/digits.parts/00003.nc'
    """

    def __init__(self, path: str | os.PathLike[str], count: int) -> None:
        self.path = Path(path)
        self.count = count

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r}, {self.count})"

    def part(self, number: int) -> Path:
        """File of a task that is ok.

        Parameters
        ----------
        number
            Place of the task in the grid.

        Returns
        -------
        pathlib.Path
            The file.
        """
        return self.path / f"{number:05d}.nc"

    def failure(self, number: int) -> Path:
        """File of a task that failed.

        Parameters
        ----------
        number
            Place of the task in the grid.

        Returns
        -------
        pathlib.Path
            The file.
        """
        return self.path / f"{number:05d}.failed.nc"

    def prepare(self, manifest: dict[str, Any], *, resume: bool, fresh: bool) -> list[int]:
        """Make the folder ready for a run.

        Parameters
        ----------
        manifest
            What decides the results of this run.
        resume
            Keep what is finished.
        fresh
            Throw it away.

        Returns
        -------
        list of int
            Numbers of the tasks that are left to do.

        Raises
        ------
        ResultsError
            If an earlier run left something and neither is asked for, if it does not belong to
            this manifest, or if the folder holds files that no run wrote.
        """
        old = self._read_manifest()
        if fresh:
            self.remove()
            old = None
        if self.path.is_dir() and old is None and any(self.path.iterdir()):
            raise ResultsError(
                f"{self.path} holds files and no manifest of a run; move them away or name "
                "another --out"
            )
        finished = sum(self.part(number).exists() for number in range(self.count))
        if old is not None and any(self.path.glob("[0-9]*.nc")):
            if not resume:
                raise ResultsError(
                    f"an earlier run left {self.path} with {finished} finished tasks: --resume "
                    "goes on with it, --fresh throws it away"
                )
            differences = _differences(old, manifest)
            if differences:
                raise ResultsError(
                    f"{self.path} belongs to another version of the study: {differences}; undo "
                    "the change to resume, or throw the finished tasks away with --fresh"
                )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if old is None or _differences(old, manifest):
                started = {"started": datetime.now(UTC).isoformat()}
                self._write_manifest({**manifest, **started})
        except OSError as error:
            raise ResultsError(f"cannot write the run folder {self.path}: {error}") from error
        for leftover in self.path.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        return [number for number in range(self.count) if not self._is_finished(number)]

    def record(self, number: int, outcome: Outcome) -> None:
        """Put the outcome of a task on disk.

        Parameters
        ----------
        number
            Place of the task in the grid.
        outcome
            What became of it; where it is ok, the worker has written its part.

        Raises
        ------
        ResultsError
            If the file cannot be written.
        """
        if outcome.status == "ok":
            self.failure(number).unlink(missing_ok=True)
        else:
            write_failure(self.failure(number), outcome)

    def read(self, number: int) -> tuple[xr.Dataset | None, Outcome]:
        """Read what a task left.

        Parameters
        ----------
        number
            Place of the task in the grid.

        Returns
        -------
        tuple
            The dataset, or None where there is none, and the outcome.

        Raises
        ------
        ResultsError
            If the file cannot be read.
        """
        part = self.part(number)
        dataset = open_results(part if part.exists() else self.failure(number))
        outcome = Outcome(**dataset.attrs.pop(OUTCOME))
        return (dataset if outcome.status == "ok" else None), outcome

    def remove(self) -> None:
        """Remove what runs wrote, and the folder if nothing else is in it."""
        for pattern in ("[0-9]*.nc", ".*.tmp", _MANIFEST):
            for file in self.path.glob(pattern):
                file.unlink(missing_ok=True)
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    def _is_finished(self, number: int) -> bool:
        part = self.part(number)
        try:
            return part.exists() and OUTCOME in open_results(part).attrs
        except ResultsError:
            part.unlink()
            return False

    def _read_manifest(self) -> dict[str, Any] | None:
        file = self.path / _MANIFEST
        if not file.exists():
            return None
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ResultsError(
                f"cannot read {file}: {error}; throw the run away with --fresh"
            ) from error
        return dict(manifest)

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        temporary = self.path / f".{_MANIFEST}.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path / _MANIFEST)


def _differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    found = []
    for key, value in new.items():
        before = old.get(key)
        if before == value:
            continue
        if key == "code":
            found.append("its code changed")
        elif key == "grid" and isinstance(before, dict):
            names = [n for n in {**before, **value} if before.get(n) != value.get(n)]
            names = names or ["the order of its names"]
            found.append(f"its grid changed ({', '.join(names)})")
        else:
            found.append(f"{key} was {before!r} and is {value!r}")
    return "; ".join(found)
