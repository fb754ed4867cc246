"""What the header and the manifest of a backup must look like, before anybody relies on it.

A backup comes from where it was kept: what is in it need not be what Rollcall wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from serving.errors import BackupError

MAX_VALUE_LENGTH = 200
ShortText = Annotated[str, StringConstraints(max_length=MAX_VALUE_LENGTH)]
Revision = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}$")]


class _Form(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Place(_Form):
    folder: ShortText
    event_key: ShortText
    partition: ShortText
    pack_id: ShortText


class _Header(_Form):
    rollcall: ShortText
    revision: Revision
    taken_at: ShortText
    tables: dict[ShortText, dict[ShortText, Literal["plain", "time", "flag", "json"]]]
    packs: dict[ShortText, int]
    places: list[_Place]


class _Member(_Form):
    sha256: ShortText
    rows: int


class _Manifest(_Form):
    members: dict[str, _Member]
    rows: dict[ShortText, int]
    vectors: int


def check_header(content: Mapping[str, Any]) -> None:
    """Raise BackupError unless all that is read of a header is there, and its time has a zone."""
    _check(_Header, content, "header")
    try:
        has_zone = datetime.fromisoformat(content["taken_at"]).tzinfo is not None
    except ValueError:
        has_zone = False
    if not has_zone:
        raise BackupError("the backup's header does not say when it was taken")


def check_manifest(content: Any) -> None:
    """Raise BackupError unless it says of each member what is to be compared."""
    _check(_Manifest, content, "manifest")


def check_row(part_name: str, row: Any) -> None:
    """Raise BackupError unless a row is of the form that its folder has; `read_face` looks at vectors."""
    is_right = True
    if part_name.startswith("registry/"):
        is_right = isinstance(row, dict)
    elif part_name.startswith("erasures/"):
        is_right = isinstance(row, list) and len(row) == 2 and all(isinstance(each, str) for each in row)
        is_right = is_right and _is_time(row[1])
    if not is_right:
        raise BackupError(f"the part {part_name} holds a row that is none")


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _check(form: type[BaseModel], content: Any, what: str) -> None:
    try:
        form.model_validate(content)
    except ValidationError as error:
        where = ".".join(str(each) for each in error.errors(include_input=False)[0]["loc"])[:MAX_VALUE_LENGTH]
        raise BackupError(f"the backup's {what} is not as Rollcall writes it: {where or what}") from None
