"""Sphinx configuration: `make docs` builds the site with it, warnings being errors."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE)]

project = "subriem"
author = "The subriem developers"
copyright = "The subriem developers; MIT licence"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "command_help",
    "concept_pictures",
    "formulas",
]
exclude_patterns = ["_build", "extensions"]
suppress_warnings = [
    "myst.header",  # measurements are included whole, with headings of their own
    "ref.python",  # `samples` in a docstring may be that of one of several classes
]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "inherited-members": True}
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
# `name` in a docstring is an object of the library where there is one of that name
default_role = "py:obj"

html_theme = "furo"
html_title = "subriem"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "formulas"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5394", "color-brand-content": "#0b5394"},
    "dark_css_variables": {"color-brand-primary": "#8ab4f8", "color-brand-content": "#8ab4f8"},
}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def _escape_bars(app, what, name, obj, options, lines):
    """Absolute values in docstrings, |x|, are no substitutions."""
    for k, line in enumerate(lines):
        if "|" in line and not line.lstrip().startswith((">>>", "...")):
            # what stands between backquotes is taken as it is
            parts = re.split(r"(``.*?``|`[^`]*`)", line)
            parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
            lines[k] = "".join(parts)


def setup(app):
    """Escape what reStructuredText would take for markup, before napoleon reads it."""
    app.connect("autodoc-process-docstring", _escape_bars, priority=400)
