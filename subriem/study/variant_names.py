"""The variants of a study, read from its file without running it, as a shell asks for them."""

from __future__ import annotations

import ast
from pathlib import Path

__all__ = ["variant_names"]


def variant_names(file: Path) -> dict[str, str]:
    r"""Names and help of the variants that a study's file declares by ``@study.variant``.

    Parameters
    ----------
    file : Path

    Returns
    -------
    dict of str to str
        Empty where the file cannot be read, or does not parse. A name that is computed is not
        found: only running the file tells it.

    Examples
    --------
    >>> import tempfile
    >>> text = '@study.variant("full", help="all images")\ndef full(): ...'
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.py")
    ...     _ = file.write_text(text)
    ...     variant_names(file)
    {'full': 'all images'}
    """
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return {}
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        for call in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            if call.func.attr != "variant":
                continue
            name = _text(call.args[0] if call.args else _keyword(call, "name"))
            if name:
                found[name] = _text(_keyword(call, "help"))
    return found


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _text(value: ast.expr | None) -> str:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    return ""
