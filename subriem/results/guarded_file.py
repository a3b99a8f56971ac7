"""A file whose disk may be full without the library that writes it noticing.

HDF5 can crash the process when it cannot write (its metadata is left half flushed). Here the first
error is kept and nothing more reaches the disk: what HDF5 writes from then on is held in memory,
where HDF5 finds it again, until the writer looks at `GuardedFile.check` and gives up.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

__all__ = ["GuardedFile"]


class GuardedFile(io.RawIOBase):
    """A binary file that keeps its first error instead of raising it.

    Parameters
    ----------
    file
        The file, open for reading and writing, without a buffer.

    Examples
    --------
    >>> guarded = GuardedFile(io.BytesIO())
    >>> guarded.write(b"abc"), guarded.seek(1), guarded.read(2)
    (3, 1, b'bc')
    >>> guarded.check()
    """

    def __init__(self, file: BinaryIO | io.RawIOBase) -> None:
        self._file = file
        self._place = 0
        self._size = 0
        self._held: list[tuple[int, bytes]] = []
        # not the exception: its traceback would keep objects of HDF5 alive until the process ends
        self._error: tuple[Any, ...] | None = None

    def check(self) -> None:
        """Raise the first error, if there was one.

        Raises
        ------
        OSError
            What the disk said.
        """
        if self._error is not None:
            raise OSError(*self._error)

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write; never fails.

        Parameters
        ----------
        data
            The bytes.

        Returns
        -------
        int
            Their number.
        """
        view = memoryview(data).cast("B")
        if self._error is None:
            try:
                self._file.seek(self._place)
                done = 0
                # a disk that is filling takes a part
                while done < len(view):
                    done += self._file.write(view[done:]) or 0
            except OSError as error:
                self._error = error.args
        if self._error is not None:
            self._held.append((self._place, bytes(view)))
        self._place += len(view)
        self._size = max(self._size, self._place)
        return len(view)

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        """Read what was written, wherever it is.

        Parameters
        ----------
        buffer
            Where to.

        Returns
        -------
        int
            Number of bytes.
        """
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._place))
        view[:count] = bytes(count)
        self._file.seek(self._place)
        content = self._file.read(count) or b""
        view[: len(content)] = content
        for start, data in self._held:
            first = max(start, self._place)
            last = min(start + len(data), self._place + count)
            if first < last:
                view[first - self._place : last - self._place] = data[first - start : last - start]
        self._place += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place.

        Parameters
        ----------
        offset, whence
            As for any file.

        Returns
        -------
        int
            The place.
        """
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        """Where the next byte is read or written.

        Returns
        -------
        int
        """
        return self._place

    def truncate(self, size: int | None = None) -> int:
        """Cut the file, or make it longer.

        Parameters
        ----------
        size
            The number of bytes.

        Returns
        -------
        int
            The number of bytes.
        """
        self._size = self._place if size is None else size
        if self._error is None:
            try:
                self._file.truncate(self._size)
            except OSError as error:
                self._error = error.args
        return self._size

    def readable(self) -> bool:
        """Always true."""
        return True

    def writable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True
