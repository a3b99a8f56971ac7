"""The command ``subriem``.

Nothing heavy is imported here: each command imports what it needs when it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from subriem.study.console import (
    EXIT_FAILED,
    Command,
    run_from_command_line,
    run_options,
    study_command,
)

__all__ = ["main"]


class _RunCommand(Command):
    """``subriem run FILE``, whose flags also depend on the study in the file."""

    ignore_unknown_options = True

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        # with a FILE the help is that of its study: `run` itself answers
        return None


@click.group()
@click.version_option(package_name="subriem")
def main() -> None:
    """Modelling with sub-Riemannian geometry and control theory.

    Exit codes: 0 ok, 1 a task or a computation failed, 2 a mistake in what was asked, 130 Ctrl-C.
    """


@main.command(cls=_RunCommand)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="FILE [VARIANT]")
@run_options
@click.option("--help", "show_help", is_flag=True, help="Show this message; with FILE, its flags.")
@click.pass_context
def run(ctx: click.Context, words: tuple[str, ...], show_help: bool, **options: Any) -> None:
    """Run the study in FILE and write one NetCDF file.

    A study may have variants, other grids for the same task: `subriem run FILE --help` names them.

    \b
    Examples:
      subriem run studies/adapted_flow.py --workers 2
      subriem run studies/adapted_flow.py --full --out results/full.nc
      subriem run studies/adapted_flow.py --resume
    """  # noqa: D301
    files = [word for word in words if not word.startswith("-")]
    flags = [word for word in words if word.startswith("-")]
    if show_help and not files:
        click.echo(ctx.get_help())
        return
    if len(files) != 1:
        raise click.UsageError(f"expected one FILE, got {' '.join(files) or 'none'}")
    from subriem.study import load_study

    study = load_study(files[0])
    if show_help:
        with click.Context(study_command(study), info_name=f"subriem run {files[0]}") as context:
            click.echo(context.get_help())
        return
    for flag in flags:
        if flag.removeprefix("--") not in study.variants:
            known = ", ".join(f"--{name}" for name in study.variants) or "none"
            raise click.UsageError(f"no such option {flag}; the variants of {files[0]}: {known}")
    run_from_command_line(study, [flag.removeprefix("--") for flag in flags], **options)


@main.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path), metavar="X.nc")
def show(file: Path) -> None:
    """Show what a results file holds: where it comes from, its variables, tasks that failed.

    \b
    Examples:
      subriem show results/adapted_flow.nc
    """  # noqa: D301
    from rich.console import Console

    from subriem.results import open_results, print_summary

    dataset = open_results(file)
    console = Console(highlight=False)
    console.print(dataset.subriem.summary(), markup=False, soft_wrap=True)
    console.print()
    print_summary(dataset, console)


@main.command(cls=Command)
@click.argument("path", type=click.Path(path_type=Path), metavar="X.nc")
def status(path: Path) -> None:
    """Say how far a run is: tasks that are done, running, failed and missing.

    X.nc is the file that the run writes, or its folder X.parts. Nothing is written: the run may go
    on meanwhile. The command ends with 1 if a task failed.

    \b
    Examples:
      subriem status results/adapted_flow.nc
    """  # noqa: D301
    from rich.console import Console

    from subriem.study.status import print_status, read_status

    found = read_status(path)
    print_status(found, Console(highlight=False))
    if found.failed:
        raise click.exceptions.Exit(EXIT_FAILED)


@main.command(cls=Command)
def models() -> None:
    """List the models that come with subriem.

    \b
    Examples:
      subriem models
    """  # noqa: D301
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from subriem import models as zoo

    table = Table.grid(padding=(0, 2))
    for name, description in zoo.available().items():
        table.add_row(f"[bold]{escape(name)}[/]", escape(description))
    Console(highlight=False).print(table)


@main.command(cls=Command)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
def check(targets: tuple[str, ...]) -> None:
    """Check models: brackets, declared growth vectors, invariance, round trips.

    TARGET is a model's name (see `subriem models`), a Python file, or module:function. Of a file,
    every structure is checked and every function that makes one, without arguments or with those
    of its TRUTHS.

    \b
    Examples:
      subriem check trailers
      subriem check models/my_model.py
      subriem check my_package.hovercraft:hovercraft
    """  # noqa: D301
    import os
    import sys

    from rich.console import Console

    from subriem.testing.report import check_and_print

    # as for `python -m`: module:function may lie in the current folder
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if not check_and_print(targets, Console(highlight=False)):
        raise click.exceptions.Exit(EXIT_FAILED)
