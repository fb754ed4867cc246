"""An audit that could ask nobody says so; it never passes for one that found nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from supply_chain.audit import main, read_report

FINE = {"name": "rich", "version": "14.0", "vulns": []}
BAD = {"name": "pillow", "version": "9.0", "vulns": [{"id": "PYSEC-2022-10", "fix_versions": ["9.0.1"]}]}
SKIPPED = {
    "name": "ray",
    "skip_reason": "Dependency not found on PyPI and could not be audited: ray (2.60.0)",
}


CANARY_FOUND = {"name": "jinja2", "version": "2.10", "vulns": [{"id": "CVE-2019-10906", "fix_versions": []}]}


def make_program(
    folder: Path, *dependencies: dict, status: int = 0, text: str | None = None, knows_canary: bool = True
) -> str:
    """A pip-audit that answers this, as the real one does: exit status 1 when it has found something."""
    answer = json.dumps({"dependencies": dependencies, "fixes": []}) if text is None else text
    path = folder / "pip-audit"
    known = json.dumps({"dependencies": [CANARY_FOUND], "fixes": []}) if knows_canary else answer
    path.write_text(
        f"#!/bin/sh\ncase \"$*\" in *canary.txt*) cat <<'END'\n{known}\nEND\nexit 1;; esac\n"
        f"cat <<'END'\n{answer}\nEND\nexit {status}\n"
    )
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("dependencies", "status", "must_run_status", "words"),
    [
        ([FINE], 0, 0, "1 packages looked up, 0 findings"),
        ([FINE, BAD], 1, 1, "pillow 9.0: PYSEC-2022-10 (mended in: 9.0.1)"),
        ([FINE, SKIPPED], 0, 2, "ray: NOT LOOKED UP"),
        ([SKIPPED], 0, 2, "ray: NOT LOOKED UP"),
    ],
)
def test_what_was_found_and_what_was_not_asked(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    dependencies: list[dict],
    status: int,
    must_run_status: int,
    words: str,
) -> None:
    program = make_program(tmp_path, *dependencies, status=int(BAD in dependencies))
    assert main([program, "lock.txt"]) == status
    assert words in capsys.readouterr().out
    assert main([program, "lock.txt", "--must-run"]) == must_run_status


@pytest.mark.parametrize("text", ["", "Traceback", "[]", '{"dependencies": [{"name": "x"}]}', "{}"])
def test_an_answer_that_is_no_report_is_no_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    for knows_canary in (True, False):
        program = make_program(tmp_path, text=text, status=1, knows_canary=knows_canary)
        assert main([program, "lock.txt", "--must-run"]) == 2
        assert "NOT RUN" in capsys.readouterr().out
    with pytest.raises(ValueError):  # noqa: PT011 - any of its words
        read_report(text)


@pytest.mark.parametrize("dependencies", [[SKIPPED], [FINE], []])
def test_a_source_that_knows_no_vulnerability_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dependencies: list[dict]
) -> None:
    """As a mirror of the index, which would let everything pass."""
    program = make_program(tmp_path, *dependencies, knows_canary=False)
    assert main([program, "lock.txt"]) == 0
    assert "lock.txt: NOT RUN: pypi knows nothing of a release" in capsys.readouterr().out
    assert main([program, "lock.txt", "--must-run"]) == 2
