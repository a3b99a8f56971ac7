"""Which Dask cluster a run has: a running one by its address, a client's, or one of its own."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from subriem.errors import InputError, InputTypeError, ResultsError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["LOCAL", "choose_cluster"]

#: What to name as a scheduler for a cluster of the run's own.
LOCAL = "local"
_CLOSE_WITHIN = 5.0


def choose_cluster(
    scheduler: str | None, client: Any, workers: int, memory_limit: str | int | None
) -> Callable[[], AbstractContextManager[Client]]:
    """Give what connects to a cluster.

    Parameters
    ----------
    scheduler
        ``"local"``, or the address of a scheduler, or None where a client is given.
    client
        A `distributed.Client`; the run makes a client of its own to the same scheduler, so that
        nothing of this one is cancelled or closed.
    workers
        Number of processes of a local cluster.
    memory_limit
        Of each worker of a local cluster: bytes, or a text such as ``"2 GiB"``.

    Returns
    -------
    callable
        Called without arguments, gives a context manager with a client of the run's own.

    Raises
    ------
    InputError
        If Dask is not installed, or the arguments exclude each other.
    InputTypeError
        If the client is none.

    Examples
    --------
    >>> choose_cluster("local", None, 1, "many bytes")
    Traceback (most recent call last):
    subriem.errors.InputError: memory_limit 'many bytes': Could not interpret...
    """
    try:
        import distributed
        from dask.utils import parse_bytes
    except ImportError as error:
        raise InputError(
            f"a Dask cluster needs the package 'distributed' ({error}): pip install subriem[dask]"
        ) from error
    if client is not None and scheduler is not None:
        raise InputError("scheduler and client exclude each other: expected one of them")
    if scheduler == LOCAL:
        try:
            limit = "auto" if memory_limit is None else parse_bytes(memory_limit)
        except (ValueError, TypeError) as error:
            raise InputError(f"memory_limit {memory_limit!r}: {error}") from error
        if limit != "auto" and int(limit) <= 0:
            raise InputError(f"memory_limit: expected more than 0 bytes, got {memory_limit!r}")
        return partial(_local_cluster, workers, limit)
    if workers != 1:
        raise InputError(
            f"workers={workers}: expected none beside the address of a scheduler or a client: "
            "the cluster has its own"
        )
    if memory_limit is not None:
        raise InputError("memory_limit is that of a local cluster: expected scheduler 'local'")
    if scheduler is not None:
        return partial(_connect, scheduler, None)
    if not isinstance(client, distributed.Client) or client.asynchronous:
        raise InputTypeError(
            f"client: expected a distributed.Client that is not asynchronous, got {client!r}"
        )
    return partial(_connect, client.scheduler_info(n_workers=0)["address"], client.security)


@contextmanager
def _connect(address: str, security: Any) -> Iterator[Client]:
    from distributed import Client

    with _quiet():
        try:
            client = Client(address, security=security, set_as_default=False)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"scheduler {address!r}: expected 'local' or an address such as "
                f"tcp://host:8786: {error}"
            ) from error
        except OSError as error:
            raise ResultsError(f"no Dask scheduler answers at {address}: {error}") from error
        try:
            yield client
        finally:
            client.close(timeout=_CLOSE_WITHIN)


@contextmanager
def _local_cluster(workers: int, memory_limit: str | int) -> Iterator[Client]:
    from distributed import LocalCluster

    # threads and processes inherit the mask: Ctrl-C is for this thread to answer
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=memory_limit,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        with _connect(cluster.scheduler_address, cluster.security) as client:
            yield client
    finally:
        cluster.close(timeout=_CLOSE_WITHIN)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's own lines off the terminal: what matters of them is said by the run."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
