"""From scored points to ranked people: the same on every engine.

An engine returns the best `limit` points. Somebody with two hundred pictures can fill them all, so a search
asks again with a larger limit until the answer cannot change any more.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from serving.gallery.records import Hit, Probe

COSINE_DECIMALS = 6
FIRST_POINTS_PER_PERSON = 4
FIRST_POINTS_LEAST = 16
GROWTH = 8
MAX_POINTS_PER_PROBE = 65536
"""Where a search stops growing. People found by then are right and in order, but fewer than top_k may
come back; it takes an event in which top_k - 1 people have more than this many pictures together."""


class ScoredPoint(NamedTuple):
    """One point as an engine returned it; `cosine` is unrounded."""

    person: str
    face: str
    cosine: float


@dataclass(frozen=True, slots=True)
class PointQuery:
    """The best `limit` points for one probe; `index` is the probe's place in the batch."""

    index: int
    probe: Probe
    limit: int


Search = Generator[list[PointQuery], Sequence[Sequence[ScoredPoint]], list[list[Hit]]]
"""Yields rounds of point queries, is sent their points, returns the hits of each probe in order."""


def plan_search(probes: Sequence[Probe]) -> Search:
    """Drive a search without knowing the engine: yield what to ask, receive the points, return the hits.

    The first round asks for every probe; each further round only for those whose answer may still change.
    """
    hits: list[list[Hit]] = [[] for _ in probes]
    open_queries = [
        PointQuery(i, probe, first_limit(_people_wanted(probe))) for i, probe in enumerate(probes)
    ]
    while open_queries:
        answers = yield open_queries
        unsettled = []
        for query, points in zip(open_queries, answers, strict=True):
            people, settled = rank_people(points, _people_wanted(query.probe), query.limit)
            hits[query.index] = people
            if not settled and query.limit < MAX_POINTS_PER_PROBE:
                grown = min(query.limit * GROWTH, MAX_POINTS_PER_PROBE)
                unsettled.append(PointQuery(query.index, query.probe, grown))
        open_queries = unsettled
    return hits


def first_limit(top_k: int) -> int:
    """Return how many points the first round asks for."""
    return max(FIRST_POINTS_LEAST, top_k * FIRST_POINTS_PER_PERSON)


def rank_people(points: Sequence[ScoredPoint], top_k: int, limit: int) -> tuple[list[Hit], bool]:
    """Group the best `limit` points by person and rank the people.

    A person scores as their best face; equal cosines are ordered by person, then face, so that the order
    never depends on how an engine stores its points.

    Returns:
        At most `top_k` hits, and whether more points could not change them: either the engine had no more,
        or all points that tie with the last hit have been seen.
    """
    best: dict[str, tuple[float, str]] = {}
    lowest = 1.0
    for person, face, raw in points:
        cosine = round_cosine(raw)
        lowest = min(lowest, cosine)
        known = best.get(person)
        if known is None or cosine > known[0] or (cosine == known[0] and face < known[1]):
            best[person] = (cosine, face)
    ranked = sorted((Hit(person, face, cosine) for person, (cosine, face) in best.items()), key=_rank)[:top_k]
    settled = len(points) < limit or (len(ranked) == top_k and lowest < ranked[-1].cosine)
    return ranked, settled


def round_cosine(raw: float) -> float:
    """Return a float32 dot product of unit vectors as a cosine in -1..1 with COSINE_DECIMALS decimals."""
    return round(min(1.0, max(-1.0, float(np.float32(raw)))), COSINE_DECIMALS)


def _people_wanted(probe: Probe) -> int:
    return probe.top_k if probe.person is None else 1


def _rank(hit: Hit) -> tuple[float, str, str]:
    return -hit.cosine, hit.person, hit.face
