"""A short name for settings as they are now: it changes with any of them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from pydantic import SecretStr

import serving
from serving.errors import ConfigurationError
from serving.settings.deployed import read_value
from serving.settings.environment import list_keys
from serving.settings.loading import DEPLOYED_AS
from serving.settings.settings import Settings

MAX_FILE_BYTES = 2**20
"""A file that a setting names counts with its content up to this size, a larger one with its time."""
_COST = {"n": 2**14, "r": 8, "p": 1}
"""scrypt's parameters for interactive use (RFC 7914, section 2, cites N = 2^14): some 50 ms and 16 MiB."""
_OF_COMMANDS = frozenset({"backup.key_file"})
"""Settings that no replica reads: a new key for backups is no reason to replace any."""
_SOURCES = frozenset({".py", ".js", ".css", ".html"})
_MARK = re.compile("([0-9a-f]{16})[0-9a-f]{8}(?:-[0-9a-f]{8})?")


def make_digest(settings: Settings) -> str:
    """24 hex digits: 16 of the release, settings and secrets, 8 of the paths among them and their files.

    It may be shown: all secrets would have to be guessed at once, and each guess is made slow.
    """
    values = {key: read_value(settings, key) for key in list_keys(Settings) if key not in _OF_COMMANDS}
    paths = {key: _spell_path(value) for key, value in values.items() if isinstance(value, Path)}
    others = {key: _reveal(value) for key, value in values.items() if key not in paths}
    release = f"{serving.__version__} {_hash_sources()}"
    text = json.dumps({"release": release, **others}, sort_keys=True, default=str)
    return (
        hashlib.scrypt(text.encode(), salt=b"rollcall settings", dklen=8, **_COST).hex()
        + hashlib.sha256(json.dumps(paths, sort_keys=True).encode()).hexdigest()[:8]
    )


def check_digest(settings: Settings, mark: object) -> None:
    """Raise ConfigurationError where a digest was made of other settings than these; paths may differ.

    Args:
        mark: what stands under `deployed_as`: a digest, and more behind a dash; anything else is passed over.
    """
    found = _MARK.fullmatch(str(mark))
    if found is not None and found[1] != make_digest(settings)[:16]:
        raise ConfigurationError(
            f"{DEPLOYED_AS}: where `rollcall deploy` ran, settings, secrets or the release are others than "
            "on the node that builds the service: let both have the same environment, and restart Ray on "
            "each node whose environment has changed since it started"
        )


def _hash_sources() -> str:
    """Of the code and the pages as they are installed: a release is known by more than its number."""
    root = Path(serving.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in _SOURCES):
        digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _reveal(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _spell_path(path: Path) -> list[str | int]:
    try:
        if not path.is_file():
            return [str(path)]
        if path.stat().st_size > MAX_FILE_BYTES:
            return [str(path), path.stat().st_mtime_ns]
        return [str(path), hashlib.sha256(path.read_bytes()).hexdigest()]
    except OSError:
        return [str(path)]  # the service's own matter: it says so where it reads it
