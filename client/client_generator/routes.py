"""Writes the requests, and the methods of both clients that send them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from client_generator.names import name_iterator, to_class
from client_generator.operations import Operation, Parameter
from client_generator.text import has_word, wrap_entry, write_docstring
from client_generator.types import Types

HEADER = (
    '"""Made by client_generator from docs/openapi.json: {about}."""\n\n'
    "from __future__ import annotations\n\n"
)
POSITIONAL = ("path", "picture", "pictures", "upload")


@dataclass(frozen=True)
class Manner:
    """How one of the two clients is written."""

    package: str
    prefix: str
    define: str
    wait: str
    iterator: str
    download: str


SYNC = Manner("routes", "", "def", "", "Iterator", "OpenDownload")
ASYNC = Manner("async_routes", "Async", "async def", "await ", "AsyncIterator", "OpenAsyncDownload")


def write_requests(group: str, operations: Sequence[Operation], types: Types) -> str:
    """`requests/GROUP.py`: a function for each operation."""
    text = "\n\n".join(_write_request(each) for each in operations)
    return HEADER.format(about=f"requests of {group}") + _write_imports(text, types, []) + "\n\n" + text


def write_methods(group: str, operations: Sequence[Operation], types: Types, manner: Manner) -> str:
    """`routes/GROUP.py` or `async_routes/GROUP.py`: a class with a method for each operation."""
    name = f"{manner.prefix}{to_class(group)}Routes"
    lines = [f"class {name}({manner.prefix}Routes):", f'    """Routes of {group.replace("_", " ")}."""', ""]
    for each in operations:
        lines += [*_write_method(group, each, manner), ""]
        if each.items is not None:
            lines += [*_write_iterator(group, each, manner), ""]
    text = "\n".join(lines).rstrip() + "\n"
    more = [
        f"from rollcall_client.base_routes import {manner.prefix}Routes",
        f"from rollcall_client.requests import {group} as requests",
    ]
    if has_word(text, manner.download):
        more.append(f"from rollcall_client.downloads import {manner.download}")
    about = f"methods of {group}"
    return HEADER.format(about=about) + _write_imports(text, types, more) + "\n\n" + text


def write_index(groups: Sequence[str], manner: Manner) -> str:
    """`__init__.py` of the methods: all groups as attributes of one class."""
    owner = f"All{manner.prefix}Routes"
    lines = [f"from rollcall_client.base_routes import {manner.prefix}Performer"]
    lines += [
        f"from rollcall_client.{manner.package}.{group} import {manner.prefix}{to_class(group)}Routes"
        for group in groups
    ]
    lines += ["", "", f"class {owner}:", '    """Every route of the service, by group."""', ""]
    lines += [f"    def __init__(self, performer: {manner.prefix}Performer) -> None:"]
    lines += [f"        self.{group} = {manner.prefix}{to_class(group)}Routes(performer)" for group in groups]
    return HEADER.format(about="all groups of methods") + "\n".join(lines) + "\n"


def _write_request(operation: Operation) -> str:
    path = f'"{operation.path}"'
    inside = operation.at("path")
    if inside:
        path = f"fill_path({path}, {', '.join(f'{each.wire}={each.name}' for each in inside)})"
    options = []
    query = operation.at("query")
    if query:
        options.append(f"query={_write_dict(query)},")
    if operation.body is not None:
        options.append(f"body={_write_body(operation)},")
    if operation.at("key"):
        options.append("headers=make_key_header(idempotency_key),")
    for name, holds in (
        ("can_repeat", operation.can_repeat),
        ("takes_timeout", operation.takes_timeout),
        ("is_long", operation.body == "upload" or operation.answer == "bytes"),
    ):
        if holds:
            options.append(f"{name}=True,")
    summary = operation.summary if operation.summary.endswith("?") else f"{operation.summary}."
    taken = ", ".join(_list_parameters(operation.parameters))
    return "\n".join(
        [
            f"def {operation.name}({taken}) -> Request[{operation.answer}]:",
            *write_docstring(summary, 4),
            f'    return Request("{operation.verb}", {path}, {operation.answer}, {" ".join(options)})',
            "",
        ]
    )


def _write_body(operation: Operation) -> str:
    fields = _write_dict(operation.at("field"))
    if operation.body == "upload":
        return "UploadBody(upload, content_type)"
    if operation.body == "pictures":
        [pictures] = operation.at("picture", "pictures")
        only = operation.at("json_only")
        return f"make_picture_body({pictures.name}, {fields}{f', {_write_dict(only)}' if only else ''})"
    if operation.verb == "PATCH":
        return f'JsonBody({fields}, "{operation.content_type}")'
    return f"JsonBody(drop_none({fields}))"


def _write_dict(parameters: Sequence[Parameter]) -> str:
    return "{" + ", ".join(f'"{each.wire}": {each.name}' for each in parameters) + "}"


def _write_method(group: str, operation: Operation, manner: Manner) -> list[str]:
    parameters = ["self", *_list_parameters([*operation.parameters, TIMEOUT])]
    call = f"requests.{operation.name}({_write_arguments(operation)})"
    if operation.answer == "bytes":
        head = f"def {operation.method}({', '.join(parameters)}) -> {manner.download}:"
        body = f"return self._performer.open_download({call}, timeout_s)"
    else:
        head = f"{manner.define} {operation.method}({', '.join(parameters)}) -> {operation.answer}:"
        give = "return " if operation.answer is not None else ""
        body = f"{give}{manner.wait}self._performer.perform({call}, timeout_s)"
    return [f"    {head}", *_document(operation, operation.parameters), f"        {body}"]


def _write_iterator(group: str, operation: Operation, manner: Manner) -> list[str]:
    assert operation.items is not None
    items, kind = operation.items
    taken = [each for each in operation.parameters if each.name != "cursor"]
    parameters = ["self", *_list_parameters([*taken, TIMEOUT])]
    call = f"requests.{operation.name}({_write_arguments(operation)})"
    name = name_iterator(operation.method)
    start = "async for" if manner is ASYNC else "for"
    return [
        f"    {manner.define} {name}({', '.join(parameters)}) -> {manner.iterator}[{kind}]:",
        *write_docstring(
            f"{operation.summary}, page after page.\n\nA page is fetched when the one before is used up; "
            "`limit` is the most in one, and `timeout_s` holds for each.",
            8,
        ),
        f"        {start} page in self._pages(",
        f"            lambda cursor: {call}, lambda page: page.next_cursor, timeout_s",
        "        ):",
        *(
            [f"            for each in page.{items}:", "                yield each"]
            if manner is ASYNC
            else [f"            yield from page.{items}"]
        ),
    ]


TIMEOUT = Parameter("timeout_s", "", "timeout", "float | None")


def _document(operation: Operation, parameters: Sequence[Parameter]) -> list[str]:
    entries: list[str] = []
    for each in parameters:
        if each.about:
            entries += wrap_entry(f"{each.name}: {each.about}", 8)
    summary = operation.summary if operation.summary.endswith("?") else f"{operation.summary}."
    about = f"{summary}\n\n{operation.about}" if operation.about else summary
    entries += wrap_entry("timeout_s: the most that all tries together take; the client's own by default", 8)
    return write_docstring(about, 8, "Args:", *entries)


def _list_parameters(parameters: Sequence[Parameter]) -> list[str]:
    positional = [each for each in parameters if each.place in POSITIONAL and each.name != "content_type"]
    named = sorted(
        (each for each in parameters if each not in positional), key=lambda each: not each.is_required
    )
    made = [_write_parameter(each) for each in positional]
    return [*made, *(["*"] if named else []), *(_write_parameter(each) for each in named)]


def _write_parameter(parameter: Parameter) -> str:
    default = "" if parameter.is_required else f" = {parameter.default}"
    return f"{parameter.name}: {parameter.type}{default}"


def _write_arguments(operation: Operation) -> str:
    return ", ".join(
        each.name if each.place in POSITIONAL and each.name != "content_type" else f"{each.name}={each.name}"
        for each in operation.parameters
    )


SOURCES: Mapping[str, tuple[str, ...]] = {
    "collections.abc": ("AsyncIterator", "Iterator", "Mapping", "Sequence"),
    "datetime": ("datetime",),
    "typing": ("Any", "Literal"),
    "rollcall_client.bodies": (
        "UNSET",
        "JsonBody",
        "Picture",
        "Unset",
        "Upload",
        "UploadBody",
        "make_picture_body",
    ),
    "rollcall_client.request": ("Request", "drop_none", "fill_path", "make_key_header"),
}


def _write_imports(text: str, types: Types, more: Sequence[str]) -> str:
    lines = list(more)
    for module, names in SOURCES.items():
        found = [name for name in names if has_word(text, name)]
        if found:
            lines.append(f"from {module} import {', '.join(found)}")
    models = sorted(name for name in types.components if has_word(text, name))
    if models:
        lines.append(f"from rollcall_client.models import {', '.join(models)}")
    inputs = sorted(name for name in types.inputs if has_word(text, name))
    if inputs:
        lines.append(f"from rollcall_client.inputs import {', '.join(inputs)}")
    return "\n".join(sorted(lines))
