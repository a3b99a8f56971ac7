"""What runs in a worker of a Dask cluster: tasks in processes of their own.

A task never runs in the worker itself. So its threads are those of the study whatever the worker
has loaded, its time and memory can be limited, and where it crashes the worker goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from distributed import Worker, WorkerPlugin, get_worker

from subriem.results import library_version
from subriem.study.exchange import upload
from subriem.study.process import Limits, WorkerProcess, wait_for_news
from subriem.study.worker import Outcome, TaskCall

__all__ = ["TOKEN", "Reply", "TaskRunner", "Terms", "run_task"]

#: File of the run folder by which a worker recognizes it; its name is that of a leftover.
TOKEN = ".token.tmp"
#: Results of at most so many bytes come back as data also where there is an exchange.
AS_DATA_UP_TO = 2**20

_IDLE = 60.0
_SENT_AFTER = 0.01
_NEEDS_FILES = ("ImportError", "ModuleNotFoundError", "FileNotFoundError")


class Reply(NamedTuple):
    """What a worker answers.

    Parameters
    ----------
    outcome
        What became of the task, or None where the process that computed it died.
    death
        How it died.
    content
        The bytes of the part; None where it is in the run folder, or in the exchange.
    exchanged
        Where in the exchange it is, or "".
    sha256
        Checksum of the part that is in the exchange.
    """

    outcome: Outcome | None
    death: str = ""
    content: bytes | None = None
    exchanged: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Terms:
    """What a run asks of its workers.

    Parameters
    ----------
    token
        What the token file of the run folder holds, and no other run's.
    study_file
        The file of the study where the client runs.
    source
        What it holds.
    threads
        Threads of a task.
    seconds
        Time limit of a task, or None.
    exchange
        Address of a folder for large results, or None.
    version
        Version of subriem.
    """

    token: str
    study_file: str
    source: bytes
    threads: int
    seconds: float | None
    exchange: str | None
    version: str


class TaskRunner(WorkerPlugin):
    """Computes the tasks of one run in a worker; each slot of the worker has a process.

    Parameters
    ----------
    name
        Under which the worker knows it, and the topic of its events.
    terms
        What the run asks.
    """

    def __init__(self, name: str, terms: Terms) -> None:
        self.name = name
        self._terms = terms

    def setup(self, worker: Worker) -> None:
        """Make ready; called by Dask in each worker.

        Parameters
        ----------
        worker
            The worker.
        """
        self._worker = worker
        self._lock = threading.Lock()
        self._closed = False
        self._idle: list[WorkerProcess] = []
        self._running: dict[str, WorkerProcess] = {}
        self._unwanted: set[str] = set()
        self._scratch = Path(worker.local_directory, self.name)
        self._scratch.mkdir(parents=True, exist_ok=True)
        memory = worker.memory_manager.memory_limit
        self._limits = Limits(
            self._terms.seconds, memory and memory // max(1, worker.state.nthreads)
        )
        file = Path(self._terms.study_file)
        self._sent = not _holds(file, self._terms.source)
        if self._sent:
            file = self._scratch / file.name
            file.write_bytes(self._terms.source)
        self._study_file = str(file)

    def teardown(self, worker: Worker) -> None:
        """End every process; called by Dask when the run or the worker ends.

        Parameters
        ----------
        worker
            The worker.
        """
        with self._lock:
            self._closed = True
            for process in self._running.values():
                process.stop()
            for process in self._idle:
                process.kill()
            self._idle.clear()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """Kill a task that nobody waits for any more; called by Dask.

        Parameters
        ----------
        key
            Name of the task.
        start, finish
            Its states.
        **kwargs
            Not looked at.
        """
        if start in ("executing", "long-running") and finish == "released":
            with self._lock:
                self._unwanted.add(key)
                if key in self._running:
                    self._running[key].stop()

    def compute(self, key: str, call: TaskCall) -> Reply:
        """Compute one task.

        Parameters
        ----------
        key
            Under which Dask knows it.
        call
            The task, with the paths of the client's machine.

        Returns
        -------
        Reply
            What became of it.
        """
        version, folder = library_version(), Path(call.part).parent
        if version != self._terms.version:
            return self._refuse(f"has subriem {version}, the client {self._terms.version}")
        seen = os.access(folder, os.W_OK) and _holds(folder / TOKEN, self._terms.token.encode())
        self._worker.log_event(self.name, {"begun": key, "seen": seen})
        if not seen:
            # nothing else tells the client, should the task kill this worker at once
            time.sleep(_SENT_AFTER)
        part = Path(call.part) if seen else self._scratch / Path(call.part).name
        reply = self._watch(key, replace(call, part=str(part), study_file=self._study_file))
        outcome = reply.outcome
        if outcome is None or seen:
            return self._explained(reply)
        try:
            return self._explained(reply) if outcome.status != "ok" else self._deliver(part, reply)
        finally:
            for file in (part, part.with_suffix(".json")):
                file.unlink(missing_ok=True)

    def _watch(self, key: str, call: TaskCall) -> Reply:
        while True:
            process = self._take(key)
            if process is None:
                return Reply(None, "nobody waited for the task")
            outcome = None
            given = process.give(call)
            while given and outcome is None and not process.lost:
                wait_for_news([process], self._limits)
                outcome = process.look(self._limits)
            self._put_back(key, process, usable=given and not process.lost)
            if outcome is not None:
                return Reply(outcome)
            # where it died between two tasks, this one has not been tried
            if given and process.tried:
                return Reply(None, process.describe_death())

    def _take(self, key: str) -> WorkerProcess | None:
        with self._lock:
            if self._closed or key in self._unwanted:
                return None
            process = self._idle.pop() if self._idle else WorkerProcess(self._terms.threads, _IDLE)
            self._running[key] = process
        return process

    def _put_back(self, key: str, process: WorkerProcess, usable: bool) -> None:
        with self._lock:
            del self._running[key]
            if usable and not self._closed:
                self._idle.append(process)
                return
        process.kill()

    def _deliver(self, part: Path, reply: Reply) -> Reply:
        exchange, size = self._terms.exchange, part.stat().st_size
        if exchange is None or size <= AS_DATA_UP_TO:
            return reply._replace(content=part.read_bytes())
        try:
            record = json.loads(part.with_suffix(".json").read_text(encoding="utf-8"))
            place = upload(part, f"{exchange}/{self.name}")
        except Exception as error:  # each kind of store has its own
            line = " ".join(f"{type(error).__name__}: {error}".split())
            return self._refuse(f"cannot write its result to {exchange}: {line}")
        return reply._replace(exchanged=place, sha256=record["sha256"])

    def _explained(self, reply: Reply) -> Reply:
        outcome = reply.outcome
        if outcome is None:
            return reply._replace(death=f"{reply.death} on {self._where()}")
        if self._sent and any(name in outcome.message for name in _NEEDS_FILES):
            outcome = replace(
                outcome,
                message=f"{outcome.message}; {self._where()} does not see "
                f"{self._terms.study_file} as it is here, so that its text alone was sent: "
                "relative imports, modules and files beside it need a folder that workers see",
            )
        return reply._replace(outcome=outcome)

    def _refuse(self, why: str) -> Reply:
        return Reply(Outcome("failed", f"the worker {self._where()} {why}"))

    def _where(self) -> str:
        return f"{self._worker.address} ({socket.gethostname()})"


def run_task(name: str, key: str, call: TaskCall) -> Reply | None:
    """Compute one task in the worker in which this is called: the function that Dask runs.

    Parameters
    ----------
    name
        Under which the worker knows the runner of the run.
    key
        Under which Dask knows the task.
    call
        The task.

    Returns
    -------
    Reply or None
        What became of it; None where an event of the worker says it.
    """
    runner = get_worker().plugins.get(name)
    if not isinstance(runner, TaskRunner):
        return Reply(None, "the run had ended")
    reply = runner.compute(key, call)
    if reply.content is not None:
        return reply
    # without content it is small: the client need not fetch it
    outcome = None if reply.outcome is None else vars(reply.outcome)
    message = {**reply._asdict(), "outcome": outcome}
    get_worker().log_event(name, {"ended": key, "reply": message})
    return None


def _holds(file: Path, content: bytes) -> bool:
    try:
        return file.read_bytes() == content
    except OSError:
        return False
