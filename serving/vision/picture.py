"""From the bytes a client sent to an upright RGB picture.

`read_header` costs microseconds and decodes nothing: it runs in the ingress on every request.
`decode_picture` and `decode_reduced` run next to the detector. Pillow decodes all formats: right about CMYK,
strict about damage, and silent, where OpenCV's codecs write to standard error for hostile files.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.errors import (
    NotAnImage,
    PictureTooLarge,
    PictureTooSmall,
    RollcallError,
    TooManyPixels,
    TruncatedPicture,
    UnsupportedPictureType,
)
from serving.vision.picture_formats import (
    StoredPicture,
    inspect_jpeg,
    inspect_png,
    inspect_webp,
    name_other_format,
)

Picture = NDArray[np.uint8]
PictureFormat = Literal["jpeg", "png", "webp"]

# PictureLimits takes the place of Pillow's own bomb check, which warns by writing to standard error.
Image.MAX_IMAGE_PIXELS = None

# EXIF orientation -> (swap axes first, then step over rows, step over columns) that make the picture upright.
_UPRIGHT_MOVES = {
    1: (False, 1, 1), 2: (False, 1, -1), 3: (False, -1, -1), 4: (False, -1, 1),
    5: (True, 1, 1), 6: (True, 1, -1), 7: (True, -1, -1), 8: (True, -1, 1),
}  # fmt: skip
_FIRST_TRANSPOSED = 5
_STRIP_ROWS = 256
REDUCTIONS = (8, 4, 2, 1)
"""By how much a JPEG can be decoded smaller, at the cost of what is left."""


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What is accepted: file size in bytes, area in pixels, and the shorter side in pixels.

    A PNG or WebP is held to the lower of max_pixels and max_packed_pixels: forty bytes of it can stand for
    any number of pixels, each of which costs about 25 ns and 16 bytes to decode.
    """

    max_bytes: int = 10 * 1024 * 1024
    max_pixels: int = 50_000_000
    min_side_px: int = 32
    max_packed_pixels: int = 20_000_000

    def max_pixels_of(self, kind: PictureFormat) -> int:
        """The largest area accepted of a format."""
        return self.max_pixels if kind == "jpeg" else min(self.max_pixels, self.max_packed_pixels)


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """Format, and the size in pixels after the EXIF orientation is applied.

    orientation is the EXIF value 1..8 that the stored pixels still need. is_lossless tells of JPEG only.
    """

    format: PictureFormat
    width: int
    height: int
    orientation: int = 1
    is_lossless: bool = False


