"""`make image-check`: the Dockerfile, built and run where no container engine is at hand.

Its base image is a Debian that `debootstrap` puts together, its engine Debian's `buildah` with chroot for
isolation: the instructions run as they stand, from the locked hashes, in a root that holds nothing else. Then
the image's own user prepares the models, starts the service and asks `/readyz`. Needs root, `debootstrap` and
`buildah`; leaves its work in `build/image-check` (a few GB), so that the next run is short.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from serving.runtime import choose_own_ports, find_free_port

REPOSITORY = Path(__file__).resolve().parents[2]
WORK = REPOSITORY / "build" / "image-check"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
READY_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps asked for; 0 if all went well."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", nargs="+", choices=[*STEPS], default=[*STEPS])
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    options = parser.parse_args(arguments)
    missing = [name for name in ("debootstrap", "buildah") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        print(
            f"needs root and {' and '.join(missing) or 'nothing else'}: apt-get install debootstrap buildah"
        )
        return 1
    WORK.mkdir(parents=True, exist_ok=True)
    for step in options.steps:
        began = time.monotonic()
        told = STEPS[step](options.mirror)
        print(f"{step:6} ok, {time.monotonic() - began:4.0f} s: {told}", flush=True)
    return 0


def make_base(mirror: str) -> str:
    """A Debian of the Dockerfile's release, under the name that its FROM asks for."""
    image = re.search(r"^ARG DEBIAN=(\S+)$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    assert image is not None
    name = f"docker.io/library/{image[1]}"
    if buildah("images", "--quiet", name, check=False).strip():
        return f"{name} is there"
    release = image[1].partition(":")[2].partition("-")[0]
    root = WORK / "root"
    run("debootstrap", "--variant=minbase", release, str(root), mirror)
    run("tar", "-C", str(root), "--numeric-owner", "-cf", str(WORK / "root.tar"), ".")
    container = buildah("from", "scratch").strip()
    buildah("add", "--quiet", container, str(WORK / "root.tar"), "/")
    buildah("commit", "--quiet", "--rm", container, name)
    shutil.rmtree(root)
    (WORK / "root.tar").unlink()
    return f"{name} from debootstrap {release}"


def build_image(mirror: str) -> str:
    """The default target, with the machine's certificate authorities for the package registry."""
    del mirror
    (WORK / "pip.conf").write_text("[global]\ncert = /run/secrets/ca\ntimeout = 180\n")
    secrets = [f"--secret=id=pip_conf,src={WORK / 'pip.conf'}", f"--secret=id=ca,src={CERTIFICATES}"]
    flags = ["--isolation=chroot", "--pull-never", "--layers", "--format=docker", *secrets]
    buildah("bud", *flags, "--tag", "rollcall:check", str(REPOSITORY), output=WORK / "build.log")
    size = buildah("images", "--format", "{{.Size}}", "localhost/rollcall:check").strip()
    return f"rollcall:check, {size}"


def use_image(mirror: str) -> str:
    """The version, the models, and a service that answers, all as the image's own user."""
    del mirror
    container = buildah("from", "--pull-never", "--ulimit=nofile=16384", "localhost/rollcall:check").strip()
    try:
        version = in_image(container, "rollcall", "--version").strip()
        in_image(container, "rollcall", "packs", "prepare")
        in_image(
            container, "sh", "-c", "test $(id -u) = 10001 && ! touch /opt/rollcall/x /srv/rollcall/x 2>&-"
        )
        in_image(container, "sh", "-c", "test $(stat -c %u:%a /backups /backup-keys | uniq) = 10001:700")
        make = "umask 077 && mkdir /tmp/made && rollcall secrets init /tmp/made --host rollcall.example.org"
        in_image(container, "sh", "-c", make, user="4242:4242")  # as `docker run --user` has it
        seconds = serve_until_ready(container)
    finally:
        buildah("rm", container)
    return f"rollcall {version}; packs are prepared; /readyz after {seconds:.0f} s; stopped, nothing left"


def serve_until_ready(container: str) -> float:
    """Start the image's own command on a free port; the seconds until `/readyz` said yes."""
    port = find_free_port()
    settings = {**choose_own_ports(), "ROLLCALL_METRICS__ENABLED": "true"}
    command = ["rollcall", "serve", "--port", str(port), "--metrics-port", str(find_free_port())]
    given = [f"{name}={value}" for name, value in settings.items()]
    in_container = [*IN_IMAGE, f"--user={IMAGE_USER}", container, "--"]
    began = time.monotonic()
    with (WORK / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [*in_container, "/usr/bin/tini", "--", "env", *given, *command],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while not answers(f"http://127.0.0.1:{port}/readyz"):
                if process.poll() is not None or time.monotonic() - began > READY_TIMEOUT_S:
                    raise SystemExit(f"no /readyz:\n{(WORK / 'serve.log').read_text()[-3000:]}")
                time.sleep(0.5)
            return time.monotonic() - began
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(url: str) -> bool:
    """Whether a GET is answered 200 within two seconds."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


BUILDAH = [
    "buildah",
    "--storage-driver=overlay",
    f"--root={WORK / 'images'}",
    f"--runroot={WORK / 'run'}",
]
IMAGE_USER = "10001:10001"
IN_IMAGE = [*BUILDAH, "run", "--isolation=chroot"]


def buildah(*arguments: str, check: bool = True, output: Path | None = None) -> str:
    """What `buildah ARGUMENTS` printed, with a store of this check's own."""
    return run(*BUILDAH, *arguments, check=check, output=output)


def in_image(container: str, *command: str, user: str = IMAGE_USER) -> str:
    """What a command in the image printed, as a user of it."""
    return run(*IN_IMAGE, f"--user={user}", container, "--", *command)


def run(*command: str, check: bool = True, output: Path | None = None) -> str:
    """What a command printed; its end where it failed ends the check."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if output is not None:
        output.write_text(done.stdout)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout if done.returncode == 0 else ""


STEPS = {"base": make_base, "build": build_image, "use": use_image}


if __name__ == "__main__":
    sys.exit(main())
