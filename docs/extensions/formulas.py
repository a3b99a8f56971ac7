"""Formulas as outlines, set by Matplotlib at build time: no script, no font, no network."""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from sphinx.application import Sphinx

_FONT = FontProperties(family="STIXGeneral", math_fontfamily="stix", size=16)
# Letters of this size stand beside the text's without looking larger or smaller.
_UNITS_PER_EM = 15.5
_LETTERS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}


def formula(tex: str, css: str) -> str:
    """A formula as an SVG element in the text's colour, on the text's baseline.

    Parameters
    ----------
    tex : str
        What Matplotlib's mathtext understands.
    css : str
        The element's class.

    Returns
    -------
    str
    """
    source = f"${' '.join(tex.split())}$"
    width, height, depth, _, _ = MathTextParser("path").parse(source, dpi=72, prop=_FONT)
    parts = []
    for points, code in TextPath((0, 0), source, prop=_FONT).iter_segments(curves=True):
        if code == Path.CLOSEPOLY:
            parts.append("Z")
            continue
        pairs = points.reshape(-1, 2)
        parts.append(_LETTERS[code] + " ".join(f"{x:.2f} {-y:.2f}" for x, y in pairs))
    box = f"0 {-(height - depth):.2f} {width:.2f} {height:.2f}"
    em = 1 / _UNITS_PER_EM
    style = (
        f"width:{width * em:.3f}em;height:{height * em:.3f}em;vertical-align:{-depth * em:.3f}em"
    )
    return (
        f'<svg class="{css}" role="img" aria-label="{escape(tex)}" viewBox="{box}" '
        f'style="{style}" overflow="visible"><path fill="currentColor" d="{"".join(parts)}"/></svg>'
    )


def _inline(writer: Any, node: nodes.Node) -> None:
    writer.body.append(formula(node.astext(), "formula"))
    raise nodes.SkipNode


def _displayed(writer: Any, node: nodes.Node) -> None:
    writer.body.append(f'<div class="formula">{formula(node.astext(), "formula")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer."""
    app.add_html_math_renderer("formulas", (_inline, None), (_displayed, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
