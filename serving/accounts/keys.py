"""Ed25519 keys that sign tokens: a directory of numbered PEM files, shared by all processes of a service.

`signing-000001.pem` is the first key, the highest number signs, all verify. A file appears complete or not
at all, so processes that start together agree on one key. Running processes follow the directory within
RESCAN_INTERVAL_S: to withdraw a key, and every token it signed, delete its file. A rotation leaves
`signing-000001.until` beside each older key: when the last of its tokens has expired (Unix seconds). From
then on the key verifies nothing, and whoever notices first removes both files. The ends are written before
the new key appears and say nothing of the key that is the newest, so that a rotation has happened altogether
or not at all, wherever it stops. One process at a time rotates.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from serving.directories import make_private_directory, sync_directory
from serving.errors import ConfigurationError

RESCAN_INTERVAL_S = 5.0
OVERLAP_S = 90 * 86400 + 600
"""How long an old key verifies: what `rollcall token` and the settings let a token live, and clocks apart."""
ROTATION_WAIT_S = 30.0
"""How long a rotation waits for another, which takes a few writes."""
_UNTIL = ".until"
KEY_FILES = "signing-*.pem"
"""The keys of a directory, as `Path.glob` finds them."""
_FILE_NAME = re.compile(r"signing-(\d{6})\.pem")
_EXPOSED_BITS = stat.S_IRWXO | stat.S_IWGRP
_SETTLED_NS = 2_000_000_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One private key, and until when (Unix seconds) it verifies; its representation shows no secret."""

    kid: str
    private: Ed25519PrivateKey = field(repr=False)
    until_s: float = float("inf")

    @property
    def is_over(self) -> bool:
        """Whether it verifies nothing any more."""
        return time.time() >= self.until_s


