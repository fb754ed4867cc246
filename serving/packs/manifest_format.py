"""Manifests on disk: YAML, checked field by field, turned into a `Pack`; docs/packs.md has every field."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from serving.errors import ManifestInvalid
from serving.packs.conversions import CONVERSIONS
from serving.packs.manifest import (
    Archive,
    Artefact,
    DetectorSpec,
    EmbedderSpec,
    ModelFile,
    Pack,
    Source,
    Terms,
    WheelMember,
)
from serving.vision.alignment import AlignmentTemplate
from serving.vision.quality import STARTER_SCALE, QualityScale

MANIFEST_NAME = "pack.yaml"
MAX_MANIFEST_BYTES = 256 * 1024
"""Far above any manifest, and little enough to parse without a thought."""

MAX_MODEL_BYTES = 2 * 2**30
"""Protobuf, and so an ONNX file in one piece, ends there."""

_MAX_TOLD = 20
_MERGE_TAG = "tag:yaml.org,2002:merge"

RESERVED_IDS = frozenset({"starter", "default", "none", "all"})
TEMPLATES: dict[str, AlignmentTemplate] = {
    # dlib's own chip: the mean face of its 5-point predictor, with weights by how steady each point is.
    "dlib-150": AlignmentTemplate(
        points=np.array([[47.15, 46.52], [101.85, 46.52], [74.50, 79.32], [51.53, 104.48], [97.47, 104.48]]),
        weights=np.array([3.0, 3.0, 2.0, 1.0, 1.0]),
        size_px=150,
    ),
    # The five points that ArcFace models are trained on (Deng et al., CVPR 2019).
    "arcface-112": AlignmentTemplate(
        points=np.array(
            [
                [38.2946, 51.6963],
                [73.5318, 51.5014],
                [56.0252, 71.7366],
                [41.5493, 92.3655],
                [70.7299, 92.2041],
            ]
        ),
        weights=np.ones(5),
        size_px=112,
    ),
}

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
PackId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,47}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=2000)]
OneLine = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\r\n]*$")]
Bytes = Annotated[int, Field(gt=0, le=MAX_MODEL_BYTES)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Point = tuple[Number, Number]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Part(BaseModel):
    """Base of all: a key that is not named here is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WheelForm(Part):
    """A file inside a pinned wheel of the package registry."""

    requirement: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9._+!-]+$")]
    sha256: Sha256
    path: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class ArchiveForm(Part):
    """A zip file on the web that holds the file."""

    urls: Annotated[tuple[Url, ...], Field(min_length=1, max_length=8)]
    max_bytes: Bytes
    sha256: Sha256 | None = None


class FileForm(Part):
    """A model file: what it is called, how large it may be, and where it comes from."""

    name: FileName
    max_bytes: Bytes
    sha256: Sha256 | None = None
    urls: Annotated[tuple[Url, ...], Field(max_length=8)] = ()
    archive: ArchiveForm | None = None
    wheel: WheelForm | None = None

    @model_validator(mode="after")
    def _has_one_origin(self) -> FileForm:
        if sum((bool(self.urls), self.archive is not None, self.wheel is not None)) > 1:
            raise ValueError("give at most one of urls, archive and wheel")
        if self.wheel is not None and self.sha256 is None:
            raise ValueError("a file from a wheel needs its sha256")
        if self.wheel is not None and self.wheel.path.rpartition("/")[2] != self.name:
            raise ValueError("name is not the last part of wheel.path")
        return self

    def to_source(self, owner: str) -> Source:
        if self.wheel is not None and self.sha256 is not None:
            return WheelMember(
                requirement=self.wheel.requirement,
                wheel_sha256=self.wheel.sha256,
                path=self.wheel.path,
                sha256=self.sha256,
                max_bytes=self.max_bytes,
            )
        archive = None
        if self.archive is not None:
            archive = Archive(self.archive.urls, self.archive.sha256, self.archive.max_bytes)
        return ModelFile(self.name, self.sha256, self.max_bytes, owner, self.urls, archive)


