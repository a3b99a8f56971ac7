"""Where tasks run: in this process, or in worker processes.

An executor takes calls and yields each with its outcome, in the order in which they end. It knows
nothing of grids, files or results; a cluster would be one more function of this shape.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType

import psutil

from subriem.study.definition import Study
from subriem.study.worker import Outcome, TaskCall, compute_part, serve

__all__ = ["Executor", "Outcomes", "in_processes", "in_this_process"]

#: Each call with its outcome, in the order in which they end; closing it stops what still runs.
Outcomes = Generator[tuple[TaskCall, Outcome], None, None]
#: What runs calls.
Executor = Callable[[Sequence[TaskCall]], Outcomes]

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
# seconds after which a worker is looked at: a process that its task started may keep the pipes
# open beyond its death
_LOOK_AFTER = 2.0


def in_this_process(study: Study) -> Executor:
    """Executor for a study that no other process can load: one task after the other, here.

    The number of threads is that of the process, so that numbers may differ in their last digits
    from those of worker processes.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    Executor
        The executor.

    Examples
    --------
    >>> executor = in_this_process(Study("x", {"k": [1]}))
    >>> [outcome.status for _, outcome in executor([TaskCall(0, {"k": 1}, None, "a.nc", "", "x")])]
    ['failed']
    """

    def run(calls: Sequence[TaskCall]) -> Outcomes:
        for call in calls:
            yield call, compute_part(study, call)

    return run


def in_processes(
    workers: int, threads_per_task: int, *, time_limit: float | None = None, retries: int = 0
) -> Executor:
    """Executor on worker processes of this machine.

    Each worker has one task at a time: when it dies (killed, out of memory, segmentation fault) it
    is known which task it ran, only that task fails, and a new worker takes its place. A worker
    has ``threads_per_task`` threads whatever the number of workers, one worker included, so that
    sums come in the same order and numbers are the same. Ctrl-C reaches the workers only through
    this process, and they end with it.

    Parameters
    ----------
    workers
        Number of processes.
    threads_per_task
        Threads of each.
    time_limit
        Seconds after which a task is killed and has failed, counted from where it begins; loading
        the study is not counted.
    retries
        How often a task is tried again whose worker died. A task that raises, or that exceeds the
        time limit, is not.

    Returns
    -------
    Executor
        The executor.

    Examples
    --------
    >>> list(in_processes(2, 1)([]))
    []
    """
    return partial(
        _run_in_processes,
        workers=workers,
        threads=threads_per_task,
        time_limit=time_limit,
        retries=retries,
    )


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    call: TaskCall | None = None
    begun: float | None = None  # when its task began
    served: int = 0  # tasks that it has ended
    lost: bool = False

    def give(self, call: TaskCall) -> bool:
        """Send it a call; False where it died while idle."""
        try:
            self.connection.send(call)
        except OSError:
            return False
        self.call, self.begun = call, None
        return True

    def answer(self) -> Outcome | None:
        """The outcome of its call, if it is there; notes whether none will come."""
        # asked before its answer is read: what it sent before it died counts
        dead = not self.process.is_alive()
        try:
            while self.connection.poll():
                message = self.connection.recv()
                if isinstance(message, Outcome):
                    self.served += 1
                    return message
                self.begun = time.monotonic()
        except (EOFError, OSError):
            # its end of the pipe is closed: it is about to end, or of no more use
            self.process.join(_LOOK_AFTER)
            dead = True
        self.lost = dead
        return None

    def kill(self) -> None:
        """End it, and what its task started."""
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.kill()
        self.process.kill()
        self.process.join()
        self.connection.close()


def _run_in_processes(
    calls: Sequence[TaskCall],
    *,
    workers: int,
    threads: int,
    time_limit: float | None,
    retries: int,
) -> Outcomes:
    waiting = deque(calls)
    idle: list[_Worker] = []
    running: list[_Worker] = []
    interrupted, restore = _notice_interrupts()
    deaths: Counter[int] = Counter()
    try:
        while waiting or running:
            if interrupted.is_set():
                raise KeyboardInterrupt
            while waiting and len(running) < workers:
                worker = idle.pop() if idle else _start_worker(threads)
                running.append(worker)
                if worker.give(waiting[0]):
                    waiting.popleft()
                else:
                    running.remove(worker)
                    worker.kill()
            for worker in _wait_for_news(running, time_limit):
                call, outcome = worker.call, worker.answer()
                assert call is not None
                if outcome is not None:
                    idle.append(worker)
                elif worker.lost:
                    worker.kill()
                    # where it died between two tasks, this one has not been tried
                    deaths[call.number] += worker.begun is not None or not worker.served
                    if deaths[call.number] > retries:
                        outcome = _death(worker, deaths[call.number])
                    else:
                        waiting.appendleft(call)
                elif _is_over(worker, time_limit):
                    worker.kill()
                    outcome = Outcome("failed", f"time limit of {time_limit:g} s", time_limit or 0)
                else:
                    continue
                running.remove(worker)
                if outcome is not None:
                    yield call, outcome
    finally:
        restore()
        for worker in idle:
            with contextlib.suppress(OSError):
                worker.connection.send(None)
        for worker in idle:
            worker.process.join(_LOOK_AFTER)
        for worker in [*idle, *running]:
            worker.kill()


def _notice_interrupts() -> tuple[threading.Event, Callable[[], None]]:
    """An event set by Ctrl-C, whose exception is lost where it hits a destructor; and its end."""
    interrupted = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        return interrupted, lambda: None

    def note(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        before(number, frame)

    def restore() -> None:
        # closed from another thread, a generator cannot
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    return interrupted, restore


def _wait_for_news(running: Sequence[_Worker], time_limit: float | None) -> Iterator[_Worker]:
    """The workers that may have answered, died or exceeded the limit."""
    pause = _LOOK_AFTER
    if time_limit is not None:
        now = time.monotonic()
        ends = [worker.begun + time_limit for worker in running if worker.begun is not None]
        pause = max(0.0, min([pause, *(end - now for end in ends)]))
    events: dict[object, _Worker] = {}
    for worker in running:
        events |= {worker.connection: worker, worker.process.sentinel: worker}
    ready = wait([*events], pause)  # type: ignore[list-item]
    news = [events[event] for event in ready] or running
    yield from {id(worker): worker for worker in news}.values()


def _is_over(worker: _Worker, time_limit: float | None) -> bool:
    if time_limit is None or worker.begun is None:
        return False
    return time.monotonic() - worker.begun >= time_limit


def _start_worker(threads: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there,))
    # BLAS and OpenMP read these once, when they are loaded: they must stand before the start
    old = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    # a child inherits the mask: Ctrl-C is for the parent to answer
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    # only the worker has the other end, so that its death closes it
    there.close()
    return _Worker(process, here)


def _death(worker: _Worker, times: int) -> Outcome:
    code = worker.process.exitcode
    how = "ended"
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            how = f"was ended by {signal.Signals(-code).name}"
    elif code is not None:
        how = f"ended with exit code {code}"
    message = f"the worker process {how} (killed, out of memory or crashed)"
    if times > 1:
        message += f", the last of {times} times"
    return Outcome("failed", message)
