"""The conversions that manifests may name: from the bytes of a source to those of the model loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from serving.errors import PackError

# The converters need the onnx package, which a replica that only loads ready files should not pay for.


def _convert_centerface(data: bytes) -> bytes:
    from serving.packs.centerface_onnx import convert_centerface

    return convert_centerface(data)


def _convert_centerface_to_int8(data: bytes) -> bytes:
    from serving.packs.centerface_int8 import RANGES_FILE, quantise_centerface
    from serving.packs.quantise import load_ranges

    return quantise_centerface(data, load_ranges(RANGES_FILE))


def _convert_dlib_to_fp32(data: bytes) -> bytes:
    from serving.packs.dlib_format import read_network
    from serving.packs.dlib_onnx import convert_network

    return convert_network(read_network(data))


def _convert_dlib_to_int8(data: bytes) -> bytes:
    from serving.packs.dlib_format import read_network
    from serving.packs.quantise import load_ranges, quantise_network

    return quantise_network(read_network(data), load_ranges())


def _convert_scrfd(data: bytes) -> bytes:
    from serving.packs.scrfd_onnx import convert_scrfd

    return convert_scrfd(data)


def _convert_arcface(data: bytes) -> bytes:
    from serving.packs.arcface_onnx import convert_arcface

    return convert_arcface(data)


def _split_prelu(data: bytes) -> bytes:
    from serving.packs.prelu_onnx import convert_prelu

    return convert_prelu(data)


def _keep(data: bytes) -> bytes:
    return data


@dataclass(frozen=True, slots=True)
class Conversion:
    """A deterministic function of bytes to bytes that raises PackError for what it does not know.

    version rises whenever the function gives other bytes for the same source: it is part of the file's name
    in the cache, so that two versions of Rollcall can share one.
    """

    name: str
    version: int
    convert: Callable[[bytes], bytes]


NO_CONVERSION = "none"
CONVERSIONS: dict[str, Conversion] = {
    conversion.name: conversion
    for conversion in (
        Conversion("centerface", 1, _convert_centerface),
        Conversion("centerface-int8", 1, _convert_centerface_to_int8),
        Conversion("dlib-fp32", 1, _convert_dlib_to_fp32),
        Conversion("dlib-int8", 1, _convert_dlib_to_int8),
        Conversion("scrfd", 1, _convert_scrfd),
        Conversion("arcface", 2, _convert_arcface),
        Conversion("split-prelu", 1, _split_prelu),
        Conversion(NO_CONVERSION, 1, _keep),
    )
}


def find_conversion(name: str) -> Conversion:
    """The conversion of that name.

    Raises:
        PackError: there is none.
    """
    try:
        return CONVERSIONS[name]
    except KeyError:
        raise PackError(f"there is no conversion {name!r}; known are {', '.join(CONVERSIONS)}") from None
