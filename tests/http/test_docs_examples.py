"""The command lines in the documentation, run as they stand against the real service.

Every `sh` block of a page is run, in order, in one shell. A `json` block right after one shows its last
answer: what is shown must have the same members. An answer of 4xx is only in order where the `json` block
shows its `code`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loadtest.service import Service

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted(page.name for page in (REPOSITORY / "docs").glob("*.md") if "```sh\n" in page.read_text())
END_OF_ANSWER = "--- answered "
END_OF_BLOCK = "--- end of block"


@dataclass
class Example:
    """A block of commands and the answer that the page shows for its last one, if it does."""

    commands: str
    shown: Any = None


def read_examples(page: str) -> list[Example]:
    examples: list[Example] = []
    last_end = -1
    for block in re.finditer(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        kind, text = block[1], block[2]
        if kind == "sh":
            examples.append(Example(text))
            last_end = block.end()
        elif kind == "json" and examples and not page[last_end : block.start()].strip():
            examples[-1].shown = json.loads(text)
    return examples


def assert_same_form(shown: Any, answered: Any, path: str) -> None:
    if isinstance(shown, dict) and isinstance(answered, dict):
        assert set(shown) <= set(answered), f"{path}: shown but not answered: {set(shown) - set(answered)}"
        for name, value in shown.items():
            assert_same_form(value, answered[name], f"{path}.{name}")
    elif isinstance(shown, list) and isinstance(answered, list):
        for place, (left, right) in enumerate(zip(shown, answered, strict=False)):
            assert_same_form(left, right, f"{path}[{place}]")
    elif shown is not None and answered is not None:
        same = isinstance(answered, type(shown)) or {type(shown), type(answered)} == {int, float}
        assert same, f"{path}: shown as {shown!r}, answered {answered!r}"


@pytest.fixture(scope="module")
def workplace(
    tmp_path_factory: pytest.TempPathFactory, service: Service, samples: dict[str, Path]
) -> tuple[Path, dict[str, str]]:
    """A folder with the sample pictures, and the environment of a shell in it."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "data" / "samples").mkdir(parents=True)
    for sample in samples.values():
        shutil.copy(sample, folder / "data" / "samples")
    commands = folder / "bin"
    commands.mkdir()
    (commands / "rollcall").write_text(f'#!/bin/sh\nexec {sys.executable} -m serving.cli "$@"\n')
    (commands / "rollcall").chmod(0o755)
    quiet = f"--silent --show-error --write-out '\\n{END_OF_ANSWER}%{{http_code}}\\n'"
    (commands / "curl").write_text(f'#!/bin/sh\nexec {shutil.which("curl")} {quiet} "$@"\n')
    (commands / "curl").chmod(0o755)
    token = service.run_command("token", "tester")
    environment = {
        **os.environ,
        **service.environment,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "URL": service.url,
        "TOKEN": token,
        "ROLLCALL_TOKEN": token,
        "ROLLCALL_URL": service.url,
    }
    return folder, environment


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("name", PAGES)
def test_the_examples_of_a_page(name: str, workplace: tuple[Path, dict[str, str]], service: Service) -> None:
    folder, environment = workplace
    examples = read_examples((REPOSITORY / "docs" / name).read_text())
    script = "".join(f"{each.commands}\necho; echo '{END_OF_BLOCK}'\n" for each in examples)
    script = script.replace("http://127.0.0.1:8000", service.url).replace(".venv/bin/rollcall", "rollcall")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout[-3000:]}"
    printed = done.stdout.split(f"\n{END_OF_BLOCK}\n")[: len(examples)]
    for example, output in zip(examples, printed, strict=True):
        check_answers(example, output)


def check_answers(example: Example, output: str) -> None:
    answers = re.findall(rf"(.*?)\n{END_OF_ANSWER}(\d+)\n", output + "\n", re.DOTALL)
    for place, (body, status) in enumerate(answers):
        is_shown = place == len(answers) - 1 and isinstance(example.shown, dict) and "code" in example.shown
        assert int(status) < 400 or is_shown, f"{example.commands}\nanswered {status}: {body[-1000:]}"
    if example.shown is not None:
        assert answers, f"no answer to compare with:\n{example.commands}"
        body = answers[-1][0].strip().splitlines()[-1]
        assert_same_form(example.shown, json.loads(body), "$")
