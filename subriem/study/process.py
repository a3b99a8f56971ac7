"""A worker process: one task at a time, watched from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import NamedTuple

import psutil

from subriem.study.worker import Outcome, TaskCall

__all__ = ["Limits", "WorkerProcess", "wait_for_news"]

#: Seconds after which a process is looked at without news of it.
LOOK_AFTER = 2.0
_LOOK_AT_MEMORY_AFTER = 0.1

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_CODE = (
    "import json, sys; path, file, idle = json.loads(sys.argv.pop()); sys.path[:] = path; "
    "from subriem.study.worker import serve_on; serve_on(file, idle)"
)


class Limits(NamedTuple):
    """What a task may take.

    Parameters
    ----------
    seconds
        Time, counted from where the task begins: loading the study is not counted. None: any.
    memory
        Bytes of resident memory of its process and of those that it started. None: any.

    Examples
    --------
    >>> Limits(seconds=2.0).memory is None
    True
    """

    seconds: float | None = None
    memory: int | None = None


class WorkerProcess:
    """A process that computes one task at a time.

    It is a program of its own, not a child of `multiprocessing`: the workers of a cluster may be
    daemons, which must not have such children. It ends when this process does, however that ends.
    Ctrl-C does not reach it.

    Parameters
    ----------
    threads
        Threads of BLAS and OpenMP.
    idle
        Seconds without a task after which it ends by itself; None: never.

    Examples
    --------
    >>> process = WorkerProcess(1)
    >>> process.give(TaskCall(0, {}, None, "a.nc", "none.py", "x"))
    True
    >>> while (outcome := process.look(Limits())) is None:
    ...     wait_for_news([process], Limits())
    >>> outcome.message
    'ResultsError: there is no file none.py'
    >>> process.kill()
    """

    def __init__(self, threads: int, idle: float | None = None) -> None:
        self._here, there = Pipe()
        start = json.dumps([sys.path, there.fileno(), idle])
        # a child inherits the mask: Ctrl-C is for the parent to answer
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CODE, start],
                # BLAS and OpenMP read these once, when they are loaded
                env={**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))},
                stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            # only the child has the other end, so that its death closes it
            there.close()
        self._death = _watch_death(self._process.pid)
        #: Its task, or the last one that it had.
        self.call: TaskCall | None = None
        self._begun: float | None = None
        self._served = 0
        #: Whether it is gone.
        self.lost = False

    def give(self, call: TaskCall) -> bool:
        """Send it a task.

        Parameters
        ----------
        call
            The task.

        Returns
        -------
        bool
            False where it died while idle.
        """
        self.call, self._begun = call, None
        try:
            self._here.send(call)
        except OSError:
            return False
        return True

    def look(self, limits: Limits) -> Outcome | None:
        """See what became of its task; where the task exceeds a limit, kill it.

        Parameters
        ----------
        limits
            What the task may take.

        Returns
        -------
        Outcome or None
            None where the task runs, and where the process is `lost`.
        """
        # asked before its answer is read: what it sent before it died counts
        dead = self._process.poll() is not None
        try:
            while self._here.poll():
                message = self._here.recv()
                if isinstance(message, Outcome):
                    self._served += 1
                    return message
                self._begun = time.monotonic()
        except (EOFError, OSError):
            # its end of the pipe is closed: it is about to end, or of no more use
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(LOOK_AFTER)
            dead = True
        if dead:
            self.kill()
            return None
        left = self.time_left(limits)
        if left is not None and left <= 0:
            self.kill()
            return Outcome("failed", f"time limit of {limits.seconds:g} s", limits.seconds or 0)
        if limits.memory is not None and (used := self._memory()) > limits.memory:
            seconds = 0.0 if self._begun is None else time.monotonic() - self._begun
            self.kill()
            message = f"memory limit of {_in_mib(limits.memory)}: the task took {_in_mib(used)}"
            return Outcome("failed", message, seconds)
        return None

    def time_left(self, limits: Limits) -> float | None:
        """Seconds that its task still has.

        Parameters
        ----------
        limits
            What the task may take.

        Returns
        -------
        float or None
            None where there is no limit or the task has not begun.
        """
        if limits.seconds is None or self._begun is None:
            return None
        return self._begun + limits.seconds - time.monotonic()

    @property
    def tried(self) -> bool:
        """Whether its task was tried: not where the process died between two tasks."""
        return self._begun is not None or not self._served

    @property
    def handles(self) -> list[object]:
        """What `multiprocessing.connection.wait` waits for: its answer, and its death."""
        return [self._here] if self._death is None else [self._here, self._death]

    def describe_death(self) -> str:
        """How it ended, for a message.

        Returns
        -------
        str
            The text.
        """
        code, how = self._process.returncode, "ended"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                how = f"was ended by {signal.Signals(-code).name}"
        elif code is not None:
            how = f"ended with exit code {code}"
        return f"the worker process {how} (killed, out of memory or crashed)"

    def dismiss(self) -> None:
        """Let it end in order, and kill it where it does not."""
        with contextlib.suppress(OSError):
            self._here.send(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LOOK_AFTER)
        self.kill()

    def stop(self) -> None:
        """Kill it, and what its task started; may be called while another thread waits for it."""
        if self._process.returncode is None:
            for child in _descendants(self._process.pid):
                with contextlib.suppress(psutil.Error):
                    child.kill()
        self._process.kill()

    def kill(self) -> None:
        """Kill it, and what its task started, and forget it."""
        self.stop()
        self._process.wait()
        self._here.close()
        if self._death is not None:
            os.close(self._death)
            self._death = None
        self.lost = True

    def _memory(self) -> int:
        used = 0
        with contextlib.suppress(psutil.Error):
            used = psutil.Process(self._process.pid).memory_info().rss
        for child in _descendants(self._process.pid):
            with contextlib.suppress(psutil.Error):
                used += child.memory_info().rss
        return used


def wait_for_news(processes: Sequence[WorkerProcess], limits: Limits) -> None:
    """Wait until one of some processes may have answered, died or exceeded a limit.

    Parameters
    ----------
    processes
        The processes.
    limits
        What their tasks may take.

    Examples
    --------
    >>> wait_for_news([], Limits(seconds=0.0))
    """
    pause = LOOK_AFTER if limits.memory is None else _LOOK_AT_MEMORY_AFTER
    left = [process.time_left(limits) for process in processes]
    pause = max(0.0, min([pause, *(seconds for seconds in left if seconds is not None)]))
    handles = [handle for process in processes for handle in process.handles]
    wait(handles, pause)  # type: ignore[arg-type]


def _watch_death(pid: int) -> int | None:
    # where the system has no such thing, the closed pipe and a look now and then tell it
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return None


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return []


def _in_mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"
