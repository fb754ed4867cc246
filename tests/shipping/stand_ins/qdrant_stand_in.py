"""The tests' double of Qdrant's REST interface as a container that reads Qdrant's own configuration files.

Runs in the image of `qdrant.Dockerfile`, beside `gallery_wire.py`. What was acknowledged is there after a
restart.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from gallery_wire import Collection, Fault, Request, WireDouble
from qdrant_client import QdrantClient

CONFIG = Path("/qdrant/config")


class StandIn(WireDouble):
    """A double whose points and collections lie in files.

    Args:
        config: Qdrant's settings, as its production.yaml has them.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        service, storage = config["service"], Path(config["storage"]["storage_path"])
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(config["tls"]["cert"], config["tls"]["key"])
        points = QdrantClient(path=str(storage / "points"), force_disable_check_same_thread=True)
        self._file = storage / "collections.json"
        self._loaded = threading.Event()
        super().__init__(tls, service["api_key"], points, (service["host"], service["http_port"]))
        if self._file.exists():
            saved = json.loads(self._file.read_text())
            self.collections = {name: Collection(**one) for name, one in saved.items()}
        self._loaded.set()

    def _route(self, request: Request) -> Any:
        if (request.method, request.path) == ("GET", "/collections"):
            return {"collections": [{"name": name} for name in self.collections]}
        answer = super()._route(request)
        if request.method == "PUT" and "/points" not in request.path:
            saved = {name: asdict(one) for name, one in self.collections.items()}
            self._file.write_text(json.dumps(saved))
        elif request.method == "GET" and request.path.count("/") == 2:
            made = self.collections[request.path.rpartition("/")[2]].config
            answer["config"]["strict_mode_config"] = made.get("strict_mode_config")
        return answer

    def _answer(self, request: Request, fault: Fault) -> tuple[int, dict[str, Any]]:
        self._loaded.wait()
        self.requests.clear()
        if request.path == "/":
            return 200, {"title": "a double of Qdrant", "version": "0.0.0"}
        return super()._answer(request, fault)


def main() -> None:
    """Serve until told to end."""
    config = yaml.safe_load((CONFIG / "production.yaml").read_text())
    for section, values in yaml.safe_load((CONFIG / "local.yaml").read_text()).items():
        config[section] = config.get(section, {}) | values
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    double = StandIn(config)
    Path(os.environ["QDRANT_INIT_FILE_PATH"]).touch()
    print(f"the double listens at {double.url}", flush=True)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    double.close()


if __name__ == "__main__":
    main()
