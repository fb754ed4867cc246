"""An archive of people's pictures as a source of an import, whichever kind it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from serving.errors import BadArchive, InvalidRequest, PictureTooLarge, RollcallError
from serving.jobs import people_file
from serving.jobs.archive_entry import ArchiveReader, Entry
from serving.jobs.entry_names import PEOPLE_FILE, find_person, is_clutter, normalise
from serving.jobs.people_file import PeopleFile
from serving.jobs.source import Group, ImportLimits, Item
from serving.jobs.tar_archive import TarReader
from serving.jobs.zip_archive import ZipReader

_SPARE_ENTRIES = 1000
"""Folders and clutter beyond one for each picture."""


@dataclass(frozen=True, slots=True)
class _Planned:
    entry: Entry
    person: str | None
    fault: RollcallError | None


class Archive:
    """The pictures of an archive, those of one person together.

    Pictures of a person that lie apart come together only where the archive can be read in any order.

    Args:
        path: of a ZIP or TAR file; its first bytes say which.
        limits: of one entry and of all.
    """

    pack_id: str | None = None

    def __init__(self, path: Path, limits: ImportLimits) -> None:
        self._file: BinaryIO = path.open("rb")
        self._limits = limits
        self._reader = _choose_reader(self._file, limits)
        self._people = PeopleFile()
        self._plan: list[_Planned] = []

    def count(self) -> int:
        """See `ImportSource`; an item is a picture, or a wrong line of people.ndjson."""
        self._plan.clear()
        names: set[str] = set()
        most = self._limits.max_items
        unpacked, people_entry = 0, None
        for number, entry in enumerate(self._reader.scan()):
            if len(self._plan) >= most or number >= 2 * most + _SPARE_ENTRIES:
                raise BadArchive("the archive holds too many entries", max_items=most)
            if entry.name.endswith("/") or is_clutter(entry.name):
                continue
            unpacked += entry.size
            if unpacked > self._limits.max_unpacked_bytes:
                raise BadArchive(
                    "the archive unpacks to more than allowed", max_bytes=self._limits.max_unpacked_bytes
                )
            name = normalise(entry.name)
            if name == PEOPLE_FILE and name not in names and entry.fault is None:
                people_entry = entry
            else:
                self._plan.append(self._plan_for(entry, name, name in names))
            names.add(name)
        if not self._plan and people_entry is None:
            raise BadArchive("the archive holds no pictures")
        if self._reader.in_any_order:
            self._bring_together()
        self._read_people(people_entry)
        return len(self._people.faults) + len(self._plan)

    def groups(self, start: int) -> Iterator[Group]:
        """See `ImportSource`. Wrong lines of people.ndjson come first."""
        faults = self._people.faults
        for place in range(start, len(faults)):
            line, fault = faults[place]
            yield Group([Item(place, f"{PEOPLE_FILE}: {line}"[:512], fault)])
        place = max(start, len(faults))
        while place - len(faults) < len(self._plan):
            group = self._read_group(place, place - len(faults))
            yield group
            place += len(group.items)

    def close(self) -> None:
        """See `ImportSource`."""
        self._file.close()

    def _plan_for(self, entry: Entry, name: str, is_second: bool) -> _Planned:
        person = find_person(entry.name)
        fault = entry.fault
        if fault is None and isinstance(person, RollcallError):
            fault = person
        if fault is None and is_second:
            fault = InvalidRequest("the archive holds an entry of this name already")
        if fault is None and entry.size > self._limits.max_entry_bytes:
            fault = PictureTooLarge(f"{entry.size} bytes", max_bytes=self._limits.max_entry_bytes)
        return _Planned(entry, None if fault is not None else str(person), fault)

    def _bring_together(self) -> None:
        first: dict[str, int] = {}
        for place, planned in enumerate(self._plan):
            if planned.person is not None:
                first.setdefault(planned.person, place)
        numbered = sorted(
            enumerate(self._plan),
            key=lambda each: each[0] if each[1].person is None else first[each[1].person],
        )
        self._plan = [planned for _, planned in numbered]

    def _read_people(self, entry: Entry | None) -> None:
        self._people = PeopleFile()
        if entry is None:
            return
        try:
            content = self._reader.read(entry, people_file.MAX_BYTES)
        except RollcallError as error:
            raise BadArchive(f"{PEOPLE_FILE} cannot be read: {error.detail}") from None
        self._people = PeopleFile(content, self._limits.max_items)
        self._people.reject_without({each.person for each in self._plan if each.person is not None})

    def _read_group(self, place: int, planned_at: int) -> Group:
        first = self._plan[planned_at]
        if first.fault is not None or first.person is None:
            fault = first.fault or InvalidRequest()
            return Group([Item(place, first.entry.name, fault)])
        person = self._people.facts_of(first.person)
        items: list[Item] = []
        for planned in self._plan[planned_at : planned_at + self._limits.group]:
            if planned.person != first.person:
                break
            content = self._read_entry(planned.entry)
            items.append(Item(place + len(items), planned.entry.name, content, person))
        return Group(items)

    def _read_entry(self, entry: Entry) -> bytes | RollcallError:
        try:
            return self._reader.read(entry, self._limits.max_entry_bytes)
        except BadArchive:
            raise
        except RollcallError as error:
            return error


def _choose_reader(file: BinaryIO, limits: ImportLimits) -> ArchiveReader:
    is_zip = file.read(2) == b"PK"
    return ZipReader(file, limits) if is_zip else TarReader(file, limits)
