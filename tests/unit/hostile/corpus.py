"""What each file of the hostile corpus is, and what shall become of it."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ACCEPTED = (b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF")
REFUSALS = frozenset(
    {
        "not_an_image",
        "unsupported_picture_type",
        "truncated_picture",
        "picture_too_large",
        "too_many_pixels",
        "picture_too_small",
        "invalid_request",  # an empty body
    }
)
LARGE = frozenset({"picture_too_large", "too_many_pixels"})
UNREADABLE = frozenset({"not_an_image", "unsupported_picture_type", "truncated_picture"})


@dataclass(frozen=True)
class Expected:
    """Either it is answered (with so many faces, where that is known), or refused with one of the codes."""

    may_pass: bool
    codes: frozenset[str] = frozenset()
    faces: int | None = None


FORGIVEN = frozenset({"xcsn0g01.png"})
"""Only the checksum of its pixels is wrong."""
ANYTHING = Expected(True, REFUSALS)
FACE = Expected(True, faces=1)


def find_files(corpus: Path) -> list[Path]:
    """Every file of the corpus, licences and readmes among them: they are no pictures."""
    return sorted(path for path in corpus.rglob("*") if path.is_file())


def read_expectations(corpus: Path) -> dict[Path, Expected]:
    """By file; a service with tighter limits may refuse more, for size alone."""
    said = {}
    for line in (corpus / "synth.tsv").read_text().splitlines():
        name, _, _, what = line.split("\t")
        said[name] = what
    return {path: _expect(path, said.get(path.name, "")) for path in find_files(corpus)}


def _expect(path: Path, said: str) -> Expected:
    folder, head = path.parent.name, path.read_bytes()[:12]
    if folder == "synth":
        return _expect_synthetic(said, head)
    if not head.startswith(ACCEPTED):
        return Expected(False, UNREADABLE)
    if folder == "pngsuite":
        if path.name.startswith("x") and path.name not in FORGIVEN:  # its damaged files
            return Expected(False, UNREADABLE)
        is_small = path.name.startswith(("cdf", "cdh", "cds"))  # of 8 pixels
        is_small |= path.name[0] == "s" and path.name[1:3] < "32"
        return Expected(not is_small, frozenset({"picture_too_small"}) if is_small else frozenset())
    if folder == "exif_orientation":
        return Expected(True)
    return ANYTHING


def _expect_synthetic(said: str, head: bytes) -> Expected:
    if not head.startswith(ACCEPTED):
        return Expected(False, UNREADABLE | {"invalid_request"})
    if said.startswith("413/4xx"):
        return Expected(False, LARGE)
    if said.startswith("4xx") and "or" not in said and "no hang" not in said:
        return Expected(False, UNREADABLE | LARGE)
    if said.startswith("face=1"):
        return FACE
    return ANYTHING


def make_png(width: int, height: int, *chunks: tuple[bytes, bytes], rows: bytes | None = None) -> bytes:
    """An 8 bit gray PNG; `chunks` come before its pixels, which are all 127 unless `rows` says otherwise."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = (b"\0" + b"\x7f" * width) * height if rows is None else rows
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b"")]
    out = bytearray(b"\x89PNG\r\n\x1a\n")
    for kind, data in parts:
        out += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return bytes(out)


def deflate_zeros(size: int) -> bytes:
    """So many zeros, a thousandth as long."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()


def make_bombs() -> dict[str, bytes]:
    """Small files that ask for a great deal; each of 64 x 64 pixels unless it lies about that."""
    bomb = deflate_zeros(128 << 20)
    frames = [Image.new("RGB", (64, 64), (n % 256, 0, 0)) for n in range(200)]
    moving = {}
    for kind in ("PNG", "WEBP"):
        out = io.BytesIO()
        frames[0].save(out, kind, save_all=True, append_images=frames[1:])
        moving[f"frames.{kind.lower()}"] = out.getvalue()
    jpeg = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(jpeg, "JPEG")
    plain = jpeg.getvalue()
    segment = b"\xff\xe1\xff\xff" + b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(65533 - 16)
    return {
        **moving,
        "text.png": make_png(64, 64, (b"zTXt", b"Comment\0\0" + bomb)),
        "itext.png": make_png(64, 64, (b"iTXt", b"Comment\0\1\0en\0\0" + bomb)),
        "icc.png": make_png(64, 64, (b"iCCP", b"x\0\0" + bomb)),
        "pixels.png": make_png(64, 64, rows=(b"\0" + b"\x7f" * 64) * 64 + bytes(64 << 20)),
        "many_chunks.png": make_png(64, 64, *[(b"tEXt", b"k\0v")] * 60_000),
        "exif.jpg": plain[:2] + segment * 40 + plain[2:],
        "icc.jpg": plain[:2]
        + (b"\xff\xe2\xff\xff" + b"ICC_PROFILE\0\1\1" + bytes(65533 - 14)) * 40
        + plain[2:],
        "comments.jpg": plain[:2] + b"\xff\xfe\x00\x02" * 60_000 + plain[2:],
        "lies.jpg": _resize_jpeg(plain, 65500, 65500),
        "wide.jpg": _resize_jpeg(plain, 65500, 64),
    }


def _resize_jpeg(data: bytes, width: int, height: int) -> bytes:
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]
