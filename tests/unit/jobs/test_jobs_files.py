"""The jobs directory."""

from __future__ import annotations

import stat

import pytest

from tests.unit.jobs.conftest import Place


async def test_files_belong_to_this_user_alone(place: Place) -> None:
    await place.upload(b"x")
    directory = place.settings.jobs_dir
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()] == [0o600]


@pytest.mark.parametrize(
    "name", ["", "../x", "a.upload", "a" * 32 + ".exe", "a" * 32 + ".upload/..", "A" * 32]
)
def test_names_that_are_no_files_of_jobs(place: Place, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        place.jobs.files.path(name)
