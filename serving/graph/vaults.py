"""The gallery of each pack, as those who erase see it: also of packs that do not serve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from serving.graph.lines import Lines
from serving.graph.stages import Stages
from serving.registry.records import Place


class Vault(Protocol):
    """What of the stages is needed to erase; see `Stages`."""

    async def faces_of(self, event_key: str, person_id: str, remaining_s: float) -> list[str]: ...

    async def erase_faces(
        self, event_key: str, faces: Sequence[tuple[str, str]], remaining_s: float
    ) -> None: ...

    async def erase_person(self, event_key: str, person_id: str, remaining_s: float) -> None: ...

    async def erase_event(self, event_key: str, remaining_s: float) -> None: ...


class DormantVault:
    """The gallery of a pack that does not serve, reached through the matcher of one that does.

    No model is loaded for it. The pack must still be known by its manifest, which says how long its vectors
    are; else every method raises PackError.
    """

    def __init__(self, stages: Stages, pack_id: str) -> None:
        self._stages = stages
        self._pack_id = pack_id

    async def faces_of(self, event_key: str, person_id: str, remaining_s: float) -> list[str]:
        return await self._stages.faces_of(event_key, person_id, remaining_s, pack_id=self._pack_id)

    async def erase_faces(self, event_key: str, faces: Sequence[tuple[str, str]], remaining_s: float) -> None:
        await self._stages.erase_faces(event_key, faces, remaining_s, pack_id=self._pack_id)

    async def erase_person(self, event_key: str, person_id: str, remaining_s: float) -> None:
        await self._stages.erase_person(event_key, person_id, remaining_s, pack_id=self._pack_id)

    async def erase_event(self, event_key: str, remaining_s: float) -> None:
        await self._stages.erase_event(event_key, remaining_s, pack_id=self._pack_id)


def open_vaults(lines: Lines, place: Place) -> list[Vault]:
    """Where a place may lie: with its pack, or, where that was not noted, with any that serves."""
    if place.pack_id is None:
        return [line.stages for line in lines]
    line = lines.find(place.pack_id)
    return [DormantVault(lines.default.stages, place.pack_id) if line is None else line.stages]


async def erase_place(lines: Lines, place: Place, timeout_s: float) -> None:
    """Erase everything that is stored in a place; may be repeated."""
    for vault in open_vaults(lines, place):
        await vault.erase_event(place.partition, timeout_s)
