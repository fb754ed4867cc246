"""What `rollcall packs` does with liveness packs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from serving.commands.console import console
from serving.commands.pack_licence import ensure_licence
from serving.commands.pack_progress import show_pack
from serving.errors import PackError
from serving.packs.liveness import MANIFEST_NAME, LivenessPack, find_liveness_pack, list_liveness_packs
from serving.packs.liveness_folder import (
    LivenessFolder,
    add_liveness_pack,
    check_liveness_models,
    is_liveness_pack,
    read_liveness_folder,
    remove_liveness_pack,
)
from serving.packs.manifest import ModelFile
from serving.packs.pack_folder import read_pack_folder
from serving.packs.store import PackStore
from serving.settings import Settings


def split_ids(
    store: PackStore, settings: Settings, ids: list[str] | None
) -> tuple[list[str], list[LivenessPack]]:
    """The ids of other packs, and the liveness packs among ids; without any, the configured one."""
    if not ids:
        named = [] if settings.liveness.model is None else [settings.liveness.model]
        return [], [find_liveness_pack(each, cache_dir=store.cache_dir) for each in named]
    chosen = [each for each in dict.fromkeys(ids) if is_liveness_pack(store, each)]
    others = [each for each in ids if each not in chosen]
    return others, [find_liveness_pack(each, cache_dir=store.cache_dir) for each in chosen]


def summarise_liveness(store: PackStore, settings: Settings) -> list[dict[str, Any]]:
    """One row for each liveness pack, JSON-able."""
    return [
        {
            "id": pack.id,
            "kind": "liveness",
            "title": pack.title,
            "licence": pack.licence,
            "licence_restricts": pack.terms is not None,
            "licence_accepted": store.licences.is_accepted(pack),
            "state": store.state_of(pack),
            "downloadable": all(
                isinstance(artefact.source, ModelFile) and artefact.source.is_downloadable
                for artefact in pack.artefacts
            ),
            "threshold": pack.threshold,
            "imported": pack.imported,
            "serves": pack.id == settings.liveness.model,
            "default": False,
        }
        for pack in list_liveness_packs(store.cache_dir)
    ]


def make_liveness_list(rows: list[dict[str, Any]]) -> Table:
    """The table of liveness packs in `rollcall packs list`."""
    table = Table(
        "", "id", "licence", "state", box=box.SIMPLE, title="Liveness", title_justify="left", pad_edge=False
    )
    for row in rows:
        state = row["state"]
        if state == "not fetched" and not row["downloadable"]:
            state = "not added"
        licence = "restricted" if row["licence_restricts"] else "free to use"
        table.add_row("*" if row["serves"] else "", row["id"], licence, state)
    return table


def describe_liveness(store: PackStore, pack: LivenessPack) -> dict[str, Any]:
    """All of `rollcall packs info` of a liveness pack, JSON-able."""
    return {
        "id": pack.id,
        "kind": "liveness",
        "title": pack.title,
        "state": store.state_of(pack),
        "licence": pack.licence,
        "licence_text": pack.terms and pack.terms.text,
        "licence_url": pack.terms and pack.terms.url,
        "threshold": pack.threshold,
        "threshold_provenance": pack.threshold_provenance,
        "files": [
            {
                "name": artefact.source.name,
                "sha256": artefact.source.sha256,
                "conversion": artefact.conversion,
                "urls": list(getattr(artefact.source, "urls", ())),
            }
            for artefact in pack.artefacts
        ],
        "notes": pack.notes,
    }


def make_liveness_info(facts: dict[str, Any]) -> Table:
    """`describe_liveness` for people."""
    table = Table("", "", show_header=False, show_lines=True)
    for name, value in facts.items():
        if name == "files":
            value = "\n".join(f"{each['name']}  {each['sha256'][:12]}" for each in value)
        table.add_row(name, escape("" if value is None else str(value)))
    return table


def fetch_liveness(store: PackStore, pack: LivenessPack, *, accept_licence: bool) -> None:
    """Download and convert a liveness pack."""
    ensure_licence(store, pack, accept=accept_licence)
    with show_pack(pack.id) as bar:
        store.prepare_artefacts(pack, bar)


def verify_liveness(store: PackStore, pack: LivenessPack) -> None:
    """Check the files of a liveness pack, and run its models."""
    store.licences.require(pack)
    store.verify_artefacts(pack)
    check_liveness_models(store, pack)


def prepare_liveness_pack(store: PackStore, settings: Settings, *, accept_licence: bool) -> None:
    """Make the configured liveness pack ready; quick when it is."""
    for pack in split_ids(store, settings, None)[1]:
        ensure_licence(store, pack, accept=accept_licence)
        if store.is_ready(pack):
            continue
        with show_pack(pack.id) as bar:
            store.prepare_artefacts(pack, bar)


def read_offer(store: PackStore, folder: Path, pack_id: str | None) -> LivenessFolder | None:
    """The liveness pack in a folder, unless another pack is asked for or may be meant."""
    if pack_id is not None:
        own = (folder / MANIFEST_NAME).is_file()
        is_meant = own or is_liveness_pack(store, pack_id)
        return read_liveness_folder(store, folder, pack_id) if is_meant else None
    try:
        read_pack_folder(store, folder)
    except PackError:
        return read_liveness_folder(store, folder) if folder.is_dir() else None
    return None


def add_liveness(store: PackStore, offer: LivenessFolder, *, accept_licence: bool) -> None:
    """Take a liveness pack from a folder."""
    ensure_licence(store, offer.pack, accept=accept_licence)
    with show_pack(offer.pack.id) as bar:
        add_liveness_pack(store, offer, bar)


def remove_liveness(store: PackStore, pack: LivenessPack) -> list[Path]:
    """Delete a liveness pack from the cache; what was deleted."""
    return remove_liveness_pack(store, pack)


def tell_ready(store: PackStore, pack: LivenessPack, *, as_json: bool) -> dict[str, Any]:
    """Say that a liveness pack is ready; the same, JSON-able."""
    if not as_json:
        console.print(f"{pack.id} is ready in {store.directory}; the setting liveness.model makes it serve")
    return {"id": pack.id, "kind": "liveness", "directory": str(store.directory)}
