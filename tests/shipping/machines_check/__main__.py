"""Follows docs/machines.md, then takes a node away, and says what it saw; needs root."""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from packaging.markers import Marker
from packaging.version import Version

from serving.packs.samples import prepare_samples
from serving.settings import load_settings
from tests.shipping.machines_check.machines import Hall, Machine, make_cgroups, run, wait_for
from tests.shipping.machines_check.page import PAGE, Block, read_blocks
from tests.unit.shipping.shipped import REPOSITORY

MODULE = "tests.shipping.machines_check"
INSIDE = "MACHINES_CHECK_FOLDER"
COMMANDS = (
    "haproxy",
    "nft",
    "prometheus",
    "redis-server",
    "nsenter",
    "unshare",
    "mkfs.ext4",
    "/lib/systemd/systemd",
)
NODES = ("head", "node1", "node2")
DOOR_ADDRESS = "10.20.30.99"
BLOCK_TIMEOUT_S = 300.0
RECOVERY_TIMEOUT_S = 180.0
TRANSCRIPT = Path("build/machines-check.txt")
SAMPLES = Path("build/samples")
PACKAGES = Path("build/machines-packages")
LATER = "Later"
LAST = 99
DEBIANS_PYTHON = "/usr/bin/python3"


def main() -> int:
    """In the hall the check, outside it the hall; 0 if all went well."""
    if INSIDE in os.environ:
        return follow(Path(os.environ[INSIDE]), read_options())
    read_options()
    if os.geteuid() != 0:
        raise SystemExit("needs root: machines are namespaces, and boot systemd")
    missing = [name for name in COMMANDS if not shutil.which(name)]
    if missing or not Path("/usr/lib/postgresql/15").exists():
        raise SystemExit(
            "needs Debian 12 with haproxy, nftables, postgresql, prometheus, python3-venv, redis-server: "
            f"{', '.join(missing) or 'postgresql 15'} is not there"
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is put away then too
    prepare_samples(REPOSITORY / SAMPLES)  # the hall has no network
    fetch_packages_of_debians_python()
    folder = Path(tempfile.mkdtemp(prefix="rollcall-machines-"))
    try:
        with make_cgroups() as cgroups:
            namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
            given = {INSIDE: str(folder), "MACHINES_CHECK_CGROUPS": ":".join(map(str, cgroups))}
            done = subprocess.run(
                [
                    *namespaces,
                    "--propagation",
                    "private",
                    sys.executable,
                    "-m",
                    "tests.shipping.machines_check",
                    *sys.argv[1:],
                ],
                env={**os.environ, **given},
                cwd=REPOSITORY,
            )
    finally:
        folder.rmdir()  # what lay in it was the hall's own, and is gone
    return done.returncode


def fetch_packages_of_debians_python() -> None:
    """What is locked for Debian's Python, and not for this one: the checkout's environment lacks it."""
    said = subprocess.run([DEBIANS_PYTHON, "--version"], capture_output=True, text=True, check=True).stdout
    version = said.split()[1]
    if Version(version).release[:2] != sys.version_info[:2]:
        raise SystemExit(
            f"the checkout's environment must be of Debian's Python, {version}: make clean, then make"
        )
    lock = (REPOSITORY / "config/locks/requirements.txt").read_text()
    wanted = []
    for entry in re.split(r"\n(?=\S)", lock):
        marker = re.match(r"\S+ ; (.+?) *\\?\n", entry)
        if marker and Marker(marker[1]).evaluate({"python_full_version": version, "extra": ""}):
            wanted += (
                [] if Marker(marker[1]).evaluate({"extra": ""}) else [entry.replace(f" ; {marker[1]}", "")]
            )
    folder = REPOSITORY / PACKAGES
    folder.mkdir(parents=True, exist_ok=True)
    if wanted and not any(folder.iterdir()):
        (folder.with_suffix(".txt")).write_text("\n".join(wanted))
        pip = [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--require-hashes"]
        run(*pip, "--ignore-requires-python", "--target", folder, "-r", folder.with_suffix(".txt"))


def read_options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog=MODULE, description=__doc__)
    parser.add_argument(
        "--until", type=int, default=LAST, metavar="STEP", help="the last step of the page to take"
    )
    parser.add_argument(
        "--look-s", type=float, default=0.0, help="keep the machines so long after a failure or STEP"
    )
    return parser.parse_args()


class Check:
    """The machines, what was run on them, and what was seen."""

    def __init__(self, folder: Path) -> None:
        self.began = time.monotonic()
        self.hall = Hall(folder, [Path(path) for path in os.environ["MACHINES_CHECK_CGROUPS"].split(":")])
        (REPOSITORY / TRANSCRIPT).parent.mkdir(exist_ok=True)
        self.transcript = (REPOSITORY / TRANSCRIPT).open("w")
        self._make_machines()

    def tell(self, text: str) -> None:
        """A line of the table."""
        print(f"{time.monotonic() - self.began:5.0f} s  {text}", flush=True)

    def _make_machines(self) -> None:
        folder = self.hall.folder
        self._copy_checkout(folder / "opt" / "source")
        cache = load_settings().cache_dir.expanduser()
        shutil.copytree(cache, folder / "models")
        shutil.copytree(REPOSITORY / SAMPLES, folder / "models" / "samples")
        self._make_shared_disk(folder / "shared")
        hosts = (REPOSITORY / "config/machines/hosts").read_text()
        addresses = {
            name: line.split()[0]
            for line in hosts.splitlines()
            if not line.startswith("#")
            for name in line.split()[1:]
        }
        for name in ("stores", *NODES, "proxy", "monitor", "door"):
            machine = self.hall.add(name, addresses.get(name, DOOR_ADDRESS))
            if name in NODES:  # what is installed on one is there on all
                machine.mount(folder / "opt", "opt/rollcall", writable=True)
                machine.mount(Path(_find_packages()), "opt/locked")
                machine.mount(REPOSITORY / PACKAGES, "opt/locked-too")
                machine.mount(folder / "models", "opt/models")
                machine.mount(folder / "shared/data", "var/lib/rollcall", writable=True)
            elif name != "door":
                machine.mount(folder / "opt/source", "opt/rollcall/source")
            scp = machine.root / "usr/local/bin/scp"
            scp.write_text(SCP)
            scp.chmod(0o755)
        for machine in self.hall.machines.values():
            (machine.root / "mnt").mkdir(exist_ok=True)
            for other in self.hall.machines.values():
                machine.mount(other.root, f"mnt/{other.name}", writable=True)

    @staticmethod
    def _copy_checkout(target: Path) -> None:
        """What is tracked, or would be; with the embedded gallery, since there is no Qdrant server here."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout.decode()
        for name in filter(None, listed.split("\0")):
            if (REPOSITORY / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / name, target / name)
        environment = target / "config/machines/environment"
        text = environment.read_text().replace("GALLERY__ENGINE=server", "GALLERY__ENGINE=embedded")
        environment.write_text(re.sub(r"ROLLCALL_GALLERY__(URL|API_KEY_FILE|CA_FILE)=.*\n", "", text))

    @staticmethod
    def _make_shared_disk(place: Path) -> None:
        """An ext4 of its own, in place of NFS."""
        image = place.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(8 * 2**30)
        run("mkfs.ext4", "-q", image)
        place.mkdir()
        run("mount", "-o", "loop", image, place)
        (place / "data").mkdir(mode=0o700)
        os.chown(place / "data", 10001, 10001)

    def run_block(self, block: Block) -> dict[str, str]:
        """What each machine printed."""
        names = block.machines
        if "/opt/rollcall/bin/pip" in block.script or "python3 -m venv" in block.script:
            others = block.script.replace("python3 -m venv", ": python3 -m venv")
            others = re.sub(r"^/opt/rollcall/bin/pip.*$", "", others, flags=re.M)
        else:
            others = block.script
        if others != block.script:  # one installation for all: on the first, then what is left on the others
            said = {names[0]: self._run(names[0], block.script)}
            return said | {name: self._run(name, others) for name in names[1:]}
        with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
            return dict(zip(names, pool.map(lambda name: self._run(name, block.script), names), strict=True))

    def _run(self, name: str, script: str) -> str:
        began = time.monotonic()
        done = self.hall.machines[name].run(script, timeout_s=BLOCK_TIMEOUT_S, check=False)
        took = time.monotonic() - began
        self.transcript.write(
            f"\n=== {name} ({took:.1f} s)\n{script}--- exit {done.returncode}\n{done.stdout}"
        )
        self.transcript.flush()
        if done.returncode != 0:
            raise AssertionError(f"{name}: exit {done.returncode}:\n{script}\n{done.stdout}")
        return done.stdout

    def run_block_while_asking(self, block: Block, recognise: Block) -> None:
        """A block of what comes later: the door recognises meanwhile, and afterwards."""
        door = self.hall.machines["door"]
        found: list[bool] = []

        def ask() -> None:
            answer = door.run(recognise.script, check=False)
            found.append(answer.returncode == 0 and is_guest(answer.stdout))

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            running = pool.submit(self.run_block, block)
            while not running.done():
                ask()
        running.result()
        self.tell(
            f"      {', '.join(block.machines)}: asked {len(found)} times, {found.count(False)} in vain"
        )
        ask()
        assert found[-1], "the door no longer recognises"

    def link_packages(self) -> None:
        """In place of `pip install --require-hashes`: the checkout's packages, and Ray's commands."""
        folder = self.hall.folder / "opt"
        (site,) = (folder / "lib").glob("python3.*/site-packages")
        for path in site.glob("pip*"):  # a newer one is locked
            shutil.rmtree(path)
        (site / "locked.pth").write_text("/opt/locked\n/opt/locked-too\n")
        for name in ("ray", "serve"):
            text = (Path(sys.executable).parent / name).read_text()
            (folder / "bin" / name).write_text(re.sub(r"^#!.*", "#!/opt/rollcall/bin/python", text))
            (folder / "bin" / name).chmod(0o755)

    def give_models(self) -> None:
        """In place of a package registry: what `make` prepared on this computer."""
        for name in NODES:
            self.hall.machines[name].run(
                "cp -r /opt/models/. /var/cache/rollcall && chown -R rollcall: /var/cache/rollcall"
            )


SCP = """#!/bin/bash
# scp FILE... MACHINE:FOLDER/, where the other's disk is at hand
target=${!#}
cp "${@:1:$#-1}" "/mnt/${target%%:*}${target#*:}"
"""


def _find_packages() -> str:
    import ray

    return str(Path(ray.__file__).parents[1])


def follow(folder: Path, options: argparse.Namespace) -> int:
    """The page from its first block to its last, then what the check asks for besides."""
    blocks = read_blocks((REPOSITORY / PAGE).read_text())
    (recognise,) = (block for block in blocks if block.machines == ("door",) and "/recognise" in block.script)
    check = Check(folder)
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(Machine.boot, check.hall.machines.values()))
        check.tell(f"{len(check.hall.machines)} machines have booted Debian's systemd")
        with (check.hall.machines["door"].root / "etc/hosts").open("a") as names:
            names.write((REPOSITORY / "config/machines/hosts").read_text())
        step = blocks[0].step
        for block in blocks:
            if block.step != step:
                check.tell(f"done: {step}")
                step = block.step
            if number_of(step) > options.until:
                return look(options)
            if not block.left_out and step == LATER:
                check.run_block_while_asking(block, recognise)
            elif not block.left_out:
                said = check.run_block(block)
                assert block is not recognise or is_guest(said["door"]), said["door"]
            else:
                check.tell(f"      {', '.join(block.machines)}: left out, {block.left_out}")
            if "useradd" in block.script and not block.left_out:
                check.give_models()
            if "--require-hashes" in block.script:
                check.link_packages()
        check.tell(f"done: {step}")
        deploy_again(check)
        lose_a_node(check, recognise)
    except AssertionError as error:
        print(f"{error}\nsee {TRANSCRIPT}", file=sys.stderr)
        return 1 + look(options)
    check.tell("all has ended")
    return 0


def number_of(step: str) -> int:
    """Of a heading of the page; what comes later comes after all of them."""
    return LAST if step == LATER else int(step.split(".")[0])


def is_guest(answer: str) -> bool:
    """Whether one of six faces is the guest's, and five are nobody's."""
    faces = json.loads(answer)["faces"]
    return sorted(face["outcome"] for face in faces) == ["match"] + ["unknown"] * 5


def look(options: argparse.Namespace) -> int:
    """Time to look at the machines from outside: `nsenter --target PID --all --root --wd`."""
    if options.look_s:
        print(f"the machines stay for {options.look_s:.0f} s", flush=True)
        time.sleep(options.look_s)
    return 0


def deploy_again(check: Check) -> None:
    """Nothing has changed since: no replica is replaced. The stores let nobody in with the old password."""
    head = check.hall.machines["head"]
    told = head.run(
        "rollcall deploy --config /etc/rollcall/serve_config.yaml --json", timeout_s=BLOCK_TIMEOUT_S
    )
    assert '"outcome": "unchanged"' in told.stdout, told.stdout
    check.tell("deployed again: nothing has changed, and nothing was done")


def lose_a_node(check: Check, recognise: Block) -> None:
    """Power goes where the ingress is; recognition goes on elsewhere; the machine comes back by itself."""
    machines = check.hall.machines
    door, head = machines["door"], machines["head"]

    def works() -> bool:
        answer = door.run(recognise.script, check=False)
        return answer.returncode == 0 and is_guest(answer.stdout)

    assert works()
    holds = "pgrep -f '^ray::ServeReplica:rollcall:Ingress'"
    lost = next(
        machines[name] for name in NODES[1:] if machines[name].run(holds, check=False).returncode == 0
    )
    lost.lose_power()
    took = wait_for(works, "recognition without a node", RECOVERY_TIMEOUT_S)
    check.tell(f"{lost.name} lost its power; the door recognised again {took:.0f} s later")
    lost.boot()
    back = "ray status 2>/dev/null | grep -c ' node_' | grep -qx 3"
    took = wait_for(
        lambda: head.run(back, check=False).returncode == 0, f"{lost.name}'s return", RECOVERY_TIMEOUT_S
    )
    check.tell(f"{lost.name} was booted, and has joined by itself")


if __name__ == "__main__":
    sys.exit(main())
