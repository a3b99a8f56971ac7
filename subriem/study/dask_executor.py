"""Where tasks run: on the workers of a Dask cluster.

Each task is given to one worker by name, and no more than a few to each, so that neither the
client nor the scheduler holds the whole grid, and so that where a worker is lost it is known which
task it had begun and which only waited there. Workers say when a task begins. Dask itself tries
nothing again: what is tried how often is decided here.
"""

from __future__ import annotations

import queue
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subriem.errors import ResultsError
from subriem.results import library_version
from subriem.study.exchange import clear, fetch
from subriem.study.executors import (
    ClusterLostError,
    Executor,
    Outcomes,
    death,
    notice_interrupts,
)
from subriem.study.parts import RUNNING, is_whole, leave_mark, place_part
from subriem.study.worker import Outcome, TaskCall

if TYPE_CHECKING:
    from distributed import Client, Future

    from subriem.study.dask_worker import Reply
    from subriem.study.definition import Study

__all__ = ["on_cluster"]

# a task of fewer seconds (as the mean) has the next one waiting at its worker
_SHORT = 0.5
_LOOK_AFTER = 0.5
_SAY_AFTER = 3.0
# a shared folder may show a file later than the machine that wrote it says
_VISIBLE_AFTER = 15.0
_LOST = "the connection to the scheduler of the Dask cluster is lost"


