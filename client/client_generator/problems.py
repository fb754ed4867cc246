"""Writes a class for each error code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from client_generator.names import to_class
from client_generator.text import write_docstring

FAMILIES = {
    "401": "NotAuthenticated",
    "403": "NotAllowed",
    "404": "Missing",
    "409": "Conflict",
    "429": "TooManyRequests",
}


_ROW = re.compile(r"^\| `(\w+)` \| (\d{3}) \| (.*) \| (.*) \|$", re.MULTILINE)


def collect_problems(document: Mapping[str, Any], page: str) -> dict[str, tuple[str, str, str]]:
    """Status, title and cure by code.

    Args:
        document: names errors by route.
        page: docs/errors.md, which also holds those that any address may answer.
    """
    found: dict[str, tuple[str, str, str]] = {
        code: (status, title, cure.partition(" `Retry-After:")[0])
        for code, status, title, cure in _ROW.findall(page)
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                for content in answer.get("content", {}).values():
                    for example in content.get("examples", {}).values():
                        value = example.get("value")
                        if isinstance(value, dict) and "code" in value and status >= "400":
                            found[value["code"]] = status, value["title"], value["cure"]
    return dict(sorted(found.items()))


def write_problems(problems: Mapping[str, tuple[str, str, str]]) -> str:
    """`problems.py`."""
    lines = [
        '"""Made by client_generator from docs/errors.md: a class for each error code of the service."""',
        "",
        "from __future__ import annotations",
        "",
        "from rollcall_client.errors import Conflict, Missing, NotAllowed, NotAuthenticated, RequestRefused, "
        "ServiceError, ServiceTrouble, TooManyRequests",
        "",
    ]
    for code, (status, title, cure) in problems.items():
        family = FAMILIES.get(status, "ServiceTrouble" if status >= "500" else "RequestRefused")
        bases = f"{family}, TimeoutError" if code == "deadline_exceeded" else family
        lines += ["", f"class {to_class(code)}({bases}):"]
        lines += write_docstring(f"{status}: {title}. {cure}", 4)
        lines += [""]
    lines += ["", "PROBLEMS: dict[str, type[ServiceError]] = {"]
    lines += [f'    "{code}": {to_class(code)},' for code in problems]
    return "\n".join([*lines, "}", '"""By code."""', ""])
