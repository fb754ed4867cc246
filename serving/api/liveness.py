"""What liveness is asked of the faces of a request, and what becomes of those that are not live."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.api.deadlines import Deadline
from serving.api.policies import RequestPolicy
from serving.api.services import Services
from serving.errors import LivenessNotConfigured, PolicyNotAllowed, PresentationAttack, RollcallError
from serving.graph.liveness import LivenessStage
from serving.registry.records import Event
from serving.telemetry import recording
from serving.vision.liveness_modes import Liveness, LivenessMode, LivenessStatus, judge_liveness
from serving.vision.pipeline import Face
from serving.vision.quality_gates import find_attack

OBSERVING_TIMEOUT_S = 2.0
"""How long an answer waits for a stage that only observes: a hundred times what a face takes."""

UNAVAILABLE = Liveness(LivenessStatus.unavailable)


@dataclass(frozen=True, slots=True)
class LivenessCheck:
    """The liveness check of one request.

    Attributes:
        mode: what is asked.
        stage: who answers; None where no liveness model is configured, which enforcing does not come to.
    """

    mode: LivenessMode = LivenessMode.off
    stage: LivenessStage | None = None

    @property
    def wants_crops(self) -> bool:
        """Whether the detector is to cut what the liveness models look at."""
        return self.mode is not LivenessMode.off and self.stage is not None

    @property
    def enforces(self) -> bool:
        """Whether a face that is not live is refused."""
        return self.mode is LivenessMode.enforce

    @property
    def observes(self) -> bool:
        """Whether a face that is not live is told of, and no more."""
        return self.mode is LivenessMode.observe

    def count_spoofs(self, pictures: Sequence[Sequence[Face]]) -> list[int] | None:
        """How many faces of each picture were taken for presentation attacks; None where nobody asked."""
        return None if self.mode is LivenessMode.off else [sum(map(_is_spoof, faces)) for faces in pictures]

    async def look(self, faces: Sequence[Face], deadline: Deadline) -> None:
        """Give each face its `liveness`, in one call to the stage; without a check, do nothing.

        When the stage fails, faces that are observed are `unavailable`.

        Raises:
            RollcallError: liveness is enforced, and the stage cannot be reached or is overloaded.
        """
        if self.mode is LivenessMode.off or not faces:
            return
        if self.stage is None:
            self._give(faces, [UNAVAILABLE] * len(faces))
            return
        remaining_s = deadline.remaining_s()
        if self.observes:
            remaining_s = min(OBSERVING_TIMEOUT_S, remaining_s / 2)
        try:
            self._give(faces, await self._judge(self.stage, faces, remaining_s))
        except RollcallError:
            if self.enforces:
                self._note("unavailable", len(faces))
                raise
            unavailable = dataclasses.replace(UNAVAILABLE, threshold=self.stage.threshold)
            self._give(faces, [unavailable] * len(faces))

    async def refuse_attack(self, face: Face, deadline: Deadline) -> None:
        """Look at the one face that counts, where liveness is enforced.

        Raises:
            PresentationAttack: it is not live.
            RollcallError: as `look`.
        """
        if not self.enforces:
            return
        await self.look([face], deadline)
        faults = find_attack(face.liveness)
        if faults:
            raise PresentationAttack(
                f"the face is refused: {faults[0].reason.value}",
                faults=[dataclasses.asdict(fault) for fault in faults],
            )

    async def _judge(self, stage: LivenessStage, faces: Sequence[Face], remaining_s: float) -> list[Liveness]:
        cut = [face.liveness_crops for face in faces if face.liveness_crops is not None]
        scores = iter(())
        if cut:
            crops = tuple(np.stack(each) for each in zip(*cut, strict=True))
            scores = iter((await stage.score(crops, remaining_s)).tolist())
        return [
            judge_liveness(None if face.liveness_crops is None else next(scores), stage.threshold)
            for face in faces
        ]

    def _give(self, faces: Sequence[Face], found: Sequence[Liveness]) -> None:
        for face, liveness in zip(faces, found, strict=True):
            face.liveness, face.liveness_crops = liveness, None
            self._note(liveness.status.value, 1, liveness.score)

    def _note(self, outcome: str, faces: int, score: float | None = None) -> None:
        pack_id = "" if self.stage is None else self.stage.pack.id
        for _ in range(faces):
            recording.note_liveness(pack_id, self.mode.value, outcome, score)


NO_CHECK = LivenessCheck()
"""Apart from events, and at those that ask for none."""


def decide_liveness(services: Services, event: Event, asked: LivenessMode | None = None) -> LivenessCheck:
    """The check of a request: the event's own, or a stricter one that the request asks for.

    Raises:
        PolicyNotAllowed: the request asks for less, or for anything else at an event that lets requests ask
            for nothing.
        LivenessNotConfigured: liveness is to be enforced, or the request asks for it, and there is no model.
    """
    own = effective_mode(services, event)
    mode = own if asked is None else asked
    if mode is not own:
        allowed = [own]
        if RequestPolicy(event.request_policy) is not RequestPolicy.none:
            allowed = [each for each in LivenessMode if each.strictness >= own.strictness]
        if mode not in allowed:
            raise PolicyNotAllowed(
                f"the request asks for liveness {mode.value}, the event for {own.value}",
                allowed=[each.value for each in allowed],
                event_liveness=own.value,
                asked_liveness=mode.value,
            )
    if mode is LivenessMode.off:
        return NO_CHECK
    if services.liveness is None and (mode is LivenessMode.enforce or asked is not None):
        raise LivenessNotConfigured(liveness=mode.value)
    return LivenessCheck(mode, services.liveness)


def decide_sign_in_liveness(services: Services) -> LivenessCheck:
    """The check of a face that signs in: enforced wherever there is a model, whatever the event says.

    An event's own policy would tell, before anybody has signed in, at which event an account's person is.
    """
    return NO_CHECK if services.liveness is None else LivenessCheck(LivenessMode.enforce, services.liveness)


def effective_mode(services: Services, event: Event) -> LivenessMode:
    """What an event asks of faces: its own word, else the settings'."""
    if event.liveness is not None:
        return LivenessMode(event.liveness)
    return services.settings.liveness.default_mode


def check_mode(services: Services, mode: LivenessMode | None) -> None:
    """Raise LivenessNotConfigured when an event is to ask for a check that nobody can do."""
    if mode not in (None, LivenessMode.off) and services.liveness is None:
        raise LivenessNotConfigured(liveness=mode.value)


def _is_spoof(face: Face) -> bool:
    return face.liveness is not None and face.liveness.status is LivenessStatus.spoof
