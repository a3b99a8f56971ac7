"""The folder of a run: a manifest, and one file for each finished task."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import textwrap
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from subriem.errors import ResultsError
from subriem.results import Contents, library_version, open_results
from subriem.study.grid import Grid
from subriem.study.lock import HOLDER, LOCK, hold
from subriem.study.parts import RUNNING, is_whole, read_part, remove_part
from subriem.study.worker import OUTCOME, Outcome, write_failure

if TYPE_CHECKING:
    from subriem.study.definition import Study

__all__ = ["ChangedStudyError", "Prepared", "RunFolder", "make_manifest"]

_MANIFEST = "manifest.json"
#: What may differ from the run before and leave each finished task that of the same point.
_ACCEPTABLE = ("code", "subriem_version", "threads_per_task")
#: Key of the manifest with what finished tasks of another version were computed by.
_EARLIER = "earlier_versions"


class ChangedStudyError(ResultsError):
    """A run folder belongs to another version of the study, which can be accepted.

    Its code, the version of subriem or the number of threads changed, and not its grid: the
    finished tasks can be kept with ``accept_changes``, and then the result says so.
    """


class Prepared(NamedTuple):
    """What is left to do in a run folder.

    Parameters
    ----------
    left
        Numbers of the tasks that are to be computed.
    damaged
        Those of them that were finished, and whose file is not what the task wrote.
    earlier
        What the manifest says of tasks that another version of the study finished; empty where
        there are none.

    Examples
    --------
    >>> Prepared([2], [], {}).left
    [2]
    """

    left: list[int]
    damaged: list[int]
    earlier: dict[str, Any]


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

    def hold(self) -> AbstractContextManager[None]:
        """Keep every other run off the folder; see `subriem.study.lock.hold`.

        Returns
        -------
        context manager

        Raises
        ------
        ResultsError
            If another run has it, or it is a folder that no run made.
        """
        if self.path.is_dir():
            names = {file.name for file in self.path.iterdir()}
            if names and not names & {_MANIFEST, LOCK}:
                raise ResultsError(
                    f"{self.path} holds files and no manifest of a run; move them away or name "
                    "another --out"
                )
        return hold(self.path)

    def prepare(
        self, manifest: dict[str, Any], *, resume: bool, fresh: bool, accept_changes: bool = False
    ) -> Prepared:
        """Make the folder, which this process holds, ready for a run.

        Parameters
        ----------
        manifest
            What decides the results of this run.
        resume
            Keep what is finished.
        fresh
            Throw it away.
        accept_changes
            Keep what is finished also where the code of the study, the version of subriem or the
            number of threads was another.

        Returns
        -------
        Prepared
            Numbers of the tasks that are left to do.

        Raises
        ------
        ChangedStudyError
            If the finished tasks are of another version of the study and the change, which could
            be accepted, is not.
        ResultsError
            If an earlier run left something and neither is asked for, or if it is of another
            grid, seed, variant or study.
        """
        old = None if fresh else self.read_manifest()
        if old is None:
            # parts without a manifest are of a run that was being removed
            self._empty()
        finished = sum(self.part(number).exists() for number in range(self.count))
        new = manifest
        if old is not None and any(self.path.glob("[0-9]*.nc")):
            if not resume:
                raise ResultsError(
                    f"an earlier run left {self.path} with {finished} finished tasks: --resume "
                    "goes on with it, --fresh throws it away"
                )
            new = self._compare(old, manifest, accept_changes, finished)
        try:
            if old is None or new is not old:
                started = {"started": datetime.now(UTC).isoformat()}
                self._write_manifest({**new, **started})
        except OSError as error:
            raise ResultsError(f"cannot write the run folder {self.path}: {error}") from error
        for pattern in (".*.tmp", "*.new.nc", f"*{RUNNING}"):
            for leftover in self.path.glob(pattern):
                leftover.unlink(missing_ok=True)
        left = [number for number in range(self.count) if not is_whole(self.part(number))]
        damaged = [number for number in left if self.part(number).exists()]
        for number in damaged:
            remove_part(self.part(number))
        return Prepared(left, damaged, {k: v for k, v in new.items() if k == _EARLIER})

    def _compare(
        self, old: dict[str, Any], new: dict[str, Any], accept_changes: bool, finished: int
    ) -> dict[str, Any]:
        """The manifest to go on with: the old one if nothing changed."""
        changed = [key for key, value in new.items() if old.get(key) != value]
        if not changed:
            return old
        where = (
            f"{self.path} belongs to another version of the study: "
            f"{_differences(old, new, changed)}; undo the change to resume, or throw the "
            f"{finished} finished tasks away with --fresh"
        )
        if not set(changed) <= set(_ACCEPTABLE):
            raise ResultsError(where)
        if not accept_changes:
            raise ChangedStudyError(
                f"{where}, or keep them with --resume --accept-changes if the change does not "
                "touch their numbers; the result will say that they are of another version"
            )
        before = {key: old.get(key) for key in _ACCEPTABLE}
        return {**new, _EARLIER: [*old.get(_EARLIER, []), before]}

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
        # of a worker that was killed
        self.part(number).with_suffix(RUNNING).unlink(missing_ok=True)
        if outcome.status == "ok":
            self.failure(number).unlink(missing_ok=True)
        else:
            write_failure(self.failure(number), outcome)

    def read(self, number: int) -> tuple[Contents | None, Outcome]:
        """Read what a task left.

        Parameters
        ----------
        number
            Place of the task in the grid.

        Returns
        -------
        tuple
            What the dataset is made of, or None where there is none, and the outcome.

        Raises
        ------
        ResultsError
            If the file cannot be read, or is not what the task wrote.
        """
        part = self.part(number)
        if part.exists():
            contents = read_part(part)
        else:
            contents = Contents.of(open_results(self.failure(number)))
        outcome = Outcome(**contents.attrs.pop(OUTCOME))
        return (contents if outcome.status == "ok" else None), outcome

    def discard(self, number: int, outcome: Outcome) -> None:
        """Let the part of a task go, so that it is computed again by ``resume``.

        Parameters
        ----------
        number
            Place of the task in the grid.
        outcome
            Why.

        Raises
        ------
        ResultsError
            If the file that says why cannot be written.
        """
        self.record(number, outcome)
        remove_part(self.part(number))

    def remove(self) -> None:
        """Remove what runs wrote, and the folder if nothing else is in it."""
        self._empty()
        for name in (HOLDER, LOCK):
            (self.path / name).unlink(missing_ok=True)
        # not where another file is in it, or another run has just come
        with suppress(OSError):
            self.path.rmdir()

    def _empty(self) -> None:
        # the manifest goes first: a run that finds none keeps no part
        for pattern in (_MANIFEST, "[0-9]*.nc", "[0-9]*.json", f"[0-9]*{RUNNING}", ".*.tmp"):
            for file in self.path.glob(pattern):
                file.unlink(missing_ok=True)

    def read_manifest(self) -> dict[str, Any] | None:
        """What decides the results of the run that the folder is of.

        Returns
        -------
        dict or None
            None where there is none.

        Raises
        ------
        ResultsError
            If it cannot be read.
        """
        file = self.path / _MANIFEST
        if not file.exists():
            return None
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ResultsError(
                f"cannot read {file}: {error}; throw the run away with --fresh"
            ) from error

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        temporary = self.path / f".{_MANIFEST}.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path / _MANIFEST)


def _differences(old: dict[str, Any], new: dict[str, Any], changed: list[str]) -> str:
    found = []
    for key in changed:
        before, value = old.get(key), new[key]
        if key == "code":
            found.append(f"its code changed (fingerprint {str(before)[:8]}, now {value[:8]})")
        elif key == "grid" and isinstance(before, dict):
            names = [n for n in {**before, **value} if before.get(n) != value.get(n)]
            found.append(f"its grid changed ({', '.join(names) or 'the order of its names'})")
            for name in names:
                found.append(f"{name} was {before.get(name)} and is {value.get(name)}")
        else:
            found.append(f"{key} was {before!r} and is {value!r}")
    return "; ".join(found)
