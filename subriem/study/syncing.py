"""Putting finished files on the disk while the next task runs.

A sync takes milliseconds on most disks, which ten thousand short tasks would wait for. So a thread
syncs, a few files behind the tasks. Where tasks end faster than the disk syncs, some files are left
to the operating system, which writes them within about half a minute. That matters at a power cut
only, and what it leaves is told apart by checksums.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from subriem.results.files import sync_folder

__all__ = ["sync_later"]

#: Syncs that may wait for their turn, beyond which a file is left to the operating system.
_WAITING = 4

_pool: ThreadPoolExecutor | None = None
_pending: list[Future[None]] = []


def sync_later(*files: Path) -> None:
    """Put files of one folder on the disk soon, in order, and then their names.

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
    global _pool
    _pending[:] = [future for future in _pending if not future.done()]
    if len(_pending) > _WAITING:
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(1, "sync")
    _pending.append(_pool.submit(_sync, files))


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
