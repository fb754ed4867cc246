"""Lines of packs over fake stages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from serving.graph.lines import Lines, ServedPack
from serving.packs.calibration import load_calibration
from serving.packs.catalogue import find_pack


def serve(stages: Any, pack_id: str | None = None) -> ServedPack:
    """The line of the starter pack over these stages; under another id, if one is given."""
    pack = find_pack("starter")
    calibration = load_calibration(pack)
    return ServedPack(pack if pack_id is None else replace(pack, id=pack_id), calibration, stages)


def serve_alone(stages: Any, pack_id: str | None = None) -> Lines:
    """One line, which is the default."""
    return Lines([serve(stages, pack_id)])
