"""Every hostile file, in this process: oddities decode right, the rest is refused, and neither costs much."""

from __future__ import annotations

import io
import multiprocessing
import resource
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.errors import RollcallError, UnsupportedPictureType
from serving.vision.picture import PictureLimits, decode_picture, read_header
from tests.unit.hostile.corpus import REFUSALS, make_bombs, make_png, read_expectations

LIMITS = PictureLimits(max_bytes=20 * 2**20, max_pixels=25_000_000)
ANY_SIDE = replace(LIMITS, min_side_px=1)
MAX_GROWTH_BYTES = 400 * 2**20
"""A picture of 25 million pixels is 75 MB, and Pillow's own copy of it 100 MB; progressive JPEG holds its
coefficients besides."""
FILE_S = 20.0
"""No file takes two seconds; a busy machine may be slow."""

GRAY = {"face_gray.jpg", "face_la.png", "face_gray16.png"}
SAME_PIXELS = {
    name: most
    for most, names in (
        (0, ("trailing.jpg", "two_jpegs.jpg")),
        (1, ("face_restart.jpg", "exif_1.jpg", "exif_truncated.jpg", "exif_loop.jpg")),
        (
            2,
            (
                "face_progressive.jpg",
                "face_444.jpg",
                "face_alpha.png",
                "face_alpha0.png",
                "face_rgb16.png",
                "face_lossless.webp",
                "png_named.jpg",
                "exif_1.png",
                "face_la.png",
                "face_gray16.png",
            ),
        ),
        (3, ("face_cmyk.jpg", "face_gray.jpg")),
        (5, ("face_lossy.webp", "face_anim.webp")),
        (6, ("face_palette.png", "face_palette_trns.png")),
    )
    for name in names
}
"""Mean difference from the plain picture, of 255, that the encoding itself makes."""


def decode(data: bytes, limits: PictureLimits = LIMITS) -> np.ndarray:
    header = read_header(data, limits)
    picture = decode_picture(data, header)
    assert picture.shape == (header.height, header.width, 3)
    assert picture.dtype == np.uint8
    return picture


def _difference(one: np.ndarray, other: np.ndarray, *, gray: bool = False) -> float:
    assert one.shape == other.shape
    if gray:
        weights = np.array([0.299, 0.587, 0.114])
        one, other = one @ weights, other @ weights
    return float(np.abs(one.astype(np.float64) - other).mean())


@pytest.mark.parametrize("name", SAME_PIXELS)
def test_an_allowed_oddity_decodes_to_the_plain_picture(shared_dir: Path, name: str) -> None:
    synth = shared_dir / "hostile" / "synth"
    plain = decode((synth / "face_ref.jpg").read_bytes())
    found = decode((synth / name).read_bytes())
    assert _difference(found, plain, gray=name in GRAY) <= SAME_PIXELS[name]


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_orientation_is_the_same_picture(shared_dir: Path, kind: str, orientation: int) -> None:
    synth = shared_dir / "hostile" / "synth"
    upright = decode((synth / f"exif_1.{kind}").read_bytes())
    turned = decode((synth / f"exif_{orientation}.{kind}").read_bytes())
    assert _difference(turned, upright) <= (0 if kind == "png" else 4)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_orientations_written_by_others_too(shared_dir: Path, orientation: int) -> None:
    folder = shared_dir / "hostile" / "exif_orientation"
    for name in ("Landscape", "Portrait"):
        upright, turned = (decode((folder / f"{name}_{n}.jpg").read_bytes()) for n in (1, orientation))
        assert turned.shape == upright.shape
        small = np.s_[:: max(1, upright.shape[0] // 60), :: max(1, upright.shape[1] // 60)]
        likeness = np.corrcoef(upright[small].ravel(), turned[small].ravel())[0, 1]
        assert likeness > 0.9, name


def test_every_file_has_its_outcome_in_bounded_time(
    shared_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expectations = read_expectations(shared_dir / "hostile")
    assert len(expectations) > 600
    wrong = []
    for path, expected in expectations.items():
        began = time.perf_counter()
        try:
            outcome = str(decode(path.read_bytes()).shape)
            right = expected.may_pass
        except RollcallError as error:
            outcome = error.code
            right = outcome in expected.codes or not path.stat().st_size
            if expected.codes == {"picture_too_small"}:
                decode(path.read_bytes(), ANY_SIDE)
        if not right:
            wrong.append((path.name, outcome, expected))
        assert time.perf_counter() - began < FILE_S, path.name
    assert wrong == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("marker", [0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_arithmetic_coding_is_refused_by_the_header(marker: int) -> None:
    """For it the decoder works on behind the end of the data, and writes to standard error."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "JPEG")
    data = out.getvalue().replace(b"\xff\xc0", bytes([0xFF, marker]), 1)
    with pytest.raises(UnsupportedPictureType, match="arithmetic"):
        read_header(data, LIMITS)


def _measure_growth(files: list[bytes], answer: object) -> None:
    decode(files[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = []
    for data in files[1:]:
        began = time.perf_counter()
        try:
            decode(data)
            outcome = "decoded"
        except RollcallError as error:
            outcome = error.code
        outcomes.append((outcome, time.perf_counter() - began))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    answer.send((grown, outcomes))  # type: ignore[attr-defined]


def _in_process_of_its_own(files: list[bytes]) -> tuple[int, list[tuple[str, float]]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_measure_growth, args=(files, theirs))
    process.start()
    theirs.close()
    try:
        return ours.recv()  # type: ignore[no-any-return]
    finally:
        process.join(30)
        assert process.exitcode == 0


def test_bombs_take_neither_memory_nor_time() -> None:
    bombs = make_bombs()
    small = make_png(64, 64)
    grown, outcomes = _in_process_of_its_own([small, *bombs.values()])
    assert grown < 60 * 2**20  # one that was unpacked would take 128 MiB
    for name, (outcome, spent_s) in zip(bombs, outcomes, strict=True):
        assert outcome == "decoded" or outcome in REFUSALS, name
        assert spent_s < FILE_S, name
    by_name = dict(zip(bombs, outcomes, strict=True))
    assert by_name["lies.jpg"][0] == "too_many_pixels"
    for name in ("frames.png", "frames.webp", "comments.jpg", "icc.jpg", "exif.jpg"):
        assert by_name[name][0] == "decoded", name


def test_the_corpus_takes_no_more_memory_than_its_largest_picture(shared_dir: Path) -> None:
    synth = shared_dir / "hostile" / "synth"
    heavy = [
        path.read_bytes()
        for path in sorted(synth.glob("*"))
        if path.name.startswith(("bomb", "huge", "tiny", "dim"))
    ]
    assert len(heavy) > 15
    grown, _ = _in_process_of_its_own([(synth / "face_ref.jpg").read_bytes(), *heavy])
    assert grown < MAX_GROWTH_BYTES
