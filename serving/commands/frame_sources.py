"""Where `rollcall watch` gets its frames: a camera, a video file or a folder of pictures."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from serving.errors import CommandError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
JPEG_QUALITY = 88
"""At which a face of 80 pixels keeps its vector."""
LEAST_QUALITY = 40
"""Below which a frame is made smaller instead."""
FOLDER_FRAMES_PER_S = 5.0
USUAL_FRAMES_PER_S = 25.0
"""Of a file that does not say."""
MOST_FRAMES_PER_S = 240.0
FIRST_FRAME_TIMEOUT_S = 15.0
"""A camera wakes up; one on the network is looked for."""
FRAME_TIMEOUT_S = 10.0
"""A camera that shows nothing for so long is not there any more."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture to be sent.

    Attributes:
        number: in its source, from 0.
        at_s: since the source began.
        data: a JPEG, PNG or WebP file.
    """

    number: int
    at_s: float
    data: bytes = field(repr=False)


class FrameSource(Protocol):
    """Gives frames, one after the other."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def is_live(self) -> bool:
        """Whether the newest frame is worth more than an older one that was not seen yet."""

    def take(self) -> Frame | None:
        """The next frame; None: it has ended.

        Raises:
            CommandError: it cannot be read any more.
        """

    def close(self) -> None:
        """Give back what it holds."""


@dataclass(slots=True)
class FrameWriter:
    """Makes files of pictures, as small as the service and the user want them.

    Attributes:
        max_width_px: wider pictures are made so wide.
        max_bytes: of a file; known once the service has said.
    """

    max_width_px: int
    max_bytes: int = 2**20

    def write(self, picture: Any) -> bytes:
        """A picture (HxWx3, uint8, BGR) as a JPEG file."""
        import cv2

        height, width = picture.shape[:2]
        scale, quality = min(1.0, self.max_width_px / width), JPEG_QUALITY
        while True:
            shown = picture
            if scale < 1:
                size = (max(1, round(width * scale)), max(1, round(height * scale)))
                shown = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            _, data = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if len(data) <= self.max_bytes or min(shown.shape[:2]) < 2:
                return bytes(data)
            if quality > LEAST_QUALITY:
                quality -= 16
            else:
                scale *= 0.75

    def shrink(self, data: bytes) -> bytes:
        """A picture file as it is, or a smaller JPEG where it is too large."""
        import cv2
        import numpy as np

        if len(data) <= self.max_bytes:
            return data
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return data if picture is None else self.write(picture)


class Camera:
    """A camera of this machine or of the network. A thread reads it, so that the newest frame is at hand.

    Args:
        place: its number, its device (/dev/video0), or its address (rtsp://, http://).
        writer: makes files of its pictures.

    Raises:
        CommandError: there is none.
    """

    is_live = True

    def __init__(self, place: str, writer: FrameWriter) -> None:
        self.name = f"camera {place.rpartition('@')[2]}"  # an address may hold a password
        self._writer = writer
        self._capture = _open_capture(int(place) if place.isdecimal() else place)
        if not self._capture.isOpened():
            raise CommandError(f"{self.name} cannot be opened. {_advise(place)}")
        self._began_s = time.monotonic()
        self._newest: tuple[int, float, Any] | None = None
        self._taken = -1
        self._is_over = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="camera", daemon=True)
        self._reader.start()

    def take(self) -> Frame:
        """The newest frame, later than the one before."""
        wait_s = FIRST_FRAME_TIMEOUT_S if self._taken < 0 else FRAME_TIMEOUT_S
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._count() > self._taken, wait_s)
            if self._newest is None or self._newest[0] <= self._taken:
                why = "shows nothing any more" if self._taken >= 0 else "shows nothing"
                raise CommandError(
                    f"{self.name} {why}: see that it is plugged in and that no other program uses it"
                )
            number, at_s, picture = self._newest
        self._taken = number
        return Frame(number, at_s, self._writer.write(picture))

    def close(self) -> None:
        """Let the camera go."""
        self._is_over = True
        self._reader.join(2)  # longer only within a read that hangs, which ends with the process
        if not self._reader.is_alive():
            self._capture.release()

    def _count(self) -> int:
        return -1 if self._newest is None else self._newest[0]

    def _read(self) -> None:
        number = 0
        while not self._is_over:
            is_there, picture = self._capture.read()
            with self._changed:
                if is_there:
                    self._newest = number, time.monotonic() - self._began_s, picture
                    number += 1
                else:
                    self._is_over = True
                self._changed.notify_all()


