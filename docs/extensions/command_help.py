"""The directive ``command-help``: what ``subriem ... --help`` prints, for each command."""

from __future__ import annotations

from typing import Any

import click
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx


class CommandHelp(Directive):
    """The help of the command and of each of its subcommands, as literal blocks."""

    def run(self) -> list[nodes.Node]:
        """Sections, one a command."""
        from subriem.cli import main

        found: list[nodes.Node] = []
        context = click.Context(main, info_name="subriem", max_content_width=90)
        for name in main.list_commands(context):
            command = main.get_command(context, name)
            assert command is not None
            inner = click.Context(command, info_name=name, parent=context, max_content_width=90)
            section = nodes.section(ids=[f"subriem-{name}"])
            section += nodes.title(text=f"subriem {name}")
            section += nodes.literal_block(text=command.get_help(inner), language="text")
            found.append(section)
        return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"version": "1", "parallel_read_safe": True}
