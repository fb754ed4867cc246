"""The progress of getting a pack: its steps, and each download with bytes and speed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from serving.commands.console import messages


class PackBar:
    """Call it with the step and the fraction done, 0..1; show_bytes adds a bar for a download."""

    def __init__(self, steps: Progress, downloads: Progress, title: str) -> None:
        self._steps, self._downloads = steps, downloads
        self._task = steps.add_task(title, total=1.0, step="")
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, fraction: float) -> None:
        self._steps.update(self._task, completed=fraction, step=step)

    def show_bytes(self, name: str, done: int, total: int | None) -> None:
        """A download called `name` has `done` of `total` bytes; total None: unknown."""
        if name not in self._tasks:
            self._tasks[name] = self._downloads.add_task(name, total=total)
        self._downloads.update(self._tasks[name], completed=done, total=total)


class PackLines:
    """For logs: a line whenever something that takes time begins."""

    def __init__(self, title: str) -> None:
        self._title, self._last = title, ""

    def __call__(self, step: str, fraction: float) -> None:
        if step != self._last and not step.startswith(("check", "wait", "ready")):
            messages.print(f"{self._title}: {escape(step)}")
        self._last = step


@contextmanager
def show_pack(title: str) -> Iterator[PackBar | PackLines]:
    """A `PackBar` on standard error while the block runs; lines where that is no terminal."""
    if not messages.is_terminal:
        yield PackLines(title)
        return
    steps = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[step]}"),
    )
    downloads = Progress(
        TextColumn("  {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Live(Group(steps, downloads), console=messages, refresh_per_second=8):
        yield PackBar(steps, downloads, title)
