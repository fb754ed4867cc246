"""People as lines of NDJSON with their face vectors: what an export writes and an import of vectors reads.

`{"person_id", "name", "metadata", "consent_reference", "pack_id", "faces": [{"face_id", "vector_f32",
"created_at"}]}`; `vector_f32` is base64 of little-endian float32, and `vector`, a list of numbers, is read
too.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, TypeAdapter

from serving.errors import BadArchive, InvalidRequest, PackMismatch, RollcallError
from serving.gallery.records import NORM_TOLERANCE, FaceRecord
from serving.jobs.json_lines import MAX_LINE_BYTES, check_facts, parse_line
from serving.jobs.records import PersonFacts
from serving.jobs.source import Group, ImportLimits, Item, VectorFace
from serving.registry.identifiers import check_face_id
from serving.registry.records import Person

MAX_FACES_PER_LINE = 1000
PEOPLE_PER_GROUP = 25
FACES_PER_GROUP = 500
"""What is enrolled in one transaction and one call to the gallery, a line with more faces apart."""
_SPARE_LINES = 1000
_FIELDS = frozenset({"person_id", "name", "metadata", "consent_reference", "pack_id", "faces"})
_FACE_FIELDS = frozenset({"face_id", "vector", "vector_f32", "created_at"})
_FLOAT32 = np.dtype("<f4")
_BOM = b"\xef\xbb\xbf"
_MOMENT = TypeAdapter(AwareDatetime)


class VectorLines:
    """An NDJSON upload as a source; an item is a line that is not blank.

    Args:
        path: the upload.
        pack_id, dimension: of the event's pack, which every line must be of.
        limits: only `max_items` counts.
    """

    def __init__(self, path: Path, pack_id: str, dimension: int, limits: ImportLimits) -> None:
        self._file: BinaryIO = path.open("rb")
        self.pack_id: str | None = pack_id
        self._dimension = dimension
        self._limits = limits

    def count(self) -> int:
        """See `ImportSource`."""
        most = self._limits.max_items
        lines = 0
        for number, _ in self._lines():
            lines += 1
            if lines > most or number > 2 * most + _SPARE_LINES:
                raise BadArchive("the upload holds too many lines", max_items=most)
        if not lines:
            raise BadArchive("the upload holds no lines")
        return lines

    def groups(self, start: int) -> Iterator[Group]:
        """See `ImportSource`."""
        items: list[Item] = []
        people: set[str] = set()
        faces = 0
        for place, (number, line) in enumerate(self._lines()):
            if place < start:
                continue
            item = self._read_line(place, number, line)
            count = len(item.content) if isinstance(item.content, tuple) else 0
            is_known = item.person is not None and item.person.id in people
            if items and (is_known or len(items) >= PEOPLE_PER_GROUP or faces + count > FACES_PER_GROUP):
                yield Group(items)
                items, people, faces = [], set(), 0
            items.append(item)
            faces += count
            if item.person is not None:
                people.add(item.person.id)
        if items:
            yield Group(items)

    def close(self) -> None:
        """See `ImportSource`."""
        self._file.close()

    def _lines(self) -> Iterator[tuple[int, bytes | None]]:
        """(number from 1, line) of those that are not blank; None for one that is too long."""
        self._file.seek(0)
        number = 0
        while line := self._file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if number == 1:
                line = line.removeprefix(_BOM)
            if len(line) > MAX_LINE_BYTES:
                while not line.endswith(b"\n") and (line := self._file.readline(MAX_LINE_BYTES)):
                    continue
                yield number, None
            elif line.strip():
                yield number, line
            elif number > 2 * self._limits.max_items + _SPARE_LINES:
                raise BadArchive("the upload holds too many lines", max_items=self._limits.max_items)

    def _read_line(self, place: int, number: int, line: bytes | None) -> Item:
        name = f"line {number}"
        try:
            if line is None:
                raise InvalidRequest(f"the line has more than {MAX_LINE_BYTES} bytes")
            person, faces = read_person(line, self.pack_id or "", self._dimension)
        except RollcallError as error:
            return Item(place, name, error)
        return Item(place, f"{name}: {person.id}", faces, person)


def read_person(line: bytes, pack_id: str, dimension: int) -> tuple[PersonFacts, tuple[VectorFace, ...]]:
    """The person of a line.

    Raises:
        InvalidRequest: the line breaks the form, or a vector is not of unit length.
        PackMismatch: its vectors are of another pack.
    """
    content = parse_line(line, _FIELDS)
    person = check_facts(content)
    found = content.get("pack_id")
    if not isinstance(found, str):
        raise InvalidRequest("pack_id is missing: the vectors could be of any model", field="pack_id")
    if found != pack_id:
        raise PackMismatch(f"the vectors are of {found[:80]!r}, the event's of {pack_id!r}", pack_id=pack_id)
    faces = content.get("faces")
    if not isinstance(faces, list) or not 1 <= len(faces) <= MAX_FACES_PER_LINE:
        raise InvalidRequest(f"faces is no list of 1 to {MAX_FACES_PER_LINE}", field="faces")
    read = tuple(_read_face(face, place, dimension) for place, face in enumerate(faces))
    named = [face.id for face in read if face.id is not None]
    if len(set(named)) < len(named):
        raise InvalidRequest("a face_id is given twice", field="faces")
    return person, read


def write_person(person: Person, pack_id: str, faces: Iterable[FaceRecord]) -> bytes:
    """The line of a person, with its line break."""
    content = {
        "person_id": person.id,
        "name": person.name,
        "metadata": person.metadata,
        "consent_reference": person.consent_reference,
        "pack_id": pack_id,
        "faces": [
            {
                "face_id": face.face,
                "vector_f32": base64.b64encode(face.vector.astype(_FLOAT32).tobytes()).decode(),
                "created_at": datetime.fromtimestamp(face.created_at, timezone.utc).isoformat(),
            }
            for face in faces
        ],
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def with_consent(person: PersonFacts, reference: str | None) -> PersonFacts:
    """The person with this consent reference, unless there is one already."""
    if person.details.consent_reference is not None or reference is None:
        return person
    return replace(person, details=replace(person.details, consent_reference=reference))


def _read_face(face: Any, place: int, dimension: int) -> VectorFace:
    where = f"faces.{place}"
    if not isinstance(face, dict) or not face.keys() <= _FACE_FIELDS:
        raise InvalidRequest(f"{where} is no object of {', '.join(sorted(_FACE_FIELDS))}", field=where)
    face_id = face.get("face_id")
    if face_id is not None:
        check_face_id(face_id)
    if (face.get("vector") is None) == (face.get("vector_f32") is None):
        raise InvalidRequest(f"{where} needs either vector or vector_f32", field=where)
    vector = _decode(face["vector_f32"]) if face.get("vector") is None else _convert(face["vector"])
    if vector is None or vector.shape != (dimension,):
        raise InvalidRequest(f"{where} is no vector of {dimension} numbers", field=where, dimension=dimension)
    norm = float(np.sqrt(np.dot(vector.astype(np.float64), vector.astype(np.float64))))
    if not abs(norm - 1.0) <= NORM_TOLERANCE:
        shown = f"{norm:.6g}" if math.isfinite(norm) else "not finite"
        raise InvalidRequest(f"{where} has not length 1: its length is {shown}", field=where)
    return VectorFace(face_id, vector, _read_moment(face.get("created_at"), where))


def _decode(text: Any) -> NDArray[np.float32] | None:
    if not isinstance(text, str):
        return None
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return np.frombuffer(raw, _FLOAT32).astype(np.float32) if len(raw) % 4 == 0 else None


def _convert(numbers: Any) -> NDArray[np.float32] | None:
    if not isinstance(numbers, list) or not all(type(each) in (int, float) for each in numbers):
        return None
    try:
        with np.errstate(over="ignore"):
            return np.array([float(each) for each in numbers], np.float64).astype(np.float32)
    except OverflowError:
        return None


def _read_moment(text: Any, where: str) -> float | None:
    if text is None:
        return None
    try:
        if not isinstance(text, str) or text[4:5] != "-":  # else Unix seconds would do
            raise ValueError
        # datetime.fromisoformat of Python 3.10 wants three or six digits of a fraction.
        return _MOMENT.validate_strings(text).timestamp()
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{where}.created_at is no ISO 8601 time with a zone", field=where) from None