class VideoFile:
    """A video file, at its own speed: what the service is too slow for is passed over, as with a camera.

    Args:
        is_fast: every frame, as fast as they are taken.

    Raises:
        CommandError: it is no video that can be read here.
    """

    def __init__(self, path: Path, writer: FrameWriter, *, is_fast: bool = False) -> None:
        self.name, self.is_live = path.name, not is_fast
        self._writer, self._is_fast = writer, is_fast
        self._capture = _open_capture(str(path))
        if not self._capture.isOpened():
            raise CommandError(
                f"{path} cannot be read as a video. MP4, AVI, MKV and WebM can, as a rule; "
                "`ffmpeg -i FILE -c:v libx264 video.mp4` makes one of most others"
            )
        import cv2

        found = float(self._capture.get(cv2.CAP_PROP_FPS))
        self._frames_per_s = found if 0 < found <= MOST_FRAMES_PER_S else USUAL_FRAMES_PER_S
        self._clock = _Pace(self._frames_per_s)
        self._number = -1

    def take(self) -> Frame | None:
        """The frame that is due."""
        due = self._number + 1 if self._is_fast else self._clock.wait_for(self._number + 1)
        while self._number < due:
            if not self._capture.grab():
                return None
            self._number += 1
        is_there, picture = self._capture.retrieve()
        if not is_there:
            return None
        return Frame(self._number, self._number / self._frames_per_s, self._writer.write(picture))

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class PictureFolder:
    """The pictures of a folder in the order of their names, each as it is unless it is too large.

    Raises:
        CommandError: there are none.
    """

    is_live = False

    def __init__(self, folder: Path, writer: FrameWriter, *, is_fast: bool = False) -> None:
        self.name, self._writer = folder.name, writer
        self._paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not self._paths:
            raise CommandError(f"{folder} holds no picture that ends in {', '.join(sorted(SUFFIXES))}")
        self._is_fast = is_fast
        self._clock = _Pace(FOLDER_FRAMES_PER_S)
        self._number = -1

    def take(self) -> Frame | None:
        """The next picture, `FOLDER_FRAMES_PER_S` of them a second."""
        if self._number + 1 >= len(self._paths):
            return None
        self._number += 1
        if not self._is_fast:
            self._clock.wait_for(self._number)
        path = self._paths[self._number]
        try:
            data = self._writer.shrink(path.read_bytes())
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}") from None
        return Frame(self._number, self._number / FOLDER_FRAMES_PER_S, data)

    def close(self) -> None:
        """Nothing is held."""


class _Pace:
    """Frames at so many a second, from the first one that is asked for."""

    def __init__(self, frames_per_s: float) -> None:
        self._frames_per_s = frames_per_s
        self._began_s: float | None = None

    def wait_for(self, number: int) -> int:
        """Return when frame `number` is due; the number of the newest that is."""
        now = time.monotonic()
        if self._began_s is None:
            self._began_s = now - number / self._frames_per_s
        due_s = self._began_s + number / self._frames_per_s
        if now < due_s:
            time.sleep(due_s - now)
            return number
        return max(number, int((now - self._began_s) * self._frames_per_s))


def _open_capture(place: int | str) -> Any:
    """OpenCV's reader, with its own messages left out: what is wrong is said here."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if isinstance(place, int) or place.startswith("/dev/"):
        return cv2.VideoCapture(place, cv2.CAP_V4L2)
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
    bounds_ms = [int(FIRST_FRAME_TIMEOUT_S * 1000), int(FRAME_TIMEOUT_S * 1000)]
    return cv2.VideoCapture(
        place, cv2.CAP_FFMPEG, [each for pair in zip(timeouts, bounds_ms, strict=True) for each in pair]
    )


def _advise(place: str) -> str:
    """What to do where a camera cannot be opened."""
    if "://" in place:
        return "See that the address is right and that a player shows it, for instance ffplay"
    found = sorted(path.name for path in Path("/dev").glob("video*"))
    if not found:
        return (
            "This machine has no camera (there is no /dev/video*): plug one in, in a container hand the "
            "device on, or give --file VIDEO"
        )
    return (
        f"Here are {', '.join(found)}: --camera takes the number. See that no other program uses it, and "
        "that you may (the group video)"
    )
