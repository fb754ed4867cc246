"""What jobs keep on disk goes with the event."""

from __future__ import annotations

from tests.unit.api.api_fakes import picture
from tests.unit.api.api_jobs import FILES, ZIP, exported, left_over, run_jobs, send
from tests.unit.api.conftest import Api
from tests.unit.jobs.archives import make_zip


async def test_deleting_an_event_deletes_its_uploads_and_results(gala: Api) -> None:
    await gala.create_event("expo")
    await gala.enrol("ada", picture("ada"))
    await exported(gala)
    for event in ("gala", "expo"):
        assert (await send(gala, make_zip(FILES), ZIP, event)).status_code == 202
    assert len(left_over(gala)) == 3
    assert (await gala.client.delete("/v1/events/gala")).status_code == 204
    assert len(left_over(gala)) == 1
    await run_jobs(gala)
    assert left_over(gala) == []
