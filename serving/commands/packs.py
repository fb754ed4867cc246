"""`rollcall packs` and `rollcall samples`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving.commands.console import console, show_steps
from serving.packs.configured import find_configured_pack, prepare_pack
from serving.packs.store import PackStore, PreparedPack
from serving.settings import Settings, load_settings

packs = typer.Typer(help="Model packs: detector, embedder and calibration.", no_args_is_help=True)


@packs.command("prepare")
def prepare() -> None:
    """Download, convert and check the configured pack; quick when that is done already."""
    prepared = prepare_with_progress(load_settings())
    console.print(f"{prepared.pack.id} is ready in {prepared.directory}")


@packs.command("verify")
def verify() -> None:
    """Check the files of the configured pack against their hashes."""
    settings = load_settings()
    prepared = PackStore(settings.cache_dir).verify(find_configured_pack(settings))
    console.print(f"{prepared.pack.id}: every file has its hash")


def prepare_with_progress(settings: Settings) -> PreparedPack:
    """`prepare_pack` with a progress bar, which a pack that is ready does not need."""
    if PackStore(settings.cache_dir).is_ready(find_configured_pack(settings)):
        return prepare_pack(settings)
    with show_steps("Model pack") as bar:
        return prepare_pack(settings, bar)


def write_samples(
    directory: Annotated[Path, typer.Argument(help="Where to put them.")] = Path("data/samples"),
) -> None:
    """Get a few real pictures to try Rollcall with, from the package registry."""
    from serving.packs.samples import prepare_samples

    with show_steps("Sample pictures") as bar:
        bar("download insightface==2.1", 0.1)
        samples = prepare_samples(directory)
        bar("ready", 1.0)
    for name, path in samples.items():
        console.print(f"{name}: {path}")
