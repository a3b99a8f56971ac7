"""What a docstring owes its reader; each rule gives the complaints that it has."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

from docstring_sections import read_docstring
from raised_errors import raised_by, tree_of

# Signs of a fault of the library itself, not of what came: nobody is asked to expect them.
_INTERNAL = (AssertionError, NotImplementedError, StopIteration)
# As far as calls are followed for the errors they raise.
DEPTH = 3


def complaints(
    target: Callable[..., Any],
    *,
    owner: type | None = None,
    package: str = "subriem",
    example: bool = True,
) -> list[str]:
    """All that is wrong with the documentation of a function, a class or a method."""
    if inspect.isclass(target) and issubclass(target, BaseException):
        return list(missing_text(target))
    rules = [missing_text, wrong_parameters, missing_returns]
    found = [text for rule in rules for text in rule(target)]
    if not _overrides(target, owner):
        found += ignored_parameters(target)
    found += undocumented_errors(target, owner, package)
    if example:
        found += missing_example(target)
    return found


def function_of(target: Callable[..., Any]) -> Callable[..., Any]:
    """The function whose arguments are those of the target: of a class, its ``__init__``."""
    if inspect.isclass(target):
        return inspect.unwrap(target.__init__)
    return inspect.unwrap(target)


def arguments_of(target: Callable[..., Any]) -> list[str]:
    """The names of the arguments that a caller gives."""
    names = list(inspect.signature(target).parameters)
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def missing_text(target: Callable[..., Any]) -> Iterator[str]:
    """A summary that ends in a full stop."""
    first = read_docstring(target).text.partition("\n\n")[0].strip()
    if not first:
        yield "has no docstring"
    elif first[-1] not in ".:":
        yield f"the summary does not end: {first!r}"


def wrong_parameters(target: Callable[..., Any]) -> Iterator[str]:
    """Every parameter documented, under its name, in the order of the signature."""
    docstring, accepted = read_docstring(target), arguments_of(target)
    documented = docstring.parameters
    if _is_record(target):
        documented = documented + docstring.attributes
    for name in accepted:
        if name not in documented:
            yield f"parameter {name!r} is not documented"
    for name in documented:
        if name not in accepted:
            yield f"there is no parameter {name!r} as documented"
    if len(set(documented)) < len(documented):
        yield "a parameter is documented twice"
    # names that share an entry ("name, coordinates : as in `define`") may stand out of order
    common = [name for name in documented if name in accepted]
    in_order = common == [name for name in accepted if name in documented]
    if not in_order and not docstring.shares_entries:
        yield f"parameters are documented in the order {common}, taken as {accepted}"


def missing_returns(target: Callable[..., Any]) -> Iterator[str]:
    """A section on what comes back, where something does."""
    if inspect.isclass(target):
        return
    annotation = inspect.signature(function_of(target)).return_annotation
    if annotation is inspect.Signature.empty:
        yield "does not say by annotation what it returns"
    sections = read_docstring(target).sections
    comes = annotation not in (None, "None", "NoReturn", inspect.Signature.empty)
    if comes and not {"Returns", "Yields"} & set(sections):
        yield "has no section Returns"
    if not comes and "Returns" in sections:
        yield "returns nothing, and has a section Returns"


def undocumented_errors(
    target: Callable[..., Any], owner: type | None, package: str
) -> Iterator[str]:
    """Every error that the source raises, under its own name or that of a parent."""
    if inspect.isclass(target):
        owner = target
    documented = read_docstring(target).raised
    for kind, where in raised_by(function_of(target), owner, package, depth=DEPTH).items():
        if issubclass(kind, _INTERNAL) and not where.startswith("assert_"):
            continue
        names = {parent.__name__ for parent in kind.__mro__ if parent is not Exception}
        if not names & set(documented):
            yield f"raises {kind.__name__} (in {where}), which is not documented"


def missing_example(target: Callable[..., Any]) -> Iterator[str]:
    """An example that the suite collects and that runs at least one statement."""
    if "Examples" not in read_docstring(target).sections:
        yield "has no section Examples"
        return
    module = sys.modules[target.__module__]
    finder = doctest.DocTestFinder(exclude_empty=True)
    name = f"{module.__name__}.{target.__qualname__}"
    found = [test for test in finder.find(module, module.__name__) if test.name == name]
    if not found:
        yield "its examples are not collected"
    elif all(example.options.get(doctest.SKIP) for test in found for example in test.examples):
        yield "none of its examples runs"


def _is_record(target: Any) -> bool:
    """Whether the arguments of a class are its attributes."""
    return dataclasses.is_dataclass(target) or hasattr(target, "_fields")


def _overrides(target: Callable[..., Any], owner: type | None) -> bool:
    """Whether a method stands for one of a base class, whose signature it has to keep."""
    bases = owner.__mro__[1:-1] if owner is not None else ()
    return any(target.__name__ in vars(base) for base in bases)


def ignored_parameters(target: Callable[..., Any]) -> Iterator[str]:
    """Every parameter read somewhere in the body."""
    tree = None if _is_record(target) else tree_of(function_of(target))
    if tree is None or _is_abstract(tree, function_of(target)):
        return
    read = {
        node.id
        for statement in tree.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    for name in arguments_of(target):
        if name not in read:
            yield f"parameter {name!r} is never read"


def _is_abstract(tree: ast.FunctionDef, function: Callable[..., Any]) -> bool:
    if getattr(function, "__isabstractmethod__", False):
        return True
    body = [node for node in tree.body if not _is_text(node)]
    return not body or (len(body) == 1 and isinstance(body[0], ast.Raise))


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
