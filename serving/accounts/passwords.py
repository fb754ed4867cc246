"""Passwords: argon2id hashes, computed off the event loop.

One hash takes 64 MiB and tens of milliseconds by design, so only a few run at a time in a process.
"""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from passlib.context import CryptContext

from serving.errors import InvalidRequest

MIN_PASSWORD_CHARS = 12
MAX_PASSWORD_CHARS = 256
_HASHING_THREADS = 2

# RFC 9106, second recommendation, with one lane: more lanes would only spread the work over more cores.
_context = CryptContext(
    schemes=["argon2"], argon2__type="ID", argon2__memory_cost=65536, argon2__rounds=3, argon2__parallelism=1
)
_executor = ThreadPoolExecutor(_HASHING_THREADS, thread_name_prefix="password")


async def hash_password(password: str) -> str:
    """The hash to store.

    Raises:
        InvalidRequest: fewer than 12 or more than 256 characters.
    """
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise InvalidRequest(
            f"A password has {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters.",
            field="password",
            min_chars=MIN_PASSWORD_CHARS,
            max_chars=MAX_PASSWORD_CHARS,
        )
    return await asyncio.get_running_loop().run_in_executor(_executor, _hash, password)


async def verify_password(password: str, password_hash: str | None) -> bool:
    """Whether the password belongs to the hash; takes as long when there is no hash to compare with."""
    if len(password) > MAX_PASSWORD_CHARS:
        return False
    return await asyncio.get_running_loop().run_in_executor(_executor, _verify, password, password_hash)


def _hash(password: str) -> str:
    return str(_context.hash(password))


def _verify(password: str, password_hash: str | None) -> bool:
    # Looked up in both cases: the first call makes it, and must not betray which names exist.
    stand_in = _make_stand_in()
    matches = bool(_context.verify(password, password_hash or stand_in))
    return matches and password_hash is not None


@cache
def _make_stand_in() -> str:
    return _hash(secrets.token_urlsafe())
