"""What stands before the camera of the browser, and the camera's switch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from loadtest.service import Service
from tests.browser.chromium import Page

SCENE = (640, 480)
FRAMES_OF_EACH = 120
"""Four seconds: Chromium plays such a file at 30 pictures a second, over and over."""


def set_scene(picture: Path, zoom: float) -> bytes:
    """A JPEG of the picture before a wall."""
    width, height = SCENE
    wall = np.full((height, width, 3), (96, 104, 112), np.uint8)
    person = cv2.resize(cv2.imread(str(picture)), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    person = person[:height, :width]
    top, left = (height - person.shape[0]) // 2, (width - person.shape[1]) // 2
    wall[top : top + person.shape[0], left : left + person.shape[1]] = person
    return cv2.imencode(".jpg", wall, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def show_film(film: Path) -> str:
    """The flag of a Chromium whose camera shows it, from its beginning each time that it is opened."""
    return f"--use-file-for-fake-video-capture={film}"


async def allow_camera(page: Page, service: Service, setting: str) -> None:
    await page.allow("camera", setting, service.url)
