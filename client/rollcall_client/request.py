"""A request to the service, before anything is sent."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from rollcall_client.bodies import Body

T = TypeVar("T")


class Answer(BaseModel):
    """Base of what the service answers. Fields that a newer service adds are ignored."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, populate_by_name=True, use_attribute_docstrings=True
    )


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One request.

    Attributes:
        method: of HTTP.
        path: with its parameters in it, escaped.
        answers: the type of the answer: a model, `str`, `bytes` for what is streamed, or None.
        query: parameters; those that are None are left out.
        body: what is sent, if anything.
        headers: besides those that every request has.
        can_repeat: whether doing it twice is as good as once; one with an `Idempotency-Key` always can.
        takes_timeout: whether the service reads `X-Timeout-S` here.
        is_long: whether it takes as long as its body does, so that no deadline holds unless one is given.
    """

    method: str
    path: str
    answers: type[T] | None
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Body | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    can_repeat: bool = False
    takes_timeout: bool = False
    is_long: bool = False

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent again when it is not known what became of it."""
        can_send_twice = self.body is None or self.body.can_repeat
        return can_send_twice and (self.can_repeat or "Idempotency-Key" in self.headers)


def fill_path(template: str, **values: str) -> str:
    """`template` with each `{name}` replaced by its value, escaped.

    Raises:
        ValueError: a value is empty, `.` or `..`: it would lead to another route.
    """
    for name, value in values.items():
        if value in ("", ".", ".."):
            raise ValueError(f"{name} must not be {value!r}")
        template = template.replace("{" + name + "}", quote(value, safe=""))
    return template


def make_key_header(key: str | None) -> dict[str, str]:
    """The `Idempotency-Key` header: the caller's key, or a new one that makes tries of one call safe."""
    return {"Idempotency-Key": key or str(uuid.uuid4())}


def drop_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is None."""
    return {name: value for name, value in values.items() if value is not None}
