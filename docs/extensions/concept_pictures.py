"""Draws the pictures of the concept pages: each script of docs/pictures/ makes one.

A script has a function ``draw`` that returns Matplotlib's figure. A picture is drawn again when its
script is newer.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

_LOG = logging.getLogger(__name__)


def _draw_all(app: Sphinx) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    for script in sorted(Path(app.srcdir, "pictures").glob("*.py")):
        picture = script.with_suffix(".png")
        if picture.exists() and picture.stat().st_mtime >= script.stat().st_mtime:
            continue
        _LOG.info("drawing %s", picture.name)
        figure = runpy.run_path(str(script))["draw"]()
        figure.savefig(picture, dpi=160, facecolor="white")


def setup(app: Sphinx) -> dict[str, Any]:
    """Draw before the pages are read."""
    app.connect("builder-inited", _draw_all)
    return {"version": "1", "parallel_read_safe": True}
