"""Licences that restrict use: who accepted which text, when, and how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from serving.errors import LicenceNotAccepted, PackError
from serving.packs.cache_files import write_atomically
from serving.packs.manifest import AnyPack

SETTING = "the setting pack.accept_licence"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One pack's licence as it was accepted. text_sha256: of the text; another text must be accepted anew."""

    pack: str
    text_sha256: str
    accepted_at: str
    how: str


def hash_terms(pack: AnyPack) -> str | None:
    """Lower case hex SHA-256 of the text that must be accepted; None where nothing must."""
    return None if pack.terms is None else hashlib.sha256(pack.terms.text.encode()).hexdigest()


class LicenceBook:
    """The acceptances recorded in a model cache, one file for each pack.

    Args:
        directory: of the packs in the cache.
        accepted: ids of packs whose licence the settings accept.
    """

    def __init__(self, directory: Path, accepted: Collection[str] = ()) -> None:
        self._directory = directory / "licences"
        self._accepted = frozenset(accepted)

    def read(self, pack: AnyPack) -> Acceptance | None:
        """The recorded acceptance of the licence as it now stands, or None."""
        try:
            stored = json.loads(self._path(pack).read_text(encoding="utf-8"))
            found = Acceptance(**{name: str(stored[name]) for name in Acceptance.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if (found.pack, found.text_sha256) == (pack.id, hash_terms(pack)) else None

    def is_accepted(self, pack: AnyPack) -> bool:
        """Whether the pack may be used: no terms, accepted before, or accepted by the settings."""
        return pack.terms is None or pack.id in self._accepted or self.read(pack) is not None

    def accept(self, pack: AnyPack, how: str) -> None:
        """Record that the licence was accepted; `how` says by what means. Nothing happens without terms.

        Raises:
            PackError: the cache cannot be written.
        """
        text_sha256 = hash_terms(pack)
        if text_sha256 is None:
            return
        accepted_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        record = {"pack": pack.id, "text_sha256": text_sha256, "accepted_at": accepted_at, "how": how}
        write_atomically(self._path(pack), (json.dumps(record, indent=1) + "\n").encode())

    def require(self, pack: AnyPack) -> None:
        """Go on only if the licence is accepted; what the settings accept is recorded too.

        Raises:
            LicenceNotAccepted: it is not.
        """
        if pack.terms is None or self.read(pack) is not None:
            return
        if pack.id not in self._accepted:
            raise LicenceNotAccepted(f"{pack.id}: {pack.licence}")
        try:
            self.accept(pack, SETTING)
        except PackError:
            return  # a read-only cache; the settings say the same at the next start

    def forget(self, pack: AnyPack) -> None:
        """Drop the record."""
        self._path(pack).unlink(missing_ok=True)

    def _path(self, pack: AnyPack) -> Path:
        return self._directory / f"{pack.id}.json"
