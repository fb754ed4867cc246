"""The secrets of a deployment, one file each: passwords, tokens, and certificates of an authority of its own.

What is there is kept, so making them again adds what is missing and changes nothing that runs. What follows
from another file, such as the database's URL from its password, is written anew each time.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from serving.errors import ConfigurationError
from serving.operations.private_files import MOUNTED_SECRETS

TOKEN_BYTES = 32
AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 825
"""The longest that clients such as Apple's accept for a server's certificate."""
SERVERS = ("postgres", "qdrant", "redis")
"""Whose certificates the deployment's own authority signs, under the names that docker-compose.yml gives."""
RANDOM = (
    "database_password",
    "gallery_api_key",
    "redis_password",
    "metrics_token",
    "ray_token",
    "grafana_password",
)


@dataclass(frozen=True, slots=True)
class Written:
    """A file and whether it was made now."""

    name: str
    made: bool


def make_secret_files(folder: Path, hosts: Sequence[str]) -> list[Written]:
    """Make what is missing of a deployment's secrets.

    Only the folder's owner can enter it; the files in it can be read by whoever a container engine mounts
    them for, since the users within containers are none of the host's.

    Args:
        folder: made with mode 0700 if it is not there.
        hosts: names and addresses that clients use; the proxy's certificate is for them.

    Raises:
        ConfigurationError: the folder cannot be written, others may enter it, or half an authority is there.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            raise ConfigurationError(f"Others can enter {folder}: chmod 700 it.")
        return _Maker(folder).make_all(hosts)
    except OSError as error:
        raise ConfigurationError(f"{error.filename or folder}: {error.strerror}") from None


class _Maker:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: list[Written] = []

    def make_all(self, hosts: Sequence[str]) -> list[Written]:
        for name in RANDOM:
            self._make(name, lambda: secrets.token_urlsafe(TOKEN_BYTES))
        database, redis = self._read("database_password"), self._read("redis_password")
        authority = f"{MOUNTED_SECRETS}/ca.pem"
        follows = {
            "database_url": f"postgresql://rollcall:{database}@postgres:5432/rollcall"
            f"?sslmode=verify-full&sslrootcert={authority}\n",
            "redis_url": f"rediss://:{redis}@redis:6379/0?ssl_ca_certs={authority}\n",
            "redis_auth.conf": f"requirepass {redis}\n",
            "qdrant_auth.yaml": f'service:\n  api_key: "{self._read("gallery_api_key")}"\n',
        }
        for name, text in follows.items():
            self._write(name, text)
        self._make_certificates(hosts)
        return self._written

    def _make_certificates(self, hosts: Sequence[str]) -> None:
        certificate, key = self._folder / "ca.pem", self._folder / "ca.key"
        if certificate.exists() != key.exists():
            lost = (key if certificate.exists() else certificate).name
            raise ConfigurationError(
                f"{self._folder} holds half an authority: bring {lost} back, or remove the other half and "
                "all certificates that it signed"
            )
        if not key.exists():
            made = _make_authority()
            self._write("ca.key", _encode_key(made.key), mode=0o600)
            self._write("ca.pem", made.pem)
        signer = _Certificate(
            x509.load_pem_x509_certificate(certificate.read_bytes()), _load_key(key.read_bytes())
        )
        for server in SERVERS:
            if not (self._folder / f"{server}.key").exists():
                made = _sign(signer, [server, "localhost", "127.0.0.1"])
                self._write(f"{server}.pem", made.pem)
                self._write(f"{server}.key", _encode_key(made.key))
        if not (self._folder / "proxy.pem").exists():
            made = _sign(signer, hosts)
            self._write("proxy.pem", _encode_key(made.key) + made.pem + signer.pem)

    def _make(self, name: str, make: Callable[[], str]) -> None:
        if (self._folder / name).exists():
            self._written.append(Written(name, made=False))
        else:
            self._write(name, make())

    def _read(self, name: str) -> str:
        return (self._folder / name).read_text("utf-8").strip()

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self._folder / name
        if path.exists() and path.read_text("utf-8") == text:
            self._written.append(Written(name, made=False))
            return
        beside = path.with_name(f".{name}.new")
        beside.unlink(missing_ok=True)
        with os.fdopen(
            os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        self._written.append(Written(name, made=True))


@dataclass(frozen=True, slots=True)
class _Certificate:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def _make_authority() -> _Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Rollcall's own authority")])
    builder = _begin(name, name, key, AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    return _Certificate(builder.sign(key, hashes.SHA256()), key)


def _sign(signer: _Certificate, hosts: Sequence[str]) -> _Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    builder = _begin(name, signer.certificate.subject, key, CERTIFICATE_DAYS)
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    builder = builder.add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(issuer, critical=False)
    return _Certificate(builder.sign(signer.key, hashes.SHA256()), key)


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not host.isascii():  # an authority signs the form that travels
            raise ConfigurationError(f"--host {host}: write it as in a URL, xn--...") from None
        return x509.DNSName(host)


def _encode_key(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError("ca.key: not an elliptic curve key, so not one that `rollcall secrets` made")
    return key
