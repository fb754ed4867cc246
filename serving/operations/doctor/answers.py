"""What a service says over HTTP, and whether it is one of Rollcall's that says it."""

from __future__ import annotations

import email.utils
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from serving.operations.doctor.checks import Subject
from serving.operations.service_note import read_note

HTTP_TIMEOUT_S = 5.0
OWN_TIMEOUT_S = 2.0
"""Four of these, asked one after another, end within a check's deadline."""
MAX_ANSWER_BYTES = 64 * 2**10
"""Health and problem documents are far smaller; what else answers may send without end."""
OWN_ERROR = "urn:rollcall:error:"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer.

    Attributes:
        status: of HTTP.
        date: its Date in Unix seconds, of whole seconds; None where it tells none.
        has_request_id: as all of the service's own answers have.
        body: its first bytes.
    """

    status: int
    date: float | None
    has_request_id: bool
    body: bytes

    @property
    def is_own(self) -> bool:
        """Whether Rollcall made it: its health, or a problem in its words."""
        try:
            content = json.loads(self.body)
        except ValueError:
            return False
        if not isinstance(content, dict):
            return False
        is_health = self.status == 200 and content == {"status": "ok"} and self.has_request_id
        return is_health or str(content.get("type")).startswith(OWN_ERROR)


def find_url(subject: Subject) -> str | None:
    """Where the service should answer: as named, else as `rollcall serve` noted; None where none is known."""
    if subject.url is not None:
        return subject.url.rstrip("/")
    note = read_note(subject.settings.data_dir)
    return None if note is None else note.url


def get(url: str, *, is_verified: bool, timeout_s: float = HTTP_TIMEOUT_S) -> Answer:
    """What is answered, an error's status or not.

    Args:
        is_verified: False where a process of this machine is asked by an address: the certificate is for a
            public name. No proxy is asked then either.
        timeout_s: for each wait.

    Raises:
        OSError: nothing answers.
    """
    context = ssl.create_default_context()
    handlers: list[Any] = [urllib.request.HTTPSHandler(context=context)]
    if not is_verified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        handlers.append(urllib.request.ProxyHandler({}))
    try:
        answer = urllib.request.build_opener(*handlers).open(url, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        answer = error
    except HTTPException as error:
        raise ConnectionError(f"no answer of HTTP: {type(error).__name__}") from None
    with answer:
        try:
            body = answer.read(MAX_ANSWER_BYTES)
        except HTTPException as error:
            raise ConnectionError(f"no whole answer: {type(error).__name__}") from None
    date = answer.headers.get("Date")
    return Answer(
        int(answer.status),
        None if date is None else email.utils.parsedate_to_datetime(date).timestamp(),
        "x-request-id" in answer.headers,
        body,
    )


def is_rollcall(url: str, *, is_verified: bool) -> bool:
    """Whether a service of Rollcall answers there, be it ready or not."""
    for path in ("/healthz", "/readyz"):
        try:
            if get(url + path, is_verified=is_verified, timeout_s=OWN_TIMEOUT_S).is_own:
                return True
        except (OSError, ValueError):
            return False
    return False
