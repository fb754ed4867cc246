"""`make docker-check`: docs/cluster.md's image and docs/compose.md, step by step, on a real Docker engine.

The image is built and run alone; then a copy of the repository is brought up as a compose project of this
check's own, used through its TLS proxy, backed up, scaled, broken, stopped and started, and taken away again.
Images that no registry gives are stood in for, or left out; both are said. Needs an engine that this user may
use, with its compose and buildx plugins, and the package registries.
"""

from __future__ import annotations

import json
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from serving.packs.samples import prepare_samples
from serving.runtime import find_free_port
from tests.shipping.compose_check import open_session, recognise, refuse_strangers, sign_in, try_to_recognise
from tests.shipping.docker_engine import (
    BASE,
    HOST,
    IMAGE,
    Project,
    build_image,
    docker,
    find_open_files,
    inspect,
    wait_for,
)

BEGAN = time.monotonic()
ALONE = "rollcall-check-alone"
UNCHANGED = "Settings, secrets and release are those that run"
CONNECT = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 4)"


def tell(text: str) -> None:
    print(f"{time.monotonic() - BEGAN:5.0f} s  {text}", flush=True)


def main() -> int:
    """All steps; 0 if all went well."""
    version = docker("version", "--format", "{{.Server.Version}}").stdout.strip()
    compose = docker("compose", "version", "--short").stdout.strip()
    build_image()
    size_gb = json.loads(docker("image", "inspect", IMAGE).stdout)[0]["Size"] / 1e9
    tell(f"Docker {version}, compose {compose}: the image is built, {size_gb:.2f} GB")
    open_files = find_open_files()
    run_alone(open_files)
    with (
        tempfile.TemporaryDirectory(prefix="rollcall-") as folder,
        run_project(folder, open_files) as project,
    ):
        bring_up(project)
        check_limits(project)
        check_networks(project)
        with open_client(project) as client:
            pictures = use(project, client)
            check_prometheus(project)
            back_up(project)
            look_over(project)
            scale(project, client, pictures["group"])
            redeploy(project, client, pictures["group"])
            break_things(project, client, pictures["group"])
            restore(project, client, pictures["portrait"])
            restart(project, client, pictures["group"])
    tell("containers, networks and volumes are gone again")
    return 0


@contextmanager
def run_project(folder: str, open_files: int) -> Iterator[Project]:
    """A project that ends with the block; what its containers said is printed when something failed."""
    project = Project(Path(folder), open_files)
    tell(
        f"stood in for: {', '.join(project.stood_in) or 'nothing'}; "
        f"left out: {', '.join(project.missing) or 'nothing'}; open files of each container: {open_files}"
    )
    try:
        yield project
    except BaseException:
        print(project.states())
        print(project.compose("logs", "--no-color", "--tail", "15", may_fail=True).stdout)
        raise
    finally:
        project.end()


def run_alone(open_files: int) -> None:
    """The page's `docker run`: read-only, as its own user, healthy, and stopped in order."""
    port = find_free_port()
    words = [
        "run",
        "--detach",
        "--name",
        ALONE,
        "--read-only",
        "--tmpfs=/tmp",
        "--tmpfs=/home/rollcall:uid=10001",
    ]
    words += [f"--volume={ALONE}:/var/lib/rollcall", "--shm-size=256m", f"--ulimit=nofile={open_files}"]
    try:
        docker(*words, f"--publish=127.0.0.1:{port}:8000", IMAGE)
        took = wait_for("/readyz of the image alone", lambda: answers(f"http://127.0.0.1:{port}/readyz"))
        assert docker("exec", ALONE, "id", "-u").stdout.strip() == "10001"
        for path in ("/x", "/opt/rollcall/x", "/srv/rollcall/x"):
            assert docker("exec", ALONE, "touch", path, may_fail=True).returncode != 0, path
        wait_for("its health check", lambda: inspect(ALONE)["State"]["Health"]["Status"] == "healthy")
        began = time.monotonic()
        docker("stop", "--time", "60", ALONE)
        ended = inspect(ALONE)["State"]["ExitCode"]
        assert ended == 0, f"exit {ended}\n{docker('logs', '--tail', '20', ALONE).stdout}"
        stopped = time.monotonic() - began
    finally:
        docker("rm", "--force", "--volumes", ALONE, may_fail=True)
        docker("volume", "rm", ALONE, may_fail=True)
    tell(
        f"alone: ready after {took:.0f} s, healthy, user 10001, nothing to write on; "
        f"stopped in {stopped:.0f} s"
    )


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=3).status_code == 200
    except httpx.HTTPError:
        return False


