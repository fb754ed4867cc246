"""The liveness pack that the settings name."""

from __future__ import annotations

from serving.errors import ConfigurationError
from serving.packs.configured import open_store
from serving.packs.liveness import LivenessPack, find_liveness_pack, load_scorer
from serving.packs.progress import Progress
from serving.settings import Settings
from serving.vision.execution import CPU, Execution
from serving.vision.liveness import LivenessScorer


def find_configured_liveness(settings: Settings) -> LivenessPack | None:
    """The liveness pack that the settings name, whether prepared or not; None when they name none.

    Raises:
        PackError: there is no such pack.
    """
    name = settings.liveness.model
    return None if name is None else find_liveness_pack(name, cache_dir=settings.cache_dir)


def require_configured_liveness(settings: Settings) -> LivenessPack:
    """As find_configured_liveness, where there must be one.

    Raises:
        ConfigurationError: the settings name none.
    """
    pack = find_configured_liveness(settings)
    if pack is None:
        raise ConfigurationError("liveness.model names no liveness pack")
    return pack


def decide_liveness_threshold(settings: Settings, pack: LivenessPack) -> float:
    """The score from which a face counts as live: the settings', else the pack's."""
    return pack.threshold if settings.liveness.threshold is None else settings.liveness.threshold


def prepare_liveness(settings: Settings, progress: Progress | None = None) -> None:
    """Put the files of the configured liveness pack into the cache, if there is one and they are not there.

    Raises:
        PackError: there is no such pack, or its files cannot be had.
    """
    pack = find_configured_liveness(settings)
    if pack is not None:
        open_store(settings).prepare_artefacts(pack, progress)


def load_configured_scorer(settings: Settings, execution: Execution = CPU) -> LivenessScorer:
    """The models of the configured liveness pack, ready to run.

    Raises:
        ConfigurationError: the settings name none.
        ProviderUnavailable: what shall run them is not here.
        PackError: their files cannot be had or loaded.
    """
    pack = require_configured_liveness(settings)
    return load_scorer(pack, open_store(settings).prepare_artefacts(pack), execution=execution)
