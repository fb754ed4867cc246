"""The commands that talk to a service, against the real one: as a shell runs them, or within this process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadtest.service import Service
from serving import cli

NO = 3


class Shell:
    """Runs `rollcall` with the service's URL and a token in the environment.

    In this process, entry point and all: starting a Python takes longer than what most commands do.
    """

    def __init__(
        self,
        service: Service,
        token: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self._environment = {**service.environment, "ROLLCALL_URL": service.url, "ROLLCALL_TOKEN": token}
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def run(self, *words: object, code: int = 0, **environment: str) -> str:
        """The standard output (or error, where it fails) of a command that ends with `code`."""
        self._capsys.readouterr()
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["rollcall", *map(str, words)])
            for name, value in {**self._environment, **environment}.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                cli.main()
        done = self.last = self._capsys.readouterr()
        assert (ended.value.code or 0) == code, done.out + done.err
        return done.out if code in (0, NO) else done.err

    def run_err(self, *words: object) -> str:
        """The standard error of a command that succeeds."""
        self.run(*words)
        return self.last.err

    def run_alone(self, *words: object, code: int = 0) -> str:
        """The same in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "serving.cli", *map(str, words)],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code in (0, NO) else done.stderr

    def ask(self, *words: object, code: int = 0) -> object:
        """The JSON of a command."""
        return json.loads(self.run(*words, "--json", code=code))


@pytest.fixture
def shell(
    service: Service, token: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    return Shell(service, token, monkeypatch, capsys)


def test_the_verbs_from_the_first_event_to_its_end(
    shell: Shell, samples: dict[str, Path], tmp_path: Path
) -> None:
    guest, group, portrait = (samples[name] for name in ("guest", "group", "portrait"))
    made = shell.ask("events", "create", "soiree", "--name", "A soiree", "--quality", "off")
    assert isinstance(made, dict)
    assert (made["id"], made["quality_level"]) == ("soiree", "off")
    assert "soiree" in shell.run_alone("events", "list")

    (tmp_path / "guests" / "guest").mkdir(parents=True)
    shutil.copy(guest, tmp_path / "guests" / "guest" / "1.jpg")
    (tmp_path / "guests" / "nobody.jpg").write_bytes(b"no picture")
    refused = shell.ask("enroll", tmp_path / "guests", "--event", "soiree", code=NO)
    assert isinstance(refused, dict)
    assert [(each["name"], each["code"]) for each in refused["rejected"]] == [("nobody.jpg", "not_an_image")]
    (tmp_path / "guests" / "nobody.jpg").unlink()
    assert shell.ask("enroll", tmp_path / "guests", "--event", "soiree") == {"rejected": []}

    seen = shell.ask("recognize", group, "--event", "soiree", "--strictness", "strict")
    assert isinstance(seen, dict)
    people = [face["person"] for face in seen["pictures"][0]["faces"] if face["person"]]
    assert [each["person_id"] for each in people] == ["guest"]
    assert shell.run("recognize", group, "--event", "soiree").count("unknown") == 5
    assert "unknown" in shell.run("recognize", portrait, "--event", "soiree", code=NO)

    shell.run("compare", guest, guest)
    different = shell.ask("compare", guest, portrait, code=NO)
    assert isinstance(different, dict)
    assert different["best"]["same_person"] is False

    assert "guest" in shell.run("people", "list", "--event", "soiree")
    shell.run("people", "delete", "guest", "--event", "soiree", "--yes")
    assert shell.ask("people", "list", "--event", "soiree") == []
    assert "unknown_person" in shell.run("people", "show", "guest", "--event", "soiree", code=1)
    assert "closed" in shell.run("events", "close", "soiree")
    shell.run("events", "delete", "soiree", "--yes")
    said = shell.run("events", "show", "soiree", code=1)
    assert "unknown_event" in said
    assert "What to do" in said


def test_what_cannot_be_says_what_to_do(shell: Shell, samples: dict[str, Path]) -> None:
    assert "rollcall token" in shell.run("events", "list", code=1, ROLLCALL_TOKEN="nonsense")
    assert "http://" in shell.run("events", "list", "--url", "rollcall", code=1)
    shell.run("recognize", "no-such-file.jpg", "--event", "soiree", code=2)
    assert "rollcall token" in shell.run("events", "list", code=1, ROLLCALL_TOKEN="non sense")


def test_enroll_goes_on_where_it_was_killed(
    service: Service, shell: Shell, samples: dict[str, Path], token: str, tmp_path: Path
) -> None:
    """Killed after the first of the people was noted; the second run sends the rest, and nobody twice."""
    shell.run("events", "create", "cut", "--quality", "off")
    folder, people = tmp_path / "guests", 12
    for number in range(people):
        (folder / f"p{number:02}").mkdir(parents=True)
        shutil.copy(samples["guest"], folder / f"p{number:02}" / "1.jpg")
    command = [sys.executable, "-m", "serving.cli", "enroll", str(folder), "--event", "cut"]
    command += ["--parallel", "1", "--on-duplicate", "allow"]
    environment = {**service.environment, "ROLLCALL_URL": service.url, "ROLLCALL_TOKEN": token}
    deadline_s = time.monotonic() + 60
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as cut:
        while not any(note.stat().st_size for note in tmp_path.glob(".guests.*")):
            assert time.monotonic() < deadline_s
            time.sleep(0.002)
        cut.kill()
    [note] = tmp_path.glob(".guests.*")
    sent = len(note.read_text().splitlines())
    assert 0 < sent < people, "it was over before it could be killed"
    told = shell.run_err("enroll", folder, "--event", "cut", "--on-duplicate", "allow")
    assert f"{sent} of {people} were sent before" in told
    found = shell.ask("people", "list", "--event", "cut")
    assert isinstance(found, list)
    assert [(each["id"], each["faces"]) for each in found] == [(f"p{n:02}", 1) for n in range(people)]
    shell.run("events", "delete", "cut", "--yes")
