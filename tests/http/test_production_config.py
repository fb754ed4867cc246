"""`serve run serve_config.yaml`, as it stands in the repository, with Ray's own command."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from serving.runtime import choose_own_ports, find_free_port

START_TIMEOUT_S = 120.0
END_TIMEOUT_S = 90.0
"""For all to be gone: Ray's own processes end one after another, on a busy machine slowly."""


@pytest.mark.timeout(420)
def test_serve_run_works_with_the_production_config(
    tmp_path: Path, repository: Path, samples: dict[str, Path]
) -> None:
    config = yaml.safe_load((repository / "serve_config.yaml").read_text())
    port = find_free_port()  # the one thing changed: another test's service may hold 8000
    config["http_options"]["port"] = port
    config_file = tmp_path / "serve_config.yaml"
    config_file.write_text(yaml.safe_dump(config))
    environment = {
        **os.environ,
        **choose_own_ports(),  # not those of this test session
        "ROLLCALL_DATA_DIR": str(tmp_path / "data"),
    }
    command = [shutil.which("serve", path=Path(sys.executable).parent) or "serve"]
    url = f"http://127.0.0.1:{port}"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "run", "--address", "local", str(config_file)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_ready(url, process, tmp_path / "log")
        rollcall = [sys.executable, "-m", "serving.cli"]
        subprocess.run([*rollcall, "admin", "create", "ops"], env=environment, check=True)
        token = subprocess.run(
            [*rollcall, "token"], env=environment, check=True, capture_output=True, text=True
        )
        headers = {"Authorization": f"Bearer {token.stdout.strip()}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            assert client.post("/v1/events", json={"id": "gala"}).status_code == 201
            picture = samples["guest"].read_bytes()
            assert client.post("/v1/events/gala/people?person_id=guest", content=picture).status_code == 201
            answer = client.post("/v1/events/gala/recognise", content=samples["group"].read_bytes())
            outcomes = [face["outcome"] for face in answer.json()["faces"]]
            assert sorted(outcomes) == ["match"] + ["unknown"] * 5
    finally:
        descendants = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_TIMEOUT_S)
        _, left = psutil.wait_procs(descendants, timeout=END_TIMEOUT_S)
        for one in left:
            one.kill()
        process.kill()
    assert left == []


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-3000:]
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        time.sleep(0.3)
    raise AssertionError(log.read_text()[-3000:])
