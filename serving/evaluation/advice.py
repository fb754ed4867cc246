"""What a threshold costs, in words that need no statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.evaluation.scores import Scores

EVENT_SIZES = (100, 500, 2_000)
"""People enrolled, for which the chance that a stranger finds somebody is told."""

RATES = (1e-2, 1e-3, 1e-4, 1e-5)


def advise(scores: Scores, rates: Sequence[float] = RATES) -> list[dict[str, Any]]:
    """For each false match rate its threshold, both costs, and a sentence; unsupported ones say so.

    The chance that a stranger finds somebody among N people is 1 - (1 - FMR)^N, as if comparisons were
    independent.
    """
    rows: list[dict[str, Any]] = []
    for rate in rates:
        row: dict[str, Any] = {"false_match_rate": rate, "supported": False}
        if not scores.genuine_pairs or not scores.supports(rate):
            row["words"] = (
                f"At {name_rate(rate)}: not supported by the data. {scores.impostor_pairs:,} pairs of "
                f"strangers were compared; the smallest rate they support is {name_rate(scores.floor)}."
            )
            rows.append(row)
            continue
        threshold = scores.threshold_at(rate)
        missed = 1 - scores.true_match_rate(threshold)
        chances = {size: 1 - (1 - rate) ** size for size in EVENT_SIZES}
        row |= {
            "supported": True,
            "threshold": round(threshold, 7),
            "false_non_match_rate": round(missed, 6),
            "stranger_finds_somebody": [
                {"people": size, "probability": round(chance, 5)} for size, chance in chances.items()
            ],
            "words": (
                f"At {name_rate(rate)} (cosine {threshold:.4f}): of {round(1 / rate):,} comparisons of "
                f"strangers 1 is accepted; of 100 of one person {_count(100 * missed)} refused. A stranger "
                "finds somebody with a probability of "
                + ", ".join(f"{_percent(chance)} among {size:,} people" for size, chance in chances.items())
                + "."
            ),
        }
        rows.append(row)
    return rows


def name_rate(rate: float) -> str:
    """A rate as people say it: 1 in 1,000."""
    return f"1 in {round(1 / rate):,}" if 0 < rate <= 0.5 else f"{rate:.0%}"


def _count(number: float) -> str:
    if number < 0.05:
        return "none is"
    return f"{number:.0f} are" if number >= 9.95 else f"{number:.1f} are"


def _percent(share: float) -> str:
    if share > 0.999:
        return "more than 99.9 %"
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"
