"""Headers, limits, orientation and hostile files."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
from serving.vision.picture import PictureLimits, decode_picture, read_header, turn_upright

ANY_SIZE = PictureLimits(min_side_px=1)
FORMATS = ("JPEG", "PNG", "WEBP")


def _scene(width: int = 96, height: int = 64) -> np.ndarray:
    """A smooth picture without symmetry, uint8 RGB."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, (x + y) / 4], axis=2).astype(np.uint8)


def _encode(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    extra = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    Image.fromarray(pixels).save(out, kind, **(extra | options))
    return out.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_header_tells_format_and_size(kind: str) -> None:
    header = read_header(_encode(_scene(), kind))
    assert (header.format, header.width, header.height) == (kind.lower(), 96, 64)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_gives_the_same_upright_picture(kind: str, orientation: int) -> None:
    upright = _scene()
    # The stored pixels are those that the orientation turns back into the upright picture.
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _encode(turn_upright(upright, inverse), kind, exif=exif)
    header = read_header(data)
    decoded = decode_picture(data, header)
    assert (header.width, header.height) == (96, 64)
    assert decoded.shape == upright.shape
    assert decoded.flags.c_contiguous
    assert np.abs(decoded.astype(int) - upright).max() <= (12 if kind == "JPEG" else 0)


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, "tl"), (2, "tr"), (3, "br"), (4, "bl"), (5, "tl"), (6, "tr"), (7, "br"), (8, "bl")],
)
def test_orientation_sends_the_first_stored_pixel_to_its_corner(orientation: int, corner: str) -> None:
    """EXIF: row 0, column 0 of the file is at this corner of the upright picture."""
    stored = np.zeros((4, 6, 3), np.uint8)
    stored[0, 0] = 255
    upright = turn_upright(stored, orientation)
    y, x = (0 if corner[0] == "t" else -1), (0 if corner[1] == "l" else -1)
    assert upright[y, x].min() == 255
    assert upright.shape[:2] == ((4, 6) if orientation < 5 else (6, 4))


def test_limits_name_their_value() -> None:
    data = _encode(_scene(), "JPEG")
    with pytest.raises(PictureTooLarge) as large:
        read_header(data, PictureLimits(max_bytes=100))
    assert large.value.context["max_bytes"] == 100
    with pytest.raises(TooManyPixels) as many:
        read_header(data, PictureLimits(max_pixels=1000))
    assert many.value.context["max_pixels"] == 1000
    with pytest.raises(PictureTooSmall) as small:
        read_header(data, PictureLimits(min_side_px=80))
    assert small.value.context["min_side_px"] == 80


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_whose_bytes_tell_no_cost_have_a_lower_limit(kind: str) -> None:
    data, packed = _encode(_scene(), kind), kind != "JPEG"
    for limits, refused_above in (
        (PictureLimits(max_pixels=96 * 64, max_packed_pixels=1000), 1000 if packed else None),
        (PictureLimits(max_pixels=500, max_packed_pixels=1000), 500),
        (PictureLimits(max_pixels=96 * 64), None),
    ):
        if refused_above is None:
            read_header(data, limits)
            continue
        with pytest.raises(TooManyPixels) as many:
            read_header(data, limits)
        assert many.value.context["max_pixels"] == refused_above


