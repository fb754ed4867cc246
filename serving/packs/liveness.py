"""Liveness packs: which anti-spoofing models there are, as their manifests say, and loading them.

A manifest is data (`serving/packs/liveness_manifests/*.yaml`): a further model of a known kind needs no code.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import ManifestInvalid, PackError
from serving.vision.liveness import LivenessInput, LivenessModel, LivenessScorer
from serving.vision.liveness_crops import AlignedCut, BoxCut, LivenessCropper, LivenessCut

MANIFESTS = "liveness_manifests"

Point = tuple[float, float]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BoxCutEntry(_Part):
    """See `vision.liveness_crops.BoxCut`."""

    kind: Literal["box"]
    size_px: int = Field(ge=16, le=512)
    scale: float = Field(ge=1, le=8)

    def make(self) -> LivenessCut:
        return BoxCut(self.size_px, self.scale)


class AlignedCutEntry(_Part):
    """See `vision.liveness_crops.AlignedCut`."""

    kind: Literal["aligned"]
    size_px: int = Field(ge=16, le=512)
    points: tuple[Point, Point, Point, Point, Point]
    max_outside: float = Field(ge=0, le=1)

    def make(self) -> LivenessCut:
        return AlignedCut(self.size_px, self.points, self.max_outside)


class InputEntry(_Part):
    """See `vision.liveness.LivenessInput`."""

    channel_order: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    scale: float = Field(gt=0)
    output: Literal["logits", "probabilities", "live_probability"]
    live_class: int = Field(0, ge=0, le=1000)

    def make(self) -> LivenessInput:
        return LivenessInput(self.channel_order, self.mean, self.scale, self.output, self.live_class)


class ModelEntry(_Part):
    """One network: its file, what it sees of a face, and what it answers.

    max_bytes: the file's size; more is never read. urls: where it may be had; none: only from a folder.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,100}\.onnx$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    max_bytes: int = Field(ge=1, le=2**30)
    urls: tuple[str, ...] = ()
    cut: Annotated[BoxCutEntry | AlignedCutEntry, Field(discriminator="kind")]
    input: InputEntry


class LivenessPack(_Part):
    """Liveness models that judge together: the score is the mean of their live probabilities.

    threshold: the score from which a face counts as live, unless the settings say; threshold_provenance: what
    it rests on. needs_acceptance: whether the licence must be accepted before the files are fetched.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    title: str = Field(min_length=1, max_length=200)
    licence: str = Field(min_length=1, max_length=500)
    needs_acceptance: bool = False
    threshold: float = Field(gt=0, lt=1)
    threshold_provenance: str = Field(min_length=1)
    models: tuple[ModelEntry, ...] = Field(min_length=1, max_length=4)

    def make_cropper(self) -> LivenessCropper:
        """What cuts the crops that its models want."""
        return LivenessCropper([model.cut.make() for model in self.models])


def read_liveness_manifest(text: str, name: str) -> LivenessPack:
    """The pack that a YAML manifest describes; `name` is for messages.

    Raises:
        ManifestInvalid: naming what is wrong with it.
    """
    try:
        return LivenessPack.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ManifestInvalid(f"{name} is not YAML: {str(error)[:200]}") from None
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5]]
        raise ManifestInvalid(f"{name}: {'; '.join(problems)}") from None


@cache
def list_liveness_packs() -> tuple[LivenessPack, ...]:
    """Every liveness pack this version ships a manifest of, by id."""
    folder = resources.files("serving.packs") / MANIFESTS
    found = [
        read_liveness_manifest(entry.read_text("utf-8"), entry.name)
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    ]
    return tuple(sorted(found, key=lambda pack: pack.id))


def find_liveness_pack(id: str) -> LivenessPack:
    """The liveness pack of this id; raises PackError when there is none."""
    packs = list_liveness_packs()
    for pack in packs:
        if pack.id == id:
            return pack
    raise PackError(f"there is no liveness pack {id!r}; known are {', '.join(pack.id for pack in packs)}")


def load_scorer(
    pack: LivenessPack,
    paths: Sequence[Path],
    *,
    providers: Sequence[Any] | None = None,
    intra_op_threads: int = 1,
    max_batch: int = 16,
) -> LivenessScorer:
    """Load the models of a pack from their files, in the order of the manifest.

    Raises:
        ConfigurationError: a provider is not available.
        PackError: a model cannot be loaded.
    """
    from serving.vision.inference import CPU_PROVIDERS, open_session

    models = []
    for entry, path in zip(pack.models, paths, strict=True):
        session = open_session(path, CPU_PROVIDERS if providers is None else providers, intra_op_threads)
        models.append(
            LivenessModel(session, size_px=entry.cut.size_px, fed=entry.input.make(), max_batch=max_batch)
        )
    return LivenessScorer(models)


def find_configured_liveness(settings: Settings) -> LivenessPack | None:
    """The liveness pack that the settings name; None when they name none.

    Raises:
        PackError: there is no such pack.
    """
    name = settings.liveness.model
    return None if name is None else find_liveness_pack(name)


def decide_liveness_threshold(settings: Settings, pack: LivenessPack) -> float:
    """The score from which a face counts as live: the settings', else the pack's."""
    return pack.threshold if settings.liveness.threshold is None else settings.liveness.threshold
