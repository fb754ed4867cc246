"""Downloads over a real connection: interrupted, resumed, spoilt, refused."""

from __future__ import annotations

import email.utils
import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.errors import PackDownloadFailed
from serving.packs import downloads
from serving.packs.downloads import download_file
from serving.settings import load_settings
from tests.unit.packs.file_server import FileServer, serve_files

DATA = bytes(range(256)) * 3000
OTHER = DATA[::-1]
LIMIT = len(DATA) + 10


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve_files() as started:
        started.files["/model.onnx"] = DATA
        yield started


class Fetching:
    """One call of download_file, and what it did."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "model.onnx"
        self.waits: list[float] = []
        self.shown: list[tuple[int, int | None]] = []

    def __call__(self, *urls: str, data: bytes | None = DATA, max_bytes: int = LIMIT) -> str:
        return download_file(
            urls,
            self.target,
            sha256=None if data is None else hashlib.sha256(data).hexdigest(),
            max_bytes=max_bytes,
            show=lambda done, total: self.shown.append((done, total)),
            sleep=self.waits.append,
        )

    @property
    def left_behind(self) -> list[str]:
        return sorted(path.name for path in self.target.parent.iterdir() if path != self.target)


@pytest.fixture
def fetch(tmp_path: Path) -> Fetching:
    return Fetching(tmp_path)


@pytest.mark.parametrize(
    ("faults", "ranges"),
    [
        ([], [None]),
        (["drop"], [None, "half"]),
        (["drop", "drop"], [None, "half", "three quarters"]),
        (["drop", "ignore range"], [None, "half"]),
        (["drop", 416], [None, "half", None]),
        ([503, 500, 429], [None] * 4),
    ],
)
def test_a_file_arrives_whole_whatever_the_server_does(
    server: FileServer, fetch: Fetching, faults: list[Any], ranges: list[str | None]
) -> None:
    server.faults = list(faults)
    assert fetch(f"{server.url}/model.onnx") == hashlib.sha256(DATA).hexdigest()
    assert fetch.target.read_bytes() == DATA
    assert fetch.left_behind == []
    half = len(DATA) // 2
    named = {None: None, "half": half, "three quarters": half + (len(DATA) - half) // 2}
    assert server.ranges == [None if part is None else f"bytes={named[part]}-" for part in ranges]
    assert len(fetch.waits) == len(faults) - faults.count("ignore range")
    assert fetch.shown[-1] == (len(DATA), len(DATA))


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: FileServer, fetch: Fetching) -> None:
    server.faults = ["drop", "drop", "drop"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downloads, "MAX_TRIES", 3)
        with pytest.raises(PackDownloadFailed):
            fetch(f"{server.url}/model.onnx")
    server.files["/model.onnx"] = OTHER
    assert fetch(f"{server.url}/model.onnx", data=OTHER) == hashlib.sha256(OTHER).hexdigest()
    assert server.ranges[-1] is not None  # it was asked for the rest, if unchanged
    assert fetch.target.read_bytes() == OTHER


def test_two_halves_of_different_files_never_count(server: FileServer, fetch: Fetching) -> None:
    """A server that resumes a file which is another by now is found out by the checksum, and asked again."""
    server.faults = ["drop"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downloads, "MAX_TRIES", 1)
        with pytest.raises(PackDownloadFailed):
            fetch(f"{server.url}/model.onnx", data=OTHER)
    server.files["/model.onnx"] = OTHER
    server.faults = ["lie"]
    fetch(f"{server.url}/model.onnx", data=OTHER)
    assert fetch.target.read_bytes() == OTHER
    assert server.ranges == [None, f"bytes={len(DATA) // 2}-", None]


def test_a_later_call_goes_on_where_the_first_stopped(server: FileServer, fetch: Fetching) -> None:
    server.faults = ["drop"] + [503] * (downloads.MAX_FAILURES - 1)
    with pytest.raises(PackDownloadFailed, match="503"):
        fetch(f"{server.url}/model.onnx")
    assert fetch.left_behind == ["model.onnx.part", "model.onnx.part.json"]
    server.requests.clear()
    fetch(f"{server.url}/model.onnx")
    assert server.ranges == [f"bytes={len(DATA) // 2}-"]
    assert fetch.target.read_bytes() == DATA


def test_without_a_validator_nothing_is_resumed(server: FileServer, fetch: Fetching) -> None:
    server.tags = False
    server.faults = ["drop"]
    fetch(f"{server.url}/model.onnx")
    assert server.ranges == [None, None]
    assert fetch.target.read_bytes() == DATA


@pytest.mark.parametrize(
    ("faults", "data", "max_bytes", "lengths", "words"),
    [
        ([], OTHER, LIMIT, True, "sha256"),
        ([], DATA, 1000, True, "more than the 1000"),
        ([], DATA, 1000, False, "more than the 1000"),
        ([404], DATA, LIMIT, True, "404"),
        ([403], DATA, LIMIT, True, "403"),
        ([(429, "7200")], DATA, LIMIT, True, "come back in 7200 s"),
    ],
)
def test_what_cannot_be_helped_is_refused_at_once(
    server: FileServer,
    fetch: Fetching,
    faults: list[Any],
    data: bytes,
    max_bytes: int,
    lengths: bool,
    words: str,
) -> None:
    server.faults, server.lengths = list(faults), lengths
    with pytest.raises(PackDownloadFailed, match=words):
        fetch(f"{server.url}/model.onnx", data=data, max_bytes=max_bytes)
    assert len(server.requests) == 1
    assert fetch.waits == []
    assert fetch.left_behind == []
    assert not fetch.target.exists()


def test_the_next_address_is_tried_when_one_has_nothing(server: FileServer, fetch: Fetching) -> None:
    fetch(f"{server.url}/moved.onnx", f"{server.url}/model.onnx")
    assert [path for path, _, _ in server.requests] == ["/moved.onnx", "/model.onnx"]
    assert fetch.target.read_bytes() == DATA


def test_a_server_says_when_to_come_back(server: FileServer, fetch: Fetching) -> None:
    until = email.utils.formatdate(time.time() + 300, usegmt=True)
    server.faults = [(429, "3"), (503, until)]
    fetch(f"{server.url}/model.onnx")
    assert fetch.waits[0] == 3
    assert 0 < fetch.waits[1] <= 300


def test_any_file_counts_where_no_checksum_is_known(server: FileServer, fetch: Fetching) -> None:
    assert fetch(f"{server.url}/model.onnx", data=None) == hashlib.sha256(DATA).hexdigest()


def test_no_network_names_the_cure(fetch: Fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers there
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/model.onnx"
        with pytest.raises(PackDownloadFailed, match="in a row") as caught:
            fetch(url)
    assert "rollcall packs add" in caught.value.cure
    assert len(fetch.waits) == downloads.MAX_FAILURES - 1


def test_the_proxy_of_the_environment_is_used(
    server: FileServer, fetch: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.files["http://models.invalid/model.onnx"] = DATA  # a proxy is asked for whole addresses
    fetch("http://models.invalid/model.onnx")
    assert server.requests[0][0] == "http://models.invalid/model.onnx"
    assert fetch.target.read_bytes() == DATA


def test_a_proxy_that_cannot_be_used_is_told(fetch: Fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:1")
    with pytest.raises(PackDownloadFailed, match="proxy"):
        fetch("http://models.invalid/model.onnx")


def test_a_password_in_an_address_stands_nowhere(
    server: FileServer, fetch: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MAX_FAILURES", 1)
    server.faults[:] = ["drop"]
    url = server.url.replace("://", "://ann:swordfish@") + "/model.onnx"
    with pytest.raises(PackDownloadFailed) as caught:
        fetch(url)
    told = caught.value.detail + "".join(path.read_text() for path in fetch.target.parent.glob("*.part.json"))
    assert f"{server.url}/model.onnx" in told
    assert "ann:" not in told
    assert "swordfish" not in told
    assert "swordfish" not in repr(load_settings({"pack": {"mirror_url": url}}))
