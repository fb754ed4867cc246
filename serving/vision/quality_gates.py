"""How good a face must be, by level."""

from __future__ import annotations

from enum import Enum


class QualityLevel(str, Enum):
    """How much is asked of a face."""

    off = "off"
    standard = "standard"
    strict = "strict"
