"""Reader of the one dlib network this product uses: the 29-convolution face recognition ResNet.

The layout follows dlib's own serialisation (`serialize.h`, `dnn/core.h`, `dnn/layers.h`, `dnn/loss.h` of the
dlib sources). It is a stream with no length prefix, so every field is checked against the architecture
that is expected next and against the bytes that remain; anything else raises PackError.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.errors import PackError

Floats = NDArray[np.float32]

CHIP_SIDE_PX = 150
DIMENSION = 128
STEM_FILTERS = 32
BLOCKS: tuple[tuple[int, bool], ...] = (
    (32, False), (32, False), (32, False),
    (64, True), (64, False), (64, False), (64, False),
    (128, True), (128, False), (128, False),
    (256, True), (256, False), (256, False),
    (256, True),
)  # fmt: skip
"""(filters, halves its input) of every residual block in order, as in dlib's dnn_face_recognition example."""

_WRAPPER_LAYERS = 130
_INFINITE, _MINUS_INFINITE, _NAN = 32000, 32001, 32002
_MAX_STRING_BYTES = 64
_MAX_EXPONENT = 1100


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution with the affine layer behind it folded in.

    weights is float32 [out, in, rows, columns], bias float32 [out]; stride and pad are equal on both axes.
    """

    weights: Floats
    bias: Floats
    stride: int
    pad: int


@dataclass(frozen=True, slots=True)
class Block:
    """relu(shortcut(x) + second(relu(first(x)))); the shortcut of a halving block is a 2x2 average pool."""

    first: Convolution
    second: Convolution
    halves: bool


@dataclass(frozen=True, slots=True)
class FaceNetwork:
    """The whole network: x = (rgb - mean) / 256 -> stem -> 3x3 max pool -> blocks -> mean -> projection.

    mean is float32 [3] in RGB order on the 0..255 scale; projection is float32 [256, 128].
    """

    mean: Floats
    stem: Convolution
    blocks: tuple[Block, ...]
    projection: Floats


def read_network(data: bytes) -> FaceNetwork:
    """Parse the contents of `dlib_face_recognition_resnet_model_v1.dat`.

    Raises:
        PackError: data is not exactly that network (cut, changed, or followed by something).
    """
    stream = _Stream(data)
    stream.expect_int(1, "loss version")
    stream.expect_string("loss_metric_2")
    stream.read_float()
    stream.read_float()
    for position in range(_WRAPPER_LAYERS):
        version = stream.read_int()
        if not 1 <= version <= 3:
            raise stream.fault(f"layer wrapper {position} has version {version}")
    mean = _read_input_layer(stream)
    stem = _read_convolution(stream, 3, STEM_FILTERS, 7, stride=2, pad=0, innermost=True)
    _read_plain(stream, "relu_")
    _read_pool(stream, "max_pool_2", (3, 3, 2, 2, 0, 0))
    blocks = []
    channels = STEM_FILTERS
    for filters, halves in BLOCKS:
        blocks.append(_read_block(stream, channels, filters, halves))
        channels = filters
    _read_pool(stream, "avg_pool_2", (0, 0, 1, 1, 0, 0))
    projection = _read_projection(stream, channels)
    stream.expect_end()
    return FaceNetwork(mean, stem, tuple(blocks), projection)


def _read_input_layer(stream: _Stream) -> Floats:
    stream.expect_string("input_rgb_image_sized")
    mean = np.array([stream.read_float() for _ in range(3)], np.float32)
    if not (np.isfinite(mean).all() and (mean >= 0).all() and (mean <= 255).all()):
        raise stream.fault("the input mean is not a colour")
    stream.expect_int(CHIP_SIDE_PX, "input rows")
    stream.expect_int(CHIP_SIDE_PX, "input columns")
    return mean


def _read_block(stream: _Stream, channels: int, filters: int, halves: bool) -> Block:
    first = _read_convolution(stream, channels, filters, 3, stride=2 if halves else 1, pad=0 if halves else 1)
    _read_plain(stream, "relu_")
    second = _read_convolution(stream, filters, filters, 3, stride=1, pad=1)
    if halves:
        _read_pool(stream, "avg_pool_2", (2, 2, 2, 2, 0, 0))
    _read_plain(stream, "add_prev_")
    _read_plain(stream, "relu_")
    return Block(first, second, halves)


def _read_convolution(
    stream: _Stream,
    channels: int,
    filters: int,
    side: int,
    *,
    stride: int,
    pad: int,
    innermost: bool = False,
) -> Convolution:
    """Read a con_ layer and the affine_ layer after it, and fold the second into the first."""
    stream.expect_string("con_4")
    count = filters * channels * side * side
    params = stream.read_tensor(count + filters)
    for what, value in (
        ("filters", filters), ("rows", side), ("columns", side),
        ("row stride", stride), ("column stride", stride), ("row padding", pad), ("column padding", pad),
    ):  # fmt: skip
        stream.expect_int(value, what)
    stream.skip_alias(2)
    for _ in range(4):
        stream.read_float()
    _read_wrapper(stream, innermost)

    stream.expect_string("affine_")
    affine = stream.read_tensor(2 * filters)
    stream.skip_alias(2)
    stream.read_int()
    _read_wrapper(stream)

    gamma, beta = affine[:filters], affine[filters:]
    with np.errstate(over="ignore", invalid="ignore"):
        weights = params[:count].reshape(filters, channels, side, side) * gamma[:, None, None, None]
        bias = params[count:] * gamma + beta
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise stream.fault("weights that no 32 bit float can hold")
    return Convolution(weights, bias, stride, pad)


def _read_projection(stream: _Stream, channels: int) -> Floats:
    stream.expect_string("fc_2")
    stream.expect_int(DIMENSION, "outputs")
    stream.expect_int(channels, "inputs")
    projection = stream.read_tensor(channels * DIMENSION).reshape(channels, DIMENSION)
    stream.skip_alias(2)
    stream.expect_int(1, "bias mode")
    for _ in range(4):
        stream.read_float()
    _read_wrapper(stream)
    return projection


def _read_plain(stream: _Stream, name: str) -> None:
    stream.expect_string(name)
    _read_wrapper(stream)


def _read_pool(stream: _Stream, name: str, geometry: tuple[int, ...]) -> None:
    stream.expect_string(name)
    for value in geometry:
        stream.expect_int(value, f"{name} geometry")
    _read_wrapper(stream)


def _read_wrapper(stream: _Stream, innermost: bool = False) -> None:
    """What `add_layer` writes after its details: three flags and the training state, empty once cleaned."""
    for _ in range(3):
        stream.read_bool()
    for _ in range(3):
        stream.read_tensor(0)
    if innermost:
        stream.read_int()


class _Stream:
    """A cursor over dlib's primitives; every read is checked against the bytes that remain."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def fault(self, what: str) -> PackError:
        return PackError(f"not the expected dlib network: {what} (at byte {self._at})", offset=self._at)

    def _take(self, count: int) -> memoryview:
        if count > len(self._data) - self._at:
            raise self.fault("the file ends too early")
        part = self._data[self._at : self._at + count]
        self._at += count
        return part

    def read_int(self) -> int:
        """A control byte (0x80: negative; low bits: byte count 1..8), then the magnitude, little-endian."""
        control = self._take(1)[0]
        count = control & 0x0F
        if control & 0x70 or not 1 <= count <= 8:
            raise self.fault(f"control byte {control:#04x}")
        value = int.from_bytes(self._take(count), "little")
        return -value if control & 0x80 else value

    def read_float(self) -> float:
        """Two integers m and e meaning m * 2**e, with reserved exponents for the non-finite values."""
        mantissa, exponent = self.read_int(), self.read_int()
        if exponent in (_INFINITE, _MINUS_INFINITE, _NAN):
            return {_INFINITE: math.inf, _MINUS_INFINITE: -math.inf, _NAN: math.nan}[exponent]
        if abs(exponent) > _MAX_EXPONENT:
            raise self.fault(f"float exponent {exponent}")
        try:
            return math.ldexp(mantissa, exponent)
        except OverflowError as error:
            raise self.fault("float out of range") from error

    def read_bool(self) -> bool:
        value = bytes(self._take(1))
        if value not in (b"0", b"1"):
            raise self.fault(f"boolean {value!r}")
        return value == b"1"

    def read_tensor(self, expected_size: int) -> Floats:
        """A tensor of exactly expected_size values, as a flat float32 array of its own.

        The caller knows the shape; dlib writes parameters as one column, so only the product is checked.
        """
        self.expect_int(2, "tensor version")
        shape = [self.read_int() for _ in range(4)]
        if min(shape) < 0 or math.prod(shape) != expected_size:
            raise self.fault(f"a tensor of shape {shape} where {expected_size} values belong")
        values = np.frombuffer(self._take(4 * expected_size), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise self.fault("a parameter is not finite")
        return values

    def skip_alias(self, count: int) -> None:
        for _ in range(count):
            self.expect_int(1, "alias version")
            for _ in range(4):
                self.read_int()

    def expect_int(self, expected: int, what: str) -> None:
        value = self.read_int()
        if value != expected:
            raise self.fault(f"{what} is {value}, not {expected}")

    def expect_string(self, expected: str) -> None:
        length = self.read_int()
        if not 0 <= length <= _MAX_STRING_BYTES:
            raise self.fault(f"a name of {length} bytes")
        value = bytes(self._take(length))
        if value != expected.encode():
            raise self.fault(f"{value!r} where {expected!r} belongs")

    def expect_end(self) -> None:
        if self._at != len(self._data):
            raise self.fault(f"{len(self._data) - self._at} bytes too many")
