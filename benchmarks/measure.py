"""Measurements in processes of their own: one thread, pinned to one core, killed past a limit.

A child prints JSON objects, one a line; what it printed last counts, so that a process killed at
its limit still tells how far it came. Nothing here imports more than NumPy: the parent stays small
and quiet while its children are measured.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ONE_THREAD = {
    f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
}
ONE_THREAD["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
ONE_THREAD["TF_CPP_MIN_LOG_LEVEL"] = "3"
#: Seconds past its own limit after which a child is killed.
GRACE = 30.0

_cores = sorted(os.sched_getaffinity(0))
_free = {core: threading.Lock() for core in _cores}


@dataclass
class Figure:
    """One line of the report: a quantity of one method in one case, over the repeats.

    Times are seconds; `cold` is the first call in a process, with whatever is traced or compiled,
    `warm` the second. `error` is the achieved one, of whatever kind `error_of` says.
    """

    section: str
    case: str
    method: str
    quantity: str
    warm_wall: list[float] = field(default_factory=list)
    warm_cpu: list[float] = field(default_factory=list)
    cold_wall: list[float] = field(default_factory=list)
    cold_cpu: list[float] = field(default_factory=list)
    error: float = float("nan")
    error_of: str = ""
    memory: float = float("nan")
    floor: float = float("nan")
    floor_of: str = ""
    version: str = ""
    note: str = ""
    ours: bool = False

    def times(self) -> list[float]:
        """Wall times of the second calls, or of the first where there was no second."""
        return self.warm_wall or self.cold_wall

    def median(self) -> float:
        """Median of `times`; NaN where the goal was not reached."""
        return statistics.median(self.times()) if self.times() else float("nan")

    def ratio(self, own: Figure | None) -> float:
        """Median over that of ours: second calls with second calls, else first with first."""
        if own is None:
            return float("nan")
        for mine, theirs in ((self.warm_wall, own.warm_wall), (self.cold_wall, own.cold_wall)):
            if mine and theirs:
                return statistics.median(mine) / statistics.median(theirs)
        return float("nan")


def run_child(
    words: Sequence[str],
    *,
    python: str = sys.executable,
    limit: float,
    environment: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Run a script in a process of its own on a core of its own; its last JSON line.

    Parameters
    ----------
    words
        The script, by its name in this folder, and its arguments.
    python
        The interpreter.
    limit
        Seconds that the script allows itself; it is killed `GRACE` later.
    environment
        More variables.

    Returns
    -------
    dict
        The script's answer. ``failed`` says why there is none, ``late`` that it was killed.
    """
    core = next((c for c in _cores if _free[c].acquire(blocking=False)), None)
    if core is None:
        core = _cores[0]
        _free[core].acquire()
    try:
        process = subprocess.Popen(
            [python, str(HERE / words[0]), *map(str, words[1:])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD, **(environment or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            out, said = process.communicate(timeout=limit + GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            out, said = process.communicate()
            return {**_last(out), "late": limit}
    finally:
        _free[core].release()
    answer = _last(out)
    if process.returncode:
        lines = [line for line in said.splitlines() if line.strip()]
        # the exception itself, where a library adds words of its own after it
        errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
        lines = errors or lines
        answer["failed"] = lines[-1][:300] if lines else f"exit status {process.returncode}"
    return answer


def _last(out: str) -> dict[str, Any]:
    answers = [line for line in out.splitlines() if line.startswith("{")]
    return json.loads(answers[-1]) if answers else {}


def tell(answer: dict[str, Any]) -> None:
    """Print an answer for the parent."""
    print(json.dumps(answer), flush=True)


def peak_memory() -> float:
    """Largest resident memory of this process so far, MiB."""
    try:
        # getrusage would count the parent's too, from before the exec
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return float(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """A result, and the seconds that it took: on the wall, of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    return done, time.perf_counter() - wall, time.process_time() - cpu


def rates(seconds: float = 0.5) -> dict[str, float]:
    """What this core reaches: flops a second in a matrix product, bytes a second in a copy.

    The best of several tries: a floor may not come out too high. A copy counts what it reads and
    what it writes.
    """
    size = 1200
    a = np.random.default_rng(0).random((size, size))
    source = np.zeros(1 << 24)
    target = np.empty_like(source)
    flops = _best(lambda: a @ a, seconds)
    copies = _best(lambda: np.copyto(target, source), seconds)
    return {"gemm": 2.0 * size**3 / flops, "copy": 2.0 * source.nbytes / copies}


def _best(work: Callable[[], Any], seconds: float) -> float:
    best, spent = float("inf"), 0.0
    while spent < seconds:
        _, wall, _ = timed(work)
        best, spent = min(best, wall), spent + wall
    return best


def machine() -> dict[str, Any]:
    """The processor, its cores and the Python, without the machine's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model,
        "cores": len(_cores),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def significant(value: float) -> str:
    """Seconds or a ratio in three digits, without an exponent where that is readable."""
    if value != value:
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    """Median, and the least to the greatest where there are several."""
    if not values:
        return ""
    middle = significant(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({significant(min(values))} to {significant(max(values))})"


if __name__ == "__main__":
    tell(rates())
