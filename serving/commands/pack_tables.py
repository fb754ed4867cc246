"""What is known of packs, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rich import box
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from serving.errors import PackError
from serving.packs.licences import hash_terms
from serving.packs.manifest import Artefact, ModelFile, Pack, WheelMember
from serving.packs.removal import measure_size
from serving.packs.store import PackStore

_WIDTH_WITH_TITLES = 120
"""Columns of a terminal from which titles fit beside the rest."""
_NAME_WIDTH = 30
"""Columns for names, so that a terminal of 80 has room for what they mean; longer names are folded."""

NOT_PINNED = "checksum recorded at first fetch, not pinned"
NOT_SEEN = "no checksum known: the first fetch or import records it"


def summarise(store: PackStore, pack: Pack, serving: Collection[str], default: str | None) -> dict[str, Any]:
    """One line of `rollcall packs list`, JSON-able."""
    return {
        "id": pack.id,
        "title": pack.title,
        "licence": pack.licence,
        "licence_restricts": pack.terms is not None,
        "licence_accepted": store.licences.is_accepted(pack),
        "state": store.state_of(pack),
        "size_bytes": measure_size(store, pack),
        "dimension": pack.dimension,
        "precision": pack.precision,
        "calibrated": store.is_calibrated(pack),
        "imported": pack.imported,
        "serves": pack.id in serving,
        "default": pack.id == default,
    }


def make_list(rows: list[dict[str, Any]], width: int) -> Table:
    """The table of `rollcall packs list` for a terminal of so many columns; a narrow one gets no titles."""
    titled = width >= _WIDTH_WITH_TITLES
    table = Table(
        "",
        box=box.SIMPLE,
        caption="* the default; + serves beside it",
        caption_justify="left",
        pad_edge=False,
    )
    for name in ("id", "title", "licence", "state") if titled else ("id", "licence", "state"):
        table.add_column(name, no_wrap=name != "title")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("dim", justify="right", no_wrap=True)
    table.add_column("calibrated", no_wrap=True)
    colours = {"ready": "green", "damaged": "red", "manifest invalid": "red"}
    for row in rows:
        mark = "*" if row["default"] else "+" if row["serves"] else ""
        state = f"[{colours.get(row['state'], 'dim')}]{row['state']}[/]"
        named = (mark, row["id"], escape(row["title"])) if titled else (mark, row["id"])
        if "licence" not in row:
            table.add_row(*named, "", state)
            continue
        licence = "free to use"
        if row["licence_restricts"]:
            licence = "accepted" if row["licence_accepted"] else "restricted"
        table.add_row(
            *named,
            licence,
            state,
            "" if row["state"] == "not fetched" else decimal(row["size_bytes"]),
            str(row["dimension"]),
            "yes" if row["calibrated"] else "no",
        )
    return table


def describe(store: PackStore, pack: Pack) -> dict[str, Any]:
    """All of `rollcall packs info`, JSON-able."""
    accepted = store.licences.read(pack)
    template = pack.template
    return {
        "id": pack.id,
        "title": pack.title,
        "precision": pack.precision,
        "dimension": pack.dimension,
        "origin": "added by you" if pack.imported else "ships with Rollcall",
        "state": store.state_of(pack),
        "size_bytes": measure_size(store, pack),
        "notes": pack.notes,
        "licence": {
            "summary": pack.licence,
            "text": pack.terms and pack.terms.text,
            "url": pack.terms and pack.terms.url,
            "text_sha256": hash_terms(pack),
            "accepted": store.licences.is_accepted(pack),
            "accepted_at": accepted and accepted.accepted_at,
            "accepted_how": accepted and accepted.how,
        },
        "detector": {
            "kind": pack.detector.kind,
            "score_threshold": pack.detector.score_threshold,
            "nms_iou": pack.detector.nms_iou,
            **_describe_artefact(store, pack.detector.artefact),
        },
        "embedder": {
            "size_px": pack.embedder.size_px,
            "mean": list(pack.embedder.mean),
            "scale": pack.embedder.scale,
            "mirrored": pack.embedder.mirrored,
            "channels": pack.embedder.channels,
            **_describe_artefact(store, pack.embedder.artefact),
        },
        "template": {
            "points": template.points.tolist(),
            "weights": template.weights.tolist(),
            "size_px": template.size_px,
        },
        "calibration": _describe_calibration(store, pack),
    }


def make_info(facts: dict[str, Any]) -> Table:
    """The table of `rollcall packs info`: what belongs together indented under its name."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", max_width=_NAME_WIDTH, overflow="fold")
    table.add_column(overflow="fold")
    _add_rows(table, facts, "")
    return table


def _add_rows(table: Table, facts: dict[str, Any], indent: str) -> None:
    for name, value in facts.items():
        if isinstance(value, dict):
            table.add_row(indent + name)
            _add_rows(table, value, f"{indent}  ")
        elif value not in (None, "", []):
            shown = decimal(value) if name == "size_bytes" else str(value)
            table.add_row(f"{indent}{name}", escape(shown))


def _describe_artefact(store: PackStore, artefact: Artefact) -> dict[str, Any]:
    source, path = artefact.source, store.path_of(artefact)
    facts: dict[str, Any] = {"file": source.name, "max_bytes": source.max_bytes}
    if isinstance(source, WheelMember):
        facts |= {"from": f"{source.path} of {source.requirement}, from the package registry"}
    elif isinstance(source, ModelFile):
        urls = source.archive.urls if source.archive else source.urls
        facts |= {"from": list(urls) or "a folder of yours (`rollcall packs add DIR`)"}
        if source.archive is not None:
            facts |= {"archive_sha256": source.archive.sha256 or NOT_PINNED}
    known = store.sources.hash_of(source)
    facts |= {
        "sha256": known,
        "checksum": "pinned by the manifest" if source.sha256 else NOT_PINNED if known else NOT_SEEN,
        "conversion": artefact.conversion,
        "path": str(path) if path is not None and path.is_file() else None,
        "converted_sha256": store.hash_of(artefact),
    }
    return facts


def _describe_calibration(store: PackStore, pack: Pack) -> dict[str, Any]:
    path = store.calibration_path(pack)
    if not store.is_calibrated(pack):
        return {"origin": f"none: run `rollcall calibrate --pack {pack.id}`"}
    try:
        calibration = store.load_calibration(pack)
    except PackError as error:
        return {"origin": f"cannot be used: {error.detail}"}
    stored = calibration.to_json()
    return {
        "origin": f"made by you: {path}" if path.is_file() else "came with the pack",
        "default_threshold": stored["default_threshold"],
        "lowest_false_match_rate": calibration.floor,
        "bands": stored["bands"],
        "true_match_rates": stored["true_match_rates"],
        "provenance": stored["provenance"],
    }
