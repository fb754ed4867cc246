"""What is fuzzed: each function takes any bytes and raises nothing but what a caller would be answered."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from fastapi import Request
from PIL import Image

from serving.api.admission import AdmissionGate
from serving.api.bodies import read_pictures
from serving.api.client_address import find_address
from serving.api.deadlines import Deadline
from serving.errors import PackError, RollcallError
from serving.jobs.archive import Archive
from serving.jobs.source import ImportLimits, ImportSource
from serving.jobs.vector_lines import VectorLines
from serving.packs.archives import Wanted, extract_members, list_members
from serving.packs.dlib_format import read_network
from serving.packs.manifest_format import parse_manifest
from serving.settings import load_settings
from serving.vision.picture import REDUCTIONS, PictureLimits, decode_reduced, read_header
from tests.unit.hostile.corpus import make_png
from tests.unit.jobs.archives import make_tar, make_targz, make_zip
from tests.unit.packs.own_pack import write_manifest

Target = Callable[[bytes], None]
PICTURE_LIMITS = PictureLimits(max_bytes=2**20, max_pixels=2_000_000, min_side_px=8)
IMPORT_LIMITS = ImportLimits(max_items=50, max_entry_bytes=2**16, max_unpacked_bytes=2**20, group=5)
CONTENT_TYPES = (
    "application/json", "multipart/form-data; boundary=b", "image/jpeg",
    "multipart/form-data; boundary=b; charset=utf-16", "", "multipart/form-data",
    "application/json; charset=utf-7", "text/plain",
)  # fmt: skip
MAX_SEED_BYTES = 100_000
PATCH_BYTES = 12


def fuzz_picture(data: bytes) -> None:
    """Header and pixels, whole and reduced; what the header says must be what comes out."""
    try:
        header = read_header(data, PICTURE_LIMITS)
        reduction = REDUCTIONS[len(data) % len(REDUCTIONS)] if header.format == "jpeg" else 1
        reduced = decode_reduced(data, header, reduction)
    except RollcallError:
        return
    height, width, channels = reduced.pixels.shape
    assert channels == 3
    assert (width, height) == (-(-header.width // reduction), -(-header.height // reduction))


def fuzz_body(data: bytes) -> None:
    """A request body with pictures; its first byte says how it is sent, its second in what pieces."""
    kind = CONTENT_TYPES[data[0] % len(CONTENT_TYPES)] if data else ""
    size = 1 + (data[1] if len(data) > 1 else 255) * 8
    asyncio.run(_read_body(kind, [data[at : at + size] for at in range(2, len(data), size)]))


async def _read_body(kind: str, pieces: list[bytes]) -> None:
    left = list(pieces)

    async def receive() -> dict:
        body = left.pop(0) if left else b""
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"content-type", kind.encode())],
    }
    gate = AdmissionGate(1, 2**24)
    status = 200
    try:
        with gate.admit() as admission:
            body = await read_pictures(
                Request(scope, receive),
                SimpleNamespace(settings=_settings()),  # type: ignore[arg-type]
                admission,
                Deadline(10),
                numbers=("top_k",),
                objects=("face",),
            )
            assert body.pictures
            assert all(isinstance(value, str) for value in body.fields.values())
    except RollcallError as error:
        status = error.status
        json.dumps(error.context)
    assert status < 500
    assert gate.bytes == gate.requests == 0


@functools.cache
def _settings() -> object:
    return load_settings({})


def fuzz_archive(data: bytes) -> None:
    """An upload of pictures: ZIP or TAR, read to its end twice, within its bounds, the same both times."""
    _read_twice(data, lambda path: Archive(path, IMPORT_LIMITS))


def fuzz_vectors(data: bytes) -> None:
    """An upload of vectors."""
    _read_twice(data, lambda path: VectorLines(path, "starter", 4, IMPORT_LIMITS))


def _read_twice(data: bytes, open_source: Callable[[Path], ImportSource]) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        seen = []
        for _ in range(2):
            try:
                source = open_source(Path(file.name))
            except RollcallError as error:
                seen.append([error.code])
                continue
            names: list[str] = []
            try:
                count = source.count()
                for group in source.groups(0):
                    names += [f"{item.place} {item.name}" for item in group.items]
                assert len(names) == count <= 2 * IMPORT_LIMITS.max_items
            except RollcallError as error:
                names.append(error.code)
            finally:
                source.close()
            seen.append(names)
        assert seen[0] == seen[1]


def fuzz_pack_archive(data: bytes) -> None:
    """A ZIP of somebody's models."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zip"
        path.write_bytes(data)
        target = Path(folder) / "out" / "model.onnx"
        try:
            list_members(path)
            extract_members(path, [Wanted("model.onnx", None, 2**16, target)])
        except PackError:
            assert not target.exists()
        assert {each.name for each in Path(folder).rglob("*")} <= {"a.zip", "out", "model.onnx"}