@dataclass(frozen=True, slots=True)
class ReducedPicture:
    """An upright picture with a pixel for each square of reduction x reduction pixels of the whole one.

    pixels: uint8 [h, w, 3] RGB. offset: x, y of the outer corner of the first pixel in the whole picture, in
    its pixels: 0 or a little less, because the squares at the far edges of the stored picture, which may be
    near edges of the upright one, need not be full.
    """

    pixels: Picture
    reduction: int = 1
    offset: tuple[int, int] = (0, 0)

    def locate(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where points [..., 2] of the whole picture lie in this one; integers are centres of pixels."""
        if self.reduction == 1:
            return points
        corner = np.asarray(self.offset, np.float32) - np.float32(0.5)
        return np.asarray((points - corner) / self.reduction - 0.5, np.float32)

    def map_back(self, edges: NDArray[np.float32]) -> NDArray[np.float32]:
        """The opposite way for coordinates [..., 2] of edges: integers are borders between pixels."""
        return np.asarray(
            edges * np.float32(self.reduction) + np.asarray(self.offset, np.float32), np.float32
        )


def read_header(data: bytes, limits: PictureLimits | None = None) -> PictureHeader:
    """Check the bytes against the limits and return the header, without decoding a pixel.

    Raises:
        PictureTooLarge, NotAnImage, UnsupportedPictureType, TruncatedPicture, TooManyPixels, PictureTooSmall.
    """
    limits = limits or PictureLimits()
    if len(data) > limits.max_bytes:
        raise PictureTooLarge(
            f"{len(data)} bytes where {limits.max_bytes} are accepted",
            bytes=len(data),
            max_bytes=limits.max_bytes,
        )
    header = _inspect(data)
    pixels, max_pixels = header.width * header.height, limits.max_pixels_of(header.format)
    if pixels > max_pixels:
        raise TooManyPixels(
            f"{header.width} x {header.height} pixels where {max_pixels} are accepted of this format",
            pixels=pixels,
            max_pixels=max_pixels,
        )
    if min(header.width, header.height) < limits.min_side_px:
        raise PictureTooSmall(
            f"{header.width} x {header.height} pixels where both sides must have {limits.min_side_px}",
            width=header.width,
            height=header.height,
            min_side_px=limits.min_side_px,
        )
    return header


def decode_picture(data: bytes, header: PictureHeader | None = None) -> Picture:
    """Decode to upright RGB: uint8 [height, width, 3], contiguous.

    Animations give their first frame; an alpha channel is dropped; gray, palette and CMYK become RGB; of
    16 bit samples the upper 8 are kept. Without a header the default limits apply.

    Raises:
        TruncatedPicture: the decoder cannot read the whole picture, or it contradicts the header.
    """
    return decode_reduced(data, header or read_header(data), 1).pixels


def choose_reduction(header: PictureHeader, longer_px: int) -> int:
    """The largest of `REDUCTIONS` that leaves the longer side at least longer_px; 1 for all but JPEG."""
    if header.format != "jpeg":
        return 1
    longer = max(header.width, header.height)
    return next((step for step in REDUCTIONS if longer >= step * longer_px), 1)


def decode_reduced(data: bytes, header: PictureHeader, reduction: int) -> ReducedPicture:
    """Decode to an upright picture that is smaller by a whole number, as `decode_picture` does otherwise.

    The decoder leaves out the frequencies that the smaller picture cannot hold, before it makes pixels of
    them: a quarter of each side takes about a quarter of the time of the whole.

    Args:
        reduction: one of `REDUCTIONS`; 1 for all but JPEG. See `choose_reduction`.

    Raises:
        TruncatedPicture: the decoder cannot read the whole picture, or it contradicts the header.
    """
    # Decoded in a function of its own, so that Pillow's copy is gone before the turn makes another.
    pixels = turn_upright(_decode_stored(data, header, reduction), header.orientation)
    _, rows, columns = _UPRIGHT_MOVES[header.orientation]
    beyond_x, beyond_y = (
        side * reduction - whole
        for side, whole in ((pixels.shape[1], header.width), (pixels.shape[0], header.height))
    )
    return ReducedPicture(pixels, reduction, (-beyond_x if columns < 0 else 0, -beyond_y if rows < 0 else 0))


def turn_upright(pixels: Picture, orientation: int) -> Picture:
    """Apply an EXIF orientation 1..8 to stored pixels [h, w, 3]."""
    swap, rows, columns = _UPRIGHT_MOVES[orientation]
    if swap:
        pixels = pixels.transpose(1, 0, 2)
    return np.ascontiguousarray(pixels[::rows, ::columns])


def _decode_stored(data: bytes, header: PictureHeader, reduction: int) -> Picture:
    """The pixels as the file stores them, before the orientation is applied."""
    # A lossless JPEG has no frequencies to leave out: asked to, Pillow 12 writes beyond its memory.
    if reduction > 1 and not header.is_lossless:
        try:
            return _decode_as(data, header, reduction, in_decoder=True)
        except TruncatedPicture:
            pass  # Perhaps the whole of it can be decoded all the same.
    return _decode_as(data, header, reduction, in_decoder=False)


def _decode_as(data: bytes, header: PictureHeader, reduction: int, *, in_decoder: bool) -> Picture:
    """The stored pixels, reduced by the decoder or after it."""
    try:
        with Image.open(io.BytesIO(data), formats=(header.format.upper(),)) as image:
            turned = header.orientation >= _FIRST_TRANSPOSED
            stored = (header.height, header.width) if turned else (header.width, header.height)
            if image.size != stored:
                raise TruncatedPicture("the picture's parts disagree about its size")
            if in_decoder:
                # Pillow takes the largest step that leaves at least this size.
                image.draft(None, (max(1, stored[0] // reduction), max(1, stored[1] // reduction)))
            is_reduced = image.size == tuple(-(-side // reduction) for side in stored)
            return _to_rgb(image if is_reduced else image.reduce(reduction))
    except RollcallError:
        raise
    except Exception as error:
        # Pillow documents no closed set of exceptions for damaged files.
        raise TruncatedPicture("the picture data is damaged or ends too early") from error


def _inspect(data: bytes) -> PictureHeader:
    kind: PictureFormat
    stored: StoredPicture
    if data.startswith(b"\xff\xd8"):
        kind, stored = "jpeg", inspect_jpeg(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        kind, stored = "png", inspect_png(data)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        kind, stored = "webp", inspect_webp(data)
    else:
        other = name_other_format(data)
        if other is not None:
            raise UnsupportedPictureType(f"{other} pictures are not accepted", found=other)
        raise NotAnImage("the bytes begin like no picture format" if data else "there are no bytes")
    if stored.width == 0 or stored.height == 0:
        raise TruncatedPicture("the picture says it has no pixels")
    if stored.orientation >= _FIRST_TRANSPOSED:
        return PictureHeader(kind, stored.height, stored.width, stored.orientation, stored.is_lossless)
    return PictureHeader(kind, stored.width, stored.height, stored.orientation, stored.is_lossless)


def _to_rgb(image: Image.Image) -> Picture:
    image.load()
    # Alpha is dropped either way; with a palette Pillow would warn about it on standard error first.
    image.info.pop("transparency", None)
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    # In strips, because conversion and export of a whole picture take two more copies of it.
    for top in range(0, height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, height)
        strip = image.crop((0, top, width, bottom))
        if strip.mode.startswith("I"):
            # Pillow's own conversion clips 16 bit samples at 255, which turns most pictures white.
            pixels[top:bottom] = np.clip(np.asarray(strip) >> 8, 0, 255)[:, :, None]
        else:
            pixels[top:bottom] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    return pixels
