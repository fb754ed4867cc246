"""What a Qdrant cluster has beyond points: custom shard keys, promotion, snapshots; over real HTTP.

Says back what it was told, as qdrant-client's models read it. It does not route by shard key: that is the
real server's work.
"""

from __future__ import annotations

import hashlib
import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.unit.gallery.gallery_wire import Refused, Request, WireDouble


class ClusterDouble(WireDouble):
    """Attributes:
    keys: shard keys and the state of their shards.
    steps: what changed the cluster or the snapshots, in order.
    snapshots: contents by name.
    restored: what was put back last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, str] = {}
        self.steps: list[str] = []
        self.snapshots: dict[str, bytes] = {}
        self.restored: bytes | None = None
        self.polls_until_active = 2
        self.damage = b""

    def _route(self, request: Request) -> Any:
        _, _, name, *rest = request.path.split("/")
        route = (request.method, "/".join(rest))
        if route == ("GET", "cluster"):
            return self._cluster()
        if route == ("PUT", "shards"):
            return self._add_key(request.body)
        if route == ("POST", "cluster"):
            self.steps.append("replicate " + json.dumps(request.body["replicate_points"]["filter"]["must"]))
            return True
        if rest[:1] == ["snapshots"]:
            return self._snapshot_route(request, rest[1:])
        if route == ("POST", "points/delete") and isinstance(request.body.get("shard_key"), str):
            self.steps.append(f"delete in {request.body['shard_key']}")
        info = super()._route(request)
        if route == ("GET", ""):
            made = self.collections[name].config
            info["config"]["params"] |= {"sharding_method": made.get("sharding_method", "auto")}
            info["config"]["params"] |= {"replication_factor": made.get("replication_factor", 1)}
        return info

    def _cluster(self) -> dict[str, Any]:
        copying = [key for key, state in self.keys.items() if state == "Partial"]
        if copying and any(step.startswith("replicate") for step in self.steps):
            self.polls_until_active -= 1
            if self.polls_until_active <= 0:
                self.keys |= dict.fromkeys(copying, "Active")
        shards = [
            {"shard_id": place, "shard_key": key, "points_count": 0, "state": state}
            for place, (key, state) in enumerate(self.keys.items())
        ]
        return {
            "peer_id": 1,
            "shard_count": len(shards),
            "local_shards": shards,
            "remote_shards": [],
            "shard_transfers": [],
        }

    def _add_key(self, body: dict[str, Any]) -> bool:
        if body["shard_key"] in self.keys:
            raise Refused(409, "Shard key already exists")
        self.keys[body["shard_key"]] = body.get("initial_state") or "Active"
        self.steps.append(f"key {body['shard_key']} {self.keys[body['shard_key']]}")
        return True

    def _snapshot_route(self, request: Request, rest: list[str]) -> Any:
        if request.method == "POST" and rest == ["upload"]:
            assert isinstance(request.body, bytes)
            self.restored = request.body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
            return True
        if request.method == "POST":
            name = f"snapshot-{len(self.snapshots)}.snapshot"
            self.snapshots[name] = b"everything" * 300_000
            return self._describe(name)
        if request.method == "DELETE":
            return self.snapshots.pop(rest[0]) is not None
        return [self._describe(name) for name in self.snapshots]

    def _describe(self, name: str) -> dict[str, Any]:
        content = self.snapshots[name]
        digest = hashlib.sha256(content).hexdigest()
        return {"name": name, "size": len(content), "checksum": digest, "creation_time": f"2026-01-01T{name}"}

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path
        if handler.command == "GET" and "/snapshots/" in path:
            content = self.damage or self.snapshots[path.rpartition("/")[2]]
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)
            return
        super()._serve(handler)
