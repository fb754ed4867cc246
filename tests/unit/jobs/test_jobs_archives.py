"""Archives: what is read from good ones, and that no hostile one does more than be refused."""

from __future__ import annotations

import gzip
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.errors import BadArchive, RollcallError
from serving.jobs.archive import Archive
from serving.jobs.entry_names import find_person
from serving.jobs.source import ImportLimits
from tests.unit.jobs.archives import (
    FILES,
    central,
    end,
    make_special_tar,
    make_tar,
    make_targz,
    make_zip,
    patched,
    unsigned,
)

LIMITS = ImportLimits(max_items=50, max_entry_bytes=100_000, max_unpacked_bytes=2_000_000, group=4)
MAKERS = {
    "zip": make_zip,
    "stored zip": lambda files: make_zip(files, zipfile.ZIP_STORED),
    "tar": make_tar,
    "gnu tar": lambda files: make_tar(files, format=tarfile.GNU_FORMAT),
    "old tar": lambda files: make_tar(files, format=tarfile.USTAR_FORMAT),
    "tar.gz": make_targz,
}
EVERY_KIND = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())

Read = tuple[int, str, str | None, object]


def read(path: Path, data: bytes, start: int = 0, limits: ImportLimits = LIMITS) -> tuple[int, list[Read]]:
    """The number of items, and (place, name, person, content or code) of each."""
    path.write_bytes(data)
    archive = Archive(path, limits)
    try:
        total = archive.count()
        items = [
            (
                item.place,
                item.name,
                item.person and item.person.id,
                item.content.code if isinstance(item.content, RollcallError) else item.content,
            )
            for group in archive.groups(start)
            for item in group.items
        ]
    finally:
        archive.close()
    return total, items


@EVERY_KIND
def test_pictures_by_person(tmp_path: Path, make: Callable[..., bytes]) -> None:
    total, items = read(tmp_path / "upload", make(FILES))
    assert total == 3
    assert sorted(item[1:] for item in items) == [
        ("ada/1.jpg", "ada", b"ada one"),
        ("ada/2.webp", "ada", b"ada two"),
        ("bob.png", "bob", b"bob one"),
    ]
    assert [item[0] for item in items] == [0, 1, 2]


@EVERY_KIND
@pytest.mark.parametrize("start", range(4))
def test_reading_resumes_anywhere(tmp_path: Path, make: Callable[..., bytes], start: int) -> None:
    _, whole = read(tmp_path / "upload", make(FILES))
    assert read(tmp_path / "upload", make(FILES), start) == (3, whole[start:])


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_pictures_of_one_person_come_together(tmp_path: Path, make: Callable[..., bytes]) -> None:
    files = [(f"{person}/{number}.jpg", b"x") for number in range(6) for person in ("ada", "bob")]
    (tmp_path / "upload").write_bytes(make(files))
    archive = Archive(tmp_path / "upload", LIMITS)
    archive.count()
    groups = [
        ({item.person.id for item in group.items if item.person}, len(group.items))
        for group in archive.groups(0)
    ]
    assert groups == [({"ada"}, 4), ({"ada"}, 2), ({"bob"}, 4), ({"bob"}, 2)]


@EVERY_KIND
def test_what_people_ndjson_says(tmp_path: Path, make: Callable[..., bytes]) -> None:
    lines = (
        b'{"person_id": "ada", "name": "Ada L.", "metadata": {"team": 4}, "consent_reference": "c-1"}\n\n'
        b'{"person_id": "eve"}\n{"person_id": "bob", "nickname": "B"}\nnonsense\n{"person_id": "ada"}\n'
    )
    (tmp_path / "upload").write_bytes(make([*FILES, ("./people.ndjson", lines)]))
    archive = Archive(tmp_path / "upload", LIMITS)
    assert archive.count() == 3 + 4
    groups = list(archive.groups(0))
    rejected = [item.name for group in groups for item in group.items if item.person is None]
    assert rejected == [f"people.ndjson: line {number}" for number in (4, 5, 6, 3)]
    people = [item.person for group in groups for item in group.items if item.person]
    facts = {person.id: person.details for person in people}
    assert (facts["ada"].name, facts["ada"].metadata, facts["ada"].consent_reference) == (
        "Ada L.",
        {"team": 4},
        "c-1",
    )
    assert facts["bob"].name is None
    assert [item.place for group in archive.groups(2) for item in group.items] == [2, 3, 4, 5, 6]


