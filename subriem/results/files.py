"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from subriem.errors import ResultsError

__all__ = ["replacing", "sync_folder", "write_whole"]


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Write a file under another name, which becomes the file when all went well.

    Parameters
    ----------
    path
        The file; its folder must exist.
    durable
        Whether it is to survive a power cut: it is then on the disk when this returns.

    Yields
    ------
    pathlib.Path
        The name to write to, in the same folder.

    Raises
    ------
    ResultsError
        If it cannot be written; an older file is left as it was.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "a")) as temporary:
    ...         _ = temporary.write_text("all of it")
    ...     Path(folder, "a").read_text()
    'all of it'
    """
    if not path.parent.is_dir():
        raise ResultsError(f"cannot write {path}: the folder {path.parent} does not exist")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        yield temporary
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            # the rename itself is on the disk only when the folder is
            sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        if isinstance(error, ResultsError):
            raise
        raise ResultsError(
            f"cannot write {path}: {error}; check the space and the rights"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write the bytes of a file, whole or not at all.

    Parameters
    ----------
    path
        The file; its folder must exist.
    content
        The bytes.
    durable
        As for `replacing`.

    Raises
    ------
    ResultsError
        If it cannot be written.

    Examples
    --------
    >>> write_whole(Path("none", "a"), b"abc")
    Traceback (most recent call last):
    subriem.errors.ResultsError: cannot write none/a: the folder none does not exist
    """
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(content)


def sync_folder(folder: Path) -> None:
    """Put the names of the files of a folder on the disk.

    Parameters
    ----------
    folder
        The folder.

    Raises
    ------
    OSError
        If the disk says so.

    Examples
    --------
    >>> sync_folder(Path("."))
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
