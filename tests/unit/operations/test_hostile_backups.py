"""A backup comes from where it was kept, so what is in it may be anybody's: it is refused as a whole."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.database.migrations import HEAD
from serving.errors import BackupError
from serving.operations.archive import FORMAT, BackupFile
from serving.operations.backing_up import back_up
from serving.operations.backup_keys import add_key, read_keys
from serving.operations.restoring import RestoreOptions, restore
from tests.unit.operations.conftest import Data

MakeData = Callable[..., Data]
HEADER = {
    "format": FORMAT,
    "rollcall": "0.1.0",
    "revision": HEAD,
    "taken_at": "2026-07-04T18:30:00+00:00",
    "tables": {"person": {"name": "plain"}},
    "packs": {},
    "places": [],
}
DEEP = b"[" * 100_000


def pack_rows(*rows: Any) -> bytes:
    return gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def write_tar(members: dict[str, bytes], **facts: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(data), facts
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def make(header: Any = HEADER, manifest: bytes | None = None, **parts: bytes) -> bytes:
    """A backup whose manifest is right, unless one is given."""
    members = {"header.json": json.dumps(header).encode(), **parts}
    told = {
        name: {
            "sha256": hashlib.sha256(data).hexdigest(),
            "rows": gzip.decompress(data).count(b"\n") if name.endswith(".gz") else 0,
        }
        for name, data in members.items()
    }
    right = json.dumps({"format": FORMAT, "members": told, "rows": {}, "vectors": 0}).encode()
    return write_tar({**members, "manifest.json": right if manifest is None else manifest})


def with_rows(folder: str, *rows: Any, **header: Any) -> bytes:
    return make({**HEADER, **header}, **{f"{folder}/000001.ndjson.gz": pack_rows(*rows)})


HOSTILE = {
    "deep manifest": make(manifest=DEEP),
    "manifest a list": make(manifest=b"[]"),
    "manifest without members": make(manifest=b"{}"),
    "members a list": make(manifest=b'{"members": [1], "rows": {}, "vectors": 0}'),
    "header a list": make([1]),
    "header without facts": make({"format": FORMAT}),
    "no time": make({**HEADER, "taken_at": "x"}),
    "time without a zone": make({**HEADER, "taken_at": "2026-07-04T18:30:00"}),
    "revision that is SQL": make({**HEADER, "revision": "0001'; DROP TABLE person; --"}),
    "places of numbers": make({**HEADER, "places": [1]}),
    "kind that is none": make({**HEADER, "tables": {"person": {"name": "odd"}}}),
    "deep row": make(**{"registry/person/000001.ndjson.gz": gzip.compress(DEEP + b"\n")}),
    "row that is a number": with_rows("registry/person", 1),
    "table of SQLite's own": with_rows(
        "registry/sqlite_master", {"name": "x"}, tables={"sqlite_master": {"name": "plain"}}
    ),
    "table that is SQL": with_rows("registry/a; --", {"a": 1}, tables={"a; --": {"a": "plain"}}),
    "erasure of a number": with_rows("erasures", 5),
    "erasure without a time": with_rows("erasures", ["a", "b"]),
    "pack file above": make(**{"packs/packs/../../evil/000001": b"x"}),
    "pack file without its beginning": make(**{"packs/packs/imported/evil/000002": b"x"}),
    "key above": make(**{"keys/../../evil.pem": b"x"}),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_no_backup_holds_is_refused(name: str, make_data: MakeData, tmp_path: Path) -> None:
    target = make_data("target")
    path = tmp_path / "hostile.backup"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(BackupError):
        await restore(target.settings, BackupFile(path), RestoreOptions(without_list=True))
    assert not [each for each in tmp_path.glob("**/*evil*") if each.is_file()]  # noqa: ASYNC240 - a few files


def test_a_long_extended_header_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.backup"
    path.write_bytes(write_tar({"header.json": b"{}"}, comment="x" * 30_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(BackupError):
            BackupFile(path).verify()
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


async def test_where_there_is_a_key_a_plain_backup_is_anybodys(make_data: MakeData, safe: Path) -> None:
    source = make_data("source")
    await source.fill(people=1)
    add_key(safe / "keys")
    keys = read_keys(safe / "keys")
    report = await back_up(source.settings, safe, key=None)
    with pytest.raises(BackupError, match="--plain"):
        BackupFile(report.path, keys)
    assert BackupFile(report.path, keys, plain=True).verify()["vectors"] == 2
    sealed = await back_up(source.settings, safe / "sealed", key=keys[-1])
    assert BackupFile(sealed.path, keys).verify()["vectors"] == 2