class ModelForm(Part):
    """What detectors and embedders have in common: a file and its conversion."""

    file: FileForm
    conversion: str
    converted_name: FileName | None = None
    converted_sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _conversion_is_known(self) -> ModelForm:
        if self.conversion not in CONVERSIONS:
            raise ValueError(f"conversion is none of {', '.join(CONVERSIONS)}")
        return self

    def to_artefact(self, owner: str) -> Artefact:
        return Artefact(
            name=self.converted_name or self.file.name,
            sha256=self.converted_sha256,
            source=self.file.to_source(owner),
            conversion=self.conversion,
        )


class QualityScaleForm(Part):
    """How the detector's pitch and score compare with the starter's."""

    pitch_centre_degrees: Annotated[float, Field(ge=-45, le=45)]
    pitch_gain: Annotated[float, Field(gt=0, le=10)]
    score_exponent: Annotated[float, Field(gt=0, le=10)]
    measured: OneLine

    def to_scale(self) -> QualityScale:
        return QualityScale(self.pitch_centre_degrees, self.pitch_gain, self.score_exponent)


class DetectorForm(ModelForm):
    """The face detector."""

    kind: Literal["centerface", "scrfd"]
    score_threshold: Annotated[float, Field(gt=0, lt=1)]
    nms_iou: Annotated[float, Field(gt=0, lt=1)]
    quality_scale: QualityScaleForm | None = None


class EmbedderForm(ModelForm):
    """The model that turns an aligned crop into a vector."""

    size_px: Annotated[int, Field(ge=32, le=512)]
    mean: tuple[Number, Number, Number]
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    mirrored: bool = False
    channels: Literal["rgb", "bgr"] = "rgb"


class TemplateForm(Part):
    """Where the five landmarks belong in a crop: a preset, or the points themselves."""

    preset: Literal["arcface-112", "dlib-150"] | None = None
    points: Annotated[tuple[Point, ...], Field(min_length=5, max_length=5)] | None = None
    weights: Annotated[tuple[Weight, ...], Field(min_length=5, max_length=5)] | None = None

    @model_validator(mode="after")
    def _is_preset_or_points(self) -> TemplateForm:
        if (self.preset is None) == (self.points is None):
            raise ValueError("give either preset or points")
        if self.preset is not None and self.weights is not None:
            raise ValueError("weights belong to points")
        return self


class LicenceForm(Part):
    """Under what terms the models may be used."""

    summary: OneLine
    text: Annotated[str, StringConstraints(min_length=1, max_length=100_000)] | None = None
    url: Url | None = None

    @model_validator(mode="after")
    def _terms_are_complete(self) -> LicenceForm:
        if (self.text is None) != (self.url is None):
            raise ValueError("terms that must be accepted need both text and url")
        return self


class PackForm(Part):
    """A whole manifest."""

    format: Literal[1]
    id: PackId
    title: OneLine
    precision: Literal["fp32", "fp16", "int8"]
    dimension: Annotated[int, Field(ge=16, le=4096)]
    licence: LicenceForm
    detector: DetectorForm
    embedder: EmbedderForm
    template: TemplateForm
    calibration: FileName | None = None
    notes: Annotated[str, StringConstraints(max_length=4000)] = ""

    @model_validator(mode="after")
    def _fits_together(self) -> PackForm:
        if self.id in RESERVED_IDS:
            raise ValueError(f"id {self.id!r} has a meaning of its own; choose another")
        preset = self.template.preset
        if preset is not None and TEMPLATES[preset].size_px != self.embedder.size_px:
            raise ValueError(
                f"template {preset} is for crops of {TEMPLATES[preset].size_px} px, "
                f"and embedder.size_px is {self.embedder.size_px}"
            )
        points = self.template.points or ()
        if any(not 0 <= value <= self.embedder.size_px for point in points for value in point):
            raise ValueError("template.points lie outside the crop of embedder.size_px")
        return self


