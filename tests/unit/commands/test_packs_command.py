"""`rollcall packs`, as typed: what it prints, asks and returns."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pytest
import yaml

import serving
from serving.cli import main
from serving.commands import console  # noqa: F401  made before the tests choose a width, which it would keep
from tests.unit.packs.own_pack import write_folder

TERMS = {"summary": "Ours.", "text": "Do no harm.", "url": "https://example.org/licence"}
MOBILE_FACE_SHA256 = "7caa7fb0ad6c37b33e6c59f6411084b487aaabd596bba645d2cce391a5871120"


@dataclass
class Said:
    """What a command printed."""

    stdout: str
    stderr: str


class Command:
    """Runs `rollcall packs ...` as its entry point does, and looks at the exit code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str, rc: int = 0, **settings: str) -> Said:
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["rollcall", "packs", *arguments])
            for name, value in settings.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        said = Said(*self._capsys.readouterr())
        assert (ended.value.code or 0) == rc, said
        return said


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    for name in [name for name in os.environ if name.startswith("ROLLCALL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ROLLCALL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capsys)


def test_the_list_has_every_pack_and_marks_what_serves(packs: Command) -> None:
    rows = {row["id"]: row for row in json.loads(packs("list", "--json").stdout)}
    assert {"starter-int8-mirror", "buffalo_l", "antelopev2", "raccoon_s", "buffalo_sc-int8"} <= set(rows)
    assert [name for name, row in rows.items() if row["default"]] == ["starter-int8-mirror"]
    assert {row["state"] for row in rows.values()} == {"not fetched"}
    assert rows["buffalo_l"]["licence_restricts"]
    assert not rows["buffalo_l"]["licence_accepted"]
    assert not rows["buffalo_l"]["calibrated"]
    assert rows["starter-fp32"]["calibrated"]
    shown = packs("list").stdout
    assert "buffalo_sc-int8" in shown
    assert "restricted" in shown


def test_a_restricted_pack_is_not_fetched_without_acceptance(packs: Command, tmp_path: Path) -> None:
    done = packs("fetch", "buffalo_l", rc=1)
    assert "licence" in done.stderr
    assert "--accept-licence" in done.stderr
    assert not (tmp_path / "cache").exists()
    done = packs("fetch", "buffalo_sc-int8", "--accept-licence", rc=1)
    assert "rollcall packs add DIR" in done.stderr
    info = json.loads(packs("info", "buffalo_sc-int8", "--json").stdout)
    assert info["licence"]["accepted_how"] == "--accept-licence"


def test_a_pack_from_a_folder_through_its_whole_life(packs: Command, shared_dir: Path) -> None:
    models = str(shared_dir / "models")
    assert "not been accepted" in packs("add", models, rc=1).stderr
    accepted = {"ROLLCALL_PACK__ACCEPT_LICENCE": '["buffalo_sc-int8"]'}
    done = packs("add", models, **accepted)
    assert "buffalo_sc-int8 is ready" in done.stdout
    assert "rollcall calibrate" not in done.stderr  # it comes with one
    assert "the models run" in packs("verify", "buffalo_sc-int8").stdout
    [sound] = json.loads(packs("verify", "buffalo_sc-int8", "--json").stdout)
    assert sound == {"id": "buffalo_sc-int8", "sound": True, "fault": None}
    shown = packs("info", "buffalo_sc-int8").stdout
    assert "pinned by the manifest" in shown
    assert MOBILE_FACE_SHA256 in shown
    narrow = packs("info", "buffalo_sc-int8", COLUMNS="80").stdout
    assert max(len(line) for line in narrow.splitlines()) <= 80
    assert MOBILE_FACE_SHA256 in "".join(line.split()[-1] for line in narrow.splitlines() if line.strip())
    info = json.loads(packs("info", "buffalo_sc-int8", "--json").stdout)
    assert info["embedder"]["sha256"] == MOBILE_FACE_SHA256
    configured = {"ROLLCALL_PACK__NAME": "buffalo_sc-int8"}
    ready = json.loads(packs("prepare", "--json", **configured).stdout)
    assert ready["id"] == "buffalo_sc-int8"
    assert "--force" in packs("remove", "buffalo_sc-int8", "--yes", rc=1, **configured).stderr
    removed = json.loads(packs("remove", "buffalo_sc-int8", "--yes", "--json").stdout)
    assert removed["removed"] == ["buffalo_sc-int8"]
    assert len(removed["deleted"]) > 1


def test_a_pack_without_calibration_says_what_is_to_be_done(
    packs: Command, shared_dir: Path, tmp_path: Path
) -> None:
    shipped = resources.files("serving.packs") / "data" / "manifests" / "buffalo_sc-int8.yaml"
    manifest = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    del manifest["calibration"]
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "pack.yaml").write_text(yaml.safe_dump(manifest | {"id": "ours"}))
    for name in ("det_500m.onnx", "w600k_mbf_int8.onnx"):
        (folder / name).symlink_to(shared_dir / "models" / name)
    assert "rollcall calibrate --pack ours" in packs("add", str(folder), "--accept-licence").stderr
    assert "no calibration" in packs("prepare", rc=1, ROLLCALL_PACK__NAME="ours").stderr


def test_a_model_that_does_not_run_is_not_added(packs: Command, tmp_path: Path) -> None:
    done = packs("add", str(write_folder(tmp_path / "ours")), rc=1)
    assert "our-pack: the detector does not run: the detector file is not an ONNX model" in done.stderr
    assert "our-pack" not in packs("list", "--json").stdout


def test_verify_tells_every_fault(packs: Command) -> None:
    done = packs("verify", "starter-int8", "starter-fp32", "--json", rc=1)
    assert [each["fault"]["code"] for each in json.loads(done.stdout)] == ["pack_error"] * 2
    assert done.stderr.count("is missing; run `rollcall packs prepare`") == 2


def test_a_spoilt_manifest_stops_nothing_else(packs: Command, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "packs" / "imported" / "spoilt"
    folder.mkdir(parents=True)
    (folder / "pack.yaml").write_text("id: spoilt\n")
    assert "manifest invalid" in packs("list").stdout
    assert "title: missing" in packs("info", "spoilt", rc=1).stderr


def test_on_a_terminal_the_licence_is_shown_and_asked_for(packs: Command, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "ours", licence=TERMS)
    ours, theirs = pty.openpty()
    os.write(ours, b"n\n")
    done = subprocess.run(
        [sys.executable, "-m", "serving.cli", "packs", "add", str(folder)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"PYTHONPATH": str(Path(serving.__file__).parent.parent)},
        check=False,
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while part := os.read(ours, 65536):
            said += part
    os.close(ours)
    assert done.returncode == 1
    assert b"Do no harm." in said
    assert b"declined" in said
