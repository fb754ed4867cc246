"""What is known of a person beside id and faces: the rules for it, and how it changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import null

from serving.errors import InvalidRequest
from serving.registry.identifiers import MAX_NAME_CHARS, check_name

MAX_METADATA_BYTES = 4096
"""Of the metadata as compact JSON in UTF-8: a badge, a table, a few links; a document belongs elsewhere."""
MAX_METADATA_DEPTH = 3
MAX_CONSENT_CHARS = 200
_MAX_FOLDED_CHARS = 3 * MAX_NAME_CHARS  # no character folds to more than three
_MAX_WHOLE_NUMBER = 2**53  # beyond it, readers that keep numbers as doubles change them


@dataclass(frozen=True, slots=True)
class PersonDetails:
    """What an enrolment says of a person; None leaves what is known as it is.

    Attributes:
        name: for people to read.
        metadata: a JSON object of the caller's; replaces the one there is.
        consent_reference: names the person's consent in the caller's own records.
    """

    name: str | None = None
    metadata: Mapping[str, Any] | None = None
    consent_reference: str | None = None

    def check(self) -> None:
        """Raise InvalidRequest when one of them breaks its rule."""
        check_name(self.name)
        check_metadata(self.metadata)
        check_consent_reference(self.consent_reference)

    @property
    def columns(self) -> dict[str, Any]:
        """The values of the table's columns for what is given."""
        given: dict[str, Any] = {}
        if self.name is not None:
            given.update(name=self.name, name_folded=fold_name(self.name))
        if self.metadata is not None:
            given["metadata"] = dict(self.metadata) or null()
        if self.consent_reference is not None:
            given["consent_reference"] = self.consent_reference
        return given


def check_consent_reference(reference: str | None) -> str | None:
    """Return it; raise InvalidRequest unless it is None or 1 to 200 printable characters, not all blank."""
    if reference is None:
        return None
    if (
        not isinstance(reference, str)
        or not reference.strip()
        or len(reference) > MAX_CONSENT_CHARS
        or not reference.isprintable()
    ):
        raise InvalidRequest(
            f"A consent reference has 1 to {MAX_CONSENT_CHARS} printable characters, not all blank.",
            field="consent_reference",
            max_chars=MAX_CONSENT_CHARS,
        )
    return reference


def check_metadata(metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return it; raise InvalidRequest unless it is None or a JSON object within the bounds.

    Texts are Unicode without NUL, which not every database stores; numbers are finite, whole ones at most
    2^53.
    """
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise _refused("is a JSON object")
    _check_value(metadata, MAX_METADATA_DEPTH)
    try:
        size = len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode())
    except (TypeError, ValueError):
        raise _refused("holds text, finite numbers, true, false, null, arrays and objects") from None
    if size > MAX_METADATA_BYTES:
        raise _refused(f"has at most {MAX_METADATA_BYTES} bytes as JSON", bytes=size)
    return metadata


def _check_value(value: Any, levels: int) -> None:
    if isinstance(value, (Mapping, list)):
        if levels == 0:
            raise _refused(f"is nested at most {MAX_METADATA_DEPTH} deep")
        for key in value if isinstance(value, Mapping) else ():
            _check_value(key, levels)
        for member in value.values() if isinstance(value, Mapping) else value:
            _check_value(member, levels - 1)
    elif isinstance(value, str) and "\0" in value:
        raise _refused("holds no NUL character")
    elif isinstance(value, int) and abs(value) > _MAX_WHOLE_NUMBER:
        raise _refused("holds whole numbers up to 2^53; send larger ones as text")


def _refused(rule: str, **context: Any) -> InvalidRequest:
    return InvalidRequest(
        f"The metadata of a person {rule}.",
        field="metadata",
        max_bytes=MAX_METADATA_BYTES,
        max_depth=MAX_METADATA_DEPTH,
        **context,
    )


def fold_name(name: str) -> str:
    """The name as the search by name compares it: without case, at most 600 characters."""
    return name.casefold()[:_MAX_FOLDED_CHARS]


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` after the merge patch (RFC 7396): objects are merged, null removes, all else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged
