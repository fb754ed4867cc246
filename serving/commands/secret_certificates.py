"""Certificates of a deployment's own authority: made, and read for what they are good for."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from serving.errors import CommandError

AUTHORITY_NAME = "Rollcall's own authority"
AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 825
"""The longest that clients such as Apple's accept for a server's certificate."""
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_HOST_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*\.?")


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()


def check_host(host: str, option: str) -> str:
    """A name or address that a certificate can carry, or an error that names the option.

    Raises:
        CommandError: it is neither, or it has a scheme or a port.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not host.isascii():  # an authority signs the form that travels
        raise CommandError(f"{option} {host}: write it as in a URL, xn--...")
    if not _HOST_NAME.fullmatch(host) or len(host) > 253:
        raise CommandError(f"{option} {host!r}: a name or an address alone, without scheme, port or spaces")
    return host.lower().rstrip(".")


def make_authority() -> Signed:
    """A new authority, good for `AUTHORITY_DAYS`, that signs servers and no other authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, AUTHORITY_NAME)])
    builder = _begin(name, name, key, _in_days(AUTHORITY_DAYS))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    return Signed(builder.sign(key, hashes.SHA256()), key)


def load_authority(authorities: Iterable[x509.Certificate], key: bytes) -> Signed:
    """The authority whose key this is.

    Args:
        authorities: those in ca.pem.
        key: what ca.key holds.

    Raises:
        CommandError: it is not a key that `rollcall secrets` made, or belongs to none of them.
    """
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError):
        private = None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise CommandError("ca.key: not an elliptic curve key, so not one that `rollcall secrets` made")
    for certificate in authorities:
        if certificate.public_key() == private.public_key():
            return Signed(certificate, private)
    raise CommandError(
        "ca.key is the key of no certificate in ca.pem: bring back the one that belongs to it (several may "
        "stand there, one after the other). Nothing was written"
    )


def sign(signer: Signed, names: Sequence[str]) -> Signed:
    """A server's certificate for these names and addresses, no longer good than its authority's."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    until = min(_in_days(CERTIFICATE_DAYS), signer.certificate.not_valid_after_utc)
    builder = _begin(subject, signer.certificate.subject, key, until)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    for extension, critical in (
        (x509.SubjectAlternativeName([_general_name(name) for name in names]), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (issuer, False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    return Signed(builder.sign(signer.key, hashes.SHA256()), key)


def load_certificates(pem: bytes, file: str) -> list[x509.Certificate]:
    """The certificates of a file, the server's own first; keys in it are passed over.

    Raises:
        CommandError: it holds none, or one that cannot be read.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CommandError(f"{file} holds no certificate that can be read: replace or remove it") from None


def list_names(certificate: x509.Certificate) -> list[str]:
    """The names and addresses that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [
        *(str(name).lower() for name in names.get_values_for_type(x509.DNSName)),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    ]


def find_missing(certificate: x509.Certificate, names: Iterable[str]) -> list[str]:
    """Which of these names a client would not find in a certificate; `*.` stands for one label."""
    there = set(list_names(certificate))
    return [name for name in names if name not in there and f"*.{name.partition('.')[2]}" not in there]


def is_of_own_kind(certificate: x509.Certificate) -> bool:
    """Whether an authority of `rollcall secrets` signed it, be it the one of this folder or not."""
    return certificate.issuer.rfc4514_string() == f"CN={AUTHORITY_NAME}"


def is_signed_by(certificate: x509.Certificate, authorities: Iterable[x509.Certificate]) -> bool:
    """Whether one of the authorities signed it itself."""
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, until: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_in_days(0) - datetime.timedelta(hours=1))  # clocks differ
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _in_days(days: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)


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


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
