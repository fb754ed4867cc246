"""`rollcall packs` and `rollcall samples`. Exit codes: 0 done, 1 an error with its cure, 2 wrong usage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.filesize import decimal
from rich.markup import escape

from serving.commands import pack_migration
from serving.commands.console import AsJson, console, fail, messages, print_json, show_steps
from serving.commands.pack_licence import ensure_licence
from serving.commands.pack_preparation import prepare_with_progress
from serving.commands.pack_progress import show_pack
from serving.commands.pack_tables import describe, make_info, make_list, summarise
from serving.errors import CommandError, PackError
from serving.packs.configured import find_served_packs, open_store
from serving.packs.liveness import LivenessPack
from serving.packs.manifest import Pack
from serving.packs.store import PackStore
from serving.settings import Settings, load_settings

packs = typer.Typer(help="Model packs: detector, embedder and calibration.", no_args_is_help=True)
packs.command("migrate")(pack_migration.migrate)

AcceptLicence = Annotated[
    bool, typer.Option("--accept-licence", help="Accept licences that restrict use, without being asked.")
]
SomeIds = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Default: the packs that serve.")
]


@packs.command("list")
def list_packs(as_json: AsJson = False) -> None:
    """Every pack there is, and its state here."""
    from serving.commands import liveness_packs

    settings = load_settings()
    store = open_store(settings)
    served = _served_ids(settings)
    rows = [_summarise(store, pack_id, served) for pack_id in store.pack_ids]
    liveness = liveness_packs.summarise_liveness(store, settings)
    if as_json:
        typer.echo(json.dumps([*rows, *liveness], indent=1))
    else:
        console.print(make_list(rows, console.width))
        console.print(liveness_packs.make_liveness_list(liveness))


@packs.command("fetch")
def fetch(ids: SomeIds = None, accept_licence: AcceptLicence = False, as_json: AsJson = False) -> None:
    """Download, convert and check packs; goes on where it was interrupted."""
    from serving.commands import liveness_packs

    settings = load_settings()
    store = open_store(settings)
    others, liveness = liveness_packs.split_ids(store, settings, ids)
    fetched: list[dict[str, Any]] = []
    for each in liveness:
        liveness_packs.fetch_liveness(store, each, accept_licence=accept_licence)
        fetched.append(liveness_packs.tell_ready(store, each, as_json=as_json))
    for pack in _find(store, settings, others) if others or not ids else []:
        ensure_licence(store, pack, accept=accept_licence)
        with show_pack(pack.id) as bar:
            store.prepare_files(pack, bar)
        fetched.append(_tell_ready(store, pack, as_json=as_json))
    if as_json:
        print_json(fetched)


@packs.command("prepare")
def prepare(accept_licence: AcceptLicence = False, as_json: AsJson = False) -> None:
    """Make the packs that serve ready, calibration included; quick when that is done already."""
    prepared = prepare_with_progress(load_settings(), accept_licence=accept_licence)
    if as_json:
        print_json({"id": prepared.pack.id, "directory": str(prepared.directory)})
    else:
        console.print(f"{prepared.pack.id} is ready in {prepared.directory}")


@packs.command("verify")
def verify(ids: SomeIds = None, as_json: AsJson = False) -> None:
    """Check every file against its hash, and load and run the models."""
    from serving.commands import liveness_packs
    from serving.packs.model_check import check_models  # loads OpenCV and ONNX Runtime

    settings = load_settings()
    store = open_store(settings)
    verified: list[dict[str, Any]] = []

    def note(pack: Pack | LivenessPack, error: PackError | None) -> None:
        fault = None if error is None else {"code": error.code, "detail": error.detail}
        verified.append({"id": pack.id, "sound": error is None, "fault": fault})
        if error is not None:
            fail(error)
        elif not as_json:
            console.print(f"{pack.id}: every file has its hash, and the models run")

    others, liveness = liveness_packs.split_ids(store, settings, ids)
    for each in liveness:
        try:
            liveness_packs.verify_liveness(store, each)
        except PackError as error:
            note(each, error)
        else:
            note(each, None)
    for pack in _find(store, settings, others) if others or not ids else []:
        try:
            store.licences.require(pack)
            files = store.verify_files(pack)
            for artefact in pack.artefacts:
                source = store.sources.path_of(artefact.source)
                if source is not None and source.is_file() and not store.sources.holds(artefact.source):
                    raise PackError(
                        f"{source} is damaged; delete it, or run `rollcall packs fetch {pack.id}`"
                    )
            check_models(files)
        except PackError as error:
            note(pack, error)
        else:
            note(pack, None)
            _say_what_is_missing(store, pack)
    if as_json:
        print_json(verified)
    if not all(each["sound"] for each in verified):
        raise typer.Exit(1)


@packs.command("info")
def info(pack_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """All about one pack: its manifest, files, licence and calibration."""
    from serving.commands import liveness_packs

    settings = load_settings()
    store = open_store(settings)
    for each in liveness_packs.split_ids(store, settings, [pack_id])[1]:
        told = liveness_packs.describe_liveness(store, each)
        if as_json:
            typer.echo(json.dumps(told, indent=1))
        else:
            console.print(liveness_packs.make_liveness_info(told))
        return
    facts = describe(store, _find(store, settings, [pack_id])[0])
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
    else:
        console.print(make_info(facts))


@packs.command("add")
def add(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of model files, or a zip file.")],
    pack_id: Annotated[
        str | None,
        typer.Option("--pack", metavar="ID", help="Which pack it is, where the files fit several."),
    ] = None,
    accept_licence: AcceptLicence = False,
    as_json: AsJson = False,
) -> None:
    """Take a pack from a folder, without a network.

    The folder holds the model files or the upstream zip of a pack that `rollcall packs list` shows, or the
    files of a pack of your own with a `pack.yaml` that describes it (docs/packs.md), or, for liveness models,
    a `liveness.yaml` (docs/liveness.md).
    """
    from serving.commands import liveness_packs
    from serving.packs.model_check import check_models
    from serving.packs.pack_folder import add_pack, read_pack_folder
    from serving.packs.removal import plan_removal, remove_packs

    store = open_store(load_settings())
    known = set(store.pack_ids)
    found = liveness_packs.read_offer(store, folder, pack_id)
    if found is not None:
        liveness_packs.add_liveness(store, found, accept_licence=accept_licence)
        told = liveness_packs.tell_ready(store, found.pack, as_json=as_json)
        if as_json:
            print_json(told)
        return
    offer = read_pack_folder(store, folder, pack_id)
    ensure_licence(store, offer.pack, accept=accept_licence)
    with show_pack(offer.pack.id) as bar:
        files = add_pack(store, offer, bar)
        bar("run the models", 1.0)
        try:
            check_models(files)
        except PackError:
            if offer.pack.id not in known:
                remove_packs(store, plan_removal(store, [offer.pack]))
            raise
    told = _tell_ready(store, offer.pack, as_json=as_json)
    if as_json:
        print_json(told)


@packs.command("remove")
def remove(
    ids: Annotated[list[str], typer.Argument(metavar="ID...")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also a pack that the settings let serve.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete packs from the model cache, but for files that others there need."""
    from serving.commands import liveness_packs
    from serving.packs.removal import plan_removal, remove_packs

    settings = load_settings()
    store = open_store(settings)
    others, liveness = liveness_packs.split_ids(store, settings, ids)
    chosen = _find(store, settings, others) if others else []
    serving = {pack.id for pack in chosen} & set(_served_ids(settings))
    serving |= {pack.id for pack in liveness} & {settings.liveness.model}
    if serving and not force:
        raise CommandError(
            f"{', '.join(sorted(serving))} serves by the settings; --force removes it all the same"
        )
    removal = plan_removal(store, chosen)
    for path in removal.deleted:
        messages.print(f"  {escape(str(path))}")
    if removal.shared_with:
        messages.print(f"Shared files stay, for {', '.join(removal.shared_with)}.")
    names = ", ".join([*(pack.id for pack in chosen), *(pack.id for pack in liveness)])
    size = decimal(removal.size_bytes)
    if not yes and not typer.confirm(f"Remove {names}, {size}?", err=True):
        raise typer.Exit(1)
    deleted = [path for each in liveness for path in liveness_packs.remove_liveness(store, each)]
    if chosen:
        remove_packs(store, removal)
        deleted += removal.deleted
    if as_json:
        print_json(
            {
                "removed": [*(each.id for each in chosen), *(each.id for each in liveness)],
                "deleted": map(str, deleted),
            }
        )
    else:
        console.print(f"removed {names}: {len(deleted)} files" + (f", {size}" if chosen else ""))


