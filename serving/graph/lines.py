"""The packs that serve, each with a line of stages of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serving.errors import ConfigurationError, PackMismatch
from serving.graph.stages import Stages
from serving.graph.tuning import IngressTuning
from serving.packs.calibration import Calibration
from serving.packs.manifest import Pack
from serving.settings import RecognitionSettings


@dataclass(frozen=True, slots=True)
class ServedPack:
    """One pack and all that works with its vectors alone.

    Attributes:
        threshold: raw cosine from which a match counts, unless the event or the request says otherwise; None
            leaves it to the calibration. See `configured_threshold`.
    """

    pack: Pack
    calibration: Calibration
    stages: Stages
    threshold: float | None = None


class Lines:
    """The served packs by id. Vectors and cosines of one never meet those of another.

    Args:
        served: the default pack first; ids differ.
    """

    def __init__(self, served: Sequence[ServedPack]) -> None:
        self.default = served[0]
        self._by_id = {line.pack.id: line for line in served}

    def __iter__(self) -> Iterator[ServedPack]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, pack_id: object) -> bool:
        return pack_id in self._by_id

    @property
    def pack_ids(self) -> list[str]:
        """Of the packs that serve, the default first."""
        return list(self._by_id)

    def of(self, pack_id: str | None) -> ServedPack:
        """The line of a pack; the default's for None.

        Raises:
            PackMismatch: this pack does not serve.
        """
        if pack_id is None:
            return self.default
        line = self._by_id.get(pack_id)
        if line is None:
            raise PackMismatch(pack_id=pack_id, serving=self.pack_ids)
        return line

    def find(self, pack_id: str) -> ServedPack | None:
        """As `of`, and None where that raises."""
        return self._by_id.get(pack_id)

    def tune(self, tuning: IngressTuning) -> None:
        """The same limits for every line."""
        for line in self:
            line.stages.tune(tuning)

    async def check(self, remaining_s: float) -> None:
        """Raise StageUnavailable unless every stage of every line answers."""
        await asyncio.gather(*(line.stages.check(remaining_s) for line in self))


def configured_threshold(
    settings: RecognitionSettings, calibration: Calibration, *, is_default: bool
) -> float | None:
    """The raw cosine that the settings give a pack; None: as its calibration says.

    A cosine means something else in every pack, so `recognition.threshold` is the default pack's alone;
    `recognition.false_match_rate` means the same in all of them.

    Raises:
        ConfigurationError: the calibration supports no rate that small.
    """
    if settings.threshold is not None and is_default:
        return settings.threshold
    if settings.false_match_rate is None:
        return None
    if settings.false_match_rate < calibration.floor:
        raise ConfigurationError(
            f"recognition.false_match_rate is {settings.false_match_rate:g}; the calibration of "
            f"{calibration.pack} supports none below {calibration.floor:.1e}"
        )
    return calibration.threshold_for(settings.false_match_rate)
