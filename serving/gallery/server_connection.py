"""How a Qdrant server is reached: address, key and the certificates to trust."""

from __future__ import annotations

import math
import ssl
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from qdrant_client import AsyncQdrantClient

from serving.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a Qdrant server is, and how it is spoken to. With `https` its certificate is always verified.

    Attributes:
        url: `http(s)://host:port` of the REST interface; the scheme counts for gRPC too.
        api_key: secret of the server.
        ca_file: PEM file of the authorities to trust instead of the system's.
        prefer_grpc: talk gRPC on `grpc_port` instead of REST.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    prefer_grpc: bool = False
    grpc_port: int = 6334

    def connect(self, timeout_s: float) -> AsyncQdrantClient:
        """Make a client; it connects with its first request.

        Args:
            timeout_s: of one request.

        Raises:
            ConfigurationError: the authorities cannot be read.
        """
        context = self._trust()
        with warnings.catch_warnings():
            # Whether a key may travel plainly is judged when the settings are read.
            warnings.filterwarnings("ignore", "Api key is used with an insecure connection")
            return AsyncQdrantClient(
                url=self.url,
                api_key=self.api_key,
                prefer_grpc=self.prefer_grpc,
                grpc_port=self.grpc_port,
                timeout=max(1, math.ceil(timeout_s)),
                check_compatibility=False,
                verify=True if context is None else context,
                grpc_options=self._grpc_trust(),
            )

    def open_http(self, timeout_s: float) -> httpx.Client:
        """A plain HTTP client of the REST interface, for what qdrant-client does not do: moving files.

        Args:
            timeout_s: of each wait for the server, not of a whole transfer.

        Raises:
            ConfigurationError: the authorities cannot be read.
        """
        context = self._trust()
        return httpx.Client(
            base_url=self.url,
            headers={"api-key": self.api_key} if self.api_key else {},
            timeout=timeout_s,
            verify=True if context is None else context,
        )

    def _trust(self) -> ssl.SSLContext | None:
        if self.ca_file is None:
            return None
        try:
            return ssl.create_default_context(cafile=str(self.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise _unreadable(self.ca_file, error) from error

    def _grpc_trust(self) -> dict[str, bytes] | None:
        if self.ca_file is None or not self.prefer_grpc:
            return None
        try:
            return {"root_certificates": self.ca_file.read_bytes()}
        except OSError as error:
            raise _unreadable(self.ca_file, error) from error


def _unreadable(path: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"gallery.ca_file: {path} holds no certificates that can be read ({error}); it must be a PEM file of "
        "the authority that signed the Qdrant server's certificate",
        key="gallery.ca_file",
    )
