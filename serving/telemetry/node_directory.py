"""The files in which the Rollcall processes of one node count: who is alive, and what the dead have counted.

Each process has a file of counts and a badge, a small file that it keeps locked as long as it lives; the
kernel lets go of the lock however the process ends. Counts of the dead are added to those of all who died
before, in one file, so that sums never fall and the directory never grows beyond who is alive.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

from serving.telemetry import counting
from serving.telemetry.catalogue import ALL_METRICS

BADGE, COUNTS = ".badge", ".db"
DEPARTED = "departed.json"
BEGIN_TIMEOUT_S = 60.0
"""A folder as young as this may have nobody in it yet."""


@dataclass(frozen=True, slots=True)
class Member:
    """A process that counts here: `deployment` as in the serve config, `id` is unique in the directory."""

    id: str
    deployment: str
    pid: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a directory holds at one moment.

    Attributes:
        members: those alive.
        totals: key -> sum over all processes, dead ones included; of counters and histograms.
        gauges: key -> (value, set at) of each living process.
    """

    members: list[Member]
    totals: Mapping[str, float]
    gauges: Mapping[str, list[tuple[float, float]]]


class NodeDirectory:
    """One directory, shared by the processes of one service on one node."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_session(cls, session: str) -> NodeDirectory:
        """The directory of this node for a Ray session, made when it is not there.

        It lies in the folder for temporary files: every node has its own, and it needs to outlive processes
        but not the machine. Those of sessions in which nobody lives any more are removed.

        Raises:
            OSError: it cannot be made, or is somebody else's.
        """
        base = Path(tempfile.gettempdir()) / f"rollcall-metrics-{os.getuid()}"
        _make_private(base)
        own = base / session
        for other in base.iterdir():
            begun = time.time() - other.stat().st_mtime < BEGIN_TIMEOUT_S
            if other != own and not begun and not NodeDirectory(other).is_in_use():
                shutil.rmtree(other, ignore_errors=True)
        _make_private(own)
        return cls(own)

    def join(self, deployment: str) -> Member:
        """Count here from now on, as a replica of this deployment; first of all, tidy up after the dead."""
        with self._locked():
            self._absorb_dead()
        member = Member(f"{os.getpid()}-{secrets.token_hex(4)}", deployment, os.getpid())
        # Locked before it has its name, so that nobody ever sees a badge of the living without its lock.
        unnamed = self.path / f"{member.id}.new"
        descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # held, and the descriptor with it, until this process ends
        os.write(descriptor, json.dumps({"deployment": deployment, "pid": member.pid}).encode())
        counting.keep_in(self.path / f"{member.id}{COUNTS}")
        unnamed.rename(self.path / f"{member.id}{BADGE}")
        return member

    def is_in_use(self) -> bool:
        """Whether a process that counts here is alive."""
        return any(_is_locked(badge) for badge in self.path.glob(f"*{BADGE}"))

    def read(self) -> Reading:
        """Everything counted here, ever, and the gauges of those alive."""
        with self._locked():
            self._absorb_dead()
            totals: dict[str, float] = defaultdict(float, self._read_departed()[1])
            gauges: dict[str, list[tuple[float, float]]] = defaultdict(list)
            members = []
            for badge in sorted(self.path.glob(f"*{BADGE}")):
                told = json.loads(badge.read_text())
                members.append(Member(badge.stem, told["deployment"], told["pid"]))
                for key, value, set_at in _read_counts(badge.with_suffix(COUNTS)):
                    if _is_gauge(key):
                        gauges[key].append((value, set_at))
                    else:
                        totals[key] += value
        return Reading(members, totals, gauges)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time, for the milliseconds that it takes."""
        with (self.path / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _absorb_dead(self) -> None:
        """Add the counts of the dead to `DEPARTED` and remove their files.

        The names of those whose counts are in it stand in it too, so that dying half way counts nobody twice.
        """
        absorbed, totals = self._read_departed()
        dead = [badge for badge in self.path.glob(f"*{BADGE}") if not _is_locked(badge)]
        fresh = [badge for badge in dead if badge.stem not in absorbed]
        if fresh:
            for badge in fresh:
                for key, value, _ in _read_counts(badge.with_suffix(COUNTS)):
                    if not _is_gauge(key):
                        totals[key] = totals.get(key, 0.0) + value
            document = {"absorbed": [badge.stem for badge in dead], "totals": totals}
            unnamed = self.path / f"{DEPARTED}.new"
            unnamed.write_text(json.dumps(document))
            unnamed.replace(self.path / DEPARTED)
        for badge in dead:
            badge.with_suffix(COUNTS).unlink(missing_ok=True)
            badge.unlink(missing_ok=True)

    def _read_departed(self) -> tuple[frozenset[str], dict[str, float]]:
        try:
            document = json.loads((self.path / DEPARTED).read_text())
            return frozenset(document["absorbed"]), document["totals"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            # Sums that a disk has lost are no reason not to serve; Prometheus sees a restart.
            return frozenset(), {}


def _make_private(path: Path) -> None:
    """Make a folder that only this user can enter.

    Raises:
        OSError: something of another user is there already.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if path.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{path} is not this user's own")


def _is_locked(badge: Path) -> bool:
    """Whether the process of this badge is alive; False when the badge is gone."""
    try:
        with badge.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _read_counts(path: Path) -> list[tuple[str, float, float]]:
    """Key, value and time of each number in a file; none when it is missing or was never begun."""
    try:
        if path.stat().st_size < 8:
            return []
        return [(key, value, at) for key, value, at, _ in MmapedDict.read_all_values_from_file(str(path))]
    except FileNotFoundError:
        return []


def _is_gauge(key: str) -> bool:
    metric = ALL_METRICS.get(counting.read_key(key)[0])
    return metric is None or metric.kind == "gauge"