def parse_manifest(text: str, where: str, *, imported_from: Path | None = None) -> Pack:
    """The pack that a manifest describes.

    Args:
        text: YAML.
        where: the file, for messages.
        imported_from: the folder in the cache of a pack that the user added; None for Rollcall's own.

    Raises:
        ManifestInvalid: naming the file, every wrong key and what is wrong with it.
    """
    form = parse_form(text, where)
    calibration = form.calibration
    if calibration is not None and imported_from is not None:
        calibration = str(imported_from / calibration)
    scale = form.detector.quality_scale
    terms = None
    if form.licence.text is not None and form.licence.url is not None:
        terms = Terms(form.licence.text.strip(), form.licence.url)
    return Pack(
        id=form.id,
        title=form.title,
        licence=form.licence.summary,
        precision=form.precision,
        detector=DetectorSpec(
            form.detector.kind,
            form.detector.to_artefact(form.id),
            score_threshold=form.detector.score_threshold,
            nms_iou=form.detector.nms_iou,
            quality_scale=STARTER_SCALE if scale is None else scale.to_scale(),
        ),
        embedder=EmbedderSpec(
            form.embedder.to_artefact(form.id),
            size_px=form.embedder.size_px,
            mean=form.embedder.mean,
            scale=form.embedder.scale,
            mirrored=form.embedder.mirrored,
            channels=form.embedder.channels,
        ),
        template=_to_template(form),
        calibration_file=calibration,
        dimension=form.dimension,
        terms=terms,
        notes=form.notes.strip(),
        imported=imported_from is not None,
    )


def parse_form(text: str, where: str) -> PackForm:
    """The checked fields of a manifest, as written.

    Raises:
        ManifestInvalid: as parse_manifest.
    """
    content = parse_yaml(text, where)
    if not isinstance(content, Mapping):
        raise ManifestInvalid(f"{where}: a mapping is needed, with `id`, `detector`, `embedder` and so on")
    try:
        return PackForm.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_input=False)
        problems = [_explain(problem) for problem in found[:_MAX_TOLD]]
        if len(found) > _MAX_TOLD:
            problems.append(f"and {len(found) - _MAX_TOLD} more")
        raise ManifestInvalid(f"{where}: {'; '.join(problems)}") from None


def parse_yaml(text: str, where: str) -> Any:
    """What a manifest of any kind says, unchecked.

    Raises:
        ManifestInvalid: it is too large, no YAML, or has merge keys, a few lines of which fill any memory.
    """
    import yaml

    if len(text) > MAX_MANIFEST_BYTES:
        raise ManifestInvalid(f"{where}: larger than {MAX_MANIFEST_BYTES} bytes")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, loader):
            if isinstance(event, yaml.ScalarEvent) and _is_merge_key(event):
                raise ManifestInvalid(f"{where}: << is not read here; write out what it stands for")
        return yaml.load(text, Loader=loader)  # noqa: S506 - safe
    except yaml.YAMLError as error:
        raise ManifestInvalid(f"{where}: not YAML: {' '.join(str(error).split())[:300]}") from None
    except (RecursionError, ValueError) as error:  # nested without end; a date that is none
        raise ManifestInvalid(f"{where}: not YAML: {error}") from None


def _is_merge_key(event: Any) -> bool:
    """Whether PyYAML may take a scalar for the key that merges other mappings in."""
    return bool(event.tag == _MERGE_TAG or (event.value == "<<" and event.implicit[0]))


def read_manifest(path: Path, *, imported_from: Path | None = None) -> Pack:
    """As parse_manifest, from a file.

    Raises:
        ManifestInvalid: also when the file cannot be read.
    """
    return parse_manifest(read_text(path), str(path), imported_from=imported_from)


def read_text(path: Path) -> str:
    """A manifest's text, within its bound."""
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_MANIFEST_BYTES + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestInvalid(f"{path}: cannot be read: {error}") from None


def _to_template(form: PackForm) -> AlignmentTemplate:
    if form.template.preset is not None:
        return TEMPLATES[form.template.preset]
    return AlignmentTemplate(
        points=np.asarray(form.template.points, np.float64),
        weights=np.asarray(form.template.weights or np.ones(5), np.float64),
        size_px=form.embedder.size_px,
    )


def _explain(problem: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    kind = problem["type"]
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1]), set(_known_keys(PackForm)), n=1)
        return f"{key}: there is no such key" + (f"; did you mean {near[0]}?" if near else "")
    if kind == "missing":
        return f"{key}: missing"
    words = re.sub(r"^(Value error, |Input )", "", problem["msg"])
    if kind == "string_type":
        words += " (put it in quotes)"
    return f"{key}: {words}" if key else words


def _known_keys(form: type[BaseModel]) -> Iterator[str]:
    for part in (form, *Part.__subclasses__(), *ModelForm.__subclasses__()):
        yield from part.model_fields
