"""Where the time of a stage goes: what the ingress sees of its calls, and what its replicas see of batches.

The series are looked up once, so that counting a batch costs a few microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from serving.telemetry import catalogue
from serving.telemetry.counting import counter, gauge, histogram


class CallMeter:
    """The calls of one ingress replica to one stage.

    Args:
        stage: `detector`, `embedder`, ...
        pack: id of the pack whose models run there.
    """

    def __init__(self, stage: str, pack: str) -> None:
        self.stage = stage
        labels = (stage, pack)
        self._waiting = gauge(catalogue.STAGE_WAITING).of(*labels)
        self._calls = gauge(catalogue.STAGE_CALLS).of(*labels)
        self._queue_s = histogram(catalogue.STAGE_QUEUE_SECONDS).of(*labels)
        self._call_s = histogram(catalogue.STAGE_CALL_SECONDS).of(*labels)
        self._parcel = histogram(catalogue.PARCEL_TASKS).of(*labels)
        self._lost = counter(catalogue.STAGE_LOST).of(*labels)

    def note_waiting(self, tasks: int) -> None:
        """So many tasks wait for a call now."""
        self._waiting.set(tasks)

    def note_departure(self, waited_s: Iterable[float], calls: int) -> None:
        """A parcel left, whose tasks had waited for these times; `calls` are under way now."""
        count = 0
        for each in waited_s:
            self._queue_s.observe(each)
            count += 1
        self._parcel.observe(count)
        self._calls.set(calls)

    def note_return(self, calls: int) -> None:
        """A call has ended, in whatever way; `calls` are still under way."""
        self._calls.set(calls)

    def note_answer(self, seconds: float) -> None:
        """A call was answered after this time."""
        self._call_s.observe(seconds)

    def note_loss(self) -> None:
        """A call was lost with its replica."""
        self._lost.add()


class BatchMeter:
    """The batches of one replica of a stage.

    Args:
        stage: `detector`, `embedder`, ...
        pack: id of the pack whose models run here.
    """

    def __init__(self, stage: str, pack: str) -> None:
        self.stage, self.pack = stage, pack
        labels = (stage, pack)
        self._replica_s = histogram(catalogue.REPLICA_SECONDS).of(*labels)
        self._wait_s = histogram(catalogue.BATCH_WAIT_SECONDS).of(*labels)
        self._batch_s = histogram(catalogue.BATCH_SECONDS).of(*labels)
        self._tasks = histogram(catalogue.BATCH_SIZE).of(*labels)
        self._limit = gauge(catalogue.BATCH_LIMIT).of(*labels)
        self._expired = counter(catalogue.BATCH_EXPIRED).of(*labels)
        self._faces = histogram(catalogue.FACES_PER_PICTURE).of(pack)

    def note_parcel(self, seconds: float) -> None:
        """A call was answered; it had been in this replica for this time."""
        self._replica_s.observe(seconds)

    def note_batch(self, waited_s: Iterable[float], seconds: float, expired: int) -> None:
        """A batch ran.

        Args:
            waited_s: of each task that ran, the time from its arrival until the batch began.
            seconds: what the model took for them.
            expired: tasks of the batch that did not run because their time was up.
        """
        count = 0
        for each in waited_s:
            self._wait_s.observe(each)
            count += 1
        if count:
            self._tasks.observe(count)
            self._batch_s.observe(seconds)
        if expired:
            self._expired.add(expired)

    def note_pictures(self, faces: Iterable[int]) -> None:
        """So many faces were found in each picture."""
        for count in faces:
            self._faces.observe(count)

    def note_limit(self, max_batch_size: int) -> None:
        """The largest batch that `user_config` allows."""
        self._limit.set(max_batch_size)

    def note_provider(self, provider: str) -> None:
        """What the model runs on, such as `cpu` or `cuda`."""
        gauge(catalogue.PROVIDER_INFO).of(self.stage, self.pack, provider).set(1)
