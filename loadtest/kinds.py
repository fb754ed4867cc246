"""The requests that a load is made of: what is sent, and what a right answer is.

Paths and answers are those of the Python client; what carries them is `loadtest/driver.py`, since the
client itself takes too much of the generator's time (docs/load-testing.md has how much).
"""

from __future__ import annotations

import functools
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rollcall_client.models import Enrolment, Recognition, Verification
from rollcall_client.requests import people, recognition

MIXED_DAY: Mapping[str, float] = {
    "one_face": 55,
    "unknown": 15,
    "crowd": 10,
    "verify": 15,
    "enrol": 5,
}
"""A day at an event, of 100 requests: see docs/load-testing.md for why."""


@dataclass(frozen=True)
class Scene:
    """Where a load takes place, and with what; travels to every worker.

    Attributes:
        event: with the gallery; it does not grow.
        enrol_event: where people are enrolled.
        known: pictures of enrolled people with one face, each with the person's id.
        unknown: pictures with one face of people who are not enrolled.
        crowd: pictures of many.
    """

    event: str
    enrol_event: str
    known: list[tuple[str, bytes]] = field(repr=False)
    unknown: list[bytes] = field(repr=False)
    crowd: list[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """One request: POST of a picture; `is_right` judges the body of an accepted answer."""

    path: str
    body: bytes = field(repr=False)
    is_right: Callable[[bytes], bool]


def _ask_known(scene: Scene, rng: random.Random) -> Call:
    person, picture = rng.choice(scene.known)
    return Call(_find_recognition(scene.event), picture, lambda body: person in _find_people(body))


def _ask_unknown(scene: Scene, rng: random.Random) -> Call:
    path = _find_recognition(scene.event)
    return Call(path, rng.choice(scene.unknown), lambda body: not _find_people(body))


def _ask_crowd(scene: Scene, rng: random.Random) -> Call:
    path = _find_recognition(scene.event)
    return Call(path, rng.choice(scene.crowd), lambda body: len(_read_recognition(body).faces) > 0)


def _enrol(scene: Scene, rng: random.Random) -> Call:
    _, picture = rng.choice(scene.known)
    person = uuid.UUID(int=rng.getrandbits(128), version=4)
    path = f"{_find_enrolment(scene.enrol_event)}?person_id={person}&on_duplicate=allow"
    return Call(path, picture, lambda body: Enrolment.model_validate_json(body).person.id == str(person))


def _verify(scene: Scene, rng: random.Random) -> Call:
    person, picture = rng.choice(scene.known)
    path = _find_verification(scene.event, person)
    return Call(path, picture, lambda body: Verification.model_validate_json(body).verified)


KINDS: Mapping[str, Callable[[Scene, random.Random], Call]] = {
    "one_face": _ask_known,
    "crowd": _ask_crowd,
    "unknown": _ask_unknown,
    "enrol": _enrol,
    "verify": _verify,
}


def read_mix(text: str) -> dict[str, float]:
    """Weights from `one_face=3,verify=1`; those of `MIXED_DAY` for an empty text.

    Raises:
        ValueError: an unknown kind, or a weight that is none.
    """
    if not text:
        return dict(MIXED_DAY)
    weights = {}
    for part in text.split(","):
        kind, _, weight = part.partition("=")
        if kind not in KINDS:
            raise ValueError(f"--mix: {kind!r} is none of {', '.join(KINDS)}")
        weights[kind] = float(weight or 1)
    if min(weights.values()) < 0 or not sum(weights.values()):
        raise ValueError("--mix: weights are 0 or more, and one is more")
    return weights


def _find_people(body: bytes) -> set[str]:
    return {face.person.person_id for face in _read_recognition(body).faces if face.person}


def _read_recognition(body: bytes) -> Recognition:
    return Recognition.model_validate_json(body)


# Paths are looked up: to build a request is a tenth of the work of sending it.
@functools.lru_cache
def _find_recognition(event: str) -> str:
    return recognition.recognise(event, b"").path


@functools.lru_cache(maxsize=4096)
def _find_verification(event: str, person: str) -> str:
    return recognition.verify(event, person, b"").path


@functools.lru_cache
def _find_enrolment(event: str) -> str:
    return people.enrol(event, b"").path
