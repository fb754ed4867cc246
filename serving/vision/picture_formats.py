"""Structure of JPEG, PNG and WebP files, read without decoding a pixel.

A full decoder takes milliseconds to notice a cut file and Pillow decodes a whole PNG to find its EXIF; these
readers walk the container only, in bounded steps, so that they can run on every request before any queue.

Sources: ITU-T T.81 Annex B (JPEG), W3C PNG third edition (chunks, eXIf), RFC 9649 (WebP), CIPA DC-008 (EXIF).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from serving.errors import TruncatedPicture, UnsupportedPictureType

_UPRIGHT = 1
_ORIENTATION_TAG = 0x0112
_MAX_PARTS = 65536
_MAX_SCANS = 100
_MAX_SCANNED_PIXELS = 800_000_000
"""Pixels times scans: a scan that says nothing takes some ten bytes, and the decoder goes over the whole
picture for it, at about 1 ns a pixel. Encoders write about ten scans, so the largest pictures stay below."""
_SAMPLE_BITS = 8
_MAX_IFD_ENTRIES = 512
_NOT_FILL = re.compile(rb"[^\xff]")
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ARITHMETIC_MARKERS = frozenset(range(0xC9, 0xD0)) - {0xCC}
_PROGRESSIVE_MARKERS = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_LOSSLESS_MARKERS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_BARE_MARKERS = frozenset(range(0xD0, 0xD8)) | {0x01}

# The first bytes of picture kinds that are recognised only to be refused by name.
_OTHER_SIGNATURES: tuple[tuple[str, int, bytes], ...] = (
    ("GIF", 0, b"GIF87a"),
    ("GIF", 0, b"GIF89a"),
    ("BMP", 0, b"BM"),
    ("TIFF", 0, b"II*\0"),
    ("TIFF", 0, b"MM\0*"),
    ("TIFF", 0, b"II+\0"),
    ("TIFF", 0, b"MM\0+"),
    ("ICO", 0, b"\0\0\1\0"),
    ("ICO", 0, b"\0\0\2\0"),
    ("JPEG 2000", 0, b"\0\0\0\x0cjP  "),
    ("JPEG 2000", 0, b"\xff\x4f\xff\x51"),
    ("JPEG XL", 0, b"\xff\x0a"),
    ("JPEG XL", 0, b"\0\0\0\x0cJXL "),
    ("PSD", 0, b"8BPS"),
    ("PDF", 0, b"%PDF-"),
    ("DDS", 0, b"DDS "),
    ("OpenEXR", 0, b"\x76\x2f\x31\x01"),
    ("Radiance HDR", 0, b"#?RADIANCE"),
    ("QOI", 0, b"qoif"),
    ("FITS", 0, b"SIMPLE  ="),
    ("SVG", 0, b"<svg"),
)
_ISO_BRANDS = {
    b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"heim": "HEIC",
    b"heis": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """Size as stored in the file, in pixels, and the EXIF orientation 1..8 (1 where absent or invalid).

    is_lossless tells of JPEG only: whether it has no frequencies that a decoder could leave out.
    """

    width: int
    height: int
    orientation: int
    is_lossless: bool = False


def name_other_format(data: bytes) -> str | None:
    """Name of a picture kind that is not accepted, by its signature; None for unknown bytes."""
    if data[4:8] == b"ftyp":
        return _ISO_BRANDS.get(data[8:12])
    for name, offset, signature in _OTHER_SIGNATURES:
        if data.startswith(signature, offset):
            return name
    return None


def inspect_jpeg(data: bytes) -> StoredPicture:
    """Walk the segments up to the first scan; require a frame header before it and an EOI after it.

    Raises:
        TruncatedPicture: a segment or the end marker is missing.
        UnsupportedPictureType: samples of other than 8 bits; arithmetic coding, which no camera or browser
            writes, and for which the decoder works on where a file has ended; or so many scans that decoding,
            which costs a pass over the picture per scan, would take seconds. Encoders write about ten.
    """
    at, size, orientation = 2, (0, 0), _UPRIGHT
    components, is_progressive, is_lossless = 0, False, False
    for _ in range(_MAX_PARTS):
        if at >= len(data) or data[at] != 0xFF:
            raise TruncatedPicture("the JPEG segments are damaged or cut off")
        found = _NOT_FILL.search(data, at)
        if found is None:
            break
        marker, at = data[found.start()], found.end()
        if marker in _BARE_MARKERS:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if marker == 0xD9 or length < 2 or at + length > len(data):
            break
        if marker in _FRAME_MARKERS and length >= 8:
            if data[at + 2] != _SAMPLE_BITS:
                raise UnsupportedPictureType(f"JPEG with {data[at + 2]} bit samples is not accepted")
            if marker in _ARITHMETIC_MARKERS:
                raise UnsupportedPictureType("JPEG with arithmetic coding is not accepted")
            height, width = struct.unpack_from(">HH", data, at + 3)
            size = (width, height)
            components, is_progressive = data[at + 7], marker in _PROGRESSIVE_MARKERS
            is_lossless = marker in _LOSSLESS_MARKERS
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", at + 2):
            orientation = read_orientation(data[at + 8 : at + length])
        elif marker == 0xDA:
            # Entropy-coded bytes never hold FF D9 or FF DA: behind the scan header these are markers.
            if data.rfind(b"\xff\xd9", at + length) < 0 or 0 in size:
                break
            is_one_scan = not is_progressive and data[at + 2] == components
            scans = 1 if is_one_scan else 1 + data.count(b"\xff\xda", at + length)
            most = min(_MAX_SCANS, max(1, _MAX_SCANNED_PIXELS // (size[0] * size[1])))
            if scans > most:
                raise UnsupportedPictureType(f"JPEG of this size with more than {most} scans is not accepted")
            return StoredPicture(*size, orientation, is_lossless)
        at += length
    raise TruncatedPicture("the JPEG ends before its picture does")


def inspect_png(data: bytes) -> StoredPicture:
    """Walk the chunks from IHDR to IEND; their checksums are left to the decoder.

    Raises:
        TruncatedPicture: IHDR is not first, a chunk runs past the end, or IEND or all IDAT are missing.
    """
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise TruncatedPicture("the PNG header is missing or cut off")
    width, height = struct.unpack_from(">II", data, 16)
    at, orientation, has_pixels = 8, _UPRIGHT, False
    for _ in range(_MAX_PARTS):
        if at + 12 > len(data):
            break
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            break
        if kind == b"IDAT":
            has_pixels = True
        elif kind == b"eXIf":
            orientation = read_orientation(data[at + 8 : end - 4])
        elif kind == b"IEND":
            if not has_pixels:
                break
            return StoredPicture(width, height, orientation)
        at = end
    raise TruncatedPicture("the PNG ends before its picture does")


def inspect_webp(data: bytes) -> StoredPicture:
    """Read the canvas size from the first chunk and the orientation from an EXIF chunk.

    Raises:
        TruncatedPicture: the RIFF length or a chunk runs past the end, or the first chunk is not a picture.
    """
    end = int.from_bytes(data[4:8], "little") + 8
    if end > len(data) or len(data) < 30:
        raise TruncatedPicture("the WebP file is shorter than it says")
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
        return StoredPicture(width, height, _UPRIGHT)
    if kind == b"VP8L" and data[20] == 0x2F:
        packed = int.from_bytes(data[21:25], "little")
        return StoredPicture((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, _UPRIGHT)
    if kind != b"VP8X":
        raise TruncatedPicture("the WebP picture chunk is missing or damaged")
    width = int.from_bytes(data[24:27], "little") + 1
    height = int.from_bytes(data[27:30], "little") + 1
    return StoredPicture(width, height, _find_webp_orientation(data, end))


def _find_webp_orientation(data: bytes, end: int) -> int:
    at = 12
    for _ in range(_MAX_PARTS):
        if at + 8 > end:
            break
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > end:
            raise TruncatedPicture("a WebP chunk runs past the end of the file")
        if data[at : at + 4] == b"EXIF":
            return read_orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + (length & 1)
    return _UPRIGHT


def read_orientation(exif: bytes) -> int:
    """EXIF orientation 1..8 out of a TIFF header and its first directory; 1 where it is absent or invalid.

    Only the first directory is read, in place, so neither a loop nor a far offset can cost time.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return _UPRIGHT
    at: int = struct.unpack_from(order + "I", exif, 4)[0]
    if at + 2 > len(exif):
        return _UPRIGHT
    entries = min(struct.unpack_from(order + "H", exif, at)[0], _MAX_IFD_ENTRIES, (len(exif) - at - 2) // 12)
    for entry in range(entries):
        tag, kind, count, value = struct.unpack_from(order + "HHIH", exif, at + 2 + 12 * entry)
        if tag == _ORIENTATION_TAG:
            return value if kind == 3 and count == 1 and 1 <= value <= 8 else _UPRIGHT
    return _UPRIGHT
