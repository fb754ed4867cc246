"""JPEGs decoded smaller: what they show lies where it should, and chips get the pixels they can show."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from serving.errors import RollcallError, TruncatedPicture
from serving.packs.catalogue import find_pack
from serving.packs.loading import load_finder
from serving.packs.store import PackStore
from serving.vision import pipeline as pipeline_module
from serving.vision.picture import (
    PictureHeader,
    PictureLimits,
    ReducedPicture,
    choose_reduction,
    decode_picture,
    decode_reduced,
    read_header,
)
from serving.vision.pipeline import FaceFinder, FacePipeline, PictureFaces
from serving.vision.quality_gates import QualityLevel, find_faults


def _encode(pixels: np.ndarray, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, subsampling=0, exif=exif)
    return out.getvalue()


def _find_centre(pixels: np.ndarray) -> np.ndarray:
    """x, y of the centre of what is bright, in pixels; integers are centres of pixels."""
    light = np.clip(pixels[:, :, 1].astype(float) - 40, 0, None)
    rows, columns = np.indices(light.shape)
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_points_lie_where_they_should(orientation: int, reduction: int) -> None:
    """Of a picture whose sides are no multiple of the reduction, so that the last squares are not full."""
    stored = np.zeros((477, 643, 3), np.uint8)
    cv2.circle(stored, (417, 203), 60, (255, 255, 255), -1, cv2.LINE_AA)
    data = _encode(stored, orientation)
    header = read_header(data)
    whole, reduced = decode_picture(data, header), decode_reduced(data, header, reduction)
    assert reduced.reduction == reduction
    assert reduced.pixels.shape == (-(-header.height // reduction), -(-header.width // reduction), 3)
    centre, centre_reduced = _find_centre(whole), _find_centre(reduced.pixels)
    np.testing.assert_allclose(reduced.locate(centre), centre_reduced, atol=0.04)
    # What detectors answer counts from the outer edge of the first pixel.
    np.testing.assert_allclose(reduced.map_back(centre_reduced + 0.5), centre + 0.5, atol=0.04 * reduction)


def test_whole_pictures_need_no_arithmetic() -> None:
    points = np.array([[1.5, 2.5]], np.float32)
    whole = ReducedPicture(np.zeros((9, 9, 3), np.uint8))
    assert whole.locate(points) is points
    np.testing.assert_array_equal(whole.map_back(points), points)


@pytest.mark.parametrize(
    ("kind", "longer", "wanted", "expected"),
    [
        ("jpeg", 4000, 960, 4),
        ("jpeg", 3839, 960, 2),
        ("jpeg", 8000, 960, 8),
        ("jpeg", 50_000, 960, 8),
        ("jpeg", 1024, 960, 1),
        ("png", 8000, 960, 1),
        ("webp", 8000, 960, 1),
    ],
)
def test_choice_of_the_reduction(kind: str, longer: int, wanted: int, expected: int) -> None:
    for width, height in ((longer, 100), (100, longer)):
        assert choose_reduction(PictureHeader(kind, width, height), wanted) == expected  # type: ignore[arg-type]


def test_damaged_and_hostile_files_end_as_they_do_whole(shared_dir: Path) -> None:
    limits = PictureLimits(max_bytes=20 * 2**20, max_pixels=25_000_000, min_side_px=8)
    seen = 0
    for path in sorted((shared_dir / "hostile").rglob("*.jp*g")):
        data = path.read_bytes()
        try:
            header = read_header(data, limits)
        except RollcallError:
            continue
        assert header.is_lossless == ("lossless" in path.name)
        whole, *smaller = (_try_to_decode(data, header, step) for step in (1, 4, 8))
        for reduction, reduced in zip((4, 8), smaller, strict=True):
            assert (whole is None) == (reduced is None), path
            if whole is not None and reduced is not None:
                seen += 1
                assert reduced.shape[:2] == tuple(-(-side // reduction) for side in whole.shape[:2])
    assert seen > 20


def _try_to_decode(data: bytes, header: PictureHeader, reduction: int) -> np.ndarray | None:
    try:
        return decode_reduced(data, header, reduction).pixels
    except TruncatedPicture:
        return None


@pytest.fixture(scope="module")
def portrait_of_12_megapixels(samples: dict[str, Path]) -> np.ndarray:
    picture = decode_picture(samples["portrait"].read_bytes())
    scale = 4000 / max(picture.shape[:2])
    width, height = round(scale * picture.shape[1]), round(scale * picture.shape[0])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def decoded_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The reductions at which the finder decoded."""
    steps: list[int] = []

    def decode(data: bytes, header: PictureHeader, reduction: int) -> ReducedPicture:
        steps.append(reduction)
        return decode_reduced(data, header, reduction)

    monkeypatch.setattr(pipeline_module, "decode_reduced", decode)
    return steps


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_large_face_is_the_same_at_a_quarter(
    pipeline: FacePipeline,
    pack_store: PackStore,
    portrait_of_12_megapixels: np.ndarray,
    decoded_at: list[int],
    orientation: int,
) -> None:
    """Where it lies, its size, its measures and its vector.

    Boxes of faces that nearly fill the picture move so with any change of its pixels; landmarks do not.
    """
    stored = np.rot90(portrait_of_12_megapixels, {1: 0, 3: 2, 6: 1}[orientation])
    data = _encode(np.ascontiguousarray(stored), orientation)
    whole = _load_whole(pack_store)
    (reference,), (face,) = _faces(whole, data), _faces(pipeline.finder, data)
    assert decoded_at == [1, 4]
    side = reference.quality.face_px
    np.testing.assert_allclose(face.box, reference.box, atol=0.07 * side)
    np.testing.assert_allclose(face.landmarks, reference.landmarks, atol=0.03 * side)
    assert face.quality.face_px == pytest.approx(side, rel=0.07)
    assert face.quality.sharpness == pytest.approx(reference.quality.sharpness, abs=0.06)
    assert face.quality.brightness == pytest.approx(reference.quality.brightness, abs=4)
    for each in (face, reference):
        assert find_faults(each.quality, QualityLevel.standard) == []
    vectors = pipeline.embedder.embed(np.stack([face.crop, reference.crop]))
    assert vectors[0] @ vectors[1] > 0.99


def test_small_faces_of_a_large_picture_are_cut_from_more_pixels(
    pipeline: FacePipeline, pack_store: PackStore, samples: dict[str, Path], decoded_at: list[int]
) -> None:
    """Six faces of 100 px, in a picture padded to 12 megapixels: at a quarter they would have 25."""
    group = decode_picture(samples["group"].read_bytes())
    canvas = np.full((3000, 4000, 3), 96, np.uint8)
    canvas[600 : 600 + group.shape[0], 1000 : 1000 + group.shape[1]] = group
    data = _encode(canvas)
    faces = _faces(pipeline.finder, data)
    assert decoded_at == [4, 1]
    reference = _faces(_load_whole(pack_store), data)
    assert len(faces) == len(reference) >= 5
    for face in faces:
        other = min(reference, key=lambda each: abs(each.box[0] - face.box[0]))
        vectors = pipeline.embedder.embed(np.stack([face.crop, other.crop]))
        assert vectors[0] @ vectors[1] > 0.97
        assert face.quality.sharpness == pytest.approx(other.quality.sharpness, abs=0.15)


def _load_whole(pack_store: PackStore) -> FaceFinder:
    return load_finder(pack_store.prepare(find_pack("starter")), reduces=False)


def _faces(finder: FaceFinder, data: bytes) -> list[pipeline_module.Face]:
    (found,) = finder.find([data])
    assert isinstance(found, PictureFaces)
    return found.faces
