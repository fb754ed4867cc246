"""The model cache: downloads, converts and verifies packs, safely for many processes at once."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.errors import PackError, PackNotCalibrated
from serving.packs.cache_files import has_hash, hold_lock, write_atomically
from serving.packs.calibration import Calibration, load_calibration, parse_calibration
from serving.packs.catalogue import find_pack, list_ids
from serving.packs.conversions import NO_CONVERSION, find_conversion
from serving.packs.licences import LicenceBook
from serving.packs.manifest import AnyPack, Artefact, Pack
from serving.packs.progress import Progress, ignore_progress
from serving.packs.sources import SourceShelf
from serving.packs.wheels import hash_bytes

State = Literal["ready", "not fetched", "damaged"]


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

    Files are named by their content, so variants share what they have in common and two versions of Rollcall
    can share one cache: `<stem>-<first 12 hex of its sha256>.onnx` where the manifest pins the converted
    bytes, and `<stem>-<first 12 hex of the source's sha256>-<conversion><its version>.onnx` where they depend
    on the version of onnx; then a file beside it holds the hash they had when they were made. Sources are
    kept too, under `sources/`, so that a damaged model is rebuilt without a network.

    Args:
        cache_dir: the model cache.
        accepted_licences: ids of packs whose licence the settings accept.
        mirror_url: folder on a web server that is asked instead of the addresses in the manifests.
    """

    def __init__(
        self, cache_dir: Path, *, accepted_licences: Collection[str] = (), mirror_url: str | None = None
    ) -> None:
        self.cache_dir = Path(cache_dir).expanduser()
        self.directory = self.cache_dir / "packs"
        self.licences = LicenceBook(self.directory, accepted_licences)
        self.sources = SourceShelf(self.directory, mirror_url)

    def find_pack(self, name: str, precision: str | None = None, mirrored: bool | None = None) -> Pack:
        """As `catalogue.find_pack`, among the packs added to this cache too."""
        return find_pack(name, precision, mirrored, cache_dir=self.cache_dir)

    @property
    def pack_ids(self) -> list[str]:
        """Ids of all packs, those added to this cache too."""
        return list_ids(self.cache_dir)

    def prepare(self, pack: Pack, progress: Progress | None = None) -> PreparedPack:
        """Make everything the pack needs ready and return it; fast when it already is.

        Args:
            pack: what to prepare.
            progress: called with the step being worked on and the fraction of all steps done, 0..1.

        Raises:
            LicenceNotAccepted: the pack's licence restricts use, and nobody has accepted it here.
            PackNotCalibrated: the files are ready, and nobody knows what scores mean.
            PackError: a download or conversion failed, a hash differs, or the cache cannot be written.
        """
        return self._describe(self.prepare_files(pack, progress))

    def prepare_files(self, pack: Pack, progress: Progress | None = None) -> PreparedFiles:
        """As prepare, for a pack that is yet to be calibrated."""
        self.prepare_artefacts(pack, progress)
        return self._locate(pack)

    def prepare_artefacts(self, pack: AnyPack, progress: Progress | None = None) -> list[Path]:
        """As prepare, for packs of any kind: the ready model files, in the order of the pack's artefacts."""
        report = progress or ignore_progress
        self.licences.require(pack)
        count = len(pack.artefacts)
        for position, artefact in enumerate(pack.artefacts):
            report(f"check {artefact.name}", position / count)
            if not self._is_good(artefact):
                self._build(pack, artefact, report, position / count)
        report("ready", 1.0)
        return [path for path in map(self.path_of, pack.artefacts) if path is not None]

    def verify(self, pack: Pack) -> PreparedPack:
        """Return the prepared pack without downloading or converting anything.

        Raises:
            PackError: a file is missing or does not have its hash; the message names it.
        """
        return self._describe(self.verify_files(pack))

    def verify_files(self, pack: Pack) -> PreparedFiles:
        """As verify, for a pack that is yet to be calibrated."""
        self.verify_artefacts(pack)
        return self._locate(pack)

    def verify_artefacts(self, pack: AnyPack) -> None:
        """As verify, for packs of any kind."""
        again = "prepare" if pack.terms is None else f"fetch {pack.id}"
        for artefact in pack.artefacts:
            path = self.path_of(artefact)
            if path is None or not path.is_file():
                raise PackError(f"{path or artefact.name} is missing; run `rollcall packs {again}`")
            if not self._is_good(artefact):
                raise PackError(f"{path} is damaged; run `rollcall packs {again}` to rebuild it")

    def is_ready(self, pack: AnyPack) -> bool:
        """Whether every model file is there and has its hash."""
        return all(self._is_good(artefact) for artefact in pack.artefacts)

    def state_of(self, pack: AnyPack) -> State:
        """As is_ready, telling what is missing from what is spoilt."""
        if self.is_ready(pack):
            return "ready"
        bad = [self.path_of(artefact) for artefact in pack.artefacts if not self._is_good(artefact)]
        return "damaged" if any(path is not None and path.is_file() for path in bad) else "not fetched"

    def path_of(self, artefact: Artefact) -> Path | None:
        """Where the ready model is kept, whether or not it is there; None while its source is unknown."""
        name = Path(artefact.name)
        if artefact.sha256 is not None:
            return self.directory / f"{name.stem}-{artefact.sha256[:12]}{name.suffix}"
        if artefact.conversion == NO_CONVERSION:
            return self.sources.path_of(artefact.source)
        source_sha256 = self.sources.hash_of(artefact.source)
        if source_sha256 is None:
            return None
        conversion = find_conversion(artefact.conversion)
        return self.directory / (
            f"{name.stem}-{source_sha256[:12]}-{conversion.name}{conversion.version}{name.suffix}"
        )

    def hash_of(self, artefact: Artefact) -> str | None:
        """What the ready model must hash to: pinned, or recorded when it was made; None before that."""
        if artefact.sha256 is not None:
            return artefact.sha256
        if artefact.conversion == NO_CONVERSION:
            return self.sources.hash_of(artefact.source)
        path = self.path_of(artefact)
        return None if path is None else _read_sidecar(path, self.sources.hash_of(artefact.source))

    def calibration_path(self, pack: Pack) -> Path:
        """Where a calibration made by the user lies; it wins over one that came with the pack."""
        return self.directory / "calibrations" / f"{pack.id}.json"

    def load_calibration(self, pack: Pack) -> Calibration:
        """The pack's calibration: the user's own, else the one that came with it.

        Raises:
            PackNotCalibrated: there is neither.
            PackError: it is damaged, or belongs to another pack.
        """
        path = self.calibration_path(pack)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            if pack.calibration_file is None:
                raise PackNotCalibrated(
                    f"{pack.id} is not calibrated: run `rollcall calibrate --pack {pack.id}`"
                ) from None
            return load_calibration(pack)
        except (OSError, UnicodeDecodeError) as error:
            raise PackError(f"{path} cannot be read: {error}") from error
        calibration = parse_calibration(text)
        if calibration.pack != pack.id:
            raise PackError(f"{path} calibrates {calibration.pack}, not {pack.id}")
        return calibration

    def is_calibrated(self, pack: Pack) -> bool:
        """Whether there is a calibration, the user's or the pack's own."""
        return pack.calibration_file is not None or self.calibration_path(pack).is_file()

    def _locate(self, pack: Pack) -> PreparedFiles:
        detector, embedder = self.path_of(pack.detector.artefact), self.path_of(pack.embedder.artefact)
        if detector is None or embedder is None:
            raise PackError(f"{pack.id} has not been fetched")
        return PreparedFiles(pack, self.directory, detector, embedder)

    def _describe(self, files: PreparedFiles) -> PreparedPack:
        calibration = self.load_calibration(files.pack)
        return PreparedPack(files.pack, self.directory, files.detector_path, files.embedder_path, calibration)

    def _is_good(self, artefact: Artefact) -> bool:
        path = self.path_of(artefact)
        return path is not None and has_hash(path, self.hash_of(artefact))

    def _build(self, pack: AnyPack, artefact: Artefact, report: Progress, fraction: float) -> None:
        siblings = [each.source for each in pack.artefacts]
        if artefact.conversion == NO_CONVERSION and artefact.sha256 is None:
            self.sources.obtain(artefact.source, siblings, report, fraction)
            return
        report(f"wait for {artefact.name}", fraction)
        with hold_lock(self.directory, f"build-{artefact.source.name}-{artefact.conversion}"):
            if self._is_good(artefact):
                return
            source = self.sources.obtain(artefact.source, siblings, report, fraction)
            path = self.path_of(artefact)
            if path is None:
                raise PackError(f"{artefact.name} has no place in the cache")
            report(f"convert {artefact.name} ({artefact.conversion})", fraction)
            try:
                data = source.read_bytes()
            except OSError as error:
                raise PackError(f"{source} cannot be read: {error}") from error
            try:
                converted = find_conversion(artefact.conversion).convert(data)
            except PackError as error:
                raise PackError(f"{pack.id}: {artefact.source.name}: {error.detail}") from error
            self._keep(artefact, path, converted)

    def _keep(self, artefact: Artefact, path: Path, converted: bytes) -> None:
        found = hash_bytes(converted)
        if artefact.sha256 not in (None, found):
            raise PackError(
                f"{artefact.name}: the conversion gave other bytes than this version expects; "
                "install the versions of onnx and numpy that Rollcall's lock file names"
            )
        if artefact.sha256 is None:
            _write_sidecar(path, artefact, found, self.sources.hash_of(artefact.source))
        write_atomically(path, converted)


def sidecar_of(path: Path) -> Path:
    """Where the hash of a converted model is recorded."""
    return path.with_name(path.name + ".json")


def _write_sidecar(path: Path, artefact: Artefact, sha256: str, source_sha256: str | None) -> None:
    import onnx

    conversion = find_conversion(artefact.conversion)
    record = {
        "sha256": sha256,
        "source": artefact.source.name,
        "source_sha256": source_sha256,
        "conversion": conversion.name,
        "conversion_version": conversion.version,
        "onnx": onnx.__version__,
    }
    write_atomically(sidecar_of(path), (json.dumps(record, indent=1) + "\n").encode())


def _read_sidecar(path: Path, source_sha256: str | None) -> str | None:
    try:
        record = json.loads(sidecar_of(path).read_text(encoding="utf-8"))
        sha256, made_from = record["sha256"], record["source_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sha256 if isinstance(sha256, str) and made_from == source_sha256 else None