@EVERY_KIND
def test_entries_that_are_no_pictures_of_anybody(tmp_path: Path, make: Callable[..., bytes]) -> None:
    names = {
        "/etc/passwd.jpg": "invalid_request",
        "../ada.jpg": "invalid_request",
        "ada/../../bob.jpg": "invalid_request",
        "ada/deep/1.jpg": "invalid_request",
        "ada lovelace/1.jpg": "invalid_request",
        "-ada.jpg": "invalid_request",
        "C:\\ada.jpg": "invalid_request",
        "ada/notes.txt": "unsupported_picture_type",
        "ada/more.zip": "unsupported_picture_type",
        "ada": "unsupported_picture_type",
        f"ada/{'x' * 600}.jpg": "invalid_request",
        "ada/big.jpg": "picture_too_large",
    }
    if make is MAKERS["old tar"]:  # cannot hold so long a name
        names = {name: code for name, code in names.items() if len(name) < 100}
    files = [(name, b"x" * (100_001 if "big" in name else 5)) for name in names]
    total, items = read(tmp_path / "upload", make([*files, ("bob.jpg", b"bob")]))
    assert total == len(names) + 1
    found = {str(name)[:100]: content for _, name, _, content in items}
    assert found == {**{name[:100]: code for name, code in names.items()}, "bob.jpg": b"bob"}


@EVERY_KIND
def test_clutter_is_passed_over(tmp_path: Path, make: Callable[..., bytes]) -> None:
    clutter = [
        (name, b"x") for name in ("__MACOSX/ada/._1.jpg", ".DS_Store", "ada/.hidden.jpg", "ada/Thumbs.db")
    ]
    assert read(tmp_path / "upload", make([*clutter, ("./bob.jpg", b"bob")]))[0] == 1


@EVERY_KIND
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_given_twice_counts_once(tmp_path: Path, make: Callable[..., bytes]) -> None:
    data = make([("ada.jpg", b"first"), ("ada.jpg", b"second"), ("./ada.jpg", b"third")])
    _, items = read(tmp_path / "upload", data)
    assert [content for *_, content in items] == [b"first", "invalid_request", "invalid_request"]


DAMAGED_ENTRIES = {
    "encrypted": central(8, unsigned(1, 2)),
    "packed by lzma": central(10, unsigned(14, 2)),
    "symbolic link": lambda data: central(5, b"\x03")(central(38, unsigned(0o120777 << 16))(data)),
    "device": lambda data: central(5, b"\x03")(central(38, unsigned(0o060666 << 16))(data)),
    "wrong checksum": central(16, unsigned(1)),
    "packed size too small": central(20, unsigned(2)),
    "offset beyond the end": central(42, unsigned(0x7FFFFFFF)),
    "offset into the middle": central(42, unsigned(3)),
    "garbage for data": lambda data: patched(data, b"PK\x03\x04", 30 + len("ada/1.jpg"), b"\xff\xff\xff"),
}


