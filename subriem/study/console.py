"""The command line of a study, and how errors end a command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from subriem.errors import NumericalError, SubriemError

if TYPE_CHECKING:
    from subriem.study.definition import Study

__all__ = ["Command", "run_from_command_line", "run_options", "study_command"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

EXIT_FAILED = 1
EXIT_USER_MISTAKE = 2
EXIT_INTERRUPTED = 130

_CHOICE = click.Choice(["keep", "fresh", "stop"])


class Command(click.Command):
    """A command that turns errors of subriem into one line and an exit code.

    A user's mistake ends with 2, a numerical failure with 1, Ctrl-C with 130. ``--debug`` shows
    the traceback instead. An error that subriem did not foresee always shows its traceback.

    Parameters
    ----------
    *args, **kwargs
        As for `click.Command`.

    Examples
    --------
    >>> Command("show", callback=lambda: None).params[-1].opts
    ['--debug']
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(["--debug"], is_flag=True, help="Show the traceback of an error.")
        )

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        Parameters
        ----------
        ctx
            The context of click.

        Returns
        -------
        Any
            What the command returns.

        Raises
        ------
        SubriemError
            With ``--debug`` only.
        """
        debug = ctx.params.pop("debug", False)
        try:
            return super().invoke(ctx)
        except SubriemError as error:
            if debug:
                raise
            click.echo(f"Error: {' '.join(str(error).split())}", err=True)
            ctx.exit(EXIT_FAILED if isinstance(error, NumericalError) else EXIT_USER_MISTAKE)
        except KeyboardInterrupt as error:
            click.echo(str(error) or "stopped", err=True)
            ctx.exit(EXIT_INTERRUPTED)


def run_options(function: _Function) -> _Function:
    """Decorate a command with the options that every run has.

    Parameters
    ----------
    function
        The command.

    Returns
    -------
    callable
        The command with its options.

    Examples
    --------
    >>> command = click.command(run_options(lambda **options: None))
    >>> [parameter.name for parameter in command.params]
    ['out', 'workers', 'resume', 'fresh', 'accept_changes', 'time_limit', 'retries',
     'scheduler', 'memory_limit', 'exchange', 'quiet']
    """
    options = [
        click.option(
            "--out",
            type=click.Path(path_type=Path),
            metavar="X.nc",
            help="File to write; results/<study>.nc by default. X.zarr becomes a Zarr store.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Number of processes; the numbers do not depend on it.",
        ),
        click.option("--resume", is_flag=True, help="Go on with what an earlier run finished."),
        click.option("--fresh", is_flag=True, help="Throw away what an earlier run finished."),
        click.option(
            "--accept-changes",
            is_flag=True,
            help="With --resume: keep what another version of the study finished.",
        ),
        click.option(
            "--time-limit",
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="Stop a task that takes longer; it has failed.",
        ),
        click.option(
            "--retries",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Try a task again whose process died (killed, out of memory).",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Run on a Dask cluster: tcp://host:port of its scheduler, or 'local' for one of "
            "this machine with so many --workers.",
        ),
        click.option(
            "--memory-limit",
            metavar="SIZE",
            help="Of each worker of a local Dask cluster, such as 2GiB.",
        ),
        click.option(
            "--exchange",
            metavar="URL",
            help="Folder, such as s3://bucket/folder, for large results of Dask workers that do "
            "not see the run folder.",
        ),
        click.option("--quiet", is_flag=True, help="Say nothing about progress."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def study_command(study: Study) -> click.Command:
    """Make the command of one study, with a flag for each of its variants.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    click.Command
        The command.

    Examples
    --------
    >>> from subriem.study import Study
    >>> study_command(Study("digits", {"seed": [0]})).name
    'digits'
    """

    @run_options
    def run(**options: Any) -> None:
        chosen = [name for name in study.variants if options.pop(name.replace("-", "_"))]
        run_from_command_line(study, chosen, **options)

    example = f"python {study.file.name if study.file else 'study.py'}"
    command = click.command(
        study.name,
        cls=Command,
        help=f"{study.question or f'Run the study {study.name}.'}\n\n\b\nExamples:\n"
        f"  {example} --workers 2\n  {example} --out results/again.nc --resume",
    )(run)
    for variant in study.variants.values():
        command.params.append(click.Option([f"--{variant.name}"], is_flag=True, help=variant.help))
    return command


def run_from_command_line(
    study: Study,
    variants: list[str],
    *,
    out: Path | None,
    workers: int,
    resume: bool,
    fresh: bool,
    accept_changes: bool,
    time_limit: float | None,
    retries: int,
    scheduler: str | None,
    memory_limit: str | None,
    exchange: str | None,
    quiet: bool,
) -> None:
    """Run a study, call what it has for after, name the failures, and exit.

    Parameters
    ----------
    study
        The study.
    variants
        Names of the chosen variants; one at most.
    out, workers, resume, fresh, accept_changes, time_limit, retries, scheduler, memory_limit, \
    exchange
        As for `subriem.study.Study.run`. Where finished tasks are of another version of the study
        and a terminal is there to ask, the choice is put to the user.
    quiet
        Say nothing about progress.

    Raises
    ------
    click.UsageError
        If several variants are chosen.
    click.exceptions.Exit
        With code 1 if a task failed.
    """
    if len(variants) > 1:
        raise click.UsageError(f"choose one of {', '.join(f'--{name}' for name in variants)}")
    variant = variants[0] if variants else None
    from rich.console import Console

    from subriem.results import print_failures
    from subriem.study.folder import ChangedStudyError

    path = out or study.default_out(variant)
    run = partial(
        study.run,
        path,
        workers=workers,
        variant=variant,
        progress=not quiet,
        time_limit=time_limit,
        retries=retries,
        scheduler=scheduler,
        memory_limit=memory_limit,
        exchange=exchange,
    )
    try:
        dataset = run(resume=resume, fresh=fresh, accept_changes=accept_changes)
    except ChangedStudyError as error:
        if not _can_ask():
            raise
        click.echo(str(error), err=True)
        choice = click.prompt("keep, fresh or stop", type=_CHOICE, default="stop", err=True)
        if choice == "stop":
            raise
        keep = choice == "keep"
        dataset = run(resume=keep, fresh=not keep, accept_changes=keep)
    failed = int((dataset["task_status"] != "ok").sum())
    if failed < dataset["task_status"].size and study.after_function is not None:
        study.after_function(dataset, path)
    if failed:
        print_failures(dataset, Console(stderr=True, highlight=False))
        raise click.exceptions.Exit(EXIT_FAILED)


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
