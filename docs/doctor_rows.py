"""What each check of `rollcall doctor` can find wrong and its cure, read from the code of the checks."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

from serving.operations.doctor.checks import Check

ANYTHING = "…"
"""Stands for what is known only when the check is run."""
NAMED = {
    "directory": "DIR",
    "lock": "FILE",
    "mount.path": "DIR",
    "name": "NAME",
    "pack.id": "PACK",
    "path": "PATH",
    "port": "PORT",
    "url": "URL",
}
"""Stand for themselves, since cures speak of them too."""
KINDS = ("warn", "fail")


@dataclass(frozen=True)
class Fault:
    """A row that a check can make: `warn` or `fail`, what it says was seen, and what to do."""

    status: str
    seen: str
    cure: str


def list_faults(check: Check) -> list[Fault]:
    """The faults a check can find by itself, in the order of its code, those of its helpers last."""
    module = sys.modules[check.look.__module__]
    tree = ast.parse(inspect.getsource(module))
    functions = {
        each.name: each for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    queue, found = [check.look.__name__], []  # type: ignore[attr-defined]  # it is a function
    for name in queue:
        function = functions[name]
        found += _read_function(function, module)
        called = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        queue += [each for each in functions if each in called and each not in queue]
    return list(dict.fromkeys(found))


def _read_function(function: ast.AST, module: ModuleType) -> Iterator[Fault]:
    texts: dict[str, ast.expr] = {}  # the last text that each variable was given
    for node in sorted(
        (each for each in ast.walk(function) if isinstance(each, ast.Assign | ast.Call)),
        key=lambda each: each.lineno,
    ):
        if isinstance(node, ast.Assign):
            if isinstance(node.targets[0], ast.Name):
                texts[node.targets[0].id] = node.value
        elif isinstance(node.func, ast.Name) and node.func.id in KINDS:
            seen, cure = (_read_text(part, texts, module) for part in node.args)
            yield Fault(node.func.id, seen, cure)


def _read_text(node: ast.expr, texts: dict[str, ast.expr], module: ModuleType) -> str:
    """A string of the code, with `ANYTHING` for each part that is none of its constants."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_read_text(part, texts, module) for part in node.values)
    if isinstance(node, ast.Subscript):
        return _read_text(node.value, texts, module)
    if isinstance(node, ast.FormattedValue):
        names = [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]
        if names and all(each.isupper() for each in names):
            whole = ast.fix_missing_locations(ast.Expression(ast.JoinedStr([node])))
            return str(eval(compile(whole, "<check>", "eval"), vars(module)))  # noqa: S307  # our own constants
        node = node.value
    text = texts.get(node.id) if isinstance(node, ast.Name) else None
    if isinstance(text, ast.Constant | ast.JoinedStr):
        return _read_text(text, texts, module)
    return NAMED.get(ast.unparse(node), ANYTHING)
