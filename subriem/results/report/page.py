"""One self-contained page that shows a result: what was asked, what was found, figures, tables.

The page loads nothing: plotly.js, its own script and the data lie in it, and a content security
policy keeps it so. Every text of the dataset is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import uuid
from importlib.resources import files
from pathlib import Path
from typing import Any

import xarray as xr

from subriem.errors import InputTypeError, MissingDependencyError, ResultsError
from subriem.results.digest import digest_rows
from subriem.results.labels import axis_label, structure_name
from subriem.results.report.figures import figure_data
from subriem.results.report.tables import (
    attribute_rows,
    failures,
    task_table,
    value_tables,
    variable_table,
)

__all__ = ["write_report"]

_SCRIPTS = ("data.js", "pictures.js", "page.js")


def write_report(dataset: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    r"""Write one HTML page that shows a dataset in any browser, without a network.

    The question of a study, the grid, a summary, figures in which variables, coordinates and the
    task are chosen, tasks that failed with their messages, tables, and where it all comes from.
    Of a large dataset so many points are drawn as a page bears; the page says which.

    Parameters
    ----------
    dataset : Dataset
        Of a study, of any function of subriem, or any other.
    path : str or path
        The file to write; one that is there is replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputTypeError
        If it is not a dataset.
    ResultsError
        If the file cannot be written.
    MissingDependencyError
        Without plotly or Jinja2: they come with ``pip install 'subriem[report]'``.

    Examples
    --------
    >>> import tempfile
    >>> orbit = xr.Dataset({"loss": ("time", [1.0, 0.1])}, {"time": [0.0, 2.3]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_report(orbit, f"{folder}/orbit.html")
    ...     path.read_text(encoding="utf-8")[:32]
    '<!DOCTYPE html>\n<html lang="en">'
    """
    if not isinstance(dataset, xr.Dataset):
        raise InputTypeError(f"expected an xarray.Dataset, got {type(dataset).__name__}")
    path = Path(path)
    text = _render(dataset)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", errors="replace")
        os.replace(temporary, path)
    except OSError as error:
        raise ResultsError(
            f"cannot write {path}: {error}; check the folder, the space and the rights"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _render(dataset: xr.Dataset) -> str:
    try:
        import jinja2
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingDependencyError(
            "a report needs plotly and Jinja2: pip install 'subriem[report]'"
        ) from error
    folder = files(__package__)
    template = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    own = "\n".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    # what a script element holds begins with a line feed here, and its checksum is of all of it
    scripts = [f"\n{text}\n" for text in (get_plotlyjs(), f'(() => {{\n"use strict";\n{own}}})();')]
    return template.render(
        **_contents(dataset),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        scripts=scripts,
        checksums=[_checksum(text) for text in scripts],
        data=_script_safe(figure_data(dataset)),
    )


def _contents(dataset: xr.Dataset) -> dict[str, Any]:
    """All that stands in the page as text."""
    study = "task_status" in dataset
    head, summary = digest_rows(dataset)
    provenance, outcome = attribute_rows(dataset)
    tables = [*([task_table(dataset)] if study else []), variable_table(dataset)]
    failed, count = failures(dataset) if study else ([], 0)
    grid = [
        (axis_label(dataset[name]), dataset.sizes[name], _listed(dataset[name]))
        for name in (dataset["task_status"].dims if study else ())
    ]
    name = str(dataset.attrs.get("study", "")) if study else ""
    title = name.replace("_", " ") or head
    about = "" if name else structure_name(dataset)
    if about and title.endswith(str(dataset.attrs.get("structure"))):
        title = f"{title.removesuffix(str(dataset.attrs.get('structure')))}{about}"
    return {
        "title": title,
        "kind": "study" if study else "result",
        "question": str(dataset.attrs.get("question", "")),
        "summary": [row for row in summary if row[0] not in ("study", "question")],
        "grid": grid,
        "failures": failed,
        "failure_count": count,
        "tables": tables,
        "values": value_tables(dataset),
        "outcome": outcome,
        "provenance": provenance,
    }


def _listed(values: xr.DataArray) -> str:
    texts = [str(value) for value in values.values.tolist()]
    return ", ".join(texts if len(texts) <= 24 else [*texts[:12], "...", *texts[-11:]])


def _checksum(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _script_safe(value: Any) -> str:
    """JSON in which no text can end the script element that it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
