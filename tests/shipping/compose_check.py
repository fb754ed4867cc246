"""`make compose-check`: what docker-compose.yml starts, started by hand on loopback, without an engine.

Redis, PostgreSQL, Prometheus and Alertmanager are Debian's, with the shipped configurations and the
certificates that the service `secrets` makes; Ray's head and worker, the deployment, the proxy and all
commands are the compose file's own, with its environment. The steps are those of docs/compose.md: a person is
enrolled and found through the proxy, a secret is changed and deployed anew, the person is backed up and
restored in a rehearsal, the head is killed and started again, the person is found again, the worker's end is
told to whoever hears of alerts, and the backup comes back. Changed are only names and ports that one machine
has once. There is no Qdrant here: the embedded engine stands in for it. Needs root, and Debian's postgresql,
prometheus, prometheus-alertmanager and redis-server.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx

from serving.packs.samples import prepare_samples
from tests.shipping.compose_stack import Stack, run_stack, wait_for


def main() -> int:
    """Start all, use it, kill the head, use it again; 0 if all went well."""
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", flush=True)

    with run_stack() as stack:
        stack.run("secrets")
        stack.start_stores()
        tell("Redis and PostgreSQL answer over TLS, PostgreSQL to nobody without")
        stack.start_ray()
        tell("Ray's head and worker are healthy by the compose file's own checks")
        stack.deploy()
        stack.start_proxy()
        stack.start_alertmanager()
        stack.start_prometheus()
        url = f"https://localhost:{stack.port['proxy']}"
        with httpx.Client(base_url=url, verify=str(stack.secrets / "ca.pem"), timeout=60) as client:
            wait_for("/readyz through the proxy", lambda: client.get("/readyz").status_code == 200)
            status = stack.run("ray-head", "serve", "status", "--address", "http://127.0.0.1:8265")
            assert "RUNNING" in status, status
            tell("serve_config.yaml is deployed; /readyz says yes through the TLS proxy")
            refuse_strangers(client)
            stack.run("tools", "rollcall", "admin", "create", "ops")
            token = stack.run("tools", "rollcall", "token", "ops")
            client.headers["Authorization"] = f"Bearer {token}"
            sign_in(client)
            pictures = prepare_samples(stack.folder / "samples")
            assert client.post("/v1/events", json={"id": "gala"}).status_code == 201
            enrolled = client.post(
                "/v1/events/gala/people?person_id=guest", content=pictures["guest"].read_bytes()
            )
            assert enrolled.status_code == 201, enrolled.text
            recognise(client, pictures["group"])
            tell("a person is enrolled, and found among six faces, through the TLS proxy")
            deploy_anew(stack)
            recognise(client, pictures["group"])
            tell("Prometheus' token is another, deployed anew; the person is found, and again nothing to do")
            check_prometheus(stack)
            tell("Prometheus scrapes the exporter by its token, Ray's nodes too; it knows Alertmanager")
            back_up(stack)
            tell("a backup is encrypted, read back, and restored into an empty place")
            print(stack.run("doctor", may_fail=True))
            names = ("ray-head", "ray-worker", "postgres", "redis", "prometheus", "proxy", "alertmanager")
            sizes = ", ".join(f"{name} {stack.measure_mb(name):.0f} MB" for name in names)
            tell(f"the doctor has looked; memory: {sizes}")
            stack.stop("ray-head", signal.SIGKILL)
            tell("the head is killed, and with it the proxy and the embedded gallery's owner")
            stack.start_head()
            took = wait_for(
                "recognition after the head's return", lambda: try_to_recognise(client, pictures["group"])
            )
            recognise(client, pictures["group"])
            tell(f"the head is back, from what Redis holds; {took:.0f} s later the person is found again")
        hear_alerts(stack)
        tell("Alertmanager told of a test, and of the worker's end")
        stack.stop("ray-head")
        told = stack.run("tools", "sh", "-c", RESTORE)
        assert told.startswith("restored:"), told
        tell(f"all of Ray has ended; {told}")
    tell("all has ended")
    return 0


PASSWORD = "correct horse battery staple"
RESTORE = "rollcall restore /backups/*.rollcall-backup --erase-since /backups/rollcall.erasures --replace"


def refuse_strangers(client: httpx.Client) -> None:
    """What `.env` and the proxy close: other names, sign-up, metrics."""
    assert client.get("/v1/events", headers={"Host": "other.example.org"}).status_code == 421
    made = client.post("/v1/accounts", json={"name": "eve", "password": "correct horse battery"})
    assert made.status_code == 403, made.text
    assert client.get("/metrics").status_code == 404
    assert client.get("/-/healthz").status_code == 404


def sign_in(client: httpx.Client) -> None:
    """A password for the administrator, which ends the token, and the session that it gives."""
    given = client.put("/v1/accounts/me/password", json={"new": PASSWORD})
    assert given.status_code == 204, given.text
    assert client.get("/v1/events").status_code == 401
    open_session(client)


def open_session(client: httpx.Client) -> None:
    """Sign the administrator in, by name and password."""
    session = client.post("/v1/auth/sign-in", json={"name": "ops", "password": PASSWORD})
    client.headers["Authorization"] = f"Bearer {session.json()['access_token']}"


def deploy_anew(stack: Stack) -> None:
    """A secret that was changed replaces the replicas; without a change nothing happens."""
    (stack.secrets / "metrics_token").unlink()
    stack.run("secrets")
    told = stack.run("deploy")
    assert "Every replica was replaced." in told, told
    told = " ".join(stack.run("deploy").split())
    assert "Settings, secrets and release are those that run" in told, told


def back_up(stack: Stack) -> None:
    """The page's step on backups: key, backup, erasures, rehearsal."""
    stack.run("tools", "rollcall", "rotate-keys", "--backup")
    told = stack.run("backup")
    assert ", encrypted; 1 people" in " ".join(told.split()), told
    stack.run("erasures")
    told = stack.run("rehearsal")
    assert "1 face vectors, each found again" in " ".join(told.split()), told
    assert (stack.folder / "rehearsal" / "registry.sqlite3").is_file(), "not beside the stores"


