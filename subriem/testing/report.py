"""What ``subriem check`` prints: a table of checks for each model, and why checks failed."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from subriem.testing.checks import Outcome, run_checks
from subriem.testing.model import Model
from subriem.testing.targets import models_of

__all__ = ["check_and_print"]


def check_and_print(targets: Iterable[str], console: Console) -> bool:
    """Check the models that targets name, and print a table for each.

    Parameters
    ----------
    targets : iterable of str
        As for `models_of`.
    console : rich.console.Console

    Returns
    -------
    bool
        Whether every check passed.

    Raises
    ------
    InputError
        As `models_of`, before anything is checked.
    """
    models = [model for target in targets for model in models_of(target)]
    outcomes = []
    for model in models:
        done = run_checks(model)
        _print(model, done, console)
        outcomes += done
    failed = sum(not outcome.passed for outcome in outcomes)
    count = f"{len(outcomes)} checks of {len(models)} model{'s' * (len(models) != 1)}"
    console.print(f"{count}: " + (f"[bold red]{failed} failed[/]" if failed else "all passed"))
    return not failed


def _print(model: Model, outcomes: list[Outcome], console: Console) -> None:
    known = f", {len(model.truths)} truth{'s' * (len(model.truths) != 1)}" if model.truths else ""
    console.print(f"[bold]{escape(model.name)}[/]{known}")
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column()
    table.add_column(justify="right")
    for outcome in outcomes:
        mark = "ok" if outcome.passed else "[bold red]FAILED[/]"
        table.add_row(f"  {escape(outcome.check)}", mark, f"{outcome.seconds:.2f} s")
    console.print(table)
    for outcome in outcomes:
        if not outcome.passed:
            console.print(f"\n[red]{escape(outcome.check)}[/]: {escape(outcome.demand)}")
            # not wrapped, so that tables in the message stay tables
            console.print(escape(outcome.message), soft_wrap=True)
    console.print()
