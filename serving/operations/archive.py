"""A backup as a file: a tar of small parts, each hashed, a manifest of all of them at its end.

The tar is written and read as a stream, so memory is bounded by one part. `header.json` comes first and says
what is to be known before all else; `manifest.json` comes last, so that a file that was cut off has none.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from serving.errors import BackupError
from serving.operations.archive_forms import check_header, check_manifest, check_row
from serving.operations.backup_keys import BackupKey
from serving.operations.sealing import MAGIC, SealedReader, SealedWriter, is_sealed

HEADER, MANIFEST = "header.json", "manifest.json"
FORMAT = 1
PART_BYTES = 4 * 2**20
"""Rows gathered into one part, uncompressed; a row that is larger is a part of its own."""
MAX_PART_BYTES = 64 * 2**20
"""Read at once at most, packed or unpacked: no row is near it, and a wrong file must not take all memory."""
MAX_NAME_BYTES = 64 * 1024
"""Of an extended header, which tarfile reads whole, however long it is: a name is all that ours hold."""
_COMPRESSION = 1


@dataclass(frozen=True, slots=True)
class Part:
    """One member of a backup: its name and its bytes as they were given to `BackupWriter.add`."""

    name: str
    data: bytes


class _BoundedInfo(tarfile.TarInfo):
    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        is_extended = not self.isfile() and self.type not in (tarfile.DIRTYPE, tarfile.SYMTYPE)
        if is_extended and self.size > MAX_NAME_BYTES:
            raise tarfile.ReadError("an extended header is too long")
        return super()._proc_member(tar)  # type: ignore[misc]


class BackupWriter:
    """Writes the parts of a backup into an open file, encrypted where a key is given."""

    def __init__(self, file: BinaryIO, key: BackupKey | None, header: Mapping[str, Any]) -> None:
        self._sealed = None if key is None else SealedWriter(file, key)
        target = file if self._sealed is None else cast(BinaryIO, self._sealed)
        self._tar = tarfile.open(  # noqa: SIM115  # closed by finish
            mode="w|", fileobj=target, format=tarfile.PAX_FORMAT
        )
        self._members: dict[str, dict[str, Any]] = {}
        self.add(HEADER, _to_json({"format": FORMAT, **header}))

    def add(self, name: str, data: bytes, rows: int = 0) -> None:
        """Write a part; `rows` stands in the manifest beside its hash."""
        assert name not in self._members
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o600
        self._tar.addfile(info, io.BytesIO(data))
        self._members[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "rows": rows}

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the manifest and the end; the file itself stays open."""
        data = _to_json({"format": FORMAT, **facts, "members": self._members})
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(data), 0o600
        self._tar.addfile(info, io.BytesIO(data))
        self._tar.close()
        if self._sealed is not None:
            self._sealed.close()

    def abandon(self) -> None:
        """What could not be finished: let go of it before the file is closed."""
        stream = self._tar.fileobj
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.close()


