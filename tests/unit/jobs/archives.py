"""Archives as tests need them, good and hostile."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable

Files = Iterable[tuple[str, bytes]]

FILES = (("ada/1.jpg", b"ada one"), ("bob.png", b"bob one"), ("ada/2.webp", b"ada two"))


def make_zip(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def make_tar(files: Files, mode: str = "w", format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=format) as archive:  # type: ignore[call-overload]
        for name, content in files:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def make_targz(files: Files) -> bytes:
    return make_tar(files, "w:gz")


def make_special_tar(name: str, kind: bytes, **fields: object) -> bytes:
    """A tar of one good picture and one entry of this type."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        header = tarfile.TarInfo(name)
        header.type = kind
        for field, value in fields.items():
            setattr(header, field, value)
        archive.addfile(header)
        good = tarfile.TarInfo("bob.jpg")
        good.size = 3
        archive.addfile(good, io.BytesIO(b"bob"))
    return buffer.getvalue()


def patched(data: bytes, signature: bytes, offset: int, value: bytes, which: int = 0) -> bytes:
    """`data` with bytes replaced behind the nth occurrence of a signature."""
    place = -1
    for _ in range(which + 1):
        place = data.index(signature, place + 1)
    return data[: place + offset] + value + data[place + offset + len(value) :]


def central(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Patches the first record of a ZIP's central directory."""
    return lambda data: patched(data, b"PK\x01\x02", offset, value)


def end(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Patches a ZIP's end record."""
    return lambda data: patched(data, b"PK\x05\x06", offset, value)


def unsigned(value: int, size: int = 4) -> bytes:
    return struct.pack({2: "<H", 4: "<L", 8: "<Q"}[size], value)
