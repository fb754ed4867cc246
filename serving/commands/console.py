"""How commands speak: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from serving.errors import RollcallError

console = Console(highlight=False, soft_wrap=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
messages = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(error: RollcallError) -> None:
    """Say what went wrong and what to do about it."""
    messages.print(f"[bold red]{escape(error.title)}[/]: {escape(error.detail)}")
    messages.print(f"[bold]What to do:[/] {escape(error.cure)}")


class StepBar:
    """A progress bar over named steps; call it with the step and the fraction done, 0..1."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=1.0, step="")

    def __call__(self, step: str, fraction: float) -> None:
        self._progress.update(self._task, completed=fraction, step=step)


@contextmanager
def show_steps(title: str) -> Iterator[StepBar]:
    """A `StepBar` on standard error while the block runs."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[step]}"),
    )
    with Progress(*columns, console=messages) as progress:
        yield StepBar(progress, title)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    typer.echo(write_json(_to_json(value), indent=1))


def write_json(value: Any, indent: int | None = None) -> str:
    """JSON for people; bytes of file names that are no UTF-8 as the escapes that JSON has for them."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


def _to_json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Mapping):
        return {name: _to_json(each) for name, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_to_json(each) for each in value]
    return value