def test_forty_bytes_of_forty_megapixels_are_refused_undecoded() -> None:
    data = _encode(np.zeros((32, 32, 3), np.uint8), "WEBP")
    stretched = bytearray(data)
    stretched[21:25] = struct.pack("<I", (8000 - 1) | (5000 - 1) << 14)
    with pytest.raises(TooManyPixels) as many:
        read_header(bytes(stretched))
    assert many.value.context == {"pixels": 40_000_000, "max_pixels": 20_000_000}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotAnImage),
        (b"<html>", NotAnImage),
        (b"GIF89a" + bytes(20), UnsupportedPictureType),
        (b"BM" + bytes(60), UnsupportedPictureType),
        (b"\0\0\0\x1cftypheic" + bytes(20), UnsupportedPictureType),
        (b"\0\0\0\x1cftypavif" + bytes(20), UnsupportedPictureType),
        (b"%PDF-1.7", UnsupportedPictureType),
        (b"\xff\xd8", TruncatedPicture),
        (b"\x89PNG\r\n\x1a\n", TruncatedPicture),
        (b"RIFF\xff\xff\xff\xffWEBP", TruncatedPicture),
    ],
)
def test_signatures(data: bytes, error: type[RollcallError]) -> None:
    with pytest.raises(error):
        read_header(data)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_cut_is_noticed_from_the_structure(kind: str) -> None:
    data = _encode(_scene(), kind)
    for end in range(len(data) // 50, len(data) - 12, len(data) // 40):
        with pytest.raises((TruncatedPicture, NotAnImage)):
            read_header(data[:end], ANY_SIZE)


def test_sixteen_bit_gray_is_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64 * 600).reshape(600, 64).astype(np.uint16)
    decoded = decode_picture(_encode(ramp, "PNG"))
    for channel in range(3):
        assert np.array_equal(decoded[:, :, channel], (ramp >> 8).astype(np.uint8))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_every_mode_becomes_rgb_without_a_seam(mode: str) -> None:
    """Higher than several strips, and not a multiple of one."""
    image = Image.fromarray(_scene(40, 700)).convert(mode)
    out = io.BytesIO()
    image.save(out, "PNG")
    assert np.array_equal(decode_picture(out.getvalue()), np.asarray(image.convert("RGB")))


def test_cmyk_has_the_right_colours() -> None:
    out = io.BytesIO()
    Image.fromarray(_scene()).convert("CMYK").save(out, "JPEG", quality=95)
    assert np.abs(decode_picture(out.getvalue()).astype(int) - _scene()).mean() < 6


def test_jpeg_that_costs_a_pass_per_scan_is_refused() -> None:
    data = _encode(_scene(), "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    scan = data[first : data.index(b"\xff", first + 14)]
    with pytest.raises(UnsupportedPictureType):
        read_header(data[:-2] + scan * 200 + b"\xff\xd9")


def test_the_larger_the_fewer_scans() -> None:
    data = _encode(_scene(), "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    scan = data[first : data.index(b"\xff", first + 14)]
    size = data.index(b"\xff\xc2") + 5
    large = data[:size] + struct.pack(">HH", 5000, 8000) + data[size + 4 : -2]
    read_header(large + scan * 5 + b"\xff\xd9")
    with pytest.raises(UnsupportedPictureType, match="more than 20 scans"):
        read_header(large + scan * 30 + b"\xff\xd9")


def test_long_runs_cost_no_time() -> None:
    many_segments = b"\xff\xd8" + b"\xff\xe0\0\2" * 2_000_000 + b"\xff\xd9"
    fill = b"\xff\xd8" + b"\xff" * 8_000_000
    chunks = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 64, 64, 8, 2, 0, 0, 0, 0)
    chunks += struct.pack(">I4sI", 0, b"teSt", 0) * 500_000
    for data in (many_segments, fill, chunks):
        started_s = time.thread_time()
        with pytest.raises(TruncatedPicture):
            read_header(data)
        assert time.thread_time() - started_s < 0.5  # 0.04 s when it was measured


def test_header_is_cheap() -> None:
    """The ingress reads one per request, for less than a fiftieth of what its decoding costs elsewhere."""
    for kind in FORMATS:
        data = _encode(np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8), kind)
        header_s = min(_time(read_header, data, 100) for _ in range(5))
        decoding_s = min(_time(decode_picture, data, 1) for _ in range(5))
        assert header_s < decoding_s / 50, kind


def _time(read: Callable[[bytes], object], data: bytes, count: int) -> float:
    started_s = time.thread_time()
    for _ in range(count):
        read(data)
    return (time.thread_time() - started_s) / count


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBPVP8X"]),
)
def test_any_bytes_give_rollcall_errors_only(tail: bytes, head: bytes) -> None:
    _decode_or_refuse(head + tail)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_changed_bytes_give_rollcall_errors_only(kind: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(_encode(_scene(), kind))
    for share, value in changes:
        data[int(share * (len(data) - 1))] = value
    _decode_or_refuse(bytes(data))


def _decode_or_refuse(data: bytes, limits: PictureLimits = ANY_SIZE) -> bool:
    try:
        header = read_header(data, limits)
        picture = decode_picture(data, header)
    except RollcallError:
        return False
    assert picture.shape == (header.height, header.width, 3)
    assert picture.dtype == np.uint8
    return True