def hear_alerts(stack: Stack) -> None:
    """The page's test of alerts; then the worker ends, and whoever is told hears of that too."""
    heard: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.extend(alert["labels"]["alertname"] for alert in told["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", stack.port["webhook"]), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"--alertmanager.url=http://127.0.0.1:{stack.port['alertmanager']}"
        add = ["amtool", address, "alert", "add", "RollcallTest", "severity=critical"]
        subprocess.run(add, check=True, capture_output=True)
        wait_for("the test's alert", lambda: "RollcallTest" in heard)
        stack.stop("ray-worker")
        wait_for("the alert of a node that is down", lambda: "RollcallNodeDown" in heard)
    finally:
        server.shutdown()
        server.server_close()


def recognise(client: httpx.Client, picture: Path) -> None:
    answer = client.post("/v1/events/gala/recognise", content=picture.read_bytes())
    outcomes = sorted(face["outcome"] for face in answer.json()["faces"])
    assert outcomes == ["match"] + ["unknown"] * 5, answer.text


def try_to_recognise(client: httpx.Client, picture: Path) -> bool:
    try:
        return client.post("/v1/events/gala/recognise", content=picture.read_bytes()).status_code == 200
    except httpx.HTTPError:
        return False


def check_prometheus(stack: Stack) -> None:
    api = f"http://127.0.0.1:{stack.port['prometheus']}/api/v1"

    def all_up() -> bool:
        active = httpx.get(f"{api}/targets").json()["data"]["activeTargets"]
        return len(active) == 3 and all(target["health"] == "up" for target in active)

    wait_for("Prometheus' targets", all_up)
    groups = httpx.get(f"{api}/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    wait_for("the first evaluation", lambda: bool(rules))
    assert all(rule["health"] in ("ok", "unknown") for rule in rules)
    known = httpx.get(f"{api}/alertmanagers").json()["data"]["activeAlertmanagers"]
    assert [one["url"] for one in known] == [
        f"http://127.0.0.1:{stack.port['alertmanager']}/api/v2/alerts"
    ], known


if __name__ == "__main__":
    sys.exit(main())