@pytest.mark.parametrize("damage", DAMAGED_ENTRIES.values(), ids=DAMAGED_ENTRIES.keys())
def test_a_bad_entry_of_a_zip_harms_no_other(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    total, items = read(tmp_path / "upload", damage(make_zip(FILES)))
    assert total == 3
    assert sorted(str(content) for *_, content in items) == ["b'ada two'", "b'bob one'", "invalid_request"]


SPECIAL = {
    "symbolic link": {"kind": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "hard link": {"kind": tarfile.LNKTYPE, "linkname": "bob.jpg"},
    "link with a size": {"kind": tarfile.SYMTYPE, "size": 5_000, "linkname": "x"},
    "character device": {"kind": tarfile.CHRTYPE},
    "block device": {"kind": tarfile.BLKTYPE},
    "pipe": {"kind": tarfile.FIFOTYPE},
    "sparse": {"kind": tarfile.GNUTYPE_SPARSE},
    "unknown": {"kind": b"Z"},
}


@pytest.mark.parametrize("entry", SPECIAL.values(), ids=SPECIAL.keys())
def test_tar_entries_that_are_no_files(tmp_path: Path, entry: dict[str, object]) -> None:
    fields = {**entry}
    data = make_special_tar("ada.jpg", fields.pop("kind"), **fields)  # type: ignore[arg-type]
    total, items = read(tmp_path / "upload", data)
    assert total == 2
    assert [content for *_, content in items] == ["invalid_request", b"bob"]


def _tar_with_size(size: int) -> bytes:
    header = tarfile.TarInfo("ada.jpg")
    header.size = size
    return header.tobuf(tarfile.GNU_FORMAT) + b"x" * 1024


def _long_header(kind: bytes, size: int) -> bytes:
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, size
    return header.tobuf(tarfile.GNU_FORMAT) + b"9" * 2048


REFUSED = {
    "empty": b"",
    "text": b"hello" * 500,
    "one block of zeros": bytes(1024),
    "a gzip of text": gzip.compress(b"hello" * 500),
    "half a gzip": make_targz(FILES)[:60],
    "damaged gzip": make_targz(FILES)[:30] + b"\x00\x00" + make_targz(FILES)[32:],
    "half a tar": make_tar([("ada.jpg", b"x" * 2000)])[:1500],
    "half a tar header": make_tar(FILES)[:200],
    "tar header damaged": b"\xff" + make_tar(FILES)[1:],
    "tar entry of negative size": _tar_with_size(-1),
    "tar entry of a terabyte": _tar_with_size(2**40),
    "tar with an endless name": _long_header(tarfile.GNUTYPE_LONGNAME, 2**33),
    "tar with an endless pax header": _long_header(tarfile.XHDTYPE, 2**33),
    "tar of nothing but pax headers": (_long_header(tarfile.XHDTYPE, 2048)) * 20,
    "no pictures": make_zip([]),
    "zip without its end": make_zip(FILES)[:-30],
    "zip: only an end": b"PK\x05\x06" + bytes(18),
    "zip: directory elsewhere": end(16, unsigned(10**9))(make_zip(FILES)),
    "zip: directory in the data": end(16, unsigned(7))(make_zip(FILES)),
    "zip: directory too long": end(12, unsigned(2**31))(make_zip(FILES)),
    "zip: directory too short": end(12, unsigned(60))(make_zip(FILES)),
    "zip: more records than there are": end(10, unsigned(60000, 2))(make_zip(FILES)),
    "zip: second disk": end(4, unsigned(1, 2))(make_zip(FILES)),
    "zip: name longer than the directory": central(28, unsigned(60000, 2))(make_zip(FILES)),
    "zip: 64 bit end that is not there": end(16, unsigned(0xFFFFFFFF))(make_zip(FILES)),
    "zip: too many": make_zip([(f"p{number}.jpg", b"") for number in range(60)]),
    "zip: too many folders": make_zip([(f"p{number}/", b"") for number in range(1200)]),
    "tar: too many": make_tar([(f"p{number}.jpg", b"") for number in range(60)]),
    "tar: too much in all": make_tar([(f"p{number}.jpg", bytes(90_000)) for number in range(30)]),
    "tar.gz: a bomb": make_targz([("ada.jpg", bytes(40_000_000))]),
    "zip: too much in all": make_zip([(f"p{number}.jpg", bytes(90_000)) for number in range(30)]),
    "people.ndjson that cannot be read": central(16, unsigned(1))(make_zip([("people.ndjson", b"{}")])),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_archive_is_refused_as_a_whole(tmp_path: Path, data: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(BadArchive):
        read(tmp_path / "upload", data)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("says", [5, 40_000_000], ids=["a small one", "the truth"])
def test_a_zip_bomb_costs_no_more_than_a_picture(tmp_path: Path, says: int) -> None:
    limits = ImportLimits(max_items=50, max_entry_bytes=100_000, max_unpacked_bytes=50_000_000, group=4)
    data = central(24, unsigned(says))(make_zip([("ada.jpg", bytes(40_000_000)), ("bob.jpg", b"bob")]))
    tracemalloc.start()
    _, items = read(tmp_path / "upload", data, limits=limits)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    assert [content for *_, content in items] == ["picture_too_large", b"bob"]


def test_a_zip_whose_sizes_stand_in_64_bits(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with zipfile.ZipFile(path, "w") as archive, archive.open("ada.jpg", "w", force_zip64=True) as entry:
        entry.write(b"ada one")
    assert read(tmp_path / "upload", path.read_bytes())[1][0][3] == b"ada one"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_crashes_nothing(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([make_zip(FILES), make_tar(FILES), make_targz(FILES)])))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(len(whole) // 2, len(whole)))
    try:
        total, items = read(tmp_path / "upload", bytes(whole[:cut]))
    except BadArchive:
        return
    assert total == len(items)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"[a-z./\\]{1,12}\.jpg", fullmatch=True))
def test_no_name_crashes_or_escapes(name: str) -> None:
    person = find_person(name)
    if isinstance(person, str):
        assert person not in ("", ".", "..")
        assert "/" not in person
        assert name.count("/") <= 1 + name.count("./")


def test_deflate_that_never_ends(tmp_path: Path) -> None:
    """An entry whose packed data lack their end is rejected, not waited for."""
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(b"x" * 1000) + packer.flush(zlib.Z_SYNC_FLUSH)
    data = make_zip([("ada.jpg", packed)], zipfile.ZIP_STORED)
    data = central(10, unsigned(8, 2))(data)
    assert read(tmp_path / "upload", data)[1][0][3] == "invalid_request"
