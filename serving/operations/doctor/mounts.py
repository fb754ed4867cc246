"""Which file system a path lies on, and whether its disk is encrypted, as the kernel tells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Encryption = Literal["encrypted", "plain", "unknown"]
REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "fuse.sshfs", "afs", "lustre"}
)
"""File systems on which locks and write-ahead logs cannot be relied on."""
ENCRYPTED_KINDS = frozenset({"ecryptfs", "fuse.gocryptfs", "fuse.encfs"})
_ASK_THEIR_OWN_TOOLS = frozenset({"zfs", "btrfs", "overlay"})


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system: its device as `major:minor`, where it is, its kind."""

    device: str
    path: Path
    kind: str


def find_mount(path: Path, proc: Path = Path("/proc")) -> Mount | None:
    """The file system that a path lies on, or will: the path need not be there."""
    best: Mount | None = None
    for line in (proc / "self" / "mountinfo").read_text("utf-8", "replace").splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        mount = Mount(fields[2], Path(_unescape(fields[4])), right.split()[0])
        is_nearer = best is None or len(mount.path.parts) >= len(best.path.parts)
        if is_nearer and path.is_relative_to(mount.path):
            best = mount
    return best


def judge_encryption(mount: Mount, sys: Path = Path("/sys")) -> Encryption:
    """Whether what lies beneath is dm-crypt (LUKS) or an encrypting file system, as far as can be seen.

    A container, a virtual machine or a cloud's disk may be encrypted beneath what this kernel sees.
    """
    if mount.kind in ENCRYPTED_KINDS:
        return "encrypted"
    device = sys / "dev" / "block" / mount.device
    if mount.kind in _ASK_THEIR_OWN_TOOLS or mount.device.startswith("0:") or not device.exists():
        return "unknown"
    return "encrypted" if _is_crypt(device, 0) else "plain"


def _is_crypt(device: Path, depth: int) -> bool:
    """Whether a block device, or all that it is made of, is dm-crypt."""
    try:
        if (device / "dm" / "uuid").read_text().startswith("CRYPT-"):
            return True
    except OSError:
        pass
    beneath = list((device / "slaves").iterdir()) if (device / "slaves").is_dir() else []
    return depth < 8 and bool(beneath) and all(_is_crypt(each, depth + 1) for each in beneath)


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