def fuzz_manifest(data: bytes) -> None:
    """A pack's manifest."""
    try:
        parse_manifest(data.decode("utf-8", "replace"), "here")
    except RollcallError:
        return


def fuzz_dlib(data: bytes) -> None:
    """dlib's network: the real file with patches of ten bytes where the first two say; else these bytes."""
    whole = _dlib_file()
    changed = bytearray(whole or data)
    if whole:
        for at in range(0, len(data) - PATCH_BYTES, PATCH_BYTES):
            place = int.from_bytes(data[at : at + 2], "big")
            changed[place : place + 10] = data[at + 2 : at + PATCH_BYTES]
        if data and data[-1] < 128:
            changed = changed[: data[-1] * len(changed) // 128]
    try:
        read_network(bytes(changed))
    except PackError:
        return


@functools.cache
def _dlib_file() -> bytes:
    found = sorted((Path.home() / ".cache/rollcall/packs/sources").glob("*dlib_face_recognition*.dat"))
    return found[0].read_bytes() if found else b""


def fuzz_address(data: bytes) -> None:
    """The headers that say who called: whatever a client sends, the answer is an address or none."""
    peer, _, forwarded = data.partition(b"\n")
    scope = {"headers": [(b"x-rollcall-peer", peer), (b"x-forwarded-for", forwarded)]}
    address = find_address(scope, ("127.0.0.0/8", "10.0.0.0/8", "fd00::/8"))
    assert address is None or len(address) <= 39


TARGETS: dict[str, Target] = {
    "picture": fuzz_picture,
    "body": fuzz_body,
    "archive": fuzz_archive,
    "vectors": fuzz_vectors,
    "pack_archive": fuzz_pack_archive,
    "manifest": fuzz_manifest,
    "dlib": fuzz_dlib,
    "address": fuzz_address,
}


def make_seeds(name: str, corpus: Path | None = None) -> Iterator[bytes]:
    """What a target is meant for, to begin with; `corpus` is the hostile one, where it is at hand."""
    picture = make_png(16, 16)
    if name == "picture":
        noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
        for kind, options in (
            ("JPEG", {}),
            ("JPEG", {"progressive": True}),
            ("PNG", {}),
            ("WEBP", {}),
            ("WEBP", {"lossless": True}),
        ):
            out = io.BytesIO()
            exif = Image.Exif()
            exif[0x0112] = 6
            Image.fromarray(noise).save(out, kind, exif=exif, **options)
            yield out.getvalue()
        yield picture
        for path in sorted(corpus.rglob("*")) if corpus is not None else ():
            if path.is_file() and 0 < path.stat().st_size < MAX_SEED_BYTES:
                yield path.read_bytes()
    elif name == "body":
        form = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="p"\r\n\r\n'
        field = b'\r\n--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nA\r\n--b--\r\n'
        yield b"\x01\xff" + form + picture + field
        yield b"\x03\x01" + form + picture + field
        yield b'\x00\xff{"picture": "iVBORw0KGgo=", "top_k": 3, "face": {"a": [1]}, "name": "\\ud83d"}'
        yield b"\x02\x10" + picture
    elif name in ("archive", "pack_archive"):
        files = [
            ("ada/1.png", picture),
            ("bob.jpg", b"\xff\xd8"),
            ("people.ndjson", b'{"person_id": "ada"}\n'),
            ("model.onnx", b"x" * 99),
        ]
        yield make_zip(files)
        if name == "archive":
            yield make_zip(files, zipfile.ZIP_STORED)
            yield make_tar(files)
            yield make_targz(files)
    elif name == "vectors":
        yield b'{"person_id": "ada", "pack_id": "starter", "faces": [{"vector": [1, 0, 0, 0]}]}\n'
    elif name == "manifest":
        yield write_manifest().encode()
    elif name == "dlib":
        yield bytes(PATCH_BYTES + 1)
        yield b"\x00\x10" + b"\xff" * 11
    else:
        yield b"10.0.0.1\n192.0.2.1, 10.0.0.2"
        yield b"[::1]:80\nfe80::1%eth0"
