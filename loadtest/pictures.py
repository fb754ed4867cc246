"""Real faces for load: one-face pictures cut from the sample group picture."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from serving.packs.samples import prepare_samples
from serving.vision.pipeline import FaceFinder, PictureFaces

WIDTH, HEIGHT = 640, 480
FACE_WIDTH_PX = 120.0
"""A face across about a fifth of the picture, as at a door."""

_GREY = (96, 96, 96)

Box = tuple[float, float, float, float]
"""x, y, width and height in pixels."""


def cut_one_face_pictures(group: bytes, boxes: Iterable[Box]) -> list[bytes]:
    """640x480 JPEGs of the faces at boxes, each alone in the middle, as wide as at a door.

    Args:
        group: a picture file of several people.
    """
    pixels = np.asarray(cv2.imdecode(np.frombuffer(group, np.uint8), cv2.IMREAD_COLOR))
    pictures = []
    for x, y, width, height in boxes:
        scale = FACE_WIDTH_PX / width
        # The neighbours are masked, so that the picture holds one face however close they stand.
        lone = np.full_like(pixels, _GREY[0])
        left, right = (max(0, int(v)) for v in (x - 0.5 * width, x + 1.5 * width))
        top, bottom = (max(0, int(v)) for v in (y - 0.5 * height, y + 1.5 * height))
        lone[top:bottom, left:right] = pixels[top:bottom, left:right]
        centre_x, centre_y = x + width / 2, y + height / 2
        to_picture = np.array(
            [[scale, 0, WIDTH / 2 - scale * centre_x], [0, scale, HEIGHT / 2 - scale * centre_y]]
        )
        pictures.append(_encode(cv2.warpAffine(lone, to_picture, (WIDTH, HEIGHT), borderValue=_GREY)))
    return pictures


def frame_portrait(portrait: bytes) -> bytes:
    """A 640x480 JPEG with the portrait, a picture file, in the middle of grey."""
    pixels = np.asarray(cv2.imdecode(np.frombuffer(portrait, np.uint8), cv2.IMREAD_COLOR))
    height, width = pixels.shape[:2]
    scale = 0.75 * HEIGHT / height
    to_picture = np.array([[scale, 0, (WIDTH - scale * width) / 2], [0, scale, HEIGHT / 8]])
    return _encode(cv2.warpAffine(pixels, to_picture, (WIDTH, HEIGHT), borderValue=_GREY))


def make_one_face_pictures(finder: FaceFinder) -> list[bytes]:
    """640x480 JPEGs, each of a different person, in which `finder` finds exactly one face.

    Args:
        finder: of the pack under test.
    """
    with tempfile.TemporaryDirectory() as directory:
        group = prepare_samples(Path(directory))["group"].read_bytes()
    found = finder.find([group])[0]
    assert isinstance(found, PictureFaces)
    pictures = []
    for encoded in cut_one_face_pictures(group, (face.box for face in found.faces)):
        outcome = finder.find([encoded])[0]
        if isinstance(outcome, PictureFaces) and len(outcome.faces) == 1:
            pictures.append(encoded)
    return pictures


def _encode(pixels: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
