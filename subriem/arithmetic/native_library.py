"""C source to a loaded library: compiled once by the system's compiler, kept in the user's cache.

The file's name is a hash of the source, the compiler and the processor. A library is written to a
name of its own and renamed, so that processes that compile the same source do not meet.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from subriem.errors import MissingDependencyError

__all__ = ["cache_folder", "compiler", "library_path", "load_library"]

_FLAGS = ("-std=gnu11", "-fPIC", "-shared", "-march=native", "-fno-math-errno")
#: Tried in turn: glibc's vector functions are not everywhere.
_EXTRAS = (("-DVECTOR_MATH", "-lmvec", "-lm"), ("-lm",))
#: Beyond this many characters optimization at -O2 costs more than it brings.
_LONG_SOURCE = 400_000


def compiler() -> list[str] | None:
    """The C compiler: ``CC``, else ``cc``, ``gcc`` or ``clang`` where one is found.

    Returns
    -------
    list of str or None
        The command. None where there is none; an empty ``CC`` says that none is to be used.

    Examples
    --------
    >>> command = compiler()
    >>> command is None or len(command) >= 1
    True
    """
    given = os.environ.get("CC")
    if given is not None:
        command = shlex.split(given)
        return command if command and shutil.which(command[0]) else None
    found = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    return [found] if found else None


def cache_folder() -> Path:
    """Where compiled libraries are kept: in the user's cache, else in the temporary folder.

    Returns
    -------
    pathlib.Path
        It exists and belongs to the user.

    Raises
    ------
    MissingDependencyError
        If no folder can be written to.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    user = os.getuid() if hasattr(os, "getuid") else 0
    for folder in (Path(home) / "subriem", Path(tempfile.gettempdir()) / f"subriem-{user}"):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # another user's folder of that name could hold anything
            owned = not hasattr(os, "getuid") or folder.stat().st_uid == user
            if owned and os.access(folder, os.W_OK | os.X_OK):
                return folder
        except OSError:
            continue
    raise MissingDependencyError("no folder for compiled code: neither the cache nor temporary")


@cache
def _processor() -> str:
    # a cache may be shared by machines whose processors differ
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return f"{platform.machine()} {sys.platform} {flags}"


@cache
def _version(command: tuple[str, ...]) -> str:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    return done.stdout


def library_path(source: str, command: list[str]) -> Path:
    """Where the library of a source is kept, whether it is there or not.

    Parameters
    ----------
    source : str
    command : list of str
        The compiler.

    Returns
    -------
    pathlib.Path
    """
    key = "\0".join([source, *command, *_FLAGS, _version(tuple(command)), _processor()])
    return cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.so"


def load_library(source: str) -> ctypes.CDLL:
    """Compile C source, or find it compiled, and load it.

    Parameters
    ----------
    source : str

    Returns
    -------
    ctypes.CDLL

    Raises
    ------
    MissingDependencyError
        If there is no C compiler, or it does not compile the source.

    Examples
    --------
    >>> if compiler():
    ...     assert load_library("int answer(void) { return 42; }").answer() == 42
    """
    command = compiler()
    if command is None:
        raise MissingDependencyError("no C compiler: neither CC nor cc, gcc or clang was found")
    path = library_path(source, command)
    if not path.exists():
        _compile(command, source, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        # cut short by a full disk, or of another system: made anew
        _compile(command, source, path)
        return ctypes.CDLL(str(path))


def _compile(command: list[str], source: str, path: Path) -> None:
    optimize = "-O2" if len(source) < _LONG_SOURCE else "-O1"
    failed = ""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        code, library = Path(folder) / "source.c", Path(folder) / "library.so"
        code.write_text(source)
        for extras in _EXTRAS:
            call = [*command, optimize, *_FLAGS, str(code), "-o", str(library), *extras]
            try:
                done = subprocess.run(call, capture_output=True, text=True, check=False)
            except OSError as error:
                raise MissingDependencyError(f"the C compiler does not run: {error}") from error
            if done.returncode == 0:
                try:
                    ctypes.CDLL(str(library))  # also finds symbols that no library has
                except OSError as error:
                    failed = str(error)
                    continue
                os.replace(library, path)
                return
            failed = done.stderr
    first = next((line for line in failed.splitlines() if "error" in line), failed[:200])
    raise MissingDependencyError(f"{' '.join(command)} does not compile: {first}")
