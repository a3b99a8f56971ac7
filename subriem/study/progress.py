"""How far a run is: a bar on a terminal, one line at the end elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from subriem.study.worker import Outcome

__all__ = ["tell", "watch"]


@contextmanager
def watch(name: str, total: int, done: int, *, show: bool) -> Iterator[Callable[[Outcome], None]]:
    """Show a bar while tasks run, on a terminal only.

    Parameters
    ----------
    name
        Name of the study.
    total
        Number of tasks.
    done
        Number of those that an earlier run finished.
    show
        Whether to show anything.

    Yields
    ------
    callable
        To be called with the outcome of each task.

    Examples
    --------
    >>> with watch("digits", 2, 0, show=False) as update:
    ...     update(Outcome("ok"))
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failures]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    shown = show and console.is_terminal
    with Progress(*columns, console=console, disable=not shown, transient=True) as bar:
        task = bar.add_task(escape(name), total=total, completed=done, failures="")
        failed = 0

        def update(outcome: Outcome) -> None:
            nonlocal failed
            failed += outcome.status != "ok"
            bar.update(task, advance=1, failures=f"[red]{failed} failed[/]" if failed else "")

        yield update


def tell(message: str, *, show: bool) -> None:
    """Print one line to the standard error stream.

    Parameters
    ----------
    message
        The line.
    show
        Whether to print it.

    Examples
    --------
    >>> tell("digits: 2 tasks ok", show=False)
    """
    if show:
        Console(stderr=True, highlight=False).print(message, markup=False, soft_wrap=True)
