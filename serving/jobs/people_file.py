"""`people.ndjson` at the top of an archive: names, metadata and consent of the people in it."""

from __future__ import annotations

import io
from typing import Any

from serving.errors import InvalidRequest, RollcallError
from serving.jobs.json_lines import MAX_LINE_BYTES, check_facts, parse_line
from serving.jobs.records import PersonFacts

MAX_BYTES = 32 * 2**20
"""All of it is held in memory while the archive is imported."""
_FIELDS = frozenset({"person_id", "name", "metadata", "consent_reference"})


class PeopleFile:
    """The lines by person, each kept as its bytes until it is wanted.

    Args:
        content: at most MAX_BYTES.

    Attributes:
        faults: (name of the line, why it is rejected).
    """

    def __init__(self, content: bytes = b"", max_people: int = 0) -> None:
        self._lines: dict[str, tuple[int, bytes]] = {}
        self.faults: list[tuple[str, RollcallError]] = []
        for number, line in enumerate(io.BytesIO(content), 1):
            if not line.strip():
                continue
            if len(self._lines) + len(self.faults) >= max_people:
                self.faults.append((f"line {number}", InvalidRequest("more people than an import may have")))
                break
            try:
                facts = _read(line)
                if facts.id in self._lines:
                    raise InvalidRequest(f"{facts.id!r} has a line already")
                self._lines[facts.id] = (number, line)
            except RollcallError as error:
                self.faults.append((f"line {number}", error))

    def facts_of(self, person_id: str) -> PersonFacts:
        """What the file says of the person; nothing but the id where it says nothing."""
        if person_id not in self._lines:
            return PersonFacts(person_id)
        return _read(self._lines[person_id][1])

    def reject_without(self, pictured: set[str]) -> None:
        """Add a fault for each person of whom the archive holds no picture."""
        for person_id, (number, _) in self._lines.items():
            if person_id not in pictured:
                fault = InvalidRequest(f"the archive holds no picture of {person_id!r}")
                self.faults.append((f"line {number}", fault))


def _read(line: bytes) -> PersonFacts:
    if len(line) > MAX_LINE_BYTES:
        raise InvalidRequest(f"the line has more than {MAX_LINE_BYTES} bytes")
    content: dict[str, Any] = parse_line(line, _FIELDS)
    return check_facts(content)
