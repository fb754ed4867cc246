"""What travels between the stages: encoded bytes, small uint8 crops and vectors, never a decoded picture.

A *parcel* is the list of tasks that one Serve call carries. Its answer is a list of the same length and
order, in which each place holds the result of that task or that task's own `RollcallError`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serving.telemetry.request_notes import Origin


@dataclass(slots=True)
class Task:
    """Base of all tasks.

    Attributes:
        remaining_s: time left until the caller gives up, counted from when the parcel is sent; a duration
            and not a clock time, because the clocks of two nodes differ.
        origin: whose work it is, for log lines and traces; None where neither is wanted.
    """

    remaining_s: float
    origin: Origin | None = field(default=None, kw_only=True)


@dataclass(slots=True)
class DetectTask(Task):
    """One picture file. Answered by `vision.pipeline.PictureFaces`.

    Attributes:
        picture: the file.
        wants_liveness: whether the crops that the liveness models look at are cut too.
    """

    picture: bytes
    wants_liveness: bool = False


@dataclass(slots=True)
class LivenessTask(Task):
    """Faces of one picture as the liveness models see them. Answered by float32 [n], 0..1: probably live.

    Attributes:
        crops: for each model of the liveness pack uint8 [n,S,S,3] RGB, S being that model's.
    """

    crops: tuple[NDArray[np.uint8], ...]

    @property
    def nbytes(self) -> int:
        """Of all crops together."""
        return sum(each.nbytes for each in self.crops)


@dataclass(slots=True)
class EmbedTask(Task):
    """The aligned crops of one picture, uint8 [n,S,S,3] RGB. Answered by float32 [n,D], unit length."""

    crops: NDArray[np.uint8]


@dataclass(slots=True)
class SearchTask(Task):
    """The probes of one picture against one event. Answered by a `Decision` for each probe.

    Attributes:
        event_key: the event's partition in the gallery.
        vectors: float32 [n,D], unit length.
        top_k: candidates wanted for each probe, 1 or more.
        threshold: raw cosine at or above which the best candidate is a match.
        person_id: the only person to compare with (1:1 verification), or None for everybody.
    """

    event_key: str
    vectors: NDArray[np.float32]
    top_k: int
    threshold: float
    person_id: str | None = None


@dataclass(slots=True)
class Candidate:
    """A person who may be the probe.

    Attributes:
        person_id: the person, of the same event as the probe.
        face_id: the enrolled face that was nearest.
        cosine: raw cosine similarity, -1..1.
        false_match_rate: share of comparisons between different people that score as high, 0..1, by the
            pack's calibration.
    """

    person_id: str
    face_id: str
    cosine: float
    false_match_rate: float


@dataclass(slots=True)
class Decision:
    """Who a probe is: `candidates`, best first, and whether the best one is a match."""

    matched: bool
    candidates: list[Candidate]
