"""Lines: their form, and what can never stand in them."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any

import pytest
from pydantic import SecretStr

from serving.errors import StageUnavailable
from serving.settings import load_settings
from serving.telemetry.log_lines import HIDDEN, LineMaker, Scrubber
from serving.telemetry.process import list_secrets
from serving.telemetry.request_notes import CURRENT, RequestNote

PROCESS = {"deployment": "Ingress", "replica": "r1"}
TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
KEY = "rck_0123456789abcdef_ABCDEFGHIJKLMNOPQRSTUVWX"


def make_record(
    message: str, *args: Any, error: BaseException | None = None, **extra: Any
) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("serving.test", logging.ERROR, __file__, 1, message, args, info)
    record.__dict__.update(extra)
    return record


def read(line: str) -> dict[str, Any]:
    assert line.endswith("\n")
    assert line.count("\n") == 1
    return json.loads(line)


def test_a_line_has_when_who_and_what() -> None:
    line = LineMaker(PROCESS).render(
        0.25, "info", "rollcall.requests", "GET /x 200", {"status": 200, "event": None}
    )
    assert read(line) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "logger": "rollcall.requests",
        "message": "GET /x 200",
        "status": 200,
        **PROCESS,
    }


def test_a_record_within_a_request_has_its_ids() -> None:
    token = CURRENT.set(RequestNote("abc", trace_id="f" * 32))
    try:
        line = read(LineMaker(PROCESS).render_record(make_record("slow: %s", "disk", fields={"job": "j"})))
    finally:
        CURRENT.reset(token)
    assert (line["request_id"], line["trace_id"], line["job"]) == ("abc", "f" * 32, "j")
    assert line["message"] == "slow: disk"
    assert line["level"] == "error"


def test_rollcalls_own_words_through_serves_logger_go_by_their_module() -> None:
    from serving.api import middleware

    record = logging.LogRecord("ray.serve", logging.INFO, str(middleware.__file__), 1, "x", (), None)
    assert read(LineMaker({}).render_record(record))["logger"] == "serving.api.middleware"


def raise_nested(secret: str) -> None:
    try:
        int(secret)
    except ValueError as error:
        raise KeyError(secret) from error


@pytest.mark.parametrize("as_text", [False, True], ids=["json", "text"])
def test_an_exception_is_told_without_any_argument(as_text: bool) -> None:
    try:
        raise_nested("Ada Lovelace")
    except KeyError as error:
        line = LineMaker(PROCESS, as_text=as_text).render_record(make_record("failed", error=error))
    assert "Ada" not in line
    for part in ("KeyError", "ValueError", "in raise_nested", "test_log_lines.py"):
        assert part in line
    if not as_text:
        told = read(line)["error"]
        assert told["type"] == "KeyError"
        assert re.fullmatch(r".*test_log_lines\.py:\d+ in raise_nested", told["stack"][-1])
        assert [cause["type"] for cause in told["causes"]] == ["ValueError"]


def test_what_errors_say_of_themselves() -> None:
    error = StageUnavailable("the gallery is away")
    told = LineMaker({}).describe_error(error)
    assert (told["code"], told["message"]) == ("stage_unavailable", "the gallery is away")
    assert (
        LineMaker({}).describe_error(OSError(28, "No space left", "/data/ada.jpg"))["message"]
        == "No space left"
    )
    assert "message" not in LineMaker({}).describe_error(ValueError("x"))
    all_told = LineMaker({}, tells_all=True).describe_error(ValueError(f"bad {TOKEN}"))
    assert all_told["message"] == f"bad {HIDDEN}"


@pytest.mark.parametrize(
    "said",
    [
        f"Authorization: Bearer {TOKEN}",
        f"key {KEY} was refused",
        "connecting to postgresql://rollcall:hunter2secret@db/rollcall",
        "redis://:hunter2secret@cache:6379/0",
        "password=hunter2secret;host=db",
        "api-key: hunter2secret",
        "configured: hunter2secret",
        "Basic aHVudGVyMnNlY3JldA==",
    ],
)
def test_credentials_are_hidden(said: str) -> None:
    line = LineMaker({}, scrubber=Scrubber(["hunter2secret"])).render_record(make_record(said))
    for secret in (TOKEN, KEY, "hunter2secret", "aHVudGVyMnNlY3JldA"):
        assert secret not in line
    assert HIDDEN in line


def test_every_secret_of_the_settings_is_known_to_the_scrubber() -> None:
    settings = load_settings(
        {
            "database_url": "postgresql://rollcall:database-secret@127.0.0.1/rollcall",
            "gallery": {"api_key": "gallery-secret"},
            "metrics": {"token": "metrics-secret"},
            "tracing": {"endpoint": "http://c/v1/traces", "headers": "a=header-secret,b=other-secret"},
        }
    )
    secrets = set(list_secrets(settings))
    assert {"database-secret", "gallery-secret", "metrics-secret", "header-secret", "other-secret"} <= secrets
    assert SecretStr("x") not in secrets
    assert not {"", "a", "b"} & secrets
    said = " ".join(sorted(secrets))
    assert "secret" not in Scrubber(secrets).scrub(said)


@pytest.mark.parametrize("as_text", [False, True], ids=["json", "text"])
@pytest.mark.parametrize(
    "message", ["two\nlines", "a\r\x1b[31mb", '{"forged": 1}\n{"level": "info"}', "\u2028x", "é"]
)
def test_nothing_that_is_said_makes_a_second_line(message: str, as_text: bool) -> None:
    line = LineMaker(PROCESS, as_text=as_text).render(0, "info", "x", message, {"event": message})
    assert len(line.rstrip("\n").split("\n")) == 1
    assert "\x1b" not in line
    assert "\r" not in line
    if not as_text:
        assert read(line)["message"] == message


def test_a_message_that_cannot_be_put_together_still_is_a_line() -> None:
    assert read(LineMaker({}).render_record(make_record("%d people", "many")))["message"] == "%d people"
    assert "[" in LineMaker({}).render(0, "info", "x", "y", {"odd": object, "many": [1, 2]})
    assert sys.getsizeof(LineMaker({}).render_record(make_record("x" * 10**6))) < 10_000
