"""A progress bar for one flow, quiet where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["watch_flow"]


@contextmanager
def watch_flow(label: str, show: bool | None) -> Iterator[Callable[[float, str], None]]:
    """Show how far a flow has come.

    Parameters
    ----------
    label : str
    show : bool or None
        None shows it only where standard error is a terminal.

    Yields
    ------
    callable
        ``update(fraction, text)``.
    """
    if show is None:
        show = sys.stderr.isatty()
    if not show:
        yield lambda fraction, text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=1.0, text="")
        yield lambda fraction, text: bar.update(task, completed=fraction, text=text)