def open_client(project: Project) -> httpx.Client:
    """A client of the proxy on loopback by its host name, which trusts the deployment's own authority."""
    trust = ssl.create_default_context(cafile=str(project.folder / "secrets" / "ca.pem"))
    return httpx.Client(
        base_url=f"https://127.0.0.1:{project.port['proxy:8443']}",
        headers={"Host": HOST},
        verify=trust,
        timeout=60,
        event_hooks={"request": [name_host]},
    )


def name_host(request: httpx.Request) -> None:
    """TLS asks for the host's name, whatever address the connection goes to."""
    request.extensions["sni_hostname"] = HOST


def bring_up(project: Project) -> None:
    """Secrets, `up -d`, all healthy, ready through TLS."""
    (project.folder / "secrets").mkdir(mode=0o700)
    make_secrets(project)
    began = time.monotonic()
    project.compose("up", "--detach")
    wait_for("`ps -a`", project.all_are_well)
    with open_client(project) as client:
        wait_for("/readyz through the proxy", lambda: succeeds(client, "GET", "/readyz"))
        took = time.monotonic() - began
        tell(f"up: healthy and ready through TLS after {took:.0f} s: {', '.join(project.states())}")
        plain = httpx.get(f"http://127.0.0.1:{project.port['proxy:8080']}/", headers={"Host": HOST})
        assert plain.status_code == 308


def make_secrets(project: Project) -> None:
    """The page's command; at least one file is missing."""
    owner = (project.folder / "secrets").stat()
    made = project.run("secrets", options=("--user", f"{owner.st_uid}:{owner.st_gid}"))
    assert "made" in made, made


def check_limits(project: Project) -> None:
    """What the engine was told of each container: limits, capabilities, roots, users, restarts."""
    config = json.loads(project.compose("config", "--format", "json").stdout)["services"]
    for name, service in config.items():
        limits = service["deploy"]["resources"]["limits"]
        for container in project.containers(name):
            given = container["HostConfig"]
            assert given["NanoCpus"] == round(float(limits["cpus"]) * 1e9), name
            assert given["Memory"] == int(limits["memory"]), name
            assert (given["PidsLimit"] or 0) == limits.get("pids", 0), name
            assert given["ReadonlyRootfs"], name
            assert given["CapDrop"] == ["ALL"], name
            assert "no-new-privileges:true" in given["SecurityOpt"], name
            assert not given["Privileged"], name
            if container["State"]["Running"]:
                held = docker("exec", container["Id"], "cat", "/proc/1/status").stdout
                status = dict(line.split(":\t", 1) for line in held.splitlines() if ":\t" in line)
                assert "0" not in status["Uid"].split(), f"{name} runs as root"
                assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, name
                assert status["NoNewPrivs"] == "1", name
                assert docker("exec", container["Id"], "touch", "/x", may_fail=True).returncode != 0, name
    tell("limits, capabilities, read-only roots and users other than root, as the engine has them")


def check_networks(project: Project) -> None:
    """Who reaches whom; published is what the page says."""
    config = json.loads(project.compose("config", "--format", "json").stdout)["services"]
    published = {
        (name, binding["HostIp"].replace("::", "0.0.0.0"), port)
        for name in config
        for container in project.containers(name)
        for port, bindings in (container["NetworkSettings"]["Ports"] or {}).items()
        for binding in bindings or []
    }
    expected = {("proxy", "0.0.0.0", "8443/tcp"), ("proxy", "0.0.0.0", "8080/tcp")}
    expected |= {("prometheus", "127.0.0.1", "9090/tcp")}
    expected |= {("grafana", "127.0.0.1", "3000/tcp")} - {
        (name, "127.0.0.1", "3000/tcp") for name in project.missing
    }
    assert published == expected, published
    (head,) = project.containers("ray-head")
    (networks,) = head["NetworkSettings"]["Networks"].values()
    assert reaches(project, "ray-worker", "postgres", 5432)
    assert reaches(project, "ray-worker", "qdrant", 6333)
    assert not reaches(project, "ray-worker", "deb.debian.org", 80), "the inside has a way out"
    stranger = ("run", "--rm", "--entrypoint=python", IMAGE, "-c", CONNECT, networks["IPAddress"], "6379")
    assert docker(*stranger, may_fail=True).returncode != 0, "another container reaches Ray"
    tell(
        "published are the proxy, and on loopback Prometheus; the inside has no way out, strangers no way in"
    )


