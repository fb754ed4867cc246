"""The commands that talk to a service, as a shell runs them, against the real one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.service import Service

NO = 3


class Shell:
    """Runs `rollcall` with the service's URL and a token in the environment."""

    def __init__(self, service: Service, token: str) -> None:
        self._environment = {**service.environment, "ROLLCALL_URL": service.url, "ROLLCALL_TOKEN": token}

    def run(self, *words: object, code: int = 0, **environment: str) -> str:
        """The standard output (and error, where it fails) of a command that ends with `code`."""
        done = subprocess.run(
            [sys.executable, "-m", "serving.cli", *map(str, words)],
            env={**self._environment, "COLUMNS": "200", **environment},
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
def shell(service: Service, token: str) -> Shell:
    return Shell(service, token)


def test_the_verbs_from_the_first_event_to_its_end(
    shell: Shell, samples: dict[str, Path], tmp_path: Path
) -> None:
    guest, group, portrait = (samples[name] for name in ("guest", "group", "portrait"))
    made = shell.ask("events", "create", "soiree", "--name", "A soiree", "--quality", "off")
    assert isinstance(made, dict)
    assert (made["id"], made["quality_level"]) == ("soiree", "off")
    assert "soiree" in shell.run("events", "list")

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
