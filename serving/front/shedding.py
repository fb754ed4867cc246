"""Recognitions that no ingress replica has a place for are refused by the proxy, which takes microseconds.

An ingress replica refuses them too (`serving/api/admission.py`), but each refusal costs its event loop a
millisecond and waits there for its turn, behind those that were admitted. The proxy knows only how many
requests it has under way itself: where several proxies lead to the same replicas, the replicas' own bound
stays the one that counts. Live streams are not counted: a replica gives them a place only while it works on
one of their frames, so with them the proxy's bound would have to lie above the replicas', which would then do
all the refusing.
"""

from __future__ import annotations

import json
import re

from serving.errors.base import RollcallError
from serving.errors.load import Overloaded

RECOGNITION_PATHS = (
    "^/v1/(compare|detect|embed|events/[^/]+/(recognise(/batch)?|identify|search|people/[^/]+/verify))$"
)
"""The routes that work on pictures and change nothing (`RouteFacts.is_recognition`); all are POST."""

REQUEST_ID_FORM = "^[!-~]{1,128}$"
"""A caller's id for its request that is kept, by the proxy and the application; another one is replaced."""

STREAM_PATH = "^/v1/events/[^/]+/stream$"
"""The route that is a WebSocket."""

_REQUEST_ID = "txn.rollcall_refusal"
_HELD = "rollcall_held"
"""The table that counts, for each backend, the requests under way."""
_MOST_BACKENDS = 64


def quote(text: str) -> str:
    """A text as one word of HAProxy's configuration, in strong quotes."""
    return "'" + text.replace("'", "'\\''") + "'"


def answer_problem(error: type[RollcallError], detail: str, request_id: str) -> str:
    """The arguments of `http-request return` for one of our own errors; `request_id`: a log format."""
    problem = {
        "type": f"urn:rollcall:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": detail,
        "code": error.code,
        "cure": error.cure,
        "context": {},
        "request_id": request_id,
    }
    answer = "content-type application/problem+json lf-string " + quote(json.dumps(problem))
    return f"status {error.status} hdr Retry-After {error.retry_after_s:.0f} {answer}"


def add_shedding(config: str, max_pending_requests: int) -> str:
    """Serve's configuration, with a refusal before each backend.

    Args:
        config: of HAProxy; without a backend, before Serve has told the routes, it stays as it is.
        max_pending_requests: requests under way to a backend, for each of its replicas, from which
            recognitions are refused; 0: never.
    """
    if not max_pending_requests:
        return config
    refusal = answer_problem(Overloaded, Overloaded.title, f"%[var({_REQUEST_ID}),json]")

    def write(found: re.Match[str]) -> str:
        backend = found[2]
        full = "{ var(txn.rollcall_replicas) -m int gt 0 } "
        full += f"{{ var(txn.rollcall_held) -m int ge {max_pending_requests} }}"
        refused = f"{{ var({_REQUEST_ID}) -m found }}"
        rules = (
            f"acl rollcall_picture path_reg {quote(RECOGNITION_PATHS)}",
            f"http-request set-var(txn.rollcall_replicas) nbsrv({backend})",
            f"http-request set-var(txn.rollcall_held) str({backend}),table_conn_cur({_HELD}),"
            "div(txn.rollcall_replicas)",
            f"http-request set-var({_REQUEST_ID}) uuid() if METH_POST rollcall_picture {full}",
            # What is ill-formed has been taken away (`rollcall-haproxy`).
            f"http-request set-var({_REQUEST_ID}) req.fhdr(X-Request-ID) "
            f"if {refused} {{ req.fhdr(X-Request-ID) -m found }}",
            f"http-request return {refusal} hdr X-Request-ID %[var({_REQUEST_ID})] if {refused}",
            f"http-request track-sc2 str({backend}) table {_HELD} unless {{ path_reg {quote(STREAM_PATH)} }}",
        )
        return "".join(f"    {rule}\n" for rule in rules) + found[0]

    config, count = re.subn(r"^( *)use_backend (\S+) if is_\2\n", write, config, flags=re.MULTILINE)
    if not count:
        return config
    table = f"stick-table type string len 128 size {_MOST_BACKENDS} store conn_cur"
    return f"{config.rstrip()}\n\nbackend {_HELD}\n    {table}\n"