class VerificationKeys:
    """Public keys by kid: all that verifying takes."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = dict(keys)

    @classmethod
    def from_jwks(cls, document: Mapping[str, Any]) -> VerificationKeys:
        """Read a JWK set (RFC 7517, RFC 8037) of Ed25519 keys.

        Raises:
            ConfigurationError: no keys, another kind of key, a private one, or a kid that is not the
                key's thumbprint.
        """
        keys: dict[str, Ed25519PublicKey] = {}
        try:
            for jwk in document["keys"]:
                if (jwk["kty"], jwk["crv"]) != ("OKP", "Ed25519") or "d" in jwk:
                    raise ValueError
                key = Ed25519PublicKey.from_public_bytes(_decode_base64url(jwk["x"]))
                if jwk["kid"] != compute_thumbprint(key):
                    raise ValueError
                keys[jwk["kid"]] = key
        except (KeyError, TypeError, ValueError):
            raise ConfigurationError("This is not a JWK set of public Ed25519 keys.") from None
        if not keys:
            raise ConfigurationError("The JWK set has no keys.")
        return cls(keys)

    def to_jwks(self) -> dict[str, Any]:
        """The JWK set to publish."""
        return {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "x": _raw_base64url(key),
                    "kid": kid,
                    "use": "sig",
                    "alg": "EdDSA",
                }
                for kid, key in self._keys.items()
            ]
        }

    def find(self, kid: str) -> Ed25519PublicKey | None:
        """The key of this kid, or None."""
        return self._keys.get(kid)


class KeyRing(VerificationKeys):
    """The keys of a directory: signs with the newest, verifies with all.

    When the directory has changed it reads it again, looking at most once in RESCAN_INTERVAL_S, so that one
    whose file is gone is refused without a restart. It also looks when it is asked for a key it does not
    know, so that a key added by another process is accepted at once; to look is to ask for the time of the
    last change, and nothing is read unless that is a new one, however many unknown keys strangers name.
    Should a file be unreadable by then, the keys read before stay as long as their files do.

    Args:
        directory: where the PEM files are or will be.
    """

    def __init__(self, directory: Path | str) -> None:
        super().__init__({})
        self._directory = Path(directory)
        self._by_file: dict[str, SigningKey] = {}
        self._ending: dict[str, SigningKey] = {}
        self._newest: SigningKey | None = None
        self._looked_at_s = float("-inf")
        self._read_mtime_ns: int | None = None
        self._seen_mtime_ns: int | None = None

    def __repr__(self) -> str:
        return f"KeyRing({str(self._directory)!r}, kids={sorted(self._keys)})"

    def load(self) -> KeyRing:
        """Read the directory; returns the ring itself.

        Raises:
            ConfigurationError: there is no key, one that is not Ed25519, or one that others can read.
        """
        self._looked_at_s = time.monotonic()
        self._read_mtime_ns = None
        # Before the files are read, so that what changes meanwhile is seen as a change the next time.
        self._seen_mtime_ns = self._mtime_ns()
        mtime_ns = self._settled_mtime_ns()
        loaded = {path.name: _read_key(path) for path in self._paths()}
        loaded = self._retire(loaded)
        if not loaded:
            raise ConfigurationError(f"There is no signing key in {self._directory}.")
        self._accept(loaded)
        self._read_mtime_ns = mtime_ns
        return self

    def load_or_create(self) -> KeyRing:
        """Read the directory, after making the first key if there is none; safe in many processes at once."""
        if not self._paths():
            make_private_directory(self._directory)
            _publish_key(self._directory, 1)
        return self.load()

    def rotate(self, overlap_s: float = OVERLAP_S) -> str:
        """Add a key, which signs from now on; returns its kid.

        Args:
            overlap_s: how long older keys go on verifying, those apart that end sooner anyway. 0: from now on
                only the new one does, so that every token signed so far is void.

        Raises:
            ConfigurationError: another rotation holds the directory for ROTATION_WAIT_S.
        """
        make_private_directory(self._directory)
        with _hold_rotation(self._directory):
            is_published = False
            while not is_published:
                older = self._paths()
                for path in older:
                    # What stands beside the newest is left of a rotation that stopped half-way.
                    _limit_key(path, time.time() + overlap_s, anew=path == older[-1])
                number = _number_of(older[-1]) + 1 if older else 1
                # False where another process made the first key meanwhile, which is then an older one.
                is_published = _publish_key(self._directory, number)
        self.load()
        assert self._newest is not None
        return self._newest.kid

    @property
    def signing_key(self) -> SigningKey:
        """The newest key; raises ConfigurationError before `load`, or when every key has been withdrawn."""
        # Looked at each time, which is to ask for one time of change: what signs changes everywhere at once.
        if self._newest is not None and (
            self._read_mtime_ns is None or self._mtime_ns() != self._read_mtime_ns
        ):
            self._read_again()
        if self._newest is None:
            raise ConfigurationError("The signing keys are not loaded.")
        return self._newest

    def find(self, kid: str) -> Ed25519PublicKey | None:
        """The key of this kid, or None."""
        self._follow_directory()
        key = self._keys.get(kid)
        if key is None and self._mtime_ns() != self._seen_mtime_ns:
            self._read_again()
            key = self._keys.get(kid)
        if kid in self._ending and self._ending[kid].is_over:
            self._read_again()
            return None
        return key

    @property
    def ends(self) -> dict[str, float]:
        """Until when (Unix seconds) each key verifies, by its kid, oldest first; infinite for what signs."""
        return {key.kid: key.until_s for key in self._by_file.values()}

    def to_jwks(self) -> dict[str, Any]:
        """The JWK set to publish, with every key that is in the directory now."""
        self._follow_directory()
        return super().to_jwks()

    def _accept(self, by_file: dict[str, SigningKey]) -> None:
        """Make these the keys of the ring, oldest first."""
        self._by_file = by_file
        self._newest = list(by_file.values())[-1] if by_file else None
        self._keys = {key.kid: key.private.public_key() for key in by_file.values()}
        self._ending = {key.kid: key for key in by_file.values() if key.until_s != float("inf")}

    def _retire(self, loaded: dict[str, SigningKey]) -> dict[str, SigningKey]:
        """Those that are not over; the files of the others are removed. The newest has no end."""
        kept: dict[str, SigningKey] = {}
        for place, (name, key) in enumerate(loaded.items(), 1):
            if place == len(loaded):
                kept[name] = replace(key, until_s=float("inf"))
            elif key.is_over:
                with contextlib.suppress(OSError):  # a directory that only others may write to
                    (self._directory / name).unlink(missing_ok=True)
                    (self._directory / name).with_suffix(_UNTIL).unlink(missing_ok=True)
            else:
                kept[name] = key
        return kept

    def _follow_directory(self) -> None:
        """Read the directory again when it has changed, looking at most once in RESCAN_INTERVAL_S."""
        if time.monotonic() - self._looked_at_s < RESCAN_INTERVAL_S:
            return
        self._looked_at_s = time.monotonic()
        mtime_ns = self._settled_mtime_ns()
        if mtime_ns is not None and mtime_ns == self._read_mtime_ns:
            return
        self._read_again()

    def _read_again(self) -> None:
        try:
            self.load()
        except ConfigurationError as error:
            # A directory gone bad must not make a server error of every token, nor keep a deleted key alive.
            _log.warning("the signing keys cannot be read again: %s", error)
            there = {path.name for path in self._paths()}
            self._accept({name: key for name, key in self._by_file.items() if name in there})

    def _settled_mtime_ns(self) -> int | None:
        """When the directory last changed, or None if that is so recent that a second change may not show."""
        mtime_ns = self._mtime_ns()
        if mtime_ns is None:
            return None
        return mtime_ns if time.time_ns() - mtime_ns > _SETTLED_NS else None

    def _mtime_ns(self) -> int | None:
        try:
            return self._directory.stat().st_mtime_ns
        except OSError:
            return None

    def _paths(self) -> list[Path]:
        if not self._directory.is_dir():
            return []
        return sorted(path for path in self._directory.iterdir() if _FILE_NAME.fullmatch(path.name))


def compute_thumbprint(key: Ed25519PublicKey) -> str:
    """The key's RFC 7638 thumbprint (SHA-256, base64url, 43 characters)."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": _raw_base64url(key)}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return _encode_base64url(hashlib.sha256(canonical.encode()).digest())


