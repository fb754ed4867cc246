"""All generated files."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from client_generator import models, problems, routes
from client_generator.operations import Operation, read_operations
from client_generator.types import Types

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENT = REPOSITORY / "docs" / "openapi.json"
ERRORS = REPOSITORY / "docs" / "errors.md"
PACKAGE = REPOSITORY / "client" / "rollcall_client"
FOLDERS = ("models", "requests", "routes", "async_routes")


def make_files(document: dict[str, Any] | None = None) -> dict[str, str]:
    """Text by path within the package, formatted."""
    if document is None:
        document = json.loads(DOCUMENT.read_text())
    components = document["components"]["schemas"]
    types = Types(components, is_input=True)
    operations = read_operations(document, types)
    groups: dict[str, list[Operation]] = {}
    for each in operations:
        groups.setdefault(each.group, []).append(each)
    answers = {
        group: {each.answer for each in members if each.answer is not None and each.answer in components}
        for group, members in groups.items()
    }
    answers["common"] = {name for name in types.used if "enum" in components[name]}
    modules = models.assign_modules(components, answers)
    made = {
        f"models/{name}.py": models.write_module(components, modules, name) for name in set(modules.values())
    }
    made["models/__init__.py"] = models.write_index(modules)
    if types.inputs:
        inputs = Types(components, is_input=True)
        made["inputs.py"] = models.write_inputs(types.inputs, inputs)
    made["requests/__init__.py"] = '"""Made by client_generator: requests, as functions, by group."""\n'
    for group, members in groups.items():
        made[f"requests/{group}.py"] = routes.write_requests(group, members, types)
        for manner in (routes.SYNC, routes.ASYNC):
            made[f"{manner.package}/{group}.py"] = routes.write_methods(group, members, types, manner)
    for manner in (routes.SYNC, routes.ASYNC):
        made[f"{manner.package}/__init__.py"] = routes.write_index(sorted(groups), manner)
    made["problems.py"] = problems.write_problems(problems.collect_problems(document, ERRORS.read_text()))
    return _format(made)


def find_stale(made: Iterable[str] | None = None) -> list[Path]:
    """Files in the generated folders that would not be made now."""
    wanted = {PACKAGE / name for name in (make_files() if made is None else made)}
    return [path for name in FOLDERS for path in (PACKAGE / name).glob("*.py") if path not in wanted]


def _format(files: dict[str, str]) -> dict[str, str]:
    """As Ruff has it, imports in order."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        ruff = [sys.executable, "-m", "ruff"]
        settings = ["--config", str(REPOSITORY / "pyproject.toml"), "--no-cache", "--quiet", folder]
        first = 'lint.isort.known-first-party=["rollcall_client"]'
        subprocess.run([*ruff, "check", "--fix", "--select", "I", "--config", first, *settings], check=True)
        subprocess.run([*ruff, "format", *settings], check=True)
        return {name: Path(folder, name).read_text() for name in sorted(files)}
