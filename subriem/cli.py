"""The command ``subriem``.

Nothing heavy is imported here: each command imports what it needs when it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete options and, after a FILE, the variants of its study."""
        found = super().shell_complete(ctx, incomplete)
        from subriem.study.variant_names import variant_names

        for word in ctx.params.get("words") or ():
            if not word.startswith("-"):
                found += [
                    CompletionItem(f"--{name}", help=text)
                    for name, text in variant_names(Path(word)).items()
                    if f"--{name}".startswith(incomplete)
                ]
        return found


def _complete_file(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


def _complete_target(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Models of the zoo, by their files, and files."""
    import pkgutil

    from subriem import models as zoo

    names = sorted(info.name for info in pkgutil.iter_modules(zoo.__path__))
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    # files first: the script for bash forgets what came before them
    return [*_complete_file(ctx, param, incomplete), *found]


@click.group()
@click.version_option(package_name="subriem")
def main() -> None:
    """Modelling with sub-Riemannian geometry and control theory.

    Exit codes: 0 ok, 1 a task or a computation failed, 2 a mistake in what was asked, 130 Ctrl-C.
    """


@main.command(cls=_RunCommand)
@click.argument(
    "words",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="FILE [VARIANT]",
    shell_complete=_complete_file,
)
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
@click.argument("file", type=click.Path(path_type=Path), metavar="X.nc")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="X.html",
    help="File to write; X.html beside X.nc by default.",
)
def report(file: Path, out: Path | None) -> None:
    """Write one HTML page that shows a results file: figures, tables, failures, provenance.

    The page needs no network: it can be sent, printed and kept. Needs the extra `report`:
    pip install 'subriem[report]'.

    \b
    Examples:
      subriem report results/adapted_flow.nc
      subriem report results/adapted_flow.nc -o report.html
    """  # noqa: D301
    from subriem.errors import InputError
    from subriem.results import open_results, write_report

    out = out or file.with_suffix(".html")
    if out.resolve() == file.resolve():
        raise InputError(f"the report would take the place of the results: name another than {out}")
    path = write_report(open_results(file), out)
    click.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


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
@click.argument(
    "targets", nargs=-1, required=True, metavar="TARGET...", shell_complete=_complete_target
)
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


@main.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands, options, models and variants in a shell.

    \b
    Examples:
      subriem completion bash > ~/.local/share/bash-completion/completions/subriem
      subriem completion zsh > ~/.zfunc/_subriem
      subriem completion fish > ~/.config/fish/completions/subriem.fish
    """  # noqa: D301
    found = get_completion_class(shell)
    if found is None:  # pragma: no cover
        raise click.UsageError(f"click cannot complete in {shell}")
    click.echo(found(main, {}, "subriem", "_SUBRIEM_COMPLETE").source())
