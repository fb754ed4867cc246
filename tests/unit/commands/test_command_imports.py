"""A command imports what it needs: a shell asks for completions on every key, and a service's start waits."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from serving.cli import app
from serving.commands.command_table import PLACES

ASK = """
import contextlib, io, sys
from serving.cli import app
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    app(sys.argv[1:])
print(*sorted(name for name in {names} if name in sys.modules))
"""
HEAVY = {"cv2", "numpy", "onnxruntime", "qdrant_client", "ray", "rollcall_client", "sqlalchemy"}


@pytest.mark.parametrize(
    ("words", "may"),
    [
        (["--version"], set()),
        (["version", "--json"], set()),
        (["no-such-command"], set()),
        (["serve", "--help"], {"cv2", "numpy"}),
        (["recognize", "--help"], {"rollcall_client"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_imports_little(words: list[str], may: set[str]) -> None:
    asked = [sys.executable, "-c", ASK.format(names=sorted(HEAVY)), *words]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True)
    assert set(done.stdout.split()) <= may


def test_help_names_every_command_and_a_slip_is_understood() -> None:
    shown = CliRunner().invoke(app, ["--help"], terminal_width=200).output
    assert [name for name in PLACES if f"│ {name} " not in shown] == []
    slip = CliRunner().invoke(app, ["serv"])
    assert slip.exit_code == 2
    assert "Did you mean 'serve'?" in slip.output
