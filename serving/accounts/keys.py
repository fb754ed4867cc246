"""Ed25519 keys that sign tokens: a directory of numbered PEM files, shared by all processes of a service.

`signing-000001.pem` is the first key, the highest number signs, all verify. A file appears complete or not
at all, so processes that start together agree on one key. To retire a key, delete its file once the last
token it signed has expired.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
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

from serving.database.location import make_private_directory
from serving.errors import ConfigurationError

RESCAN_INTERVAL_S = 5.0
_FILE_NAME = re.compile(r"signing-(\d{6})\.pem")
_EXPOSED_BITS = stat.S_IRWXO | stat.S_IWGRP


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One private key; its representation shows the kid alone."""

    kid: str
    private: Ed25519PrivateKey = field(repr=False)


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

    A kid it does not know makes it read the directory again, at most once in 5 seconds, so that a key
    added by another process is accepted without a restart.

    Args:
        directory: where the PEM files are or will be.
    """

    def __init__(self, directory: Path | str) -> None:
        super().__init__({})
        self._directory = Path(directory)
        self._newest: SigningKey | None = None
        self._scanned_at_s = float("-inf")

    def __repr__(self) -> str:
        return f"KeyRing({str(self._directory)!r}, kids={sorted(self._keys)})"

    def load(self) -> KeyRing:
        """Read the directory; returns the ring itself.

        Raises:
            ConfigurationError: there is no key, one that is not Ed25519, or one that others can read.
        """
        self._scanned_at_s = time.monotonic()
        loaded = [_read_key(path) for path in self._paths()]
        if not loaded:
            raise ConfigurationError(f"There is no signing key in {self._directory}.")
        self._newest = loaded[-1]
        self._keys = {key.kid: key.private.public_key() for key in loaded}
        return self

    def load_or_create(self) -> KeyRing:
        """Read the directory, after making the first key if there is none; safe in many processes at once."""
        if not self._paths():
            make_private_directory(self._directory)
            _publish_key(self._directory, 1)
        return self.load()

    def rotate(self) -> str:
        """Add a key, which signs from now on; returns its kid. Older keys go on verifying."""
        make_private_directory(self._directory)
        number = _number_of(self._paths()[-1]) + 1 if self._paths() else 1
        while not _publish_key(self._directory, number):
            number += 1
        self.load()
        return self.signing_key.kid

    @property
    def signing_key(self) -> SigningKey:
        """The newest key; raises ConfigurationError before `load`."""
        if self._newest is None:
            raise ConfigurationError("The signing keys are not loaded.")
        return self._newest

    def find(self, kid: str) -> Ed25519PublicKey | None:
        """The key of this kid, or None."""
        key = self._keys.get(kid)
        if key is None and time.monotonic() - self._scanned_at_s > RESCAN_INTERVAL_S:
            try:
                self.load()
            except ConfigurationError:
                return None  # a directory gone bad must not turn every unknown token into a server error
            key = self._keys.get(kid)
        return key

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
    _sync_directory(directory)
    return True


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
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
    return SigningKey(compute_thumbprint(private.public_key()), private)


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
