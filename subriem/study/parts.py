"""The file of one finished task, and the record that tells whether it is whole.

A part ``00003.nc`` has a record ``00003.json`` with the SHA-256 of its bytes. The record is
written first and the part is renamed into its place last, so that a part that is there has one.
While its task runs there is a ``00003.running``.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import xarray as xr

from subriem.errors import ResultsError
from subriem.results import open_results, save

__all__ = ["RUNNING", "is_whole", "mark_running", "read_part", "remove_part", "write_part"]

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
    try:
        save(dataset, new)
        content = new.read_bytes()
        record = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        part.with_suffix(".json").write_text(json.dumps(record), encoding="utf-8")
        os.replace(new, part)
    except ResultsError:
        raise
    except OSError as error:
        raise ResultsError(
            f"cannot write {part}: {error}; check the space and the rights"
        ) from error
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


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
        record = json.loads(part.with_suffix(".json").read_text(encoding="utf-8"))
        return bool(record["sha256"] == hashlib.sha256(part.read_bytes()).hexdigest())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_part(part: Path) -> xr.Dataset:
    """Read a part that is whole.

    Parameters
    ----------
    part
        The file.

    Returns
    -------
    xarray.Dataset
        What the task returned.

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
    if not is_whole(part):
        raise ResultsError(f"{part.name} is damaged: it does not have the checksum of its record")
    return open_results(part)


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
    marker = part.with_suffix(RUNNING)
    # where it cannot be written, the part cannot be either, and that is reported
    with suppress(OSError):
        marker.write_text(json.dumps({"pid": os.getpid(), "since": time.time()}))
    try:
        yield
    finally:
        with suppress(OSError):
            marker.unlink(missing_ok=True)
