"""What goes wrong in a database, in Rollcall's words; the driver's own go to the log only."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import ssl

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from serving.errors import (
    ConfigurationError,
    DeadlineExceeded,
    Overloaded,
    RollcallError,
    StageUnavailable,
    StorageFull,
)

_log = logging.getLogger(__name__)

# PostgreSQL, appendix A of its manual: classes by their first two characters, and single codes.
_UNAVAILABLE_CLASSES = ("08", "57", "58", "53", "XX")
_BUSY_CODES = frozenset({"53300", "55P03", "40001", "40P01"})  # connections, lock, serialisation, deadlock
_CANCELED = "57014"
_FULL_CODES = {"53100": "The database's disk is full.", "25006": "The database is read-only."}
_SQLITE_BUSY = ("locked", "busy")
_SQLITE_FULL = ("disk is full", "readonly", "read-only", "disk I/O error")


def translate_fault(error: Exception) -> Exception:
    """The error to raise in place of this one; itself where it is nothing that a database does."""
    if isinstance(error, RollcallError):
        return error
    if isinstance(error, PoolTimeout):
        return Overloaded("Too many requests wait for the database.")
    cause = error.orig if isinstance(error, DBAPIError) else error
    found = _translate_postgres(cause) or _translate_sqlite(cause)
    if found is None:
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        if not lost and not isinstance(
            error, (OperationalError, InterfaceError, OSError, asyncio.TimeoutError)
        ):
            return error
        found = StageUnavailable("The database cannot be reached.")
    if not isinstance(found, Overloaded):
        _log.error("database unavailable: %s: %s", type(cause).__name__, cause)
    return found


def translate_opening_fault(error: Exception) -> Exception:
    """As `translate_fault`, at the start, when a certificate not trusted is a fault of configuration."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, ssl.SSLError):
        return ConfigurationError(
            f"database_url: the server's certificate is not trusted ({cause.reason or cause}); let "
            "sslrootcert name the authority that signed it, and the URL the host as the certificate does",
            key="database_url",
        )
    return translate_fault(error)


def _translate_postgres(cause: object) -> RollcallError | None:
    code = getattr(cause, "sqlstate", None)
    if not isinstance(code, str):
        return None
    if code in _FULL_CODES:
        return StorageFull(_FULL_CODES[code])
    if code in _BUSY_CODES:
        return Overloaded("Too many requests wait for the database.")
    if code == _CANCELED:
        return DeadlineExceeded("The database did not answer in time.")
    if code.startswith(_UNAVAILABLE_CLASSES):
        return StageUnavailable("The database cannot be reached.")
    return None


def _translate_sqlite(cause: object) -> RollcallError | None:
    if not isinstance(cause, sqlite3.OperationalError):
        return None
    said = str(cause)
    if any(sign in said for sign in _SQLITE_BUSY):
        return Overloaded("Too many writes wait for the database.")
    if any(sign in said for sign in _SQLITE_FULL):
        return StorageFull("The disk of the registry is full or cannot be written.")
    return None
