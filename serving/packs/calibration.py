"""What a cosine is worth: the false match rate behind every score of a pack.

Cosines of different packs are not comparable (the starter pack gives strangers 0.83 on average), so callers
decide on false match rates and the pack translates. The curve is the empirical tail of impostor scores:
FMR(c) = share of pairs of different people whose cosine is at least c.
"""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

from serving.errors import ConfigurationError, PackError
from serving.packs.manifest import Pack

Band = Literal["high", "medium", "low", "none"]
"""How sure a score is, in a word."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a calibration comes from: the data, how many pairs and people, and the command that made it.

    made_at: ISO 8601, UTC. versions: of the packages that have a say in a score. models: SHA-256 of each
    model file by name. They are empty in calibrations that ship, which belong to the release.
    """

    data: str
    people: int
    pictures: int
    impostor_pairs: int
    genuine_pairs: int
    command: str
    made_at: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)


_LEFT_OUT_WHERE_EMPTY = frozenset({"made_at", "versions", "models"})


@dataclass(frozen=True)
class Calibration:
    """The score scale of one pack.

    cosines and rates: the curve as equally long tuples; cosines rise, false match rates fall from 1 to the
        floor. Between two points the logarithm of the rate is linear in the cosine.
    default_threshold: the cosine from which two faces count as one person, unless the caller decides.
    bands: name, one of `Band`, -> lowest cosine of the band, best first.
    true_match_rates: false match rate as text -> share of genuine pairs accepted at that threshold.
    """

    pack: str
    cosines: tuple[float, ...]
    rates: tuple[float, ...]
    default_threshold: float
    bands: dict[Band, float]
    true_match_rates: dict[str, float]
    provenance: Provenance

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.cosines, self.cosines[1:], strict=False))
        falling = all(a > b for a, b in zip(self.rates, self.rates[1:], strict=False))
        if len(self.cosines) != len(self.rates) or len(self.cosines) < 2 or not (rising and falling):
            raise PackError(f"the calibration of {self.pack} is not a falling curve")
        if self.rates[-1] <= 0 or self.rates[0] > 1:
            raise PackError(f"the calibration of {self.pack} has rates outside 0..1")
        if not set(self.bands) < set(get_args(Band)):
            raise PackError(f"the calibration of {self.pack} has bands of other names")

    @property
    def floor(self) -> float:
        """The smallest false match rate the data support; no smaller one is ever reported."""
        return self.rates[-1]

    def false_match_rate(self, cosine: float) -> float:
        """Probability that two different people score at least this cosine: floor..1, falling with it.

        A NaN gives 1.0: nothing is known in its favour.
        """
        if math.isnan(cosine) or cosine <= self.cosines[0]:
            return 1.0 if math.isnan(cosine) or cosine < self.cosines[0] else self.rates[0]
        if cosine >= self.cosines[-1]:
            return self.floor
        right = bisect.bisect_right(self.cosines, cosine)
        c0, c1 = self.cosines[right - 1], self.cosines[right]
        r0, r1 = math.log(self.rates[right - 1]), math.log(self.rates[right])
        return math.exp(r0 + (r1 - r0) * (cosine - c0) / (c1 - c0))

    def threshold_for(self, false_match_rate: float) -> float:
        """The cosine at which the false match rate falls to the given one: the inverse of false_match_rate.

        Raises:
            ConfigurationError: the rate is not above zero and at most 1, or below what the data support.
        """
        if not 0 < false_match_rate <= 1:
            raise ConfigurationError(
                f"a false match rate lies above 0 and at most at 1, not {false_match_rate}"
            )
        if false_match_rate < self.floor:
            raise ConfigurationError(
                f"the calibration of {self.pack} supports no false match rate below {self.floor:.1e}"
            )
        if false_match_rate >= self.rates[0]:
            return self.cosines[0]
        falling = [-rate for rate in self.rates]
        right = min(bisect.bisect_right(falling, -false_match_rate), len(falling) - 1)
        c0, c1 = self.cosines[right - 1], self.cosines[right]
        r0, r1 = math.log(self.rates[right - 1]), math.log(self.rates[right])
        return c0 + (c1 - c0) * (math.log(false_match_rate) - r0) / (r1 - r0)

    def band_of(self, cosine: float) -> Band:
        """Name of the best band whose lowest cosine is reached; "none" below all of them."""
        for name, lowest in self.bands.items():
            if cosine >= lowest:
                return name
        return "none"

    def to_json(self) -> dict[str, Any]:
        """JSON-able form, as stored in serving/packs/data."""
        return {
            "pack": self.pack,
            "default_threshold": self.default_threshold,
            "bands": self.bands,
            "true_match_rates": self.true_match_rates,
            "provenance": {
                name: getattr(self.provenance, name)
                for name in Provenance.__dataclass_fields__
                if getattr(self.provenance, name) or name not in _LEFT_OUT_WHERE_EMPTY
            },
            "curve": [list(point) for point in zip(self.cosines, self.rates, strict=True)],
        }


def parse_calibration(text: str) -> Calibration:
    """Read the stored form.

    Raises:
        PackError: the text is not a calibration.
    """
    try:
        stored = json.loads(text)
        return Calibration(
            pack=stored["pack"],
            cosines=tuple(float(cosine) for cosine, _ in stored["curve"]),
            rates=tuple(float(rate) for _, rate in stored["curve"]),
            default_threshold=float(stored["default_threshold"]),
            bands={name: float(lowest) for name, lowest in stored["bands"].items()},
            true_match_rates={str(rate): float(share) for rate, share in stored["true_match_rates"].items()},
            provenance=Provenance(**stored["provenance"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackError(f"a calibration file is damaged: {error}") from error


@cache
def _read_stored(file_name: str) -> Calibration:
    stored = resources.files("serving.packs") / "data" / file_name
    try:
        return parse_calibration(stored.read_text(encoding="utf-8"))
    except OSError as error:
        raise PackError(f"the calibration {file_name} is missing from the installation") from error


def load_calibration(pack: Pack) -> Calibration:
    """The stored calibration of a pack.

    Raises:
        PackError: it is missing, damaged, or belongs to another pack.
    """
    calibration = _read_stored(pack.calibration_file)
    if calibration.pack != pack.id:
        raise PackError(f"{pack.calibration_file} calibrates {calibration.pack}, not {pack.id}")
    return calibration
