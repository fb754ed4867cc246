"""What an operator does beside a running service: back up through its Ray, look it over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx

from loadtest.service import Service


def run(service: Service, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.cli", *arguments],
        env={**service.environment, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_backup_beside_the_service_holds_every_vector(
    service: Service, client: httpx.Client, event: str, samples: dict[str, Path], tmp_path: Path
) -> None:
    guest = {"picture": samples["guest"].read_bytes()}
    assert client.post(f"{event}/people", params={"person_id": "guest"}, files=guest).status_code == 201
    safe = tmp_path / "safe"
    safe.mkdir(mode=0o700)
    keys = {"ROLLCALL_BACKUP__KEY_FILE": str(tmp_path / "keys")}
    assert run(service, "rotate-keys", "--backup", **keys).returncode == 0
    done = run(service, "backup", str(safe / "one"), **keys)
    assert done.returncode == 0, done.stdout + done.stderr
    assert client.post(f"{event}/recognise", files=guest).json()["faces"][0]["outcome"] == "match"
    refused = run(service, "restore", str(safe / "one"), "--replace", **keys)
    assert refused.returncode == 1
    assert "a service runs on" in " ".join(refused.stderr.split())
    checked = run(service, "restore", str(safe / "one"), "--check", **keys)
    assert checked.returncode == 0, checked.stderr

    elsewhere = {**keys, "ROLLCALL_DATA_DIR": str(tmp_path / "elsewhere")}
    restored = run(service, "restore", str(safe / "one"), "--without-list", **elsewhere)
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert "each found again by itself" in " ".join(restored.stdout.split())


def test_the_doctor_knows_the_running_service(service: Service) -> None:
    done = run(service, "doctor", "--json", "--url", service.url)
    rows = {row["check"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows["service"]["status"] == "ok", rows["service"]
    assert rows["registry"]["status"] == rows["gallery"]["status"] == "ok"
    assert os.path.exists(service.environment["ROLLCALL_DATA_DIR"] + "/service.json")
