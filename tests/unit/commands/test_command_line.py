"""What holds for every command: what it prints can be read by programs, and shells complete it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from serving import cli
from serving.commands import load

Words = tuple[str, ...]
WITHOUT_JSON = {
    ("serve",): "runs until it is ended; what serves is told by /readyz and `rollcall doctor --json`",
}


def walk(command: Any, path: Words = ()) -> Iterator[tuple[Words, Any]]:
    if hasattr(command, "commands"):
        for name, each in command.commands.items():
            yield from walk(each, (*path, name))
    else:
        yield path, command


COMMANDS = dict(walk(typer.main.get_command(cli.app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_prints_json_and_says_what_it_does(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    options = {name for parameter in command.params for name in parameter.opts}
    assert ("--json" in options) != (path in WITHOUT_JSON)
    assert command.help


def test_the_verbs_are_there() -> None:
    verbs = "serve packs events people enroll recognize compare watch evaluate load doctor token"
    assert set(verbs.split()) <= {path[0] for path in COMMANDS}


def complete(words: str, tmp_path: Path) -> list[str]:
    """What bash offers after these words, by the script that the command prints itself."""
    shim = tmp_path / "bin" / "rollcall"
    shim.parent.mkdir(exist_ok=True)
    shim.write_text(f"#!{sys.executable}\nfrom serving.cli import main\nmain()\n")
    shim.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    script = subprocess.run(
        ["rollcall", "--show-completion", "bash"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert script.returncode == 0, script.stderr
    ask = (
        f"{script.stdout}\nCOMP_WORDS=({words} '')\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        'COMP_LINE="${COMP_WORDS[*]}"\ncomplete -p rollcall >&2\n'
        '_rollcall_completion rollcall\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", ask], env=environment, capture_output=True, text=True, timeout=60)
    assert "_rollcall_completion" in done.stderr, done.stderr
    return done.stdout.split()


def test_bash_completes_commands(tmp_path: Path) -> None:
    assert {"fetch", "verify"} <= set(complete("rollcall packs", tmp_path))


LOADED = """
import json, pathlib, sys
words = sys.argv[1:]
print("Locust says")
report = pathlib.Path(words[words.index("--report") + 1] + ".json") if "--report" in words else None
if report:
    report.write_text(json.dumps({"words": words, "token": __import__("os").environ.get("ROLLCALL_TOKEN")}))
sys.exit(int(words[words.index("--rate") + 1].removesuffix(".0")) - 1)
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose load test does nothing: exit status, report and options are what counts here."""
    (tmp_path / "loadtest").mkdir()
    (tmp_path / "loadtest" / "__init__.py").touch()
    (tmp_path / "loadtest" / "local.py").write_text(LOADED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(load.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(load.serving, "__file__", str(tmp_path / "elsewhere" / "serving" / "__init__.py"))
    return tmp_path


def run_load(*words: str, **environment: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["load", *words], env=environment)
    return done.exit_code, f"{done.output} {getattr(done.exception, 'detail', '')}"


@pytest.mark.parametrize(("status", "code"), [(0, 0), (2, 3), (3, 1)], ids=["held", "missed", "no load"])
def test_a_load_ends_as_it_was_judged(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: int
) -> None:
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    words = ("--url", "http://rollcall", "--rate", str(status + 1), "--report", "found", "--slo-p99-ms", "9")
    assert run_load(*words, ROLLCALL_TOKEN="s3cret")[0] == code
    told = json.loads((checkout / "found.json").read_text())
    assert told["token"] == "s3cret"
    assert "s3cret" not in told["words"]
    assert told["words"][-2:] == ["--slo-p99-ms", "9"]


def test_a_load_that_cannot_be_says_what_to_do(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, said = run_load("--url", "http://rollcall", ROLLCALL_TOKEN="")
    assert (code, "ROLLCALL_TOKEN" in said) == (1, True)
    monkeypatch.setattr(load.importlib.util, "find_spec", lambda _: None)
    code, said = run_load()
    assert (code, "make load" in said, "Locust" in said) == (1, True, True)
    monkeypatch.chdir("/")
    code, said = run_load()
    assert (code, "no load tests" in said) == (1, True)