def on_cluster(
    study: Study,
    connect: Callable[[], AbstractContextManager[Client]],
    *,
    time_limit: float | None = None,
    retries: int = 0,
    exchange: str | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Executor:
    """Executor on the workers of a Dask cluster.

    Each slot of a worker has a process that computes one task at a time with the threads of the
    study: numbers are those of worker processes on one machine. A part is written into the run
    folder by the worker where it sees that folder, which it tells by a token; elsewhere it comes
    back as data, or through the exchange where it is larger than a mebibyte.

    Parameters
    ----------
    study
        The study, which a file defines.
    connect
        Gives a client of the run's own.
    time_limit
        Seconds after which a task is killed and has failed.
    retries
        How often a task is tried again whose process, or whose worker, died. A task that only
        waited at that worker is given to another and is not counted.
    exchange
        Address of a folder, by fsspec, that workers and client reach.
    say
        Called with a line where nothing goes on.

    Returns
    -------
    Executor
        The executor. It raises `ClusterLostError` where the scheduler is gone.

    Examples
    --------
    >>> import contextlib
    >>> from subriem.study.definition import Study
    >>> list(on_cluster(Study("x", {"k": [1]}), contextlib.nullcontext)([]))
    []
    """
    return partial(
        _run_on_cluster,
        study=study,
        connect=connect,
        time_limit=time_limit,
        retries=retries,
        exchange=exchange,
        say=say,
    )


def _run_on_cluster(
    calls: Sequence[TaskCall],
    *,
    study: Study,
    connect: Callable[[], AbstractContextManager[Client]],
    time_limit: float | None,
    retries: int,
    exchange: str | None,
    say: Callable[[str], None],
) -> Outcomes:
    if not calls:
        return
    from distributed.comm import CommClosedError

    from subriem.study.dask_worker import TOKEN, TaskRunner, Terms

    assert study.file is not None
    terms = Terms(
        secrets.token_hex(16),
        str(study.file),
        study.file.read_bytes(),
        study.threads_per_task,
        time_limit,
        exchange,
        library_version(),
    )
    token = Path(calls[0].part).with_name(TOKEN)
    name = f"subriem-{study.name}-{terms.token[:8]}"
    with connect() as client, notice_interrupts() as interrupted:
        run = _Run(client, name, deque(calls), retries, study.resources, say)
        try:
            token.write_text(terms.token)
            run.begin(TaskRunner(name, terms))
            while run.waiting or run.running:
                if interrupted.is_set():
                    raise KeyboardInterrupt
                try:
                    yield from run.step()
                except Exception as error:
                    if client.status == "running" and not isinstance(error, CommClosedError):
                        raise
                    raise ClusterLostError(_LOST) from error
        finally:
            run.end()
            token.unlink(missing_ok=True)
            if exchange is not None:
                clear(f"{exchange}/{name}")


@dataclass
class _Given:
    """A task that a worker has."""

    call: TaskCall
    worker: str
    future: Future
    begun: bool = False


@dataclass
class _Run:
    client: Client
    name: str
    waiting: deque[TaskCall]
    retries: int
    resources: Mapping[str, float]
    say: Callable[[str], None]
    running: dict[str, _Given] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)  # of each worker that can have a task
    load: Counter[str] = field(default_factory=Counter)
    deaths: Counter[int] = field(default_factory=Counter)
    # names of tasks that ended, events of the run's workers (a dict with "begun"), and of all
    news: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    given: int = 0
    ended: int = 0
    seconds: float = 0.0
    idle_since: float | None = None
    call_for_workers: Future | None = None

    def begin(self, runner: Any) -> None:
        self.client.subscribe_topic("all", self._note)
        self.client.subscribe_topic(self.name, self._note)
        try:
            self.client.register_plugin(runner, name=self.name)
        except Exception as error:  # whatever went wrong in a worker
            line = " ".join(f"{type(error).__name__}: {error}".split())
            raise ResultsError(
                f"a Dask worker cannot prepare for the run: {line}; workers need the subriem "
                f"{library_version()} and the Python of the client"
            ) from error
        self._look_at_workers()

    def _note(self, event: tuple[float, Any]) -> None:
        self.news.put(event[1])

    def end(self) -> None:
        """Cancel what runs; its processes are killed when the workers' runners go."""
        futures = [given.future for given in self.running.values()]
        for given in self.running.values():
            self._unmark(given)
        self.running.clear()
        if self.client.status == "running":
            with suppress(Exception):  # the scheduler may go at this moment
                self.client.cancel(futures)
                self.client.unregister_worker_plugin(self.name)
                for topic in ("all", self.name):
                    self.client.unsubscribe_topic(topic)

    def step(self) -> Iterator[tuple[TaskCall, Outcome]]:
        """Give tasks to workers, wait for news, and say which tasks ended."""
        from subriem.study.dask_worker import Reply

        self._give()
        news_of_now = self._read_news()
        yield from self._check_scheduler()
        for news in news_of_now:
            if isinstance(news, str):
                if (given := self.running.get(news)) is not None:
                    yield from self._collect(news, given)
            elif not isinstance(news, dict):
                continue
            elif "begun" in news:
                if (given := self.running.get(news["begun"])) is not None:
                    given.begun = True
                    if not news["seen"]:
                        # the worker cannot leave this mark for `subriem status`
                        leave_mark(Path(given.call.part))
            elif "ended" in news:
                if (given := self.running.get(news["ended"])) is not None:
                    content = news["reply"]["outcome"]
                    outcome = None if content is None else Outcome(**content)
                    reply = Reply(**{**news["reply"], "outcome": outcome})
                    yield from self._settle(news["ended"], given, reply)
            elif news.get("action") == "add-worker":
                self._look_at_workers()
            elif news.get("action") == "remove-worker":
                self.slots.pop(news["worker"], None)
                for key, given in [*self.running.items()]:
                    if given.worker == news["worker"]:
                        yield from self._lose(key, given)

    def _read_news(self) -> list[Any]:
        found = []
        try:
            found.append(self.news.get(timeout=_LOOK_AFTER))
            while True:
                found.append(self.news.get_nowait())
        except queue.Empty:
            return found

    def _check_scheduler(self) -> Iterator[tuple[TaskCall, Outcome]]:
        if self.client.status != "running":
            for given in self.running.values():
                if is_whole(Path(given.call.part)):
                    yield given.call, Outcome("ok")
            raise ClusterLostError(_LOST)

    def _look_at_workers(self) -> None:
        slots = {}
        for address, worker in self.client.scheduler_info(n_workers=-1)["workers"].items():
            has = [
                int(worker["resources"].get(name, 0) / needed)
                for name, needed in self.resources.items()
            ]
            if (count := min([worker["nthreads"], *has])) > 0:
                slots[address] = count
        self.slots = slots

    def _give(self) -> None:
        """Fill the workers, the least busy first."""
        ahead = 1 if self.ended and self.seconds / self.ended < _SHORT else 0
        room = [
            (place >= count, place, address)
            for address, count in self.slots.items()
            for place in range(self.load[address], count * (1 + ahead))
        ]
        total = sum(self.slots.values())
        for is_ahead, _, address in sorted(room):
            # the last ones wait for an idle worker, and for none that may take long
            if len(self.waiting) <= (total if is_ahead else 0):
                break
            self._give_to(address, self.waiting.popleft())
        self._mind_idleness()

    def _give_to(self, address: str, call: TaskCall) -> None:
        from subriem.study.dask_worker import run_task

        self.given += 1
        key = f"{self.name}-{call.number}-{self.given}"
        future = self.client.submit(
            run_task,
            self.name,
            key,
            call,
            key=key,
            workers=[address],
            allow_other_workers=False,
            pure=False,
            resources=dict(self.resources) or None,
        )
        self.running[key] = _Given(call, address, future)
        self.load[address] += 1
        future.add_done_callback(lambda future: self.news.put(key))

    def _mind_idleness(self) -> None:
        """Where there is no worker, say so, and ask for one: an adaptive cluster starts it."""
        if self.slots:
            self.idle_since = self.call_for_workers = None
            return
        now = time.monotonic()
        if self.idle_since is None:
            self.idle_since = now
        elif self.call_for_workers is None and now - self.idle_since > _SAY_AFTER:
            needs = f" with {dict(self.resources)}" if self.resources else ""
            self.say(f"waiting for a Dask worker{needs}")
            self.call_for_workers = self.client.submit(
                len, (), pure=False, resources=dict(self.resources) or None
            )

    def _release(self, key: str, given: _Given) -> None:
        del self.running[key]
        self.load[given.worker] -= 1
        if self.load[given.worker] <= 0:
            del self.load[given.worker]

    def _unmark(self, given: _Given) -> None:
        Path(given.call.part).with_suffix(RUNNING).unlink(missing_ok=True)

    def _collect(self, key: str, given: _Given) -> Iterator[tuple[TaskCall, Outcome]]:
        """Fetch the reply of a task that Dask says has ended."""
        try:
            # its worker may go before the reply is here: then it never comes
            reply: Reply | None = given.future.result(timeout=_VISIBLE_AFTER)
        except TimeoutError:
            yield from self._lose(key, given)
            return
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "CancelledError":
                raise
            if self.client.status != "running":
                return
            if type(error).__name__ in ("KilledWorker", "FutureCancelledError", "CancelledError"):
                yield from self._lose(key, given)
                return
            line = " ".join(f"{type(error).__name__}: {error}".split())
            self._release(key, given)
            yield given.call, Outcome("failed", f"the Dask worker {given.worker}: {line}")
            return
        if reply is not None:
            yield from self._settle(key, given, reply)

    def _settle(self, key: str, given: _Given, reply: Reply) -> Iterator[tuple[TaskCall, Outcome]]:
        self._release(key, given)
        outcome = reply.outcome
        if outcome is None:
            yield from self._died(given, reply.death)
            return
        if outcome.status == "ok":
            outcome = _take_in(reply, outcome, Path(given.call.part))
        self.ended += 1
        self.seconds += outcome.seconds
        yield given.call, outcome

    def _lose(self, key: str, given: _Given) -> Iterator[tuple[TaskCall, Outcome]]:
        """Decide what became of a task whose worker is gone."""
        self._release(key, given)
        part = Path(given.call.part)
        if is_whole(part):
            # it had written it, and its reply was lost
            yield given.call, Outcome("ok")
        elif given.begun or part.with_suffix(RUNNING).exists():
            yield from self._died(
                given, f"the Dask worker {given.worker} was lost (killed or out of reach)"
            )
        else:
            self._retry(given)
        with suppress(Exception):
            given.future.cancel()

    def _died(self, given: _Given, how: str) -> Iterator[tuple[TaskCall, Outcome]]:
        number = given.call.number
        self.deaths[number] += 1
        outcome = death(how, self.deaths[number], self.retries)
        if outcome is None:
            self._retry(given)
        else:
            yield given.call, outcome

    def _retry(self, given: _Given) -> None:
        self._unmark(given)
        self.waiting.appendleft(given.call)


def _take_in(reply: Reply, outcome: Outcome, part: Path) -> Outcome:
    """Bring the part of a task into the run folder, if it is not there."""
    try:
        if reply.exchanged:
            fetch(reply.exchanged, reply.sha256, part)
        elif reply.content is not None:
            new = part.with_suffix(".new.nc")
            new.write_bytes(reply.content)
            place_part(new, part)
        else:
            end = time.monotonic() + _VISIBLE_AFTER
            while not part.exists():
                if time.monotonic() > end:
                    raise ResultsError(f"a worker wrote {part.name}, which is not seen here")
                time.sleep(0.1)
    except ResultsError as error:
        return Outcome("failed", f"ResultsError: {error}", outcome.seconds)
    except OSError as error:
        return Outcome("failed", f"ResultsError: cannot write {part}: {error}", outcome.seconds)
    return outcome
