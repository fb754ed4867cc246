"""Real faces for load: one-face pictures cut from the sample group picture."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np

from serving.packs.samples import prepare_samples
from serving.vision.pipeline import FaceFinder, PictureFaces

WIDTH, HEIGHT = 640, 480
FACE_WIDTH_PX = 120.0
"""A face across about a fifth of the picture, as at a door."""


def make_one_face_pictures(finder: FaceFinder) -> list[bytes]:
    """640x480 JPEGs, each of a different person, in which `finder` finds exactly one face.

    Args:
        finder: of the pack under test.
    """
    with tempfile.TemporaryDirectory() as directory:
        group_file = prepare_samples(Path(directory))["group"]
        group = np.asarray(cv2.imread(str(group_file)))
        found = finder.find([group_file.read_bytes()])[0]
    assert isinstance(found, PictureFaces)
    pictures = []
    for face in found.faces:
        x, y, width, height = face.box
        scale = FACE_WIDTH_PX / width
        # The neighbours are masked, so that the picture holds one face however close they stand.
        lone = np.full_like(group, 96)
        left, right = (max(0, int(v)) for v in (x - 0.5 * width, x + 1.5 * width))
        top, bottom = (max(0, int(v)) for v in (y - 0.5 * height, y + 1.5 * height))
        lone[top:bottom, left:right] = group[top:bottom, left:right]
        centre_x, centre_y = x + width / 2, y + height / 2
        to_picture = np.array(
            [[scale, 0, WIDTH / 2 - scale * centre_x], [0, scale, HEIGHT / 2 - scale * centre_y]]
        )
        picture = cv2.warpAffine(lone, to_picture, (WIDTH, HEIGHT), borderValue=(96, 96, 96))
        encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        outcome = finder.find([encoded])[0]
        if isinstance(outcome, PictureFaces) and len(outcome.faces) == 1:
            pictures.append(encoded)
    return pictures
