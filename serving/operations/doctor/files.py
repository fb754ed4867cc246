"""Checks of files: the data directory, keys, secrets, the disk beneath."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from serving.accounts.keys import KeyRing
from serving.database.location import find_sqlite_file
from serving.operations.backup_keys import read_keys
from serving.operations.doctor.checks import Check, Finding, Subject, fail, ok, warn
from serving.operations.doctor.mounts import REMOTE, find_mount, judge_encryption
from serving.operations.private_files import can_others_reach
from serving.settings.environment import ENV_PREFIX, IN_A_FILE, make_key

LOW_BYTES = 2 * 2**30
OLD_KEY_DAYS = 365
LEAST_SECRET_CHARS = 16
_SECRETS = ("gallery.api_key", "metrics.token")
_PUBLIC = frozenset({"gallery.ca_file", "tracing.ca_file"})
"""Files that settings name and that hold no secret: certificates of authorities."""


def look_at_data_dir(subject: Subject) -> Iterator[Finding]:
    path = subject.settings.data_dir
    if not path.exists():
        yield warn(f"{path} is not there yet", "The first start makes it, mode 0700; nothing to do.")
        return
    status = path.stat()
    if status.st_uid != os.geteuid():
        yield fail(
            f"{path} belongs to user {status.st_uid}, and this is {os.geteuid()}",
            f"Run this as the service's user, or: chown -R {os.geteuid()} {path}",
        )
    if stat.S_IMODE(status.st_mode) & 0o007:
        yield fail(f"everybody can look into {path}", f"chmod 700 {path}")
    probe = path / f".doctor-{os.getpid()}"
    try:
        probe.touch(0o600)
        probe.unlink()
    except OSError as error:
        yield fail(
            f"{path} cannot be written: {error.strerror}", "Mount it read-write, or give it to the service."
        )
        return
    yield ok(f"{path} can be written, mode {stat.S_IMODE(status.st_mode):o}")


def look_at_disk(subject: Subject) -> Iterator[Finding]:
    path = _nearest(subject.settings.data_dir)
    free = shutil.disk_usage(path).free
    least = subject.settings.gallery.min_free_bytes
    shown = f"{free / 2**30:.1f} GiB free"
    if free < least:
        yield fail(
            f"{shown}: writes are refused below gallery.min_free_bytes", "Free space, or a larger disk."
        )
    elif free < max(2 * least, LOW_BYTES):
        yield warn(shown, "Free space: compaction and backups take room for a while too.")
    else:
        yield ok(shown)


def look_at_file_system(subject: Subject) -> Iterator[Finding]:
    path = _nearest(subject.settings.data_dir)
    mount = find_mount(path.resolve(), subject.proc)
    if mount is None:
        yield warn("its file system cannot be found out", "Make sure that data_dir lies on a local disk.")
    elif mount.kind in REMOTE and _holds_no_store(subject):
        yield ok(
            f"{mount.kind} at {mount.path}: keys and jobs alone lie here; gallery and registry are servers'"
        )
    elif mount.kind in REMOTE:
        yield fail(
            f"{mount.path} is {mount.kind}: locks and logs cannot be relied on",
            "A local disk; for several machines gallery.engine: server and PostgreSQL.",
        )
    elif mount.kind in ("tmpfs", "ramfs", "overlay"):
        yield warn(
            f"{mount.path} is {mount.kind}: it goes with the machine or the container",
            "A volume on a disk for data_dir.",
        )
    else:
        yield ok(f"{mount.kind} at {mount.path}")


def _holds_no_store(subject: Subject) -> bool:
    """Whether neither gallery nor registry lies in data_dir: keys and jobs alone do."""
    is_remote = subject.settings.gallery.engine == "server"
    return is_remote and find_sqlite_file(subject.settings.registry_url) is None


def look_at_encryption(subject: Subject) -> Iterator[Finding]:
    mount = find_mount(_nearest(subject.settings.data_dir).resolve(), subject.proc)
    found = "unknown" if mount is None else judge_encryption(mount, subject.sys)
    cure = "Face vectors lie there as they are: put data_dir on an encrypted volume (docs/backup.md)."
    if found == "encrypted":
        yield ok("the volume of data_dir is encrypted")
    elif found == "plain":
        yield warn("the volume of data_dir is not encrypted by this machine", cure)
    else:
        yield warn("whether the volume of data_dir is encrypted cannot be seen from here", cure)


def look_at_keys(subject: Subject) -> Iterator[Finding]:
    directory = subject.settings.keys_dir
    if not directory.exists():
        yield ok("no signing key yet; the first start makes one")
        return
    if stat.S_IMODE(directory.stat().st_mode) & 0o077:
        yield fail(f"others can look into {directory}", f"chmod 700 {directory}")
    ring = KeyRing(directory).load()  # says itself what is wrong with a file
    newest = max(directory.glob("signing-*.pem"))
    age_days = (time.time() - newest.stat().st_mtime) / 86400
    seen = f"{len(ring.ends)} keys, the newest {age_days:.0f} days old"
    if age_days > OLD_KEY_DAYS:
        yield warn(seen, "rollcall rotate-keys: nobody is signed out by it.")
    else:
        yield ok(seen)


def look_at_secrets(subject: Subject) -> Iterator[Finding]:
    faults = [*_weak(subject), *_exposed(subject)]
    yield from faults
    if not faults:
        yield ok("no secret is weak or lies where others can read it")


def look_at_backup_key(subject: Subject) -> Iterator[Finding]:
    path = subject.settings.backup.key_file
    if path is None:
        yield warn(
            "backup.key_file is not set: backups are not encrypted",
            "ROLLCALL_BACKUP__KEY_FILE=/etc/rollcall/backup.keys, then rollcall rotate-keys --backup.",
        )
        return
    keys = read_keys(path)
    if path.resolve().is_relative_to(subject.settings.data_dir.resolve()):
        yield warn(
            f"{path} lies in data_dir, beside what it protects",
            "Keep it elsewhere, with a copy elsewhere still.",
        )
    yield ok(f"{len(keys)} keys in {path}")


def _weak(subject: Subject) -> Iterable[Finding]:
    settings = subject.settings
    values = {
        "gallery.api_key": settings.gallery.api_key,
        "metrics.token": settings.metrics.token,
    }
    for name, value in values.items():
        if value is not None and len(value.get_secret_value()) < LEAST_SECRET_CHARS:
            yield warn(
                f"{name} has fewer than {LEAST_SECRET_CHARS} characters",
                "python3 -c 'import secrets; print(secrets.token_urlsafe(32))' makes a good one.",
            )
    from urllib.parse import urlsplit

    urls = {
        "database_url": settings.database_url,
        "rate_limits.redis_url": settings.rate_limits.redis_url,
    }
    for name, value in urls.items():
        password = None if value is None else urlsplit(value.get_secret_value()).password
        if password is not None and len(password) < LEAST_SECRET_CHARS:
            yield warn(
                f"the password in {name} has fewer than {LEAST_SECRET_CHARS} characters",
                "A longer one, by the database's own means; then set it here.",
            )


def _exposed(subject: Subject) -> Iterable[Finding]:
    files = {subject.directory / ".env": "it may hold secrets"}
    for name, value in subject.environment.items():
        is_file = name.startswith(ENV_PREFIX) and name.endswith(IN_A_FILE)
        if is_file and make_key(name) not in _PUBLIC:
            files[Path(value)] = f"{name} names it"
    args = (subject.config.get("applications") or [{}])[0].get("args") or {}
    if subject.config_path is not None and _holds_secrets(args):
        files[subject.config_path] = "it holds secrets under args"
    for path, reason in files.items():
        if path.is_file() and _is_exposed(path, subject.mounted_secrets):
            yield fail(f"everybody can read {path}, and {reason}", f"chmod 600 {path}")


def _is_exposed(path: Path, mounted: Path) -> bool:
    if path.resolve().is_relative_to(mounted.resolve()):
        return False  # open for the container's users; what keeps others out is a folder of the host's
    return can_others_reach(path, is_group_trusted=True)


def _holds_secrets(args: object) -> bool:
    if not isinstance(args, dict):
        return False
    found = args.get("database_url") or (args.get("rate_limits") or {}).get("redis_url")
    return bool(
        found or any((args.get(name.split(".")[0]) or {}).get(name.split(".")[1]) for name in _SECRETS)
    )


def _nearest(path: Path) -> Path:
    """The path, or the nearest directory above it that is there."""
    while not path.exists():
        path = path.parent
    return path


CHECKS = (
    Check("data_dir", "owner, mode, whether it can be written", look_at_data_dir),
    Check("disk", "free space against gallery.min_free_bytes", look_at_disk),
    Check("file system", "local where a store lies in data_dir, and one that stays", look_at_file_system),
    Check(
        "encryption at rest",
        "dm-crypt (LUKS) or an encrypting file system beneath data_dir",
        look_at_encryption,
    ),
    Check("signing keys", "modes, readable, age", look_at_keys),
    Check(
        "secrets", "length; who can read `.env`, files that settings name, the serve config", look_at_secrets
    ),
    Check("backup key", "set, private, not beside the data", look_at_backup_key),
)
