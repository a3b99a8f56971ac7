"""Where tasks run: in this process, or in worker processes.

An executor takes calls and yields each with its outcome, in the order in which they end. It knows
nothing of grids, files or results; a cluster would be one more function of this shape.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from types import FrameType

from subriem.errors import ResultsError
from subriem.study.definition import Study
from subriem.study.process import Limits, WorkerProcess, wait_for_news
from subriem.study.worker import Outcome, TaskCall, compute_part

__all__ = [
    "ClusterLostError",
    "Executor",
    "Outcomes",
    "death",
    "in_processes",
    "in_this_process",
    "notice_interrupts",
]

#: Each call with its outcome, in the order in which they end; closing it stops what still runs.
Outcomes = Generator[tuple[TaskCall, Outcome], None, None]
#: What runs calls.
Executor = Callable[[Sequence[TaskCall]], Outcomes]


class ClusterLostError(ResultsError):
    """The scheduler of a Dask cluster is gone; what is finished is kept."""


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
        limits=Limits(seconds=time_limit),
        retries=retries,
    )


def _run_in_processes(
    calls: Sequence[TaskCall], *, workers: int, threads: int, limits: Limits, retries: int
) -> Outcomes:
    waiting = deque(calls)
    idle: list[WorkerProcess] = []
    running: list[WorkerProcess] = []
    deaths: Counter[int] = Counter()
    with notice_interrupts() as interrupted:
        try:
            while waiting or running:
                if interrupted.is_set():
                    raise KeyboardInterrupt
                while waiting and len(running) < workers:
                    worker = idle.pop() if idle else WorkerProcess(threads)
                    running.append(worker)
                    if worker.give(waiting[0]):
                        waiting.popleft()
                    else:
                        running.pop().kill()
                wait_for_news(running, limits)
                for worker in [*running]:
                    call, outcome = worker.call, worker.look(limits)
                    assert call is not None
                    if outcome is None and not worker.lost:
                        continue
                    running.remove(worker)
                    if not worker.lost:
                        idle.append(worker)
                    if outcome is None:
                        # where it died between two tasks, this one has not been tried
                        deaths[call.number] += worker.tried
                        outcome = death(worker.describe_death(), deaths[call.number], retries)
                    if outcome is None:
                        waiting.appendleft(call)
                    else:
                        yield call, outcome
        finally:
            for worker in running:
                worker.kill()
            for worker in idle:
                worker.dismiss()


def death(how: str, times: int, retries: int) -> Outcome | None:
    """What becomes of a task whose worker died.

    Parameters
    ----------
    how
        How the worker ended.
    times
        How often that happened to the task.
    retries
        How often it may.

    Returns
    -------
    Outcome or None
        None where the task is tried again.

    Examples
    --------
    >>> death("the worker ended", 1, 1)
    >>> death("the worker ended", 2, 1).message
    'the worker ended, the last of 2 times'
    """
    if times <= retries:
        return None
    return Outcome("failed", how + (f", the last of {times} times" if times > 1 else ""))


@contextlib.contextmanager
def notice_interrupts() -> Iterator[threading.Event]:
    """Note Ctrl-C, whose exception is lost where it hits a destructor.

    Yields
    ------
    threading.Event
        Set by Ctrl-C; never where this is not the main thread.

    Examples
    --------
    >>> with notice_interrupts() as interrupted:
    ...     interrupted.is_set()
    False
    """
    interrupted = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield interrupted
        return

    def note(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        # closed from another thread, a generator cannot
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
