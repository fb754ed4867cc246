"""`rollcall serve` that speaks HTTPS by itself, with a certificate of `rollcall secrets init`."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from pathlib import Path

from loadtest.service import Service
from serving.commands.secret_files import make_secret_files


class EncryptedService(Service):
    """A service on HTTPS alone.

    Args:
        data_dir: as of `Service`.
        config: as of `Service`.
        secrets: where the certificate and its authority are made.
    """

    def __init__(self, data_dir: Path, *, config: Path, secrets: Path) -> None:
        make_secret_files(secrets, ["127.0.0.1"])
        certificate = secrets / "proxy.pem"
        tls = {"ROLLCALL_WEB__TLS_CERTIFICATE": str(certificate)}
        super().__init__(data_dir, config=config, environment=tls)
        self.url = f"https://127.0.0.1:{self.port}"
        self.trust = ssl.create_default_context(cafile=secrets / "ca.pem")

    def is_ready(self) -> bool:
        """Whether `/readyz` says so, over a connection that is verified."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5, context=self.trust) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False
