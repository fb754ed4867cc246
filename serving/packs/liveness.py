"""Liveness packs: which anti-spoofing models there are, as their manifests say, and loading them.

A manifest is data (`serving/packs/data/liveness/*.yaml`): a further model of a known kind needs no code.
docs/liveness.md describes its fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from serving.errors import ManifestInvalid, PackError
from serving.packs.manifest import Artefact, Terms
from serving.packs.manifest_format import (
    LicenceForm,
    ModelForm,
    Number,
    OneLine,
    PackId,
    Part,
    parse_yaml,
    read_text,
)
from serving.vision.execution import CPU, Execution
from serving.vision.inference import open_session
from serving.vision.liveness import LivenessInput, LivenessModel, LivenessScorer
from serving.vision.liveness_crops import AlignedCut, BoxCut, LivenessCropper, LivenessCut

MANIFEST_NAME = "liveness.yaml"
"""Of a liveness pack of the user's own, in its folder."""

Point = tuple[Number, Number]


class BoxCutForm(Part):
    """See `vision.liveness_crops.BoxCut`."""

    kind: Literal["box"]
    size_px: Annotated[int, Field(ge=16, le=512)]
    scale: Annotated[float, Field(ge=1, le=8)]

    def to_cut(self) -> LivenessCut:
        return BoxCut(self.size_px, self.scale)


class AlignedCutForm(Part):
    """See `vision.liveness_crops.AlignedCut`."""

    kind: Literal["aligned"]
    size_px: Annotated[int, Field(ge=16, le=512)]
    points: tuple[Point, Point, Point, Point, Point]
    max_outside: Annotated[float, Field(ge=0, le=1)]

    def to_cut(self) -> LivenessCut:
        return AlignedCut(self.size_px, self.points, self.max_outside)


class InputForm(Part):
    """See `vision.liveness.LivenessInput`."""

    channels: Literal["rgb", "bgr"]
    mean: tuple[Number, Number, Number]
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    output: Literal["logits", "probabilities", "live_probability"]
    live_class: Annotated[int, Field(ge=0, le=1000)] = 0

    def to_input(self) -> LivenessInput:
        return LivenessInput(self.channels, self.mean, self.scale, self.output, self.live_class)


class LivenessModelForm(ModelForm):
    """One network: its file, what it sees of a face, and what it takes and answers."""

    cut: Annotated[BoxCutForm | AlignedCutForm, Field(discriminator="kind")]
    input: InputForm


class LivenessForm(Part):
    """A whole manifest."""

    format: Literal[1]
    id: PackId
    title: OneLine
    licence: LicenceForm
    threshold: Annotated[float, Field(gt=0, lt=1)]
    threshold_provenance: Annotated[str, Field(min_length=1, max_length=1000)]
    models: Annotated[tuple[LivenessModelForm, ...], Field(min_length=1, max_length=4)]
    notes: Annotated[str, Field(max_length=4000)] = ""


@dataclass(frozen=True, slots=True)
class LivenessModelSpec:
    """One network of a liveness pack."""

    artefact: Artefact
    cut: LivenessCut
    fed: LivenessInput


@dataclass(frozen=True, slots=True)
class LivenessPack:
    """Models that judge together whether a face is live: the score is the mean of their live probabilities.

    licence: what the user must know, in one line. terms: what must be accepted; None where nothing must.
    threshold: the score from which a face counts as live, unless the settings say; threshold_provenance: what
    it rests on. notes: what else a user should know. imported: whether the user added it.
    """

    id: str
    title: str
    licence: str
    terms: Terms | None
    threshold: float
    threshold_provenance: str
    models: tuple[LivenessModelSpec, ...]
    notes: str = ""
    imported: bool = False

    @property
    def artefacts(self) -> tuple[Artefact, ...]:
        """Every model file the pack needs, in the order of the models."""
        return tuple(model.artefact for model in self.models)

    def make_cropper(self) -> LivenessCropper:
        """What cuts the crops that its models want."""
        return LivenessCropper([model.cut for model in self.models])


def parse_liveness_manifest(text: str, where: str, *, imported: bool = False) -> LivenessPack:
    """The pack that a YAML manifest describes; `where` is the file, for messages, `imported` as of the pack.

    Raises:
        ManifestInvalid: naming what is wrong with it.
    """
    try:
        form = LivenessForm.model_validate(parse_yaml(text, where))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5]]
        raise ManifestInvalid(f"{where}: {'; '.join(problems)}") from None
    terms = None
    if form.licence.text is not None and form.licence.url is not None:
        terms = Terms(form.licence.text.strip(), form.licence.url)
    models = tuple(
        LivenessModelSpec(
            model.to_artefact(form.id),
            model.cut.to_cut(),
            model.input.to_input(),
        )
        for model in form.models
    )
    return LivenessPack(
        form.id,
        form.title,
        form.licence.summary,
        terms,
        form.threshold,
        form.threshold_provenance,
        models,
        form.notes.strip(),
        imported,
    )


def list_liveness_packs(cache_dir: Path | None = None) -> list[LivenessPack]:
    """Every liveness pack by id: Rollcall's own, and those that the user added to a cache.

    Raises:
        ManifestInvalid: one that the user added has a manifest with faults.
    """
    found = [*_load_shipped()]
    if cache_dir is not None:
        for path in sorted(imported_liveness_directory(cache_dir).glob(f"*/{MANIFEST_NAME}")):
            found.append(parse_liveness_manifest(read_text(path), str(path), imported=True))
    return sorted(found, key=lambda pack: pack.id)


def find_liveness_pack(id: str, *, cache_dir: Path | None = None) -> LivenessPack:
    """The liveness pack of this id, among those of `list_liveness_packs`.

    Raises:
        PackError: there is none.
    """
    packs = {pack.id: pack for pack in list_liveness_packs(cache_dir)}
    if id not in packs:
        raise PackError(f"there is no liveness pack {id!r}; known are {', '.join(packs)}")
    return packs[id]


def imported_liveness_directory(cache_dir: Path) -> Path:
    """Where the manifests of liveness packs that the user added lie, each in a folder named by its id."""
    return Path(cache_dir).expanduser() / "packs" / "imported-liveness"


@cache
def _load_shipped() -> tuple[LivenessPack, ...]:
    folder = resources.files("serving.packs") / "data" / "liveness"
    return tuple(
        parse_liveness_manifest(entry.read_text("utf-8"), entry.name)
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    )


def load_scorer(
    pack: LivenessPack,
    files: Sequence[Path | bytes],
    *,
    execution: Execution = CPU,
    max_batch: int = 16,
) -> LivenessScorer:
    """Load the models of a pack from their converted files, in the order of the manifest.

    Raises:
        ProviderUnavailable: what shall run them is not here.
        PackError: a model cannot be loaded.
    """
    models = []
    for spec, file in zip(pack.models, files, strict=True):
        session = open_session(file, execution)
        models.append(LivenessModel(session, size_px=spec.cut.size_px, fed=spec.fed, max_batch=max_batch))
    return LivenessScorer(models)
