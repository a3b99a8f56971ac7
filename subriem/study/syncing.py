"""Putting finished files on the disk while the next task runs.

A sync takes milliseconds on most disks, and while it lasts other files wait as well: ten thousand
short tasks would wait most of their time. So a thread syncs, and each process at most five times a
second. The file of a task that took longer than that is on the disk a moment after the task; those
of shorter tasks are left to the operating system, which writes them within about half a minute.
That matters at a power cut only, and what it leaves is told apart by checksums.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from subriem.results.files import sync_folder

__all__ = ["sync_later"]

#: Seconds from one sync of a process to the next, at least.
INTERVAL = 0.2

_pool: ThreadPoolExecutor | None = None
_last = -math.inf


def sync_later(*files: Path) -> None:
    """Put files of one folder on the disk soon, in order, and then their names.

    Nothing is done where the last sync was less than `INTERVAL` ago.

    Parameters
    ----------
    *files
        The files.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "00000.nc")
    ...     _ = file.write_bytes(b"results")
    ...     sync_later(file)
    """
    global _pool, _last
    now = time.monotonic()
    if now - _last < INTERVAL:
        return
    _last = now
    if _pool is None:
        _pool = ThreadPoolExecutor(1, "sync")
    _pool.submit(_sync, files)


def _sync(files: Sequence[Path]) -> None:
    # a disk that fails here fails at the next write as well, or at the checksum
    with suppress(OSError):
        for file in files:
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(files[0].parent)
