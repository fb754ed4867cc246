"""A Qdrant server's REST interface on a real socket, with faults on demand.

Data lives in qdrant-client's local mode; requests arrive and leave as JSON over HTTP, as from the real one.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of, or before, its answer."""

    status: int | None = None
    message: str = "made to fail"
    delay_s: float = 0.0
    drop: bool = False
    garbage: bool = False
    retry_after_s: int | None = None


@dataclass
class Request:
    method: str
    path: str
    query: str
    body: Any
    headers: dict[str, str]


@dataclass
class Collection:
    config: dict[str, Any]
    indexes: dict[str, Any] = field(default_factory=dict)


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class WireDouble:
    """Records every request and answers it; `faults` are used up one per request to the points routes.

    Args:
        tls: speaks HTTPS with it.
        api_key: what each request must carry.
        points: where points lie; in memory by default.
        address: to listen at; a free port of loopback by default.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        api_key: str | None = None,
        points: QdrantClient | None = None,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.api_key = api_key
        self.requests: list[Request] = []
        self.faults: deque[Fault] = deque()
        self.collections: dict[str, Collection] = {}
        self.creation_delay_s = 0.0
        self._points = points or QdrantClient(location=":memory:")
        self._turn = threading.Lock()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                double._serve(self)

            do_GET = do_PUT = do_POST = do_DELETE = _serve

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(address, Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def points_requests(self) -> Iterator[Request]:
        return (request for request in self.requests if "/points" in request.path)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        raw = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        is_json = "json" in headers.get("content-type", "json")
        body = (json.loads(raw) if is_json else raw) if raw else None
        request = Request(handler.command, url.path, url.query, body, headers)
        self.requests.append(request)
        fault = self.faults.popleft() if self.faults and "/points" in url.path else Fault()
        time.sleep(fault.delay_s)
        if fault.drop:
            handler.close_connection = True
            return
        status, answer = self._answer(request, fault)
        body = b"<html>" if fault.garbage else json.dumps(answer).encode()
        try:
            handler.send_response(status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(body)))
            if fault.retry_after_s is not None:
                handler.send_header("Retry-After", str(fault.retry_after_s))
            handler.end_headers()
            handler.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True

    def _answer(self, request: Request, fault: Fault) -> tuple[int, dict[str, Any]]:
        if self.api_key is not None and request.headers.get("api-key") != self.api_key:
            return 401, {"status": {"error": "Must provide an API key or an Authorization bearer token"}}
        if fault.status is not None:
            return fault.status, {"status": {"error": fault.message}, "time": 0.0}
        try:
            return 200, {"result": self._route(request), "status": "ok", "time": 0.0}
        except Refused as refusal:
            return refusal.status, {"status": {"error": str(refusal)}, "time": 0.0}

    def _route(self, request: Request) -> Any:
        _, _, name, *rest = request.path.split("/")
        route = (request.method, "/".join(rest))
        if route == ("GET", "exists"):
            exists = name in self.collections
            # Widens the gap in which two replicas both see that there is nothing.
            time.sleep(self.creation_delay_s)
            return {"exists": exists}
        with self._turn:
            if route == ("PUT", ""):
                return self._create(name, request.body)
            if name not in self.collections:
                raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
            if route == ("GET", ""):
                return self._info(name)
            if route == ("PUT", "index"):
                self.collections[name].indexes[request.body["field_name"]] = request.body["field_schema"]
                return {"operation_id": 1, "status": "completed"}
            return self._points_route(name, route, request.body)

    def _points_route(self, name: str, route: tuple[str, str], body: Any) -> Any:
        if route == ("PUT", "points"):
            self._points.upsert(name, [models.PointStruct(**point) for point in body["points"]])
            return {"operation_id": 1, "status": "completed"}
        if route == ("POST", "points/query/batch"):
            queries = [models.QueryRequest(**self._strict(name, query)) for query in body["searches"]]
            answers = self._points.query_batch_points(name, queries)
            return [answer.model_dump(mode="json") for answer in answers]
        body = self._strict(name, body)
        where = models.Filter(**body["filter"])
        if route == ("POST", "points/delete"):
            self._points.delete(name, models.FilterSelector(filter=where))
            return {"operation_id": 1, "status": "completed"}
        if route == ("POST", "points/count"):
            return {"count": self._points.count(name, where, exact=True).count}
        if route == ("POST", "points/scroll"):
            page, offset = self._points.scroll(
                name,
                where,
                limit=body["limit"],
                offset=body.get("offset"),
                with_payload=body["with_payload"],
                with_vectors=body.get("with_vector", False),
            )
            return {"points": [point.model_dump(mode="json") for point in page], "next_page_offset": offset}
        raise Refused(404, "no such route")

    def _strict(self, name: str, body: Any) -> Any:
        """Refuse what a strict-mode collection refuses: a filter on a field without an index, or none."""
        fields = {term["key"] for term in (body.get("filter") or {}).get("must", []) if "key" in term}
        for unindexed in (fields or {"(no filter)"}) - set(self.collections[name].indexes):
            raise Refused(400, f'Bad request: Index required but not found for "{unindexed}"')
        return body

    def _create(self, name: str, body: Any) -> bool:
        if name in self.collections:
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
        self.collections[name] = Collection(body)
        size, distance = body["vectors"]["size"], body["vectors"]["distance"]
        self._points.create_collection(name, models.VectorParams(size=size, distance=distance))
        return True

    def _info(self, name: str) -> Any:
        collection = self.collections[name]
        hnsw = {"m": 0, "ef_construct": 128, "full_scan_threshold": 51200}
        optimizer = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0}
        return {
            "status": "green",
            "optimizer_status": "ok",
            "segments_count": 1,
            "points_count": self._points.count(name).count,
            "config": {
                "params": {"vectors": collection.config["vectors"]},
                "hnsw_config": hnsw,
                "optimizer_config": optimizer | {"flush_interval_sec": 5},
            },
            "payload_schema": {
                field: {"data_type": "keyword", "params": schema, "points": 0}
                for field, schema in collection.indexes.items()
            },
        }