def reaches(project: Project, service: str, host: str, port: int) -> bool:
    words = ("exec", "-T", service, "python", "-c", CONNECT, host, str(port))
    return project.compose(*words, may_fail=True).returncode == 0


def use(project: Project, client: httpx.Client) -> dict[str, Path]:
    """An administrator, an event, a person, found again."""
    refuse_strangers(client)
    project.run("tools", "rollcall", "admin", "create", "ops")
    token = project.run("tools", "rollcall", "token", "ops").split()[-1]
    client.headers["Authorization"] = f"Bearer {token}"
    sign_in(client)
    pictures = prepare_samples(project.folder / "samples")
    assert client.post("/v1/events", json={"id": "gala"}).status_code == 201
    enrolled = client.post("/v1/events/gala/people?person_id=guest", content=pictures["guest"].read_bytes())
    assert enrolled.status_code == 201, enrolled.text
    recognise(client, pictures["group"])
    tell("an administrator signs in; a person is enrolled, and found among six faces, through TLS")
    return pictures


def wait_until_found(client: httpx.Client, picture: Path) -> float:
    """Seconds until the picture's person, and nobody else, is found again."""
    took = wait_for("recognition", lambda: try_to_recognise(client, picture))
    recognise(client, picture)
    return took


def succeeds(client: httpx.Client, method: str, path: str) -> bool:
    try:
        return client.request(method, path).is_success
    except httpx.HTTPError:
        return False


def list_targets(project: Project) -> list[dict[str, Any]]:
    api = f"http://127.0.0.1:{project.port['prometheus:9090']}/api/v1/targets"
    return list(httpx.get(api).json()["data"]["activeTargets"])


def all_up(project: Project, number: int) -> bool:
    targets = list_targets(project)
    return len(targets) == number and all(target["health"] == "up" for target in targets)


def check_prometheus(project: Project) -> None:
    took = wait_for("Prometheus' targets", lambda: all_up(project, 3))
    tell(f"Prometheus scrapes the exporter by its token, and both of Ray's nodes (after {took:.0f} s)")


def back_up(project: Project) -> None:
    project.run("tools", "rollcall", "rotate-keys", "--backup")
    told = " ".join(project.run("backup").split())
    assert ", encrypted; 1 people" in told, told
    project.run("erasures")
    told = " ".join(project.run("rehearsal").split())
    assert "1 face vectors, each found again" in told, told
    tell("a backup is encrypted, read back, and restored into an empty place by a rehearsal")


def look_over(project: Project) -> None:
    told = project.compose("run", "--rm", "-T", "doctor", may_fail=True).stdout
    print(told)
    assert "0 to mend" in told, told
    tell("the doctor has nothing to mend")


def scale(project: Project, client: httpx.Client, picture: Path) -> None:
    """A second worker by `.env`; named in DNS, scraped, and enough when the first is killed."""
    project.write_env(WORKERS="2", WORKER_CPUS="1")
    project.compose("up", "--detach")
    wait_for("two workers", project.all_are_well)
    took = wait_until_found(client, picture)
    wait_for("Prometheus' targets", lambda: all_up(project, 5))
    tell(f"two workers of one core, healthy and scraped; the person is found {took:.0f} s later")


