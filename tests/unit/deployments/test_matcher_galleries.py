"""The galleries of other packs that a matcher erases in."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.deployments.matcher import Matcher
from serving.errors import StageUnavailable
from serving.settings import load_settings


async def test_a_pack_that_was_removed_is_named_and_nothing_counts_as_erased(tmp_path: Path) -> None:
    """A caller may try again: its vectors are erased once somebody has added the pack anew."""
    matcher = Matcher.__new__(Matcher)
    matcher._settings = load_settings({"data_dir": str(tmp_path), "cache_dir": str(tmp_path)})
    matcher._galleries = {}
    for call in (
        matcher.faces_of("event", "ada", "gone-pack"),
        matcher.erase_faces("event", [("ada", "f1")], "gone-pack"),
        matcher.erase_person("event", "ada", "gone-pack"),
        matcher.erase_event("event", "gone-pack"),
    ):
        with pytest.raises(StageUnavailable, match="gone-pack cannot be reached"):
            await call