def write_samples(
    directory: Annotated[Path, typer.Argument(help="Where to put them.")] = Path("data/samples"),
    as_json: AsJson = False,
) -> None:
    """Get a few real pictures to try Rollcall with, from the package registry."""
    from serving.packs.samples import prepare_samples

    with show_steps("Sample pictures") as bar:
        bar("download insightface==2.1", 0.1)
        samples = prepare_samples(directory)
        bar("ready", 1.0)
    if as_json:
        print_json({name: str(path) for name, path in samples.items()})
        return
    for name, path in samples.items():
        console.print(f"{name}: {path}")


def _find(store: PackStore, settings: Settings, ids: list[str] | None) -> list[Pack]:
    if not ids:
        return list(find_served_packs(settings))
    return list({pack.id: pack for pack in map(store.find_pack, ids)}.values())


def _served_ids(settings: Settings) -> list[str]:
    """Ids of the packs that serve by the settings, the default first; none where one is unknown."""
    try:
        return [pack.id for pack in find_served_packs(settings)]
    except PackError:
        return []


def _summarise(store: PackStore, pack_id: str, served: list[str]) -> dict[str, Any]:
    try:
        return summarise(store, store.find_pack(pack_id), served, served[0] if served else None)
    except PackError as error:
        return {
            "id": pack_id,
            "title": error.detail,
            "state": "manifest invalid",
            "imported": True,
            "serves": False,
            "default": False,
        }


def _tell_ready(store: PackStore, pack: Pack, *, as_json: bool) -> dict[str, Any]:
    """Say that a pack is ready; the same, JSON-able."""
    if not as_json:
        console.print(f"{pack.id} is ready in {store.directory}")
    _say_what_is_missing(store, pack)
    return {"id": pack.id, "directory": str(store.directory), "calibrated": store.is_calibrated(pack)}


def _say_what_is_missing(store: PackStore, pack: Pack) -> None:
    if not store.is_calibrated(pack):
        messages.print(
            f"{pack.id} is not calibrated: run `rollcall calibrate --pack {pack.id}` before it serves"
        )
