"""What `docker_check` asks of a Docker engine: images, containers, and one compose project in its own folder.

Where no registry of images answers, images from tests/shipping/stand_ins take the place of those that the
compose file names, under names of their own, so that nobody takes one for the other.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from serving.runtime import find_free_port
from tests.shipping.image_check import CERTIFICATES
from tests.unit.shipping.shipped import REPOSITORY

IMAGE = "rollcall-check:cpu"
PROJECT = "rollcall-check"
HOST = "rollcall.example.org"
STAND_INS = Path(__file__).parent / "stand_ins"
BASE = re.findall(r"^ARG DEBIAN=(\S+)$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)[0]
COMMAND_TIMEOUT_S = 300.0
BUILD_TIMEOUT_S = 1200.0
WAIT_S = 300.0


def docker(
    *words: str, may_fail: bool = False, timeout_s: float = COMMAND_TIMEOUT_S, **given: Any
) -> subprocess.CompletedProcess[str]:
    """`docker WORDS`; its error ends the check unless it may fail."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=timeout_s, **given)
    if done.returncode != 0 and not may_fail:
        raise AssertionError(
            f"docker {' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
    return done


def inspect(name: str) -> dict[str, Any]:
    """What the engine knows of a container."""
    (found,) = json.loads(docker("inspect", name).stdout)
    assert isinstance(found, dict)
    return found


def build_image() -> None:
    """The image, by the machine's own authorities for the package registry, as docs/cluster.md says."""
    with tempfile.TemporaryDirectory() as folder:
        secrets = []
        if CERTIFICATES.exists():
            pip_conf = Path(folder) / "pip.conf"
            pip_conf.write_text("[global]\ncert = /run/secrets/ca\ntimeout = 180\n")
            secrets = [f"--secret=id=pip_conf,src={pip_conf}", f"--secret=id=ca,src={CERTIFICATES}"]
        words = ("build", "--quiet", "--tag", IMAGE, *secrets, str(REPOSITORY))
        docker(*words, timeout_s=BUILD_TIMEOUT_S, env={**os.environ, "DOCKER_BUILDKIT": "1"})


def find_image(service: str, name: str) -> str | None:
    """The image itself where it is to be had, else a stand-in, else None: nothing stands in for it."""
    there = docker("image", "inspect", name, may_fail=True).returncode == 0
    if there or docker("pull", "--quiet", name, may_fail=True).returncode == 0:
        return name
    dockerfile = STAND_INS / f"{service}.Dockerfile"
    if not dockerfile.exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        for path in (*STAND_INS.iterdir(), REPOSITORY / "tests/unit/gallery/gallery_wire.py"):
            if path.is_file():
                shutil.copy(path, folder)
        arguments = [f"--build-arg=DEBIAN={BASE}", f"--build-arg=ROLLCALL={IMAGE}"]
        tag = f"rollcall-stand-in/{service}"
        words = (
            "build",
            "--quiet",
            "--tag",
            tag,
            "--file",
            f"{folder}/{dockerfile.name}",
            *arguments,
            folder,
        )
        docker(*words, timeout_s=BUILD_TIMEOUT_S, env={**os.environ, "DOCKER_BUILDKIT": "1"})
    return tag


def find_open_files() -> int:
    """How many open files the engine may give: what the compose file asks for, or what HAProxy needs."""
    for number in (65536, 16384):
        words = ("run", "--rm", f"--ulimit=nofile={number}", "--entrypoint=true", IMAGE)
        if docker(*words, may_fail=True).returncode == 0:
            return number
    raise AssertionError("the engine gives no container 16384 open files")


class Project:
    """docker-compose.yml in a copy of the repository, as a compose project of this check's own.

    Attributes:
        folder: the copy, with `.env` and `secrets`.
        missing: services left out, since nothing stands in for their images.
        stood_in: services whose image is a stand-in.
        port: what is published, on a port that is free here, by `SERVICE:PORT` of the container.
    """

    def __init__(self, folder: Path, open_files: int) -> None:
        self.folder = folder
        self.missing: list[str] = []
        self.stood_in: list[str] = []
        self.port: dict[str, int] = {}
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"],
            cwd=REPOSITORY,
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for name in filter(None, listed.split("\0")):
            if (REPOSITORY / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / name, folder / name)
        self.write_env(PUBLIC_HOST=HOST, COMPOSE_PROFILES="cpu", WORKER_CPUS=str(min(4, os.cpu_count() or 1)))
        self._write_override(open_files)

    def write_env(self, **values: str) -> None:
        """`.env`: config/compose/env.example with these lines changed."""
        path = self.folder / ".env"
        text = (path if path.exists() else self.folder / "config/compose/env.example").read_text()
        for name, value in values.items():
            text, count = re.subn(rf"(?m)^{name}=.*$", f"{name}={value}", text)
            assert count == 1, f"no {name} in env.example"
        path.write_text(text)

    def _write_override(self, open_files: int) -> None:
        config = json.loads(self.compose("--profile", "*", "config", "--format", "json").stdout)
        cores = os.cpu_count() or 1
        override: dict[str, Any] = {}
        for name, service in config["services"].items():
            change: dict[str, Any] = {}
            image = service["image"]
            found = IMAGE if image.startswith("rollcall:") else find_image(name, image)
            if found is None:
                self.missing.append(name)
                continue
            if found != image:
                change["image"] = found
                if found != IMAGE:
                    self.stood_in.append(name)
            if "nofile" in service.get("ulimits", {}):
                change["ulimits"] = {"nofile": open_files}
            if float(service["deploy"]["resources"]["limits"]["cpus"]) > cores:
                change["deploy"] = {"resources": {"limits": {"cpus": str(cores)}}}
            for port in service.get("ports", []):
                free = find_free_port()
                self.port[f"{name}:{port['target']}"] = free
                where = f"{port['host_ip']}:" if port.get("host_ip") else ""
                change.setdefault("ports", []).append(f"{where}{free}:{port['target']}")
            override[name] = change
        text = yaml.safe_dump({"services": override}).replace("ports:", "ports: !override")
        text += "".join(f"  {name}: !reset null\n" for name in self.missing)
        (self.folder / "docker-compose.override.yml").write_text(text)

    def compose(self, *words: str, **given: Any) -> subprocess.CompletedProcess[str]:
        """`docker compose WORDS` in the folder, with nothing of this machine's environment in the way."""
        clean = {
            name: value for name, value in os.environ.items() if name.startswith(("DOCKER", "PATH", "HOME"))
        }
        return docker("compose", "--project-name", PROJECT, *words, cwd=self.folder, env=clean, **given)

    def run(self, service: str, *words: str, options: tuple[str, ...] = ()) -> str:
        """What `docker compose run --rm SERVICE WORDS` printed."""
        return self.compose("run", "--rm", "-T", *options, service, *words).stdout.strip()

    def containers(self, service: str) -> list[dict[str, Any]]:
        """A service's containers, as the engine knows them."""
        names = self.compose("ps", "-aq", service).stdout.split()
        return [inspect(name) for name in names]

    def states(self) -> dict[str, str]:
        """Service and number: `healthy`, `starting`, `Exited (0)` and the like."""
        listed = self.compose("ps", "-a", "--format", "json").stdout
        rows = [json.loads(line) for line in listed.splitlines()]
        return {
            row["Name"].removeprefix(f"{PROJECT}-"): f"Exited ({row['ExitCode']})"
            if row["State"] == "exited"
            else row["Health"] or row["State"]
            for row in rows
        }

    def all_are_well(self) -> bool:
        """Whether `docker compose ps -a` says what the page says."""
        return all(
            state == ("Exited (0)" if name.startswith("deploy-") else "healthy")
            for name, state in self.states().items()
        )

    def end(self) -> None:
        """Take away containers, networks and volumes; images stay."""
        self.compose(
            "--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "60", may_fail=True
        )


def wait_for(what: str, condition: Callable[[], bool], within_s: float = WAIT_S) -> float:
    """Seconds until the condition held."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within_s:
            raise AssertionError(f"{what}: not within {within_s:.0f} s")
        time.sleep(1)
    return time.monotonic() - began
