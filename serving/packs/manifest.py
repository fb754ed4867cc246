"""What a model pack is: where its files come from, what they must hash to, and how they are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from serving.vision.alignment import AlignmentTemplate
from serving.vision.quality import STARTER_SCALE, QualityScale


@dataclass(frozen=True, slots=True)
class WheelMember:
    """One file inside one wheel of the package registry.

    requirement: pinned, `name==version`. wheel_sha256, sha256: lower case hex of the wheel and of the member.
    max_bytes: the member's size; more is never unpacked.
    """

    requirement: str
    wheel_sha256: str
    path: str
    sha256: str
    max_bytes: int

    @property
    def name(self) -> str:
        """File name without folders."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip file on the web. sha256: lower case hex, or None where it is not known beforehand."""

    urls: tuple[str, ...]
    sha256: str | None
    max_bytes: int


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file from the web, out of an archive on the web, or from the user's disk only.

    name: file name, also within the archive, whatever folder it lies in there. sha256: lower case hex, or
    None: what was seen first is recorded and holds from then on. urls: where the bare file is; empty with an
    archive, and for files that come by `rollcall packs add` alone. owner: id of the pack, for the record.
    """

    name: str
    sha256: str | None
    max_bytes: int
    owner: str
    urls: tuple[str, ...] = ()
    archive: Archive | None = None

    @property
    def is_downloadable(self) -> bool:
        return bool(self.urls) or self.archive is not None


Source = WheelMember | ModelFile


@dataclass(frozen=True, slots=True)
class Artefact:
    """A model file that is ready to load, made from its source by a deterministic conversion.

    name: file name in the cache. sha256: of the converted bytes; None where it depends on the version of
    onnx, and is recorded when the conversion is done. conversion: a name in `serving.packs.conversions`.
    """

    name: str
    sha256: str | None
    source: Source
    conversion: str


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """A face detector: kind names the class in serving.vision; score_threshold 0..1; nms_iou 0..1.

    quality_scale: makes its pitch and score comparable with the limits of the quality gates.
    """

    kind: str
    artefact: Artefact
    score_threshold: float
    nms_iou: float
    quality_scale: QualityScale = STARTER_SCALE


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """An embedder: chip side in pixels; mean and scale on the 0..255 scale, unused by uint8 models.

    channels: order of the colours the model was trained on, "rgb" or "bgr".
    """

    artefact: Artefact
    size_px: int
    mean: tuple[float, float, float]
    scale: float
    mirrored: bool
    channels: str = "rgb"


@dataclass(frozen=True, slots=True)
class Terms:
    """A licence that restricts use, so that somebody must accept it. url: where its owner publishes it."""

    text: str
    url: str


class AnyPack(Protocol):
    """What packs of every kind have in common: files, and terms for them. See `Pack`."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def licence(self) -> str: ...
    @property
    def terms(self) -> Terms | None: ...
    @property
    def notes(self) -> str: ...
    @property
    def artefacts(self) -> tuple[Artefact, ...]: ...


@dataclass(frozen=True, slots=True)
class Pack:
    """One set of models whose vectors may be compared with each other, and with no other pack's.

    id: goes with every stored vector. precision: "fp32" or "int8". dimension: length of a vector.
    licence: what the user must know, in one line. terms: what must be accepted; None where nothing must.
    calibration_file: in serving/packs/data, or an absolute path; None: the user must calibrate.
    notes: what else a user should know. imported: whether the user added it.
    """

    id: str
    title: str
    licence: str
    precision: str
    detector: DetectorSpec
    embedder: EmbedderSpec
    template: AlignmentTemplate
    calibration_file: str | None
    dimension: int
    terms: Terms | None = None
    notes: str = ""
    imported: bool = False

    @property
    def artefacts(self) -> tuple[Artefact, ...]:
        """Every model file the pack needs."""
        return (self.detector.artefact, self.embedder.artefact)
