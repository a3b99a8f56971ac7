"""Where tasks run: in this process, or in worker processes.

An executor takes calls and yields each with its outcome, in the order in which they end. It knows
nothing of grids, files or results; a cluster would be one more function of this shape.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess

from subriem.study.definition import Study
from subriem.study.worker import Outcome, TaskCall, compute_part, execute, leave_with_parent

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
    >>> [outcome.status for _, outcome in executor([TaskCall(0, {"k": 1}, None, "", "", "x")])]
    ['failed']
    """

    def run(calls: Sequence[TaskCall]) -> Outcomes:
        for call in calls:
            yield call, compute_part(study, call)

    return run


def in_processes(workers: int, threads_per_task: int) -> Executor:
    """Executor on worker processes of this machine.

    Each worker is a pool of one process, started by spawn: when it dies (killed, out of memory,
    segmentation fault) it is known which task it ran, only that task fails, and a new worker takes
    its place. A worker has ``threads_per_task`` threads whatever the number of workers, one worker
    included, so that sums come in the same order and numbers are the same. Ctrl-C reaches the
    workers only through this process, and they end with it.

    Parameters
    ----------
    workers
        Number of processes.
    threads_per_task
        Threads of each.

    Returns
    -------
    Executor
        The executor.

    Examples
    --------
    >>> list(in_processes(2, 1)([]))
    []
    """
    return partial(_run_in_processes, workers=workers, threads_per_task=threads_per_task)


@dataclass
class _Worker:
    pool: ProcessPoolExecutor
    process: BaseProcess | None


def _run_in_processes(
    calls: Sequence[TaskCall], *, workers: int, threads_per_task: int
) -> Outcomes:
    waiting = deque(calls)
    idle: list[_Worker] = []
    running: dict[Future[Outcome], tuple[TaskCall, _Worker]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                worker = idle.pop() if idle else _start_worker(threads_per_task)
                with contextlib.suppress(BrokenProcessPool):
                    # a worker that died while idle is left, and the next one asked
                    future = worker.pool.submit(execute, waiting[0])
                    running[future] = (waiting.popleft(), worker)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                call, worker = running.pop(future)
                try:
                    outcome = future.result()
                    idle.append(worker)
                except BrokenProcessPool as error:
                    outcome = _death(worker, error)
                yield call, outcome
        for worker in idle:
            worker.pool.shutdown()
        idle.clear()
    finally:
        # only after an interruption is anything left here
        for worker in [*idle, *(worker for _, worker in running.values())]:
            if worker.process is not None:
                worker.process.kill()
            worker.pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(threads: int) -> _Worker:
    pool = ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), initializer=leave_with_parent
    )
    before = set(multiprocessing.active_children())
    # BLAS and OpenMP read these once, when they are loaded: they must stand before the start
    old = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    # a child inherits the mask: Ctrl-C is for the parent to answer
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        pool.submit(os.getpid)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    new = set(multiprocessing.active_children()) - before
    return _Worker(pool, new.pop() if new else None)


def _death(worker: _Worker, error: BrokenProcessPool) -> Outcome:
    # the pool's own thread also waits for the process: only when it is done is the code known
    worker.pool.shutdown(wait=True)
    code = None if worker.process is None else worker.process.exitcode
    how = "ended"
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            how = f"was ended by {signal.Signals(-code).name}"
    elif code is not None:
        how = f"ended with exit code {code}"
    message = f"the worker process {how} (killed, out of memory or crashed)"
    return Outcome("failed", message, traceback=str(error))
