"""People as lines: what is read, what is refused, and that what is written can be read."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.errors import BadArchive, RollcallError
from serving.gallery.records import FaceRecord
from serving.jobs import json_lines
from serving.jobs.source import Group, ImportLimits
from serving.jobs.vector_lines import VectorLines, read_person, write_person
from serving.registry.records import Person

PACK, DIMENSION = "starter-int8", 8
LIMITS = ImportLimits(max_items=20, max_entry_bytes=1, max_unpacked_bytes=1, group=1)
UNIT = [1.0, 0, 0, 0, 0, 0, 0, 0]


def line(**changes: Any) -> dict[str, Any]:
    return {"person_id": "ada", "pack_id": PACK, "faces": [{"vector": UNIT}], **changes}


def face(**changes: Any) -> dict[str, Any]:
    return line(faces=[{"vector": UNIT, **changes}])


def encoded(vector: Any) -> str:
    return base64.b64encode(np.array(vector, "<f4").tobytes()).decode()


def groups_of(path: Path, content: bytes, start: int = 0) -> tuple[int, list[Group]]:
    path.write_bytes(content)
    source = VectorLines(path, PACK, DIMENSION, LIMITS)
    try:
        return source.count(), list(source.groups(start))
    finally:
        source.close()


def codes(groups: list[Group]) -> list[str]:
    """Of each line its rejection's code, or `ok`."""
    contents = [item.content for group in groups for item in group.items]
    return [each.code if isinstance(each, RollcallError) else "ok" for each in contents]


def test_what_is_written_can_be_read() -> None:
    moment = datetime(2026, 5, 1, tzinfo=timezone.utc)
    random = np.random.default_rng(7)
    vectors = random.normal(size=(3, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    person = Person("key", "ada", "Ada \u00a0 Ł", moment, moment, (), {"team": [1, {"a": None}]}, "c-1")
    faces = [FaceRecord("key", "ada", f"f{n}", vector, 1.7e9 + n / 8) for n, vector in enumerate(vectors)]
    written = write_person(person, PACK, faces)
    assert written.count(b"\n") == 1
    facts, read = read_person(written, PACK, DIMENSION)
    assert (facts.id, facts.details.name, facts.details.metadata, facts.details.consent_reference) == (
        person.id,
        person.name,
        person.metadata,
        person.consent_reference,
    )
    assert [(each.id, each.created_at) for each in read] == [(each.face, each.created_at) for each in faces]
    for each, vector in zip(read, vectors, strict=True):
        np.testing.assert_array_equal(each.vector, vector)  # to the last bit


GOOD = {
    "a list of numbers": line(),
    "whole numbers": line(faces=[{"vector": [1, 0, 0, 0, 0, 0, 0, 0]}]),
    "base64": line(faces=[{"vector_f32": encoded(UNIT)}]),
    "within the tolerance": line(faces=[{"vector": [1.0009, 0, 0, 0, 0, 0, 0, 0]}]),
    "times": face(created_at="2026-05-01T10:00:00Z"),
    "times of another zone": face(created_at="2026-05-01T10:00:00.5+02:00"),
    "all there is": line(name="Ada", metadata={"a": 1}, consent_reference="c"),
    "nulls": line(name=None, metadata=None, consent_reference=None),
}
BAD = {
    "no object": [1],
    "text": "text",
    "unknown field": line(nickname="A"),
    "no person": {"pack_id": PACK, "faces": [{"vector": UNIT}]},
    "person id of another form": line(person_id="a b"),
    "person id a number": line(person_id=7),
    "name a list": line(name=["Ada"]),
    "name too long": line(name="x" * 201),
    "metadata a text": line(metadata="x"),
    "metadata too deep": line(metadata={"a": {"b": {"c": {"d": 1}}}}),
    "consent empty": line(consent_reference=""),
    "no pack": {"person_id": "ada", "faces": [{"vector": UNIT}]},
    "no faces": line(faces=[]),
    "too many faces": line(faces=[{"vector": UNIT}] * 1001),
    "faces an object": line(faces={"vector": UNIT}),
    "a face a list": line(faces=[UNIT]),
    "no vector": line(faces=[{"face_id": "f"}]),
    "two vectors": face(vector_f32=encoded(UNIT)),
    "short": line(faces=[{"vector": UNIT[:-1]}]),
    "long": line(faces=[{"vector": [*UNIT, 0.0]}]),
    "nested": line(faces=[{"vector": [UNIT]}]),
    "numbers as text": line(faces=[{"vector": ["1"] + [0] * 7}]),
    "truth for a number": line(faces=[{"vector": [True] + [0] * 7}]),
    "null for a number": line(faces=[{"vector": [None] + [0] * 7}]),
    "zero": line(faces=[{"vector": [0.0] * 8}]),
    "twice as long": line(faces=[{"vector": [2.0, *UNIT[1:]]}]),
    "just beyond the tolerance": line(faces=[{"vector": [1.0012, *UNIT[1:]]}]),
    "beyond float32": line(faces=[{"vector": [1e300, *UNIT[1:]]}]),
    "beyond float64": line(faces=[{"vector": [10**400, *UNIT[1:]]}]),
    "NaN in base64": line(faces=[{"vector_f32": encoded([float("nan")] * 8)}]),
    "infinity in base64": line(faces=[{"vector_f32": encoded([float("inf")] * 8)}]),
    "base64 of another length": line(faces=[{"vector_f32": encoded(UNIT)[:-8]}]),
    "base64 of odd bytes": line(faces=[{"vector_f32": "AAA="}]),
    "no base64": line(faces=[{"vector_f32": "!!!"}]),
    "base64 not ASCII": line(faces=[{"vector_f32": "Łódź"}]),
    "face id of another form": face(face_id="a/b"),
    "face id a number": face(face_id=1),
    "face id twice": line(faces=[{"face_id": "f", "vector": UNIT}] * 2),
    "time without a zone": face(created_at="2026-05-01T10:00:00"),
    "time a number": face(created_at=5),
    "time in Unix seconds": face(created_at="1777629600"),
    "no time": face(created_at="yesterday"),
    "unknown field of a face": face(box=[1]),
}


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD.keys())
def test_good_lines(tmp_path: Path, content: Any) -> None:
    assert codes(groups_of(tmp_path / "u", json.dumps(content).encode())[1]) == ["ok"]


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_a_bad_line_is_rejected_alone(tmp_path: Path, content: Any) -> None:
    upload = b"\n".join(json.dumps(each).encode() for each in (line(), content, line(person_id="bob")))
    total, groups = groups_of(tmp_path / "u", upload)
    assert total == 3
    assert codes(groups) == ["ok", "invalid_request", "ok"]
    assert [item.name for group in groups for item in group.items][1] == "line 2"


RAW: dict[str, bytes] = {
    "no JSON": b"{",
    "no UTF-8": b'{"person_id": "\xff\xfe"}',
    "NaN": json.dumps(line(faces=[{"vector": [float("nan")] * 8}])).encode(),
    "a field twice": b'{"person_id": "ada", "person_id": "bob"}',
    "nested without end": b"[" * 200_000,
    "a number without end": b'{"person_id": ' + b"9" * 10_000 + b"}",
    "NUL": b"\x00",
}


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW.keys())
def test_lines_that_are_no_json(tmp_path: Path, raw: bytes) -> None:
    assert codes(groups_of(tmp_path / "u", raw + b"\n" + json.dumps(line()).encode())[1]) == [
        "invalid_request",
        "ok",
    ]