def _publish_key(directory: Path, number: int) -> bool:
    """Make a key file of this number; False when it exists already."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = directory / f".draft-{secrets.token_hex(8)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, fails when the name is taken: the first process wins.
        os.link(draft, directory / f"signing-{number:06d}.pem")
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    sync_directory(directory)
    return True


@contextlib.contextmanager
def _hold_rotation(directory: Path) -> Iterator[None]:
    """Keep other rotations out; what the kernel holds ends with the process."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    deadline_s = time.monotonic() + ROTATION_WAIT_S
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise ConfigurationError(f"Another rotation of {directory} is under way.") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _read_key(path: Path) -> SigningKey:
    try:
        if path.stat().st_mode & _EXPOSED_BITS:
            raise ConfigurationError(f"Others can read or replace the signing key {path}: chmod 600 it.")
        private = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"The signing key {path} cannot be read: {type(error).__name__}.") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigurationError(f"The signing key {path} is not an Ed25519 key.")
    return SigningKey(compute_thumbprint(private.public_key()), private, _read_limit(path))


def _read_limit(path: Path) -> float:
    try:
        return float(path.with_suffix(_UNTIL).read_text("ascii"))
    except FileNotFoundError:
        return float("inf")
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path.with_suffix(_UNTIL)} is not a number of Unix seconds: {type(error).__name__}."
        ) from None


def _limit_key(path: Path, until_s: float, *, anew: bool) -> None:
    """Let a key end at that time, unless it ends sooner; `anew` passes over what it had."""
    draft = path.with_name(f".draft-{secrets.token_hex(8)}")
    if not anew and until_s >= _read_limit(path):
        return
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{int(until_s)}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path.with_suffix(_UNTIL))
    sync_directory(path.parent)


def _number_of(path: Path) -> int:
    match = _FILE_NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def _raw_base64url(key: Ed25519PublicKey) -> str:
    return _encode_base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def _encode_base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode_base64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
