"""Machines that are namespaces: each boots Debian's systemd on an overlay of this computer's root.

All of it lives in a "hall": a process in mount, network and process namespaces of its own. When it ends,
so do the machines, their mounts, their network and their disks, which lie in its memory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

BOOT = Path(__file__).with_name("boot.sh")
PREFIX_BITS = 24
BOOT_TIMEOUT_S = 60.0
EMPTY = (
    *(
        "etc/rollcall",
        "etc/systemd/system",
        "home",
        "opt",
        "root",
        "srv",
        "var/lib/rollcall",
        "var/lib/redis",
    ),
    *("var/cache/rollcall", "var/lib/prometheus/metrics2", "var/log/journal", "var/lib/apt/lists", "work"),
    *(f"etc/rc{level}.d" for level in "0123456S"),
)
"""Folders that a bare machine would have empty: this computer's own data, and what it starts by itself."""
ASLEEP = (
    "getty.target",
    "systemd-logind.service",
    "dbus.service",
    "dbus.socket",
    "systemd-timesyncd.service",
)
"""Units of Debian's that a machine without console and clock of its own does not start."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Hall:
    """Where the machines stand: a bridge that joins them, and a folder in memory for their disks.

    Args:
        folder: empty, of this process's mount namespace alone.
        cgroups: folders of cgroups, one for each hierarchy that systemd needs.
    """

    def __init__(self, folder: Path, cgroups: list[Path]) -> None:
        self.folder = folder
        self.cgroups = cgroups
        self.machines: dict[str, Machine] = {}
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "name", "lan", "type", "bridge")
        run("ip", "link", "set", "lan", "up")
        (folder / "roots").mkdir()

    def add(self, name: str, address: str) -> Machine:
        """A machine that is off; its disk is this computer's, with nothing of Rollcall's in it."""
        machine = Machine(self, name, address)
        self.machines[name] = machine
        return machine


class Machine:
    """A machine of the hall."""

    def __init__(self, hall: Hall, name: str, address: str) -> None:
        self.hall, self.name, self.address = hall, name, address
        self.root = hall.folder / "roots" / name
        self._disk = hall.folder / "disks" / name
        self._boots = 0
        self._shell: subprocess.Popen[bytes] | None = None
        self.pid = 0
        for part in ("upper", "work"):
            (self._disk / part).mkdir(parents=True)
        self.root.mkdir()
        upper = self._disk / "upper"
        for place in EMPTY:
            self._empty(upper, place)
        for unit in ASLEEP:
            (upper / "etc/systemd/system" / unit).symlink_to("/dev/null")
        (upper / "etc" / "hostname").write_text(f"{name}\n")
        (upper / "etc" / "machine-id").write_text(f"{abs(hash(name)):032x}\n")
        options = f"lowerdir=/,upperdir={upper},workdir={self._disk / 'work'}"
        run("mount", "-t", "overlay", "-o", options, "overlay", self.root)

    @staticmethod
    def _empty(upper: Path, place: str) -> None:
        """A folder that hides what this computer has there; owner and mode are as there."""
        below = Path("/")
        made = upper
        for part in Path(place).parts:
            below, made = below / part, made / part
            if not made.exists():
                made.mkdir()
                if below.is_dir():
                    shutil.copystat(below, made)
                    os.chown(made, below.stat().st_uid, below.stat().st_gid)
        os.setxattr(made, "trusted.overlay.opaque", b"y")

    def mount(self, source: Path, place: str, *, writable: bool = False) -> None:
        """Show a folder of this computer at a place of the machine, which must be off."""
        target = self.root / place
        target.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", source, target)
        if not writable:
            run("mount", "-o", "remount,bind,ro", target)

    def boot(self) -> None:
        """Switch it on; returns when systemd has started what is enabled."""
        self._boots += 1
        gate = self.hall.folder / f"{self.name}.{self._boots}"
        for hierarchy in self.hall.cgroups:
            (hierarchy / self.name).mkdir(exist_ok=True)
        enter = "".join(
            f"echo 0 > {group / self.name / 'cgroup.procs'}; " for group in self.hall.cgroups
        )  # of the shell, so that the machine's own cgroups begin there
        unshare = (
            "exec unshare --mount --net --pid --uts --ipc --cgroup --fork --kill-child --propagation private"
        )
        log = (self.hall.folder / f"{self.name}.log").open("ab")
        with log:
            self._shell = subprocess.Popen(
                ["bash", "-c", f"{enter}{unshare} bash {BOOT} {self.root} {gate}"],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        children = Path(f"/proc/{self._shell.pid}/task/{self._shell.pid}/children")
        wait_for(lambda: bool(children.read_text().strip()), f"{self.name}'s first process", BOOT_TIMEOUT_S)
        self.pid = int(children.read_text().split()[0])
        port = f"to-{self.name}"
        run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        run("ip", "link", "set", port, "master", "lan", "up")
        enter_network = ("nsenter", f"--net=/proc/{self.pid}/ns/net", "ip")
        run(*enter_network, "address", "add", f"{self.address}/{PREFIX_BITS}", "dev", "eth0")
        run(*enter_network, "link", "set", "eth0", "up")
        gate.touch()
        wait_for(self._is_up, f"{self.name}'s systemd", BOOT_TIMEOUT_S)

    def _is_up(self) -> bool:
        state = self.run("systemctl is-system-running || true", check=False).stdout.strip()
        return state in ("running", "degraded")

    def run(
        self, script: str, *, timeout_s: float = 120.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a script as root, in root's home folder.

        Raises:
            AssertionError: it failed, and check is set; with what it printed.
        """
        words = ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"]
        words += ["env", "-i", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        words += ["bash", "-euo", "pipefail", "-c", f"cd /root\n{script}"]
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            said = (error.stdout or b"").decode(errors="replace")
            raise AssertionError(f"{self.name}: not within {timeout_s:.0f} s:\n{script}\n{said}") from None
        if check and done.returncode != 0:
            raise AssertionError(f"{self.name}: exit {done.returncode}:\n{script}\n{done.stdout}")
        return done

    def lose_power(self) -> None:
        """kill -9 of its first process, and so of all; its disk is as it was."""
        assert self._shell is not None
        os.kill(self.pid, signal.SIGKILL)
        self._shell.wait(30)
        # As a cable that is pulled out; it may have gone with the machine's network already.
        subprocess.run(["ip", "link", "delete", f"to-{self.name}"], stderr=subprocess.DEVNULL, check=False)


def find_hierarchies() -> list[Path]:
    """Where cgroups that systemd needs are to be made: on a computer with version 2 alone, and with both."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.procs").exists():
        return [root]
    found = [root / name for name in ("systemd", "unified") if (root / name / "cgroup.procs").exists()]
    if len(found) != 2:
        raise SystemExit("needs cgroups of version 2, or systemd's hierarchy of version 1 beside them")
    return found


@contextlib.contextmanager
def make_cgroups() -> Iterator[list[Path]]:
    """A cgroup of the check's own in each hierarchy, removed at the end with all that is in them."""
    made = [path / f"rollcall-machines-{os.getpid()}" for path in find_hierarchies()]
    try:
        for path in made:
            path.mkdir()
        yield made
    finally:
        for path in made:
            wait_for(lambda path=path: _remove_tree(path), f"the end of what runs in {path}", 30.0)  # type: ignore[misc]


def _remove_tree(path: Path) -> bool:
    if path.exists():
        for folder, _, _ in os.walk(path, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
    return not path.exists()


def run(*words: str | Path) -> None:
    """A command of this computer's that must succeed."""
    subprocess.run([str(word) for word in words], check=True)


def wait_for(condition: object, what: str, timeout_s: float) -> float:
    """Seconds until the condition held.

    Raises:
        AssertionError: it did not within timeout_s.
    """
    assert callable(condition)
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            raise AssertionError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(0.1)
    return time.monotonic() - began
