"""From a frame to its faces: found in every frame, looked up only when there is something to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from fastapi import WebSocket

from serving.api.deadlines import Deadline
from serving.api.face_answers import face_fields, view_faults
from serving.api.judgements import REFUSED, Judge, Judgement, make_judge, note_judgements
from serving.api.liveness import LivenessCheck, decide_liveness
from serving.api.probes import Probe, choose_faces, embed_faces
from serving.api.routes.check_ins import find_sightings
from serving.api.services import Services
from serving.api.stage_clock import StageClock
from serving.api.stream.mailbox import Frame
from serving.api.stream.messages import Start, StreamFace
from serving.api.stream.tracks import Track, Tracker, Vectors
from serving.errors import PictureTooLarge
from serving.registry.attendance import check_place
from serving.registry.check_ins import MIN_INTERVAL_S, Arrival
from serving.registry.records import Event
from serving.vision.picture import read_header
from serving.vision.pipeline import Face, PictureFaces
from serving.vision.quality_gates import Fault, find_attack, find_faults

FRAME_TIMEOUT_S = 5.0
"""An answer to a frame that old is about people who have gone on; recognitions may take longer."""
SIGHTING_PERIOD_S = MIN_INTERVAL_S / 2
"""Who stays before the camera is seen there so often: they must not count as having come again."""
UNKNOWN_NOW = Judgement(
    "unknown", None, {"outcome": "unknown", "person": None, "best_cosine": None, "candidates": []}
)
"""Of one who was erased since they were looked up."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a frame showed.

    looked_up: how many of its faces were embedded; 0: all were known from the frames before.
    """

    found: PictureFaces
    faces: list[StreamFace]
    looked_up: int
    clock: StageClock


@dataclass(slots=True)
class Tally:
    """What a stream has seen: numbers for its log line and its audit entry.

    spoofs: None where nobody asked. people: ids, in the order of their first sight.
    """

    lookups: int = 0
    matches: int = 0
    arrived: int = 0
    spoofs: int | None = None
    people: dict[str, None] | None = None


@dataclass(slots=True)
class _News:
    """What the next frame is judged by, and people, id and name, who are gone or called otherwise now."""

    judge: Judge
    check: LivenessCheck
    outdated: set[tuple[str, str | None]]


class FrameRecogniser:
    """Recognises the frames of one stream, one after the other.

    Args:
        websocket: whose state holds the caller's identity.
        options: what the client asked for.
        event: as of now.

    Raises:
        InvalidRequest, PolicyNotAllowed, FalseMatchRateNotSupported, LivenessNotConfigured: an option.
    """

    def __init__(self, websocket: WebSocket, services: Services, options: Start, event: Event) -> None:
        self._request: Any = websocket  # of a request, what is called here uses the state alone
        self._services = services
        self._options = options
        self._tracker = Tracker(services.settings.stream.lost_after_s)
        self.tally = Tally(people={})
        check_place(options.place)
        self._judge, self._check = self._decide(event)
        self._news: _News | None = None

    @property
    def judge(self) -> Judge:
        """What decides now."""
        return self._judge

    def _decide(self, event: Event) -> tuple[Judge, LivenessCheck]:
        judge = make_judge(self._request, self._services, event, self._options.policy, self._options.top_k)
        return judge, decide_liveness(self._services, event, self._options.liveness)

    async def follow(self, event: Event) -> None:
        """Take over what has changed of event and caller, and forget the names of those who are gone.

        It holds from the next frame on: one in work is judged to its end as it was begun.

        Raises:
            RollcallError: what was asked for is not allowed any more, or the registry does not answer.
        """
        judge, check = self._decide(event)
        shown = {each for track in self._tracker.tracks for each in self._list_shown(track)}
        known: dict[str, str | None] = {}
        if shown:
            known = await self._services.registry.names_of(event.key, {person_id for person_id, _ in shown})
        outdated = {(id, name) for id, name in shown if id not in known or known[id] != name}
        if self._news is not None:
            outdated |= self._news.outdated
        self._news = _News(judge, check, outdated)

    def _list_shown(self, track: Track) -> set[tuple[str, str | None]]:
        """Id and name of everybody whom the answer of a track names."""
        if track.answer is None:
            return set()
        fields = track.answer.fields
        views = [fields["person"], *(() if self._options.top_k is None else fields["candidates"])]
        return {(view.person_id, view.name) for view in views if view is not None}

    def _take_news(self) -> None:
        news, self._news = self._news, None
        if news is None:
            return
        before, checked = self._judge, self._check
        self._judge, self._check = judge, check = news.judge, news.check
        if (
            judge.event.partition != before.event.partition
            or judge.line.pack.id != before.line.pack.id
            or judge.threshold != before.threshold
            or judge.sees_people != before.sees_people
            or check.mode is not checked.mode
        ):
            self._tracker.clear()  # other vectors, another policy, another caller: all are asked about anew
            return
        for track in self._tracker.tracks:
            if self._list_shown(track) & news.outdated:
                track.answer, track.arrival, track.retry_at_s = UNKNOWN_NOW, None, 0.0

    async def recognise(self, frame: Frame) -> Seen:
        """The faces of a frame.

        Raises:
            Overloaded, StageUnavailable, DeadlineExceeded: the service is busy; the next frame may go better.
            RollcallError: the frame is no picture that is accepted.
        """
        settings, clock = self._services.settings, StageClock()
        self._take_news()
        if frame.size > settings.stream.max_frame_bytes:
            raise PictureTooLarge(bytes=frame.size, max_bytes=settings.stream.max_frame_bytes)
        deadline = Deadline(min(FRAME_TIMEOUT_S, settings.load.request_timeout_s))
        judge, check = self._judge, self._check
        with self._services.gate.admit() as admission:
            admission.add_bytes(len(frame.data))
            read_header(frame.data, settings.picture.limits)
            clock.mark("read")
            found = await judge.line.stages.detect(frame.data, deadline.remaining_s(), check.wants_crops)
            clock.mark("detect")
            meant = choose_faces(found, self._options.faces)
            matching = self._tracker.match(found.faces, frame.at_s)
            vectors = await self._embed(found.faces, matching.doubtful, {}, deadline)
            tracks = self._tracker.settle(matching, vectors, judge.threshold)
            due = await self._look_up(found.faces, meant, tracks, vectors, deadline, frame.at_s, clock)
            await self._check_in(tracks, meant, frame.at_s)
            clock.mark("names")
        faces = [
            self._view(track, place in due)
            for place, track in enumerate(tracks)
            if any(track.face is face for face in meant)
        ]
        return Seen(found, faces, len(vectors), clock)

    async def _embed(
        self, faces: Sequence[Face], places: Sequence[int], known: dict[int, Vectors], deadline: Deadline
    ) -> dict[int, Vectors]:
        """Vectors of the faces in these places, those `known` among them; one call at most."""
        missing = [place for place in places if place not in known]
        if missing:
            found = await embed_faces(self._judge.line, [faces[place] for place in missing], deadline)
            known.update(zip(missing, found, strict=True))
        return known

    async def _look_up(
        self,
        faces: Sequence[Face],
        meant: Sequence[Face],
        tracks: Sequence[Track],
        vectors: dict[int, Vectors],
        deadline: Deadline,
        at_s: float,
        clock: StageClock,
    ) -> set[int]:
        """Ask the gallery about the faces that are due; their places."""
        probes: dict[int, Probe] = {}
        for place, track in enumerate(tracks):
            if not any(track.face is face for face in meant):
                continue
            faults = find_faults(track.face.quality, self._options.quality)
            if faults:
                if track.answer is None or track.answer.outcome == "refused":
                    track.answer, track.faults, track.merit = REFUSED, faults, 0.0
                    track.retry_at_s = at_s
            elif track.is_due(at_s):
                probes[place] = Probe(track.face)
        if not probes:
            return set()
        await self._admit_lookup()
        await self._refuse_attacks(probes, deadline, clock)
        fit = [place for place, probe in probes.items() if not probe.faults]
        await self._embed(faces, fit, vectors, deadline)
        clock.mark("embed")
        judge = self._judge
        if self._check.observes:
            await self._check.look([probe.face for probe in probes.values()], deadline)
        decisions = await judge.search(np.stack([vectors[place] for place in fit]), deadline) if fit else []
        clock.mark("match")
        judged = dict(zip(fit, await judge.judge(self._services, decisions), strict=True))
        answers = {place: judged.get(place, REFUSED) for place in probes}
        for place, answer in answers.items():
            track = tracks[place]
            if answer.person_id is None or track.answer is None or track.answer.person_id != answer.person_id:
                track.arrival = None
            track.note_answer(
                vectors.get(place) if place in judged else None,
                answer,
                probes[place].faults,
                at_s,
                self._services.settings.stream.retry_s,
            )
        self._note(list(answers.values()), [probe.face for probe in probes.values()])
        return set(probes)

    async def _admit_lookup(self) -> None:
        """Count a recognition under the caller's own limit."""
        identity = self._request.state.identity
        await self._services.rate_limiter.admit(self._request, identity)

    async def _refuse_attacks(self, probes: dict[int, Probe], deadline: Deadline, clock: StageClock) -> None:
        if not self._check.enforces:
            return
        await self._check.look([probe.face for probe in probes.values()], deadline)
        for probe in probes.values():
            probe.faults = find_attack(probe.face.liveness)
        clock.mark("liveness")

    def _note(self, answers: list[Judgement], faces: list[Face]) -> None:
        spoofs = self._check.count_spoofs([faces])
        note_judgements(self._request, self._services, self._judge.event, [answers], spoofs)
        tally = self.tally
        tally.lookups += len(answers)
        tally.matches += sum(answer.outcome == "match" for answer in answers)
        if spoofs is not None:
            tally.spoofs = (tally.spoofs or 0) + sum(spoofs)
        assert tally.people is not None
        tally.people.update((answer.person_id, None) for answer in answers if answer.person_id)

    async def _check_in(self, tracks: Sequence[Track], meant: Sequence[Face], at_s: float) -> None:
        """Tell the registry who is here: who was just recognised, and now and then who stays."""
        if not self._options.check_in:
            return
        due = [
            track
            for track in tracks
            if track.answer is not None
            and track.answer.person_id is not None
            and any(track.face is face for face in meant)
            and (track.arrival is None or at_s - track.sighted_at_s >= SIGHTING_PERIOD_S)
        ]
        if not due:
            return
        sightings = find_sightings([track.answer for track in due if track.answer], self._options.place)
        arrivals = await self._services.check_ins.record(self._judge.event.key, sightings)
        self.tally.arrived += sum(arrival.is_new for arrival in arrivals.values())
        for track in due:
            assert track.answer is not None
            track.arrival = arrivals.get(track.answer.person_id or "")
            track.sighted_at_s = at_s
            if track.arrival is None:
                track.answer = UNKNOWN_NOW  # erased meanwhile

    def _view(self, track: Track, looked_up: bool) -> StreamFace:
        answer = track.answer or REFUSED
        fields: dict[str, Any] = dict(answer.fields)
        if self._options.top_k is None:
            del fields["candidates"]
        shown = face_fields(track.face, sees_score=self._judge.sees_people)
        arrival = track.arrival if isinstance(track.arrival, Arrival) else None
        if arrival is not None and arrival.is_new:
            track.arrival = replace(arrival, is_new=False)  # it is told once
        faults: list[Fault] = track.faults if answer.outcome == "refused" else []
        return StreamFace(
            **fields,
            track=track.number,
            looked_up=looked_up,
            box=shown["box"],
            landmarks=shown["landmarks"] if self._options.landmarks else None,
            detection_score=shown["detection_score"],
            liveness=shown["liveness"] if self._check.wants_crops and looked_up else None,
            faults=view_faults(faults),
            arrived=None if arrival is None else "now" if arrival.is_new else "before",
            first_at=None if arrival is None else arrival.first_at,
            times=None if arrival is None else arrival.times,
        )
