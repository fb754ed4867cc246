"""What Prometheus' operator takes of us, as JSON schemas: monitoring.coreos.com/v1, each object closed.

From the operator's API reference, of 0.86; objects of Prometheus' own configuration are of any kind.
"""

from __future__ import annotations

from typing import Any

from tests.unit.shipping.ray_service_schema import FLAG, OF_KUBERNETES, TEXT, TEXTS, close

DURATION: dict[str, Any] = {"type": "string", "pattern": r"^(\d+(ms|[smhdwy]))+$"}
MANY: dict[str, Any] = {"type": "array", "minItems": 1}

RELABELING = close(
    sourceLabels={"type": "array", "items": TEXT},
    separator=TEXT,
    targetLabel=TEXT,
    regex=TEXT,
    modulus={"type": "integer"},
    replacement=TEXT,
    action={"enum": ["replace", "keep", "drop", "hashmod", "labelmap", "labeldrop", "labelkeep"]},
)
ENDPOINT = close(
    ("port",),
    port=TEXT,
    path=TEXT,
    scheme={"enum": ["http", "https"]},
    interval=DURATION,
    scrapeTimeout=DURATION,
    tlsConfig=OF_KUBERNETES,
    honorLabels=FLAG,
    honorTimestamps=FLAG,
    authorization=close(type=TEXT, credentials=close(("name", "key"), name=TEXT, key=TEXT, optional=FLAG)),
    relabelings=MANY | {"items": RELABELING},
    metricRelabelings=MANY | {"items": RELABELING},
)


def _of_kind(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return close(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "monitoring.coreos.com/v1"},
        kind={"const": kind},
        metadata=OF_KUBERNETES,
        spec=spec,
    )


POD_MONITOR = _of_kind(
    "PodMonitor",
    close(
        ("selector", "podMetricsEndpoints"),
        jobLabel=TEXT,
        podTargetLabels={"type": "array", "items": TEXT},
        selector=close(matchLabels=TEXTS, matchExpressions={"type": "array"}),
        namespaceSelector=OF_KUBERNETES,
        podMetricsEndpoints=MANY | {"items": ENDPOINT},
    ),
)
PROMETHEUS_RULE = _of_kind(
    "PrometheusRule",
    close(
        ("groups",),
        groups=MANY
        | {
            "items": close(
                ("name", "rules"),
                name=TEXT,
                interval=DURATION,
                labels=TEXTS,
                rules=MANY
                | {
                    "items": close(
                        ("expr",),
                        alert=TEXT,
                        record=TEXT,
                        expr=TEXT,
                        **{"for": DURATION},
                        keep_firing_for=DURATION,
                        labels=TEXTS,
                        annotations=TEXTS,
                    )
                },
            )
        },
    ),
)