def redeploy(project: Project, client: httpx.Client, picture: Path) -> None:
    """A copy of the serve config, named in `.env`, edited and deployed; then a setting."""
    text = (project.folder / "serve_config.yaml").read_text()
    assert "max_replicas: 16" in text
    (project.folder / "edited.yaml").write_text(text.replace("max_replicas: 16", "max_replicas: 15", 1))
    project.write_env(SERVE_CONFIG="./edited.yaml")
    assert UNCHANGED in deploy(project)
    wait_until_found(client, picture)
    tell("an edited serve config is deployed, and no replica replaced; the person is found")
    (project.folder / "settings.env").write_text("ROLLCALL_RETENTION__PERIOD_S=90\n")
    began = time.monotonic()
    project.compose("up", "--detach")
    wait_for("all with another setting", project.all_are_well)
    assert UNCHANGED in deploy(project), "`up -d` has not deployed anew"
    wait_until_found(client, picture)
    tell(f"a setting is changed, and deployed anew by `up -d`: {time.monotonic() - began:.0f} s")


def deploy(project: Project) -> str:
    """What `docker compose run --rm deploy` said, in one line."""
    return " ".join(project.run("deploy").split())


def break_things(project: Project, client: httpx.Client, picture: Path) -> None:
    """SIGKILL as the kernel gives it, not by the engine, which starts again what it did not end itself."""
    for service in ("ray-head", "ray-worker", "redis", "proxy", "postgres", "qdrant"):
        container = project.containers(service)[0]
        began = time.monotonic()
        kill(container["State"]["Pid"])
        wait_for(f"{service} again", partial(has_restarted, container))
        wait_for(f"all after {service}'s end", project.all_are_well)
        wait_until_found(client, picture)
        tell(f"{service} killed; well, and the person found, {time.monotonic() - began:.0f} s later")


def kill(process: int) -> None:
    """End a process of the engine's machine."""
    words = ("run", "--rm", "--pid=host", "--user=0", "--entrypoint=sh", IMAGE, "-c", f"kill -KILL {process}")
    docker(*words)


def has_restarted(before: dict[str, Any]) -> bool:
    return int(inspect(before["Id"])["RestartCount"]) > int(before["RestartCount"])


def restore(project: Project, client: httpx.Client, picture: Path) -> None:
    """The page: who was enrolled after the backup is gone, who was before is there; sessions are over."""
    body = picture.read_bytes()
    assert client.post("/v1/events/gala/people?person_id=later", content=body).status_code == 201
    listed = project.run("tools", "ls", "/backups").split()
    (file,) = [f"/backups/{name}" for name in listed if name.endswith(".rollcall-backup")]
    project.compose("stop", "proxy", "ray-worker")
    project.run("tools", "rollcall", "restore", file, "--check")
    erased = ("--erase-since", "/backups/rollcall.erasures", "--replace")
    told = project.run("tools", "rollcall", "restore", file, *erased)
    assert "restored:" in told, told
    began = time.monotonic()
    project.compose("up", "--detach")
    wait_for("/readyz after the restore", lambda: succeeds(client, "GET", "/readyz"))
    assert client.get("/v1/events").status_code == 401
    open_session(client)
    assert client.get("/v1/events/gala/people/later").status_code == 404
    assert client.get("/v1/events/gala/people/guest").status_code == 200
    tell(f"restored over what was there, and serving again {time.monotonic() - began:.0f} s after `up`")


def restart(project: Project, client: httpx.Client, picture: Path) -> None:
    """`restart`, as after the machine's own, with another secret; `down` and `up`, as after an upgrade."""
    (project.folder / "secrets" / "metrics_token").unlink()
    make_secrets(project)
    for words in (("restart",), ("stop",), ("down",)):
        project.compose(*words)
        if words != ("restart",):
            project.compose("up", "--detach")
        wait_for(f"all after `{words[0]}`", project.all_are_well)
        took = wait_until_found(client, picture)
        tell(f"`{words[0]}`: the person is found again, {took:.0f} s after all are healthy")
        if words == ("restart",):
            told = deploy(project)
            wait_until_found(client, picture)
            wait_for("Prometheus' targets", lambda: all_up(project, 5))
            tell(f"another token for Prometheus, which scrapes all by it; deployed anew: {told}")


if __name__ == "__main__":
    if docker("image", "inspect", BASE, may_fail=True).returncode != 0:
        docker("pull", "--quiet", BASE)
    sys.exit(main())
