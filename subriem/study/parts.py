"""The file of one finished task, and the record that tells whether it is whole.

A part ``00003.nc`` has a record ``00003.json`` with the SHA-256 of its bytes. The record is
written first and the part is renamed into its place last, so that a part that is there has one.
While its task runs there is a ``00003.running``.

A part is an uncompressed NetCDF4 file, made in memory and written by Python: a full disk is an
error like any other. A killed process loses nothing that was renamed. A power cut loses what has
not been synced yet (see `subriem.study.syncing`); a part that it leaves in pieces is noticed by its
checksum and computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import xarray as xr

from subriem.errors import ResultsError
from subriem.results import Contents, decode_contents, encode_results
from subriem.study.syncing import sync_later

__all__ = [
    "RUNNING",
    "checksum",
    "is_whole",
    "leave_mark",
    "mark_running",
    "place_part",
    "read_part",
    "remove_part",
    "write_part",
]

#: Ending of the file that a task has while it runs.
RUNNING = ".running"


def write_part(dataset: xr.Dataset, part: Path) -> None:
    """Write the part of a task and its record.

    Parameters
    ----------
    dataset
        What the task returned.
    part
        The file.

    Raises
    ------
    InputError, InputTypeError
        If the dataset holds what no file can.
    ResultsError
        If a file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     part = Path(folder, "00000.nc")
    ...     write_part(xr.Dataset(attrs={"rank": 3}), part)
    ...     print(is_whole(part), read_part(part).attrs)
    ...     _ = part.write_bytes(part.read_bytes()[:-1])
    ...     is_whole(part)
    True {'rank': 3}
    False
    """
    new = part.with_suffix(".new.nc")
    content = encode_results(dataset)
    record = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    try:
        new.write_bytes(content)
        _write_record(record, part)
        os.replace(new, part)
    except OSError as error:
        raise ResultsError(
            f"cannot write {part}: {error}; check the space and the rights"
        ) from error
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)
    sync_later(part, part.with_suffix(".json"))


def is_whole(part: Path) -> bool:
    """Whether a part is there, byte for byte as its task wrote it.

    Parameters
    ----------
    part
        The file.

    Returns
    -------
    bool
        False as well where the record is missing or damaged.

    Examples
    --------
    >>> is_whole(Path("results/none.parts/00000.nc"))
    False
    """
    try:
        return _sha256(part) == checksum(part)
    except OSError:
        return False


def read_part(part: Path) -> Contents:
    """Read a part that is whole.

    Parameters
    ----------
    part
        The file.

    Returns
    -------
    Contents
        What the dataset that the task returned is made of.

    Raises
    ------
    ResultsError
        If it is not what its task wrote.

    Examples
    --------
    >>> read_part(Path("00000.nc"))
    Traceback (most recent call last):
    subriem.errors.ResultsError: 00000.nc is damaged: it does not have the checksum of its record
    """
    try:
        content = part.read_bytes()
    except OSError:
        content = b""
    if hashlib.sha256(content).hexdigest() != _sha256(part):
        raise ResultsError(f"{part.name} is damaged: it does not have the checksum of its record")
    return decode_contents(content)


def _sha256(part: Path) -> str | None:
    """The checksum in the record of a part, or None."""
    try:
        record = json.loads(part.with_suffix(".json").read_text(encoding="utf-8"))
        return str(record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_part(part: Path) -> None:
    """Remove a part and its record, the part first.

    Parameters
    ----------
    part
        The file; it need not exist.

    Examples
    --------
    >>> remove_part(Path("results/none.parts/00000.nc"))
    """
    part.unlink(missing_ok=True)
    part.with_suffix(".json").unlink(missing_ok=True)


def checksum(file: Path) -> str:
    """SHA-256 of the bytes of a file.

    Parameters
    ----------
    file
        The file; it is read piece by piece.

    Returns
    -------
    str
        In hexadecimal digits.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     checksum(Path(file.name))[:8]
    'e3b0c442'
    """
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def place_part(new: Path, part: Path) -> None:
    """Let a whole file be the part of a task: its record is written, then it is renamed.

    Parameters
    ----------
    new
        The file, in the same folder.
    part
        The part.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     new, part = Path(folder, "new"), Path(folder, "00000.nc")
    ...     _ = new.write_bytes(b"results")
    ...     place_part(new, part)
    ...     is_whole(part)
    True
    """
    record = {"sha256": checksum(new), "bytes": new.stat().st_size}
    _write_record(record, part)
    os.replace(new, part)
    sync_later(part, part.with_suffix(".json"))


def _write_record(record: dict[str, Any], part: Path) -> None:
    part.with_suffix(".json").write_text(json.dumps(record), encoding="utf-8")


@contextmanager
def mark_running(part: Path) -> Iterator[None]:
    """Leave a file beside a part that says which process computes it, and since when.

    Parameters
    ----------
    part
        The file that the task will write.

    Yields
    ------
    None

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, mark_running(Path(folder, "00000.nc")):
    ...     os.listdir(folder)
    ['00000.running']
    """
    leave_mark(part)
    try:
        yield
    finally:
        with suppress(OSError):
            part.with_suffix(RUNNING).unlink(missing_ok=True)


def leave_mark(part: Path) -> None:
    """Write the file beside a part that says that its task runs, and since when.

    Parameters
    ----------
    part
        The file that the task will write.

    Examples
    --------
    >>> leave_mark(Path("none/00000.nc"))
    """
    # where it cannot be written, the part cannot be either, and that is reported
    with suppress(OSError):
        content = json.dumps({"pid": os.getpid(), "since": time.time()})
        part.with_suffix(RUNNING).write_text(content)
