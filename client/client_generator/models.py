"""Writes the models: what the service answers, and objects within what it is sent."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping

from client_generator.text import has_word, write_docstring
from client_generator.types import Schema, Types

HEADER = (
    '"""Made by client_generator from docs/openapi.json: {about}."""\n\n'
    "from __future__ import annotations\n\n"
)

SECRETS = frozenset({"access_token", "refresh_token", "key"})
"""Fields that no log may get by way of `repr`."""


def collect_models(components: Mapping[str, Schema], names: Iterable[str]) -> list[str]:
    """`names` and whatever they are made of, each after what it needs."""
    ordered: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in ordered:
            for needed in sorted(_needs(components, name)):
                visit(needed)
            ordered[name] = None

    for name in sorted(names):
        visit(name)
    return list(ordered)


def assign_modules(components: Mapping[str, Schema], by_group: Mapping[str, set[str]]) -> dict[str, str]:
    """Module of each model: that of its only group, or `common`."""
    groups: dict[str, set[str]] = {}
    for group, names in by_group.items():
        for name in collect_models(components, names):
            groups.setdefault(name, set()).add(group)
    # Aliases of literals are wanted by requests as well, so that they are where all can import them.
    return {
        name: next(iter(found)) if len(found) == 1 and "enum" not in components[name] else "common"
        for name, found in groups.items()
    }


def write_module(components: Mapping[str, Schema], modules: Mapping[str, str], module: str) -> str:
    """One file of models."""
    names = [each for each in collect_models(components, modules) if modules[each] == module]
    types = Types(components)
    body = [
        write_alias(components, name) if "enum" in components[name] else write_model(components, types, name)
        for name in names
    ]
    text = "\n\n".join(body)
    lines = []
    if "datetime" in text:
        lines.append("from datetime import datetime")
    typing = [word for word in ("Annotated", "Any", "Literal", "TypeAlias") if has_word(text, word)]
    if typing:
        lines.append(f"from typing import {', '.join(typing)}")
    if has_word(text, "Field"):
        lines.append("from pydantic import Field")
    foreign = sorted(each for each in types.used if modules[each] != module)
    if foreign:
        lines.append(f"from rollcall_client.models.common import {', '.join(foreign)}")
    if "(Answer)" in text:
        lines.append("from rollcall_client.request import Answer")
    about = "what several groups of routes answer" if module == "common" else f"answers of {module}"
    return HEADER.format(about=about) + "\n".join(lines) + "\n\n\n" + text + "\n"


def write_alias(components: Mapping[str, Schema], name: str) -> str:
    """A closed set of words."""
    words = ", ".join(f'"{each}"' for each in components[name]["enum"])
    about = components[name].get("description")
    return (
        "\n".join([f"{name}: TypeAlias = Literal[{words}]", *(write_docstring(about, 0) if about else [])])
        + "\n"
    )


def write_model(components: Mapping[str, Schema], types: Types, name: str) -> str:
    """A class with its fields."""
    schema = components[name]
    required = set(schema.get("required", ()))
    lines = [f"class {name}(Answer):", *write_docstring(schema.get("description") or name, 4), ""]
    for field, each in schema["properties"].items():
        kind = types.name(each)
        attribute, default = field, ""
        if field not in required:
            if "default" in each:
                default = f" = {_literal(each['default'])}"
            elif "const" in each:
                default = f" = {_literal(each['const'])}"
            else:
                kind, default = (kind if kind.endswith("| None") else f"{kind} | None"), " = None"
        if keyword.iskeyword(field):
            attribute = f"{field}_"
            default = f' = Field(alias="{field}")'
        if field in SECRETS:
            assert not default, f"{name}.{field} would be shown by repr"
            default = " = Field(repr=False)"
        lines.append(f"    {attribute}: {kind}{default}")
        if each.get("description"):
            lines += write_docstring(each["description"], 4)
    return "\n".join(lines) + "\n"


def write_inputs(inputs: Mapping[str, Schema], types: Types) -> str:
    """The file of objects within bodies, as `TypedDict`s."""
    body = []
    for name, schema in sorted(inputs.items()):
        required = set(schema.get("required", ()))
        lines = [f"class {name}(TypedDict, total=False):", *write_docstring(schema["description"], 4), ""]
        for field, each in schema["properties"].items():
            kind = "Picture | None" if field == "picture" else types.name(each)
            lines.append(f"    {field}: {f'Required[{kind}]' if field in required else kind}")
            if each.get("description") and field != "picture":
                lines += write_docstring(each["description"], 4)
        body.append("\n".join(lines) + "\n")
    text = "\n\n".join(body)
    imports = []
    collections = [word for word in ("Mapping", "Sequence") if has_word(text, word)]
    if collections:
        imports.append(f"from collections.abc import {', '.join(collections)}")
    typing = [word for word in ("Any", "Literal") if has_word(text, word)]
    if typing:
        imports.append(f"from typing import {', '.join(typing)}")
    imports.append(
        "from typing_extensions import Required, TypedDict"
        if "Required[" in text
        else "from typing import TypedDict"
    )
    if has_word(text, "Picture"):
        imports.append("from rollcall_client.bodies import Picture")
    named = sorted(each for each in types.used if has_word(text, each))
    if named:
        imports.append(f"from rollcall_client.models.common import {', '.join(named)}")
    return HEADER.format(about="objects within what is sent") + "\n".join(imports) + "\n\n\n" + text


def write_index(modules: Mapping[str, str]) -> str:
    """`models/__init__.py`: every model under one roof."""
    lines = []
    for module in sorted(set(modules.values())):
        names = sorted(name for name, where in modules.items() if where == module)
        lines.append(f"from rollcall_client.models.{module} import {', '.join(names)}")
    quoted = ", ".join(f'"{name}"' for name in sorted(modules))
    return HEADER.format(about="all answers") + "\n".join(lines) + f"\n\n__all__ = [{quoted}]\n"


def _needs(components: Mapping[str, Schema], name: str) -> set[str]:
    types = Types(components)
    if "enum" not in components[name]:
        for each in components[name]["properties"].values():
            types.name(each)
    return types.used


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
