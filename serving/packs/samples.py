"""Real pictures to try the product with, taken out of a wheel of the package registry.

They are the insightface project's own demonstration pictures; they stay on the user's disk.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from serving.packs.cache_files import write_atomically
from serving.packs.manifest import WheelMember
from serving.packs.wheels import fetch_members, hash_bytes

_REQUIREMENT = "insightface==2.1"
_WHEEL_SHA256 = "dcd58ee79d99d689572477315f3149353afd65a36dc575f597cbb217a7bde399"
_GROUP = WheelMember(
    requirement=_REQUIREMENT,
    wheel_sha256=_WHEEL_SHA256,
    path="insightface/data/images/t1.jpg",
    sha256="47f682e945b659f93a9e490b9c9c4a2a864abe64dace9e1a2893845ddfd69489",
    max_bytes=128_824,
)
_PORTRAIT = WheelMember(
    requirement=_REQUIREMENT,
    wheel_sha256=_WHEEL_SHA256,
    path="insightface/data/images/Tom_Hanks_54745.png",
    sha256="8545da294e8c7c79911169c3915fed8528f1960cd0ed99b92453788ca4275083",
    max_bytes=12_123,
)
_GUEST_BOX = (387, 179, 647, 528)
_GUEST_SCALE = 0.7
_GUEST_QUALITY = 90


def prepare_samples(directory: Path) -> dict[str, Path]:
    """Make the sample pictures ready in directory and return them by name.

    group: `group.jpg`, six people. guest: `guest.jpg`, one of them cut out, scaled by 0.7 and encoded again,
    so that it is the same person but not the same pixels. portrait: `portrait.png`, somebody else. Nothing is
    downloaded when all three are there.

    Raises:
        PackError: the wheel cannot be had, or directory cannot be written.
    """
    paths = {
        "group": directory / "group.jpg",
        "guest": directory / "guest.jpg",
        "portrait": directory / "portrait.png",
    }
    if _holds(paths["group"], _GROUP) and _holds(paths["portrait"], _PORTRAIT) and paths["guest"].is_file():
        return paths
    group, portrait = fetch_members([_GROUP, _PORTRAIT])
    for name, data in (("group", group), ("guest", cut_guest(group)), ("portrait", portrait)):
        write_atomically(paths[name], data)
    return paths


def cut_guest(group: bytes) -> bytes:
    """The JPEG of one guest out of the group picture's bytes."""
    with Image.open(io.BytesIO(group)) as picture:
        guest = picture.convert("RGB").crop(_GUEST_BOX)
    size = (round(guest.width * _GUEST_SCALE), round(guest.height * _GUEST_SCALE))
    encoded = io.BytesIO()
    guest.resize(size, Image.Resampling.LANCZOS).save(encoded, "JPEG", quality=_GUEST_QUALITY)
    return encoded.getvalue()


def _holds(path: Path, member: WheelMember) -> bool:
    try:
        return hash_bytes(path.read_bytes()) == member.sha256
    except OSError:
        return False
