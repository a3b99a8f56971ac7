"""One run on a folder at a time, also when the run before it was killed."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from subriem.errors import ResultsError

__all__ = ["HOLDER", "LOCK", "Holder", "hold", "read_holder"]

#: The file on which the operating system keeps the lock; it is empty.
LOCK = "run.lock"
#: The file that says who has it.
HOLDER = "holder.json"


@dataclass(frozen=True)
class Holder:
    """The process that runs a study.

    Parameters
    ----------
    pid
        Its number.
    host
        Its machine.
    since
        When the run began, in ISO format.
    process_started
        When the process began, in seconds since 1970: a number is used again by other processes.

    Examples
    --------
    >>> print(Holder(12, "ada", "2026-01-31T10:00:00+00:00", 0.0))
    process 12 on ada, since 2026-01-31T10:00:00+00:00
    """

    pid: int
    host: str
    since: str
    process_started: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    def is_alive(self) -> bool:
        """Whether the process runs; one of another machine is believed to.

        Returns
        -------
        bool
            False where it is known to be gone.
        """
        if self.host != socket.gethostname():
            return True
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.process_started) < 1.0
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep every other run off a folder, from any process of the machine.

    The operating system frees the lock when its holder ends, however it ends.

    Parameters
    ----------
    folder
        The folder; it is made where there is none.

    Yields
    ------
    None

    Raises
    ------
    ResultsError
        If another run has the folder, at once and with its name; or if the folder cannot be
        written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name, hold(Path(name)), hold(Path(name)):
    ...     pass
    Traceback (most recent call last):
    subriem.errors.ResultsError: another run has ...: process ... on ..., since ...; wait for it...
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            if (folder / LOCK).exists():
                break
            # the run before removed the file between its opening and its locking here
            lock.release()
    except Timeout:
        holder = _wait_for_holder(folder) or "it is about to begin or to end"
        raise ResultsError(
            f"another run has {folder}: {holder}; wait for it, stop it, or name another --out"
        ) from None
    except OSError as error:
        raise ResultsError(f"cannot write the run folder {folder}: {error}") from error
    try:
        _write_holder(folder)
        yield
    finally:
        with suppress(OSError):
            (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def read_holder(folder: Path) -> Holder | None:
    """Who runs in a folder.

    Parameters
    ----------
    folder
        The folder of a run.

    Returns
    -------
    Holder or None
        What the last run wrote; None where it ended in order, or never began.

    Examples
    --------
    >>> read_holder(Path("results/none.parts")) is None
    True
    """
    try:
        return Holder(**json.loads((folder / HOLDER).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _wait_for_holder(folder: Path) -> Holder | None:
    """Who runs in a folder that is locked: its name comes a moment after the lock."""
    for _ in range(20):
        holder = read_holder(folder)
        if holder is not None and holder.is_alive():
            return holder
        time.sleep(0.02)
    return None


def _write_holder(folder: Path) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    started = psutil.Process().create_time()
    holder = Holder(os.getpid(), socket.gethostname(), now, started)
    temporary = folder / f".{HOLDER}.tmp"
    try:
        temporary.write_text(json.dumps(asdict(holder)), encoding="utf-8")
        os.replace(temporary, folder / HOLDER)
    except OSError as error:
        raise ResultsError(f"cannot write the run folder {folder}: {error}") from error
