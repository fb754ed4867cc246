"""What `rollcall evaluate` and `rollcall calibrate` share: their packs, their results folder, their bars."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from serving.commands.console import messages
from serving.commands.pack_preparation import prepare_each

if TYPE_CHECKING:
    from serving.evaluation.result_store import ResultStore
    from serving.packs.store import PackStore, PreparedFiles
    from serving.settings import Settings

People = Annotated[
    Path | None,
    typer.Option(
        "--people", metavar="DIR", help="Folder with a sub-folder of pictures for each person.", exists=True
    ),
]
Pairs = Annotated[
    Path | None,
    typer.Option(
        "--pairs",
        metavar="FILE",
        help="Pairs: LFW's pairs.txt (with --people), or a CSV of path1,path2,same.",
        exists=True,
        dir_okay=False,
    ),
]
Workers = Annotated[
    int, typer.Option("--workers", min=1, max=256, help="Processes that find and embed faces.")
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Where vectors and facts of pictures are kept, so that a stopped run goes on. Default: a folder "
        "of yours among the temporary files.",
    ),
]
Forget = Annotated[
    bool,
    typer.Option(
        "--forget", help="Remove what is kept of pictures: at the end, or at once without pictures."
    ),
]
AcceptLicence = Annotated[
    bool, typer.Option("--accept-licence", help="Accept licences that restrict use, without being asked.")
]

_WITHOUT_SAY = frozenset(
    {"--cache", "--workers", "--output", "--json", "--html"}
    | {"--forget", "--accept-licence", "--dry-run", "--shipped"}
)

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""Cores that this process may use."""


def prepare_packs(
    store: PackStore, settings: Settings, ids: Sequence[str], *, accept_licence: bool
) -> list[PreparedFiles]:
    """The files of the packs named, or of the configured one; fetched where they are not there yet.

    Raises:
        LicenceNotAccepted, PackError: a pack cannot be had.
    """
    from serving.packs.configured import find_configured_pack

    packs = [store.find_pack(name) for name in ids] if ids else [find_configured_pack(settings)]
    unique = list({pack.id: pack for pack in packs}.values())
    return prepare_each(store, unique, store.prepare_files, accept_licence=accept_licence)


@contextmanager
def open_results(directory: Path | None, *, forget: bool) -> Iterator[ResultStore]:
    """The folder that results are kept in while the block runs; removed after it if so asked.

    After an error they stay, because a second run goes on with them.
    """
    from serving.evaluation.result_store import ResultStore, default_directory

    results = ResultStore(directory or default_directory())
    try:
        yield results
    except BaseException:
        results.close()
        messages.print(f"What was measured is kept in {results.directory}; run the same command to go on.")
        raise
    if forget:
        results.forget()
        messages.print(f"Removed the results kept in {results.directory}.")
    else:
        results.close()
        messages.print(
            f"Vectors and facts of the pictures are kept in {results.directory} (no pictures); --forget "
            "removes them."
        )


def forget_results(directory: Path | None) -> None:
    """Remove what is kept, without measuring anything."""
    from serving.evaluation.result_store import ResultStore, default_directory

    results = ResultStore(directory or default_directory())
    results.forget()
    messages.print(f"Removed the results kept in {results.directory}.")


@contextmanager
def show_counts(*names: str) -> Iterator[list[Callable[[int, int], None]]]:
    """One bar for each name, called with what is done and what there is to do."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages) as progress:
        yield [_make_counter(progress, name) for name in names]


def _make_counter(progress: Progress, name: str) -> Callable[[int, int], None]:
    task = progress.add_task(name, total=None)

    def count(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total)

    return count


def tell_command(context: typer.Context) -> str:
    """The command line, for the record: what was typed, less what has no say in the numbers.

    Files and folders are those of this machine, so DIR and FILE stand for them, as in the documentation.
    """
    words = ["rollcall", context.info_name or ""]
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params.get(parameter.name or "")
        option = max(parameter.opts, key=len)
        if option in _WITHOUT_SAY:
            continue
        for each in value if isinstance(value, list | tuple) else [value]:
            words += [option] if each is True else [option, _name_place(each)]
    return shlex.join(words)


def _name_place(value: object) -> str:
    if isinstance(value, Path):
        return "DIR" if value.is_dir() else "FILE"
    return str(value)
