"""Snapshots of a collection on a Qdrant server, for backups: made, listed, fetched, put back and deleted.

A snapshot holds what the node that answers holds. In a cluster of several nodes take one from each, by its
own address, and put each back to its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serving.errors import ConfigurationError, InternalError, StageUnavailable
from serving.gallery.server_connection import ServerAddress

CHUNK_BYTES = 2**20
TIMEOUT_S = 600.0
"""Of each wait for the server: it answers when a snapshot is complete."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that lies on the server.

    Attributes:
        name: of its file.
        size_bytes: of its file.
        sha256: in hexadecimal; None where the server does not say.
        created_at: as the server writes it; None where it does not say.
    """

    name: str
    size_bytes: int
    sha256: str | None
    created_at: str | None


class ServerSnapshots:
    """The snapshots of one collection.

    Every method raises StageUnavailable when the server cannot be reached or fails, ConfigurationError when
    it refuses the key, and InternalError for what it says is wrong with the request.
    """

    def __init__(self, address: ServerAddress, collection: str, timeout_s: float = TIMEOUT_S) -> None:
        self._address = address
        self._path = f"/collections/{collection}/snapshots"
        self._timeout_s = timeout_s

    def create(self) -> Snapshot:
        """Make one of everything that was acknowledged before."""
        return _read(self._ask("POST", self._path, params={"wait": "true"}))

    def list(self) -> list[Snapshot]:
        """Those on the server, oldest first."""
        found = [_read(each) for each in self._ask("GET", self._path)]
        return sorted(found, key=lambda each: each.created_at or "")

    def delete(self, name: str) -> None:
        """Remove one from the server."""
        self._ask("DELETE", f"{self._path}/{_checked(name)}", params={"wait": "true"})

    def fetch(self, snapshot: Snapshot, to: Path) -> str:
        """Write one to a new file; returns its SHA-256 in hexadecimal.

        Raises:
            InternalError: what arrived is not what the server says it holds; the file is removed.
        """
        digest, size_bytes = hashlib.sha256(), 0
        with to.open("xb") as file:
            try:
                with (
                    self._connect() as http,
                    http.stream("GET", f"{self._path}/{_checked(snapshot.name)}") as answer,
                ):
                    _check(answer)
                    for chunk in answer.iter_bytes(CHUNK_BYTES):
                        file.write(chunk)
                        digest.update(chunk)
                        size_bytes += len(chunk)
                found = digest.hexdigest()
                if size_bytes != snapshot.size_bytes or snapshot.sha256 not in (None, found):
                    raise InternalError(
                        f"the snapshot {snapshot.name} arrived damaged: {size_bytes} bytes, SHA-256 {found}"
                    )
            except BaseException:
                to.unlink()
                raise
        return found

    def restore(self, path: Path, sha256: str | None = None) -> None:
        """Put a fetched snapshot back: the collection is then what it was, whatever it holds now.

        Args:
            sha256: what the server checks the file against.
        """
        params = {"priority": "snapshot", "wait": "true"} | ({"checksum": sha256} if sha256 else {})
        with path.open("rb") as file:
            self._ask("POST", f"{self._path}/upload", params=params, files={"snapshot": (path.name, file)})

    def _ask(self, method: str, path: str, **arguments: Any) -> Any:
        with self._connect() as http:
            answer = http.request(method, path, **arguments)
            _check(answer)
            return answer.json()["result"]

    @contextmanager
    def _connect(self) -> Iterator[httpx.Client]:
        try:
            with self._address.open_http(self._timeout_s) as http:
                yield http
        except httpx.HTTPError as error:
            raise StageUnavailable(f"the Qdrant server cannot be reached: {error!r}") from error


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    answer.read()
    said = f"the Qdrant server answered {answer.status_code}: {answer.text[:300]}"
    if answer.status_code in (401, 403):
        raise ConfigurationError(f"{said}; check its api key", key="gallery.api_key")
    if answer.status_code >= 500 or answer.status_code == 429:
        raise StageUnavailable(said)
    raise InternalError(said)


def _read(result: dict[str, Any]) -> Snapshot:
    return Snapshot(result["name"], result["size"], result.get("checksum"), result.get("creation_time"))


def _checked(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise InternalError(f"not the name of a snapshot: {name[:100]!r}")
    return name
