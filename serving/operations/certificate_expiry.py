"""How long certificates are good, and the one that a server shows."""

from __future__ import annotations

import datetime
import socket
import ssl

from cryptography import x509

EXPIRING_DAYS = 30
"""A certificate with less than this left is named: a month holds the next time that somebody looks."""
_ASK_POSTGRES_FOR_TLS = bytes.fromhex("0000000804d2162f")
"""SSLRequest of PostgreSQL's protocol (Message Formats), which begins in the clear."""


def tell_expiry(certificate: x509.Certificate) -> str | None:
    """That a certificate has expired or is about to, and when; None while it has more than a month."""
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.timezone.utc)
    if left > datetime.timedelta(days=EXPIRING_DAYS):
        return None
    is_over = left <= datetime.timedelta()
    return f"{'expired' if is_over else 'expires'} on {certificate.not_valid_after_utc:%Y-%m-%d}"


def fetch_certificate(
    host: str, port: int, *, timeout_s: float, is_postgres: bool = False
) -> x509.Certificate | None:
    """What a server shows, trusted or not; None where it does not speak TLS.

    Args:
        timeout_s: for each wait.
        is_postgres: it is asked in PostgreSQL's way.

    Raises:
        OSError: nothing answers, or the handshake fails.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # who trusts it looks at its names
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        if is_postgres:
            connection.sendall(_ASK_POSTGRES_FOR_TLS)
            if connection.recv(1) != b"S":
                return None
        with context.wrap_socket(connection, server_hostname=host) as secured:
            shown = secured.getpeercert(binary_form=True)
    return None if shown is None else x509.load_der_x509_certificate(shown)
