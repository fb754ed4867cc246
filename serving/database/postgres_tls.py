"""What a libpq URL says of TLS and of which server to choose, handed to asyncpg in the form it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sqlalchemy.engine import URL

from serving.errors import ConfigurationError

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_PARAMETERS = frozenset(
    {*_FILES, "sslmode", "sslpassword", "ssl_min_protocol_version", "target_session_attrs"}
)


def split_url(url: URL) -> tuple[URL, dict[str, Any]]:
    """A PostgreSQL URL for SQLAlchemy, and what asyncpg's `connect` is given beside it.

    SQLAlchemy would hand `sslmode=verify-full` on as an argument that asyncpg knows only in a DSN.

    Raises:
        ConfigurationError: an unknown sslmode, or a certificate that cannot be read.
    """
    taken = {name: value for name, value in url.query.items() if name in _PARAMETERS}
    if not taken:
        return url, {}
    mode = taken.get("sslmode", "prefer")
    if mode not in MODES:
        raise ConfigurationError(f"database_url: sslmode is none of {', '.join(MODES)}", key="database_url")
    if mode in ("verify-ca", "verify-full") and "sslrootcert" not in taken:
        raise ConfigurationError(
            f"database_url: sslmode={mode} needs sslrootcert, a PEM file of the authority that signed the "
            "server's certificate",
            key="database_url",
        )
    for name in _FILES:
        if name in taken and not _is_readable(str(taken[name])):
            raise ConfigurationError(
                f"database_url: the file that {name} names cannot be read", key="database_url"
            )
    dsn = f"postgresql:///?{urlencode(taken, doseq=True)}"
    return url.difference_update_query(taken), {"dsn": dsn}


def _is_readable(path: str) -> bool:
    try:
        with Path(path).open("rb"):
            return True
    except OSError:
        return False
