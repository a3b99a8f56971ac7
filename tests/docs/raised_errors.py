"""Which errors a function may raise, read from its source and that of what it calls.

Followed are calls of functions, classes and methods of ``self`` that the source names outright and
that belong to the same package; calls through variables are not. What a surrounding ``try``
catches does not count.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import textwrap
from collections.abc import Callable
from typing import Any


@functools.cache
def tree_of(function: Callable[..., Any]) -> ast.FunctionDef | None:
    """The syntax tree of a function; None where there is no source."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
        (tree,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    return tree if isinstance(tree, ast.FunctionDef) else None


def raised_by(
    function: Callable[..., Any], owner: type | None, package: str, *, depth: int
) -> dict[type[BaseException], str]:
    """Errors that a function may raise, each with the name of the function that does.

    ``owner`` is the class of a method; calls are followed ``depth`` levels down.
    """
    return dict(_walk(inspect.unwrap(function), owner, package, depth, frozenset()))


@functools.cache
def _walk(
    function: Callable[..., Any],
    owner: type | None,
    package: str,
    depth: int,
    above: frozenset[Callable[..., Any]],
) -> tuple[tuple[type[BaseException], str], ...]:
    tree = tree_of(function)
    if tree is None or function in above:
        return ()
    reader = _Reader(function, owner, package, depth, above | {function})
    for statement in tree.body:
        reader.visit(statement)
    return tuple(reader.found.items())


class _Reader(ast.NodeVisitor):
    def __init__(
        self,
        function: Callable[..., Any],
        owner: type | None,
        package: str,
        depth: int,
        above: frozenset[Callable[..., Any]],
    ) -> None:
        self.function, self.owner, self.package = function, owner, package
        self.depth, self.above = depth, above
        self.local: dict[str, Any] = {}
        self.caught: list[tuple[type[BaseException], ...]] = []
        self.found: dict[type[BaseException], str] = {}

    # ------------------------------------------------------------------ what is raised

    def visit_Raise(self, node: ast.Raise) -> None:
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        kind = self._resolve(error) if error is not None else None
        if isinstance(kind, type) and issubclass(kind, BaseException):
            self._add(kind, self.function.__qualname__)
        self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        caught = [self._kinds(handler) for handler in node.handlers if not _passes_on(handler)]
        self.caught.append(tuple(kind for kinds in caught for kind in kinds))
        for statement in node.body:
            self.visit(statement)
        self.caught.pop()
        for part in (node.handlers, node.orelse, node.finalbody):
            for statement in part:
                self.visit(statement)

    def visit_With(self, node: ast.With) -> None:
        calls = [
            item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)
        ]
        names = [call.func for call in calls]
        silent = [
            call for call, name in zip(calls, names, strict=True) if _last(name) == "suppress"
        ]
        kinds = tuple(k for call in silent for k in map(self._resolve, call.args) if k)
        self.caught.append(kinds)
        self.generic_visit(node)
        self.caught.pop()

    def _kinds(self, handler: ast.ExceptHandler) -> tuple[type[BaseException], ...]:
        if handler.type is None:
            return (BaseException,)
        parts = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        return tuple(kind for kind in map(self._resolve, parts) if isinstance(kind, type))

    def _add(self, kind: type[BaseException], where: str) -> None:
        if not any(issubclass(kind, caught) for level in self.caught for caught in level):
            self.found.setdefault(kind, where)

    # ------------------------------------------------------------------ what is called

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level == 0 and node.module and node.module.split(".")[0] == self.package:
            module = importlib.import_module(node.module)
            for alias in node.names:
                self.local[alias.asname or alias.name] = getattr(module, alias.name, None)

    def visit_Call(self, node: ast.Call) -> None:
        if self.depth > 0:
            self._follow(self._resolve(node.func))
        self.generic_visit(node)

    def _follow(self, callee: Any) -> None:
        owner: type | None = None
        if isinstance(callee, tuple):
            owner, callee = callee
        elif isinstance(callee, type) and callee.__module__.split(".")[0] == self.package:
            owner = callee
            for name in ("__init__", "__post_init__"):
                if callable(method := owner.__dict__.get(name)):
                    self._descend(method, owner)
            return
        if inspect.ismethod(callee):
            owner, callee = callee.__self__, callee.__func__
        if inspect.isfunction(callee := inspect.unwrap(callee) if callable(callee) else None):
            self._descend(callee, owner if isinstance(owner, type) else None)

    def _descend(self, callee: Callable[..., Any], owner: type | None) -> None:
        if (callee.__module__ or "").split(".")[0] != self.package:
            return
        for kind, where in _walk(callee, owner, self.package, self.depth - 1, self.above):
            self._add(kind, where)

    def _resolve(self, node: ast.AST) -> Any:
        """The object that a name or a dotted name stands for; (class, function) for ``self.f``."""
        if isinstance(node, ast.Name):
            if node.id in self.local:
                return self.local[node.id]
            space = self.function.__globals__
            return space.get(node.id, getattr(builtins, node.id, None))
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                method = getattr(self.owner, node.attr, None) if self.owner else None
                method = getattr(method, "__func__", method)
                return (self.owner, method) if inspect.isfunction(method) else None
            base = self._resolve(node.value)
            return getattr(base, node.attr, None) if inspect.ismodule(base) else None
        return None


def _passes_on(handler: ast.ExceptHandler) -> bool:
    """Whether a handler ends in a bare ``raise``."""
    return any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))


def _last(node: ast.AST) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))
