"""Passwords: their rule, and argon2id hashes computed off the event loop.

One hash takes 64 MiB and tens of milliseconds by design, so only a few run at a time in a process, and only
some more may wait.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from passlib.context import CryptContext

from serving.errors import Overloaded, WeakPassword

T = TypeVar("T")

MIN_PASSWORD_CHARS = 10
MAX_PASSWORD_CHARS = 1024
_HASHING_THREADS = 2
_MAX_WAITING = 64
"""Some three seconds of hashing: whoever comes later is told at once to try again."""

# RFC 9106, second recommendation, with one lane: more lanes would only spread the work over more cores.
_context = CryptContext(
    schemes=["argon2"], argon2__type="ID", argon2__memory_cost=65536, argon2__rounds=3, argon2__parallelism=1
)
_executor = ThreadPoolExecutor(_HASHING_THREADS, thread_name_prefix="password")
_at_work = 0


def check_password(password: str, name: str, min_chars: int = MIN_PASSWORD_CHARS) -> str:
    """Return the password; raise WeakPassword unless it keeps the rule for the account of this name.

    The rule is its length and that it is not the name. Kinds of characters are not asked for: they make
    passwords that are hard to remember rather than hard to guess.
    """
    if not min_chars <= len(password) <= MAX_PASSWORD_CHARS:
        raise WeakPassword(
            f"A password has {min_chars} to {MAX_PASSWORD_CHARS} characters.",
            min_chars=min_chars,
            max_chars=MAX_PASSWORD_CHARS,
        )
    if password.casefold() == name.casefold():
        raise WeakPassword("The password is the name.", min_chars=min_chars, max_chars=MAX_PASSWORD_CHARS)
    if "\x00" in password or any("\ud800" <= character <= "\udfff" for character in password):
        raise WeakPassword(
            "A password has no NUL and no lone surrogate.", min_chars=min_chars, max_chars=MAX_PASSWORD_CHARS
        )
    return password


async def hash_password(password: str) -> str:
    """The hash to store, of a password that `check_password` let pass.

    Raises:
        Overloaded: more passwords wait than are hashed in a reasonable time.
    """
    return await _run(_hash, password)


async def verify_password(password: str, password_hash: str | None) -> bool:
    """Whether the password belongs to the hash; takes as long when there is no hash to compare with.

    Raises:
        Overloaded: as `hash_password`.
    """
    if len(password) > MAX_PASSWORD_CHARS:
        return False
    return await _run(_verify, password, password_hash)


async def _run(work: Callable[..., T], *args: str | None) -> T:
    global _at_work
    if _at_work >= _HASHING_THREADS + _MAX_WAITING:
        raise Overloaded("Too many passwords wait to be checked.")
    _at_work += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_executor, work, *args)
    finally:
        _at_work -= 1


def _hash(password: str) -> str:
    return str(_context.hash(password))


def _verify(password: str, password_hash: str | None) -> bool:
    # Looked up in both cases: the first call makes it, and must not betray which names exist.
    stand_in = _make_stand_in()
    try:
        matches = bool(_context.verify(password, password_hash or stand_in))
    except (ValueError, TypeError):  # a password with a NUL or a lone surrogate was never stored
        return False
    return matches and password_hash is not None


@cache
def _make_stand_in() -> str:
    return _hash(secrets.token_urlsafe())