class RowsWriter:
    """Gathers rows into parts `{folder}/000001.ndjson.gz` and so on."""

    def __init__(self, writer: BackupWriter, folder: str) -> None:
        self._writer = writer
        self._folder = folder
        self._lines: list[bytes] = []
        self._bytes = 0
        self._parts = 0
        self.rows = 0

    def add(self, row: Any) -> None:
        """One row, of what JSON can say."""
        line = _to_line(row)
        self._lines.append(line)
        self._bytes += len(line)
        self.rows += 1
        if self._bytes >= PART_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered; to be called once more at the end."""
        if self._lines:
            self._parts += 1
            data = gzip.compress(b"".join(self._lines), _COMPRESSION, mtime=0)
            self._writer.add(f"{self._folder}/{self._parts:06d}.ndjson.gz", data, len(self._lines))
            self._lines, self._bytes = [], 0


class BackupFile:
    """A backup to read; each pass over its parts opens it anew.

    Args:
        path: of the file.
        keys: those of the key file; needed where it is encrypted.
        plain: take one that is not encrypted although there are keys. Whoever can write where backups are
            kept could have put it there, with accounts of their own.
    """

    def __init__(self, path: Path, keys: Sequence[BackupKey] = (), *, plain: bool = False) -> None:
        self.path = path
        self._keys = keys
        with self._open_raw() as file:
            self.is_encrypted = is_sealed(file.read(len(MAGIC)))
        if self.is_encrypted and not keys:
            raise BackupError(f"{path} is encrypted: name its keys with --key-file or backup.key_file")
        if keys and not self.is_encrypted and not plain:
            raise BackupError(
                f"{path} is not encrypted, and backups here are, so somebody else may have made it: if you "
                "know who did, --plain takes it"
            )

    def parts_below(self, prefix: str) -> Iterator[Part]:
        """The parts whose names begin with this, such as `vectors/`; raises as `parts`."""
        return (part for part in self.parts() if part.name.startswith(prefix))

    def parts(self, on_bytes: Callable[[int], None] | None = None) -> Iterator[Part]:
        """Every part in its order, header and manifest included; `on_bytes` hears how far the file was read.

        Raises:
            BackupError: the file is damaged, cut off, or none of ours.
        """
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(self._open_raw())
            source = cast(BinaryIO, SealedReader(file, self._keys)) if self.is_encrypted else file
            try:
                tar = stack.enter_context(
                    tarfile.open(mode="r|", fileobj=source, bufsize=2**18, tarinfo=_BoundedInfo)
                )
                for info in tar:
                    if not info.isreg() or info.size > MAX_PART_BYTES:
                        raise BackupError(f"{self.path} holds what no backup holds: {info.name!r:.80}")
                    member = tar.extractfile(info)
                    assert member is not None
                    data = member.read()
                    if len(data) != info.size:
                        raise BackupError(f"{self.path} is cut off")
                    yield Part(info.name, data)
                    if on_bytes is not None:
                        on_bytes(file.tell())
            except (tarfile.TarError, EOFError, OSError) as error:
                raise BackupError(f"{self.path} is damaged or no backup: {type(error).__name__}") from None

    def read_header(self) -> dict[str, Any]:
        """What is known before anything else; raises BackupError."""
        for part in self.parts():
            if part.name != HEADER:
                break
            header = _read_json(part)
            if not isinstance(header, dict):
                break
            if header.get("format") != FORMAT:
                raise BackupError(
                    f"{self.path} is of format {header.get('format')}, and this release reads {FORMAT}: "
                    f"restore it with Rollcall {header.get('rollcall', 'of its time')}, then upgrade"
                )
            check_header(header)
            return header
        raise BackupError(f"{self.path} is no backup of Rollcall")

    def verify(self, on_bytes: Callable[[int], None] | None = None) -> dict[str, Any]:
        """Read all of it, compare every hash, parse every row; the manifest.

        Raises:
            BackupError: something is damaged or missing.
        """
        found: dict[str, tuple[str, int]] = {}
        manifest: dict[str, Any] | None = None
        for part in self.parts(on_bytes):
            if manifest is not None:
                raise BackupError(f"{self.path} goes on behind its end")
            if part.name == MANIFEST:
                manifest = _read_json(part)
                check_manifest(manifest)
            else:
                rows = sum(1 for _ in read_rows(part)) if part.name.endswith(".ndjson.gz") else 0
                if part.name in found:
                    raise BackupError(f"{self.path} holds {part.name} twice")
                found[part.name] = hashlib.sha256(part.data).hexdigest(), rows
        if manifest is None:
            raise BackupError(f"{self.path} is incomplete: it ends before its manifest")
        wanted = {name: (each["sha256"], each["rows"]) for name, each in manifest["members"].items()}
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                raise BackupError(f"{self.path} is damaged: {name} is not what the manifest says")
        return manifest

    def _open_raw(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise BackupError(f"{self.path} cannot be read: {error.strerror}") from None


def read_rows(part: Part) -> Iterator[Any]:
    """The rows of a part; raises BackupError."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(part.data)) as packed:
            text = packed.read(MAX_PART_BYTES + 1)
        if len(text) > MAX_PART_BYTES:
            raise BackupError(f"the part {part.name} unpacks to more than {MAX_PART_BYTES} bytes")
        for line in text.split(b"\n"):
            if line:
                row = json.loads(line)
                check_row(part.name, row)
                yield row
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise BackupError(f"the part {part.name} is damaged: {type(error).__name__}") from None


def _read_json(part: Part) -> Any:
    try:
        return json.loads(part.data)
    except (ValueError, RecursionError):
        raise BackupError(f"the part {part.name} is damaged") from None


def _to_json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def _to_line(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
