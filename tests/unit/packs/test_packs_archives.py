"""Zip files of others: only what is wanted, only within bounds, and never where the archive says."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from serving.errors import PackError
from serving.packs.archives import Wanted, extract_members, list_members
from tests.unit.packs.own_pack import sha256

DATA = b"model" * 1000


def _zip(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def _want(folder: Path, max_bytes: int = len(DATA), digest: str | None = None) -> Wanted:
    return Wanted("model.onnx", digest, max_bytes, folder / "out" / "taken.onnx")


@pytest.mark.parametrize(
    "inside", ["model.onnx", "pack/model.onnx", "../../model.onnx", "/etc/model.onnx", "C:\\x\\model.onnx"]
)
def test_a_member_lands_where_we_say_whatever_its_path(tmp_path: Path, inside: str) -> None:
    archive = _zip(tmp_path / "a.zip", (inside, DATA), ("../../evil.sh", b"x"), ("other.onnx", b"y"))
    wanted = _want(tmp_path, digest=sha256(DATA))
    assert extract_members(archive, [wanted]) == {"model.onnx": sha256(DATA)}
    assert wanted.target.read_bytes() == DATA
    assert {path.name for path in tmp_path.rglob("*")} == {"a.zip", "out", "taken.onnx"}
    assert not (tmp_path.parent / "evil.sh").exists()
    assert "model.onnx" in list_members(archive)


def test_a_member_without_a_name_is_no_member(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", ("?", b""), ("model.onnx", DATA))
    nameless = archive.read_bytes().replace(b"?", b"\0")
    archive.write_bytes(nameless)
    assert list_members(archive) == {"", "model.onnx"}
    assert extract_members(archive, [_want(tmp_path)]) == {"model.onnx": sha256(DATA)}


def test_a_member_before_the_beginning_is_damage(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", ("model.onnx", DATA))
    data = bytearray(archive.read_bytes())
    size = data.index(b"PK\x05\x06") + 12  # of the central directory: a little larger than it is
    data[size : size + 4] = (int.from_bytes(data[size : size + 4], "little") + 40).to_bytes(4, "little")
    archive.write_bytes(data)
    with pytest.raises(PackError):
        extract_members(archive, [_want(tmp_path)])


def _link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("model.onnx")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("members", "max_bytes", "words"),
    [
        ([("other.onnx", DATA)], 10**6, "has 0 files called model.onnx"),
        ([("a/model.onnx", DATA), ("b/model.onnx", DATA)], 10**6, "has 2 files"),
        ([("model.onnx/", b"")], 10**6, "has 0 files"),
        ([(_link(), b"/etc/passwd")], 10**6, "is a link"),
        ([("model.onnx", b"\0" * 10**7)], 10**6, "larger than 1000000 bytes"),
        ([("model.onnx", b"something else")], 10**6, "sha256"),
    ],
)
def test_what_is_not_as_expected_is_refused(
    tmp_path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]], max_bytes: int, words: str
) -> None:
    archive = _zip(tmp_path / "a.zip", *members)
    wanted = _want(tmp_path, max_bytes, sha256(DATA))
    with pytest.raises(PackError, match=words):
        extract_members(archive, [wanted])
    assert not wanted.target.exists()
    assert list((tmp_path / "out").glob("*")) == []


def test_a_bomb_that_lies_about_its_size_stops_at_the_bound(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", ("model.onnx", b"\0" * 10**7))
    data = archive.read_bytes()
    size = (10**7).to_bytes(4, "little")
    archive.write_bytes(data.replace(size, (1000).to_bytes(4, "little")))
    with pytest.raises(PackError):
        extract_members(archive, [_want(tmp_path, 2000)])
    assert list((tmp_path / "out").glob("*")) == []


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_methods_that_may_take_any_memory_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("model.onnx", DATA)
    with pytest.raises(PackError, match="deflate"):
        extract_members(tmp_path / "a.zip", [_want(tmp_path)])


def test_damaged_archives_are_pack_errors(tmp_path: Path) -> None:
    good = _zip(tmp_path / "a.zip", ("model.onnx", bytes(range(256)) * 40)).read_bytes()
    for name, data in {
        "empty": b"",
        "text": b"no zip",
        "cut": good[:-30],
        "flip": good[:60] + b"\0\0" + good[62:],
    }.items():
        path = tmp_path / f"{name}.zip"
        path.write_bytes(data)
        with pytest.raises(PackError):
            extract_members(path, [_want(tmp_path, 10**6)])
