"""Who a face is, as far as the caller may know, and what the event's statistics are told of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from serving.accounts.identities import Identity, Permission
from serving.api.deadlines import Deadline
from serving.api.options import decide_top_k
from serving.api.policies import Policy, decide_threshold
from serving.api.schemas.recognition import CandidateView
from serving.api.services import Services
from serving.graph.lines import ServedPack
from serving.graph.messages import Candidate, Decision
from serving.registry.records import Event
from serving.telemetry import recording

SPARE_CANDIDATES = 3
"""Asked for beyond `top_k`, so that one whom the registry does not know hides nobody behind them."""

MAX_AUDITED_PEOPLE = 20
"""People whom one audit entry names at most: a row of the trail stays small."""

Outcome = Literal["match", "unknown", "refused"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Who a probe is, as far as this caller may know.

    `fields` are those of `schemas.recognition.Verdict`; `best_cosine` is for the statistics, never to be
    shown.
    """

    outcome: Outcome
    best_cosine: float | None
    fields: dict[str, Any]

    @property
    def person_id(self) -> str | None:
        """The id of the match, or None."""
        person: CandidateView | None = self.fields["person"]
        return None if person is None else person.person_id


REFUSED = Judgement(
    "refused", None, {"outcome": "refused", "person": None, "best_cosine": None, "candidates": []}
)
"""Of a face that was not compared."""


@dataclass(frozen=True, slots=True)
class Judge:
    """What decides and what may be shown, the same for all probes of a request.

    Attributes:
        line: of the event's pack, as the event was when the request began.
        threshold: the raw cosine from which the best candidate is a match.
        top_k: candidates shown for each probe.
        sees_people: whether the caller may see who else resembles the probe; if not, only a match is named.
    """

    event: Event
    line: ServedPack
    threshold: float
    top_k: int
    sees_people: bool

    async def search(self, vectors: NDArray[np.float32], deadline: Deadline) -> list[Decision]:
        """Who of the event is nearest to each of vectors float32 [n,D], enough of them to judge."""
        wanted = self.top_k + SPARE_CANDIDATES
        return await self.line.stages.search(
            self.event.partition, vectors, wanted, self.threshold, deadline.remaining_s()
        )

    async def judge(self, services: Services, decisions: Sequence[Decision | None]) -> list[Judgement]:
        """A judgement for each decision of the matcher; None is a face that was not compared.

        People whom the registry does not know are left out: erased since the search, or not confirmed yet.
        """
        wanted = {
            candidate.person_id
            for decision in decisions
            if decision is not None
            for candidate in decision.candidates
        }
        names = await services.registry.names_of(self.event.key, wanted) if wanted else {}
        return [
            REFUSED if decision is None else self._judge(decision.candidates, names) for decision in decisions
        ]

    def _judge(self, candidates: Sequence[Candidate], names: dict[str, str | None]) -> Judgement:
        known = [candidate for candidate in candidates if candidate.person_id in names]
        best_cosine = known[0].cosine if known else None
        matched = best_cosine is not None and best_cosine >= self.threshold
        shown = known[: self.top_k] if self.sees_people else known[:1] if matched else []
        views = [
            CandidateView(
                person_id=candidate.person_id,
                name=names[candidate.person_id],
                face_id=candidate.face_id,
                cosine=candidate.cosine,
                false_match_rate=candidate.false_match_rate,
                band=self.line.calibration.band_of(candidate.cosine),
            )
            for candidate in shown
        ]
        outcome: Outcome = "match" if matched else "unknown"
        fields = {
            "outcome": outcome,
            "person": views[0] if matched else None,
            "best_cosine": best_cosine if views else None,
            "candidates": views,
        }
        return Judgement(outcome, best_cosine, fields)


def make_judge(
    request: Request, services: Services, event: Event, policy: Policy, asked_top_k: int | None
) -> Judge:
    """The judge of one request.

    Raises:
        InvalidRequest: more candidates are asked for than the settings allow.
        PolicyNotAllowed, FalseMatchRateNotSupported: as `policies.decide_threshold`.
    """
    identity: Identity = request.state.identity
    line = services.line_of(event)
    return Judge(
        event=event,
        line=line,
        threshold=decide_threshold(event, policy, line.calibration, line.threshold),
        top_k=decide_top_k(services, asked_top_k),
        sees_people=identity.may(Permission.read_people),
    )


def _list_scores(
    judgements: Sequence[Judgement], line: ServedPack
) -> Iterator[tuple[str, float | None, float | None]]:
    """Of each face its outcome and the best candidate's cosine and false match rate."""
    for judgement in judgements:
        cosine = judgement.best_cosine
        yield judgement.outcome, cosine, None if cosine is None else line.calibration.false_match_rate(cosine)


def note_judgements(
    request: Request,
    services: Services,
    event: Event,
    pictures: Sequence[Sequence[Judgement]],
    spoofs: Sequence[int] | None = None,
) -> None:
    """Count the judgements of each picture in the event's statistics, the metrics and the audit entry.

    Args:
        spoofs: in each picture, faces taken for presentation attacks; None where nobody asked.
    """
    line = services.lines.find(event.pack_id)
    counts = [0] * len(pictures) if spoofs is None else spoofs
    for judgements, count in zip(pictures, counts, strict=True):
        if line is not None:
            recording.note_faces(line.pack.id, event.id, _list_scores(judgements, line))
        services.statistics.note_recognition(
            event.key,
            [(judgement.outcome, judgement.best_cosine) for judgement in judgements],
            count,
            event.partition,
        )
    outcomes = [judgement.outcome for judgements in pictures for judgement in judgements]
    people = {each.person_id: None for judgements in pictures for each in judgements if each.person_id}
    request.state.audit_details = {
        "pictures": len(pictures),
        "faces": len(outcomes),
        "matches": outcomes.count("match"),
        "people": list(people)[:MAX_AUDITED_PEOPLE],
    }
    if spoofs is not None:
        request.state.audit_details["spoofs"] = sum(spoofs)
