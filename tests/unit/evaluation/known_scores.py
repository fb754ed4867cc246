"""Scores whose rates are known without measuring."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from serving.evaluation.scores import BINS, Scores, bin_of

NORMAL = NormalDist()
SCALE = 0.1
"""From standard deviations to cosines."""


def make_scores(
    genuine: np.ndarray,
    impostor: np.ndarray,
    genuine_people: np.ndarray | None = None,
    impostor_people: np.ndarray | None = None,
) -> Scores:
    """Listed pairs with these scores; without people, every pair has people of its own."""
    genuine, impostor = np.asarray(genuine, np.float32), np.asarray(impostor, np.float32)
    if genuine_people is None:
        genuine_people = np.arange(len(genuine))
    if impostor_people is None:
        impostor_people = np.arange(2 * len(impostor)).reshape(-1, 2)
    people = 1 + max([-1, *genuine_people.tolist(), *impostor_people.ravel().tolist()])
    ours, theirs = np.argsort(-genuine, kind="stable"), np.argsort(-impostor, kind="stable")
    return Scores(
        genuine[ours],
        np.asarray(genuine_people)[ours],
        impostor[theirs],
        np.asarray(impostor_people)[theirs],
        np.bincount(bin_of(impostor), minlength=BINS),
        people,
        None,
    )


def draw_gaussian(genuine: int, impostor: int, distance: float, seed: int = 1) -> Scores:
    """Strangers around 0, one person's pairs `distance` standard deviations above."""
    rng = np.random.default_rng(seed)
    return make_scores(
        SCALE * (rng.normal(size=genuine) + distance),
        SCALE * rng.normal(size=impostor),
        np.arange(genuine) % 500,
        rng.integers(0, 500, size=(impostor, 2)),
    )


def true_match_rate(false_match_rate: float, distance: float) -> float:
    """The closed form for `draw_gaussian`: the normal distribution beyond the threshold for this rate."""
    return 1 - NORMAL.cdf(NORMAL.inv_cdf(1 - false_match_rate) - distance)


def draw_people(people: int, pictures: int, spread: float, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """(people int64 [n], unit vectors float32 [n, 32]): a direction for each person, pictures around it."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, 32))
    numbers = np.repeat(np.arange(people), pictures)
    vectors = centres[numbers] + spread * rng.normal(size=(people * pictures, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return numbers, vectors.astype(np.float32)
