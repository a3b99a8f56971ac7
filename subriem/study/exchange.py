"""Large results through a folder that workers and client reach by fsspec: an object store."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from subriem.errors import InputError, ResultsError
from subriem.study.parts import checksum, place_part

__all__ = ["check_exchange", "clear", "fetch", "upload"]


def check_exchange(url: str) -> str:
    """Check the address of an exchange.

    Parameters
    ----------
    url
        The address, of any protocol of fsspec.

    Returns
    -------
    str
        The address without a slash at its end.

    Raises
    ------
    InputError
        If fsspec does not know its protocol, or a library for it is missing.

    Examples
    --------
    >>> check_exchange("memory://results/")
    'memory://results'
    >>> check_exchange("none://results")
    Traceback (most recent call last):
    subriem.errors.InputError: exchange 'none://results': Protocol not known: none...
    """
    import fsspec

    try:
        fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise InputError(f"exchange {url!r}: {error}") from error
    return url.rstrip("/")


def upload(part: Path, folder: str) -> str:
    """Copy a part into the exchange; in a worker.

    Parameters
    ----------
    part
        The file.
    folder
        Address of the folder of the run in the exchange.

    Returns
    -------
    str
        Its address there. What goes wrong raises what the store raises.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     part = Path(name, "00000.nc")
    ...     _ = part.write_bytes(b"results")
    ...     place = upload(part, f"file://{name}/run")
    ...     Path(name, "run", "00000.nc").read_bytes()
    b'results'
    """
    import fsspec

    place = f"{folder}/{part.name}"
    system, path = fsspec.core.url_to_fs(place)
    system.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    system.put_file(os.fspath(part), path)
    return place


def fetch(place: str, sha256: str, part: Path) -> None:
    """Move a part from the exchange into the run folder; in the client.

    Parameters
    ----------
    place
        Its address.
    sha256
        Its checksum.
    part
        Where it goes.

    Raises
    ------
    ResultsError
        If it cannot be read or written, or has another checksum.

    Examples
    --------
    >>> fetch("file:///none/00000.nc", "", Path("00000.nc"))
    Traceback (most recent call last):
    subriem.errors.ResultsError: cannot fetch file:///none/00000.nc: FileNotFoundError: ...
    """
    import fsspec

    new = part.with_suffix(".new.nc")
    try:
        system, path = fsspec.core.url_to_fs(place)
        system.get_file(path, os.fspath(new))
        if checksum(new) != sha256:
            raise ResultsError(f"{place} is damaged: it does not have the worker's checksum")
        place_part(new, part)
        system.rm_file(path)
    except ResultsError:
        raise
    except Exception as error:  # each kind of store has its own
        line = " ".join(f"{type(error).__name__}: {error}".split())
        raise ResultsError(f"cannot fetch {place}: {line}") from error
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def clear(folder: str) -> None:
    """Remove the folder of a run from the exchange; what cannot be removed stays.

    Parameters
    ----------
    folder
        Its address.

    Examples
    --------
    >>> clear("file:///none/run")
    """
    import fsspec

    with suppress(Exception):
        system, path = fsspec.core.url_to_fs(folder)
        system.rm(path, recursive=True)
