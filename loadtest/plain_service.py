"""The baseline: face recognition as one FastAPI process, without stages, batches or replicas.

    python -m loadtest.plain_service --form threads|naive --gallery DIR --event KEY [--port 8100]

It does the work of a recognition with the parts of the service: the same pack, decoding, detection,
alignment, embedding, an exact search of an embedded gallery, and the decision. What it lacks: accounts, the
audit trail, names, quality gates, metrics, deadlines, admission.

threads: a pool of one thread for each core, ONNX Runtime on one thread in each; written as well as a plain
service can be. naive: the model is called inside the async handler, on threads of all cores, as most
examples do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

from loadtest.baseline import load_pipeline
from loadtest.machine import count_cores
from serving.errors import RollcallError
from serving.gallery.embedded import EmbeddedGallery
from serving.gallery.records import Probe
from serving.packs.configured import prepare_pack
from serving.settings import Settings, load_settings

FORMS = ("threads", "naive")
ROUTE = "/recognise"
FALSE_MATCH_RATE = 1e-3


class Recogniser:
    """The whole work of a recognition as one call; may be called from several threads at once.

    Each thread has models of its own, since a finder keeps buffers between pictures.
    """

    def __init__(self, settings: Settings, gallery_dir: Path, event_key: str, threads: int) -> None:
        pack = settings.pack.model_copy(update={"intra_op_threads": threads})
        self._settings = settings.model_copy(update={"pack": pack})
        prepared = prepare_pack(settings)
        self._calibration = prepared.calibration
        self._event_key = event_key
        self._gallery = EmbeddedGallery(gallery_dir, prepared.pack.id, prepared.pack.dimension)
        self._gallery.open()
        self._gallery_lock = threading.Lock()
        self._own = threading.local()

    def load(self) -> None:
        """Load this thread's models."""
        self._own.pipeline = load_pipeline(self._settings)

    def recognise(self, picture: bytes) -> dict[str, Any]:
        """The answer for a picture, as JSON; in a thread that has called `load`.

        Raises:
            RollcallError: it is no picture, or one that cannot be used.
        """
        outcome = self._own.pipeline.recognise([picture])[0]
        if isinstance(outcome, RollcallError):
            raise outcome
        with self._gallery_lock:
            hits = self._gallery.search([Probe(self._event_key, vector, 1) for _, vector in outcome])
        faces = []
        for (face, _), found in zip(outcome, hits, strict=True):
            rate = self._calibration.false_match_rate(found[0].cosine) if found else 1.0
            person = found[0].person if found and rate <= FALSE_MATCH_RATE else None
            faces.append({"box": [float(v) for v in face.box], "person": person})
        return {"faces": faces}


def make_app(recogniser: Recogniser, form: str) -> FastAPI:
    """The service in one of `FORMS`."""
    pool = None
    if form == "threads":
        pool = ThreadPoolExecutor(count_cores(), initializer=recogniser.load)
    else:
        recogniser.load()

    @contextlib.asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        yield
        if pool is not None:
            pool.shutdown()

    app = FastAPI(lifespan=live)

    @app.get("/readyz")
    async def get_readiness() -> dict[str, str]:
        return {"status": "ok"}

    @app.post(ROUTE)
    async def recognise(request: Request, response: Response) -> dict[str, Any]:
        picture = await request.body()
        try:
            if pool is None:
                return recogniser.recognise(picture)
            return await asyncio.get_running_loop().run_in_executor(pool, recogniser.recognise, picture)
        except RollcallError as error:
            response.status_code = 400
            return {"detail": str(error)}

    return app


def main() -> None:
    """The command; serves until it is told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.plain_service", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--form", choices=FORMS, required=True)
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument("--event", required=True)
    parser.add_argument("--port", type=int, default=8100)
    options = parser.parse_args()
    threads = 1 if options.form == "threads" else count_cores()
    recogniser = Recogniser(load_settings(), options.gallery, options.event, threads)
    app = make_app(recogniser, options.form)
    # A naive handler blocks the loop for longer than uvicorn's default of 5 s keeps a connection.
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", timeout_keep_alive=75)


if __name__ == "__main__":
    main()
