"""A short load test of the real service, as users run it: exit status, report, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx

from loadtest.service import Service


def run_load(
    service: Service, token: str, repository: Path, report: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--headless", "--only-summary"]
    command += ["--host", service.url, "--gallery", "50", "--report", str(report), *more]
    environment = {**os.environ, "ROLLCALL_TOKEN": token}
    return subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True, timeout=200
    )


def test_a_load_is_judged_reported_and_cleaned_up(
    service: Service, client: httpx.Client, token: str, repository: Path, tmp_path: Path
) -> None:
    events = {event["id"] for event in client.get("/v1/events").json()["events"]}
    lax = run_load(
        service,
        token,
        repository,
        tmp_path / "lax",
        *("--shape", "steady", "--rate", "4", "--seconds", "6", "--slo-p99-ms", "60000"),
    )
    assert lax.returncode == 0, lax.stdout + lax.stderr
    document = json.loads((tmp_path / "lax.json").read_text())
    assert document["total"]["accepted"] == document["total"]["offered"] > 5
    assert document["unexpected_answers"] == {}
    assert set(document["kinds"]) <= {"one_face", "crowd", "unknown", "enrol", "verify"}
    assert document["service"]["stages"]["detector"]["batch"] >= 1
    assert token not in (tmp_path / "lax.json").read_text()
    assert (tmp_path / "lax.html").read_text().startswith("<!DOCTYPE html>")
    impossible = run_load(
        service,
        token,
        repository,
        tmp_path / "impossible",
        *("Verify", "--shape", "steady", "--rate", "4", "--seconds", "2", "--slo-p99-ms", "0.001"),
    )
    assert impossible.returncode == 2, impossible.stdout + impossible.stderr
    assert "MISSED  p99" in impossible.stdout
    assert list(json.loads((tmp_path / "impossible.json").read_text())["kinds"]) == ["verify"]
    assert {event["id"] for event in client.get("/v1/events").json()["events"]} == events


def test_a_load_that_cannot_begin_fails(service: Service, repository: Path, tmp_path: Path) -> None:
    """Without a right to it, nothing is offered, and the exit status says that nothing was measured."""
    failed = run_load(
        service, "no-token", repository, tmp_path / "none", "--shape", "steady", "--seconds", "2"
    )
    assert failed.returncode == 3, failed.stdout + failed.stderr
    assert "token" in failed.stdout + failed.stderr
    assert not (tmp_path / "none.json").exists()
