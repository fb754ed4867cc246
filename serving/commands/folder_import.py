"""A folder of people's pictures, sent to the service one by one; nothing is stored there but vectors.

What has been sent is noted beside the folder, so that the command can be repeated after whatever cut it off.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rollcall_client import AsyncClient
from serving.commands.service_client import Refusal, explain_refusals
from serving.errors import CommandError, RollcallError
from serving.jobs import people_file
from serving.jobs.entry_names import PEOPLE_FILE, find_person, is_clutter
from serving.jobs.people_file import PeopleFile
from serving.jobs.records import PersonFacts, Rejection

MAX_PICTURE_BYTES = 32 * 2**20
"""No service takes more in a request by default; its own limit is its to tell."""
MAX_PEOPLE = 1_000_000


@dataclass(frozen=True, slots=True)
class FolderPicture:
    """A picture in a folder: its path below it, and whose it is or why it is nobody's."""

    name: str
    person: str | RollcallError | Refusal


def list_pictures(folder: Path) -> list[FolderPicture]:
    """What is to be sent, in order: `<person_id>/<name>.jpg` and `<person_id>.jpg`.

    Folders that cannot be read and links to folders are in it as well, refused: who is in them is left out.

    Raises:
        CommandError: there is nothing.
    """
    found: list[FolderPicture] = []

    def name_of(path: str | Path) -> str:
        return Path(path).relative_to(folder).as_posix()

    def note_unreadable(error: OSError) -> None:
        name = name_of(error.filename)
        if not is_clutter(name):
            found.append(FolderPicture(name, Refusal("unreadable", f"the folder: {error.strerror}")))

    for root, folders, files in os.walk(folder, onerror=note_unreadable):
        folders.sort()
        for link in (Path(root, each) for each in folders if Path(root, each).is_symlink()):
            if not is_clutter(name_of(link)):
                found.append(FolderPicture(name_of(link), Refusal("unreadable", _NOT_FOLLOWED)))
        for file in files:
            name = name_of(Path(root, file))
            if name != PEOPLE_FILE and not is_clutter(name):
                found.append(FolderPicture(name, find_person(name)))
    if not found:
        raise CommandError(f"{folder} holds no pictures; {_LAYOUT}")
    return sorted(found, key=lambda each: each.name)


_NOT_FOLLOWED = "links to folders are not followed; put the folder itself here"
_LAYOUT = "it should hold a folder of pictures for each person, named by the person's id"


def read_people(folder: Path) -> PeopleFile:
    """What `people.ndjson` in the folder says; nothing where there is none."""
    path = folder / PEOPLE_FILE
    if not path.exists():
        return PeopleFile()
    if path.stat().st_size > people_file.MAX_BYTES:
        raise CommandError(f"{path} has more than {people_file.MAX_BYTES} bytes")
    return PeopleFile(path.read_bytes(), MAX_PEOPLE)


class SentPictures:
    """The note of what was sent: a line for each picture, beside the folder.

    A picture that has changed since is sent again.

    Args:
        purpose: of what is sent, and since when: another one has a note of its own.
    """

    def __init__(self, folder: Path, url: str, purpose: str) -> None:
        target = hashlib.sha256(f"{url} {purpose}".encode()).hexdigest()[:8]
        self.path = folder.parent / f".{folder.name}.{target}.rollcall"
        self._folder = folder
        self._sent: set[str] = set()
        self._file: TextIO | None = None

    def open(self) -> bool:
        """Read it and be ready to write; False where nothing can be written."""
        try:
            self._file = self.path.open("a+", encoding="utf-8")
        except OSError:
            return False
        self._file.seek(0)
        self._sent = set(self._file.read().splitlines())
        return True

    def __contains__(self, name: str) -> bool:
        try:
            return bool(self._sent) and self._line(name) in self._sent
        except OSError:
            return False

    def add(self, name: str) -> None:
        """Note a picture; at once in the file."""
        if self._file is not None:
            self._file.write(self._line(name) + "\n")
            self._file.flush()

    def close(self, *, complete: bool) -> None:
        """Delete the note when everything has been sent."""
        if self._file is not None:
            self._file.close()
            if complete:
                self.path.unlink(missing_ok=True)

    def _line(self, name: str) -> str:
        status = (self._folder / name).stat()
        return json.dumps([name, status.st_size, status.st_mtime_ns])


class FolderImport:
    """Sends the pictures of a folder.

    Args:
        options: of the enrolment route, the same for every picture.
        on_done: called after each picture, with the number of rejected ones so far.
    """

    def __init__(
        self,
        client: AsyncClient,
        folder: Path,
        event: str,
        options: Mapping[str, Any],
        people: PeopleFile,
        sent: SentPictures,
        on_done: Callable[[int], None],
    ) -> None:
        self._client = client
        self._folder = folder
        self._event = event
        self._options = options
        self._people = people
        self._sent = sent
        self._on_done = on_done
        self.rejections: list[Rejection] = []

    async def run(self, pictures: list[FolderPicture], parallel: int) -> None:
        """Send all, so many at a time.

        Raises:
            CommandError: no more can be sent; what has been is noted.
        """
        waiting: Iterator[tuple[int, FolderPicture]] = iter(enumerate(pictures))
        workers = [asyncio.create_task(self._work(waiting)) for _ in range(parallel)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, waiting: Iterator[tuple[int, FolderPicture]]) -> None:
        for place, picture in waiting:
            try:
                if not isinstance(picture.person, str):
                    raise Refusal(picture.person.code, picture.person.detail)
                if picture.name not in self._sent:
                    await self._send(picture.name, self._people.facts_of(picture.person))
                    self._sent.add(picture.name)
            except Refusal as refusal:
                self.rejections.append(Rejection(place, picture.name, refusal.code, refusal.detail))
            except OSError as error:
                self.rejections.append(Rejection(place, picture.name, "unreadable", str(error.strerror)))
            self._on_done(len(self.rejections))

    async def _send(self, name: str, person: PersonFacts) -> None:
        data = await asyncio.to_thread(self._read, name)
        fields = {"person_id": person.id, **_describe(person, self._options)}
        digest = hashlib.sha256(data)
        digest.update(json.dumps(fields, sort_keys=True).encode())
        with explain_refusals():
            await self._client.people.enrol(
                self._event,
                data,
                person_id=person.id,
                idempotency_key=digest.hexdigest(),
                **_describe(person, self._options),
            )

    def _read(self, name: str) -> bytes:
        path = self._folder / name
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Refusal("unreadable", "it is no file")  # a pipe would be waited for, for ever
        if status.st_size > MAX_PICTURE_BYTES:
            raise Refusal("picture_too_large", f"more than {MAX_PICTURE_BYTES} bytes")
        return path.read_bytes()


def _describe(person: PersonFacts, options: Mapping[str, Any]) -> dict[str, Any]:
    details, found = person.details, dict(options)
    if details.name is not None:
        found["name"] = details.name
    if details.metadata is not None:
        found["metadata"] = details.metadata
    if details.consent_reference is not None:
        found["consent_reference"] = details.consent_reference
    return found
