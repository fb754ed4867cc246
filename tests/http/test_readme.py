"""The README's own command lines, run as they stand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.service import Service


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_first_five_requests(service: Service, repository: Path, tmp_path: Path) -> None:
    readme = (repository / "README.md").read_text()
    script = re.search(r"## The first five requests.*?```sh\n(.*?)```", readme, re.DOTALL)
    assert script is not None
    lines = script[1]
    rollcall = tmp_path / "rollcall"
    rollcall.write_text(f'#!/bin/sh\nexec {sys.executable} -m serving.cli "$@"\n')
    rollcall.chmod(0o755)
    # What differs from a user's terminal: the port, where the command lies, and that another test has made
    # an administrator already.
    for ours, theirs in (
        ("http://127.0.0.1:8000", service.url),
        ("rollcall token)", "rollcall token me)"),
        (".venv/bin/rollcall", str(rollcall)),
    ):
        assert ours in lines
        lines = lines.replace(ours, theirs)
    lines = lines.replace("curl ", "curl --silent --show-error --write-out '\\n' ")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        cwd=tmp_path,
        env={**os.environ, **service.environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    created, enrolled, recognised, people = answers
    assert created["id"] == "gala"
    assert enrolled["person"]["id"] == "guest"
    outcomes = [(face["outcome"], face["person"] and face["person"]["name"]) for face in recognised["faces"]]
    assert sorted(outcomes, key=str) == [("match", "A guest")] + [("unknown", None)] * 5
    assert [person["id"] for person in people["people"]] == ["guest"]
