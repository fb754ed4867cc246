"""Hands spans to the collector, from a thread of its own and a queue that is never longer than it may be.

This is the only module that needs OpenTelemetry's SDK to be imported, and is imported only where a collector
is named.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Tracer

from serving.settings import TracingSettings
from serving.telemetry import catalogue
from serving.telemetry.counting import counter

logger = logging.getLogger(__name__)

EXPORT_PERIOD_S = 1.0
MAX_SPANS_AT_ONCE = 512
FINISH_TIMEOUT_S = 2.0
"""What a process that ends gives its last spans."""
MAX_ATTRIBUTES, MAX_TEXT_CHARS, MAX_LINKS = 32, 200, 32

_finishing: list[TracerProvider] = []


class CountingExporter(SpanExporter):
    """Counts what the collector does not take, and says so once, and once when it takes them again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = counter(catalogue.SPANS_DROPPED).of("export")
        self._lost.add(0)
        self._is_failing = False
        self._lock = threading.Lock()  # whoever ends a span, and the thread that exports
        self._held = 0

    def hold(self, most: int) -> bool:
        """Take one span more, if there are fewer than `most`; whether there were."""
        with self._lock:
            has_room = self._held < most
            self._held += has_room
        return has_room

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception:
            result = SpanExportResult.FAILURE
        finally:
            with self._lock:
                self._held -= len(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed:
            self._lost.add(len(spans))
        if failed != self._is_failing:
            self._is_failing = failed
            if failed:
                logger.warning("the collector takes no traces; spans are dropped (tracing.endpoint)")
            else:
                logger.warning("the collector takes traces again")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class BoundedProcessor(BatchSpanProcessor):
    """Drops what comes while `most` spans wait or are under way, and counts it."""

    def __init__(self, exporter: CountingExporter, most: int) -> None:
        super().__init__(
            exporter,
            max_queue_size=most,
            schedule_delay_millis=EXPORT_PERIOD_S * 1000,
            max_export_batch_size=min(MAX_SPANS_AT_ONCE, most),
        )
        self._counting, self._most = exporter, most
        self._dropped = counter(catalogue.SPANS_DROPPED).of("queue")
        self._dropped.add(0)

    def on_end(self, span: ReadableSpan) -> None:
        if self._counting.hold(self._most):
            super().on_end(span)
        else:
            self._dropped.add()


def make_tracer(settings: TracingSettings, resource: Mapping[str, str]) -> Tracer:
    """What makes spans for the collector of the settings."""
    # The exporter's own words on every failure; `CountingExporter` says it once.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter(
        endpoint=settings.endpoint,
        certificate_file=None if settings.ca_file is None else str(settings.ca_file),
        headers=settings.header_pairs(),
        timeout=settings.timeout_s,
        compression=Compression.Gzip,
    )
    provider = TracerProvider(
        sampler=ALWAYS_ON,  # `tracing.begin_request` has decided
        resource=Resource({"service.name": settings.service_name, **resource}),
        shutdown_on_exit=False,  # it would wait for half a minute
        span_limits=SpanLimits(
            max_span_attributes=MAX_ATTRIBUTES,
            max_attribute_length=MAX_TEXT_CHARS,
            max_links=MAX_LINKS,
            max_events=0,
        ),
    )
    provider.add_span_processor(BoundedProcessor(CountingExporter(exporter), settings.max_queued_spans))
    if not _finishing:
        atexit.register(finish_export)
    _finishing.append(provider)
    return provider.get_tracer("rollcall")


def finish_export() -> None:
    """Send what is queued, for at most `FINISH_TIMEOUT_S`."""
    while _finishing:
        last = threading.Thread(target=_finishing.pop().shutdown, daemon=True)
        last.start()
        last.join(FINISH_TIMEOUT_S)