def test_vectors_of_another_pack_are_refused(tmp_path: Path) -> None:
    upload = json.dumps(line(pack_id="other")).encode()
    assert codes(groups_of(tmp_path / "u", upload)[1]) == ["pack_mismatch"]


def test_a_line_that_is_too_long_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.jobs.vector_lines.MAX_LINE_BYTES", 300)
    good = json.dumps(line()).encode()
    assert len(good) < 300 <= json_lines.MAX_LINE_BYTES
    total, groups = groups_of(tmp_path / "u", b"\xef\xbb\xbf" + good + b"\r\n\n" + b"x" * 2000 + b"\n" + good)
    assert total == 3
    assert codes(groups) == ["ok", "invalid_request", "ok"]
    assert [item.name for group in groups for item in group.items] == ["line 1: ada", "line 3", "line 4: ada"]


@pytest.mark.parametrize("start", range(5))
def test_reading_resumes_anywhere(tmp_path: Path, start: int) -> None:
    upload = b"\n\n".join(json.dumps(line(person_id=f"p{number}")).encode() for number in range(4))
    _, groups = groups_of(tmp_path / "u", upload, start)
    assert [item.place for group in groups for item in group.items] == list(range(start, 4))


TOO_MUCH: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "blank lines": lambda: b"\n \n",
    "too many lines": lambda: b"{}\n" * 21,
    "too many blank lines": lambda: b"\n" * 5_000,
}


@pytest.mark.parametrize("make", TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_uploads_that_are_refused_as_a_whole(tmp_path: Path, make: Callable[[], bytes]) -> None:
    with pytest.raises(BadArchive):
        groups_of(tmp_path / "u", make())


def test_people_are_grouped_each_once_and_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.jobs.vector_lines.PEOPLE_PER_GROUP", 3)
    monkeypatch.setattr("serving.jobs.vector_lines.FACES_PER_GROUP", 4)
    two = [{"face_id": name, "vector": UNIT} for name in "ab"]
    people = [
        line(person_id="p1"),
        line(person_id="p2"),
        line(person_id="p1"),
        line(person_id="p3"),
        {"bad": 1},
        line(person_id="p4"),
        line(person_id="p5", faces=[*two, {"vector": UNIT}]),
        line(person_id="p6", faces=two),
    ]
    upload = b"\n".join(json.dumps(each).encode() for each in people)
    _, groups = groups_of(tmp_path / "u", upload)
    assert [[item.place for item in group.items] for group in groups] == [[0, 1], [2, 3, 4], [5, 6], [7]]
    _, groups = groups_of(tmp_path / "u", upload, 3)
    assert [[item.place for item in group.items] for group in groups] == [[3, 4, 5], [6], [7]]
