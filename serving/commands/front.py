"""What `rollcall serve` tells Serve's proxy of the settings; see `serving/front/haproxy.py`."""

from __future__ import annotations

import os

from serving.errors import ConfigurationError
from serving.front.haproxy import FrontOptions, find_command
from serving.operations.private_files import can_others_reach
from serving.settings import LoadSettings, WebSettings


def make_front_options(web: WebSettings, load: LoadSettings) -> FrontOptions:
    """The options of Serve's proxy.

    Raises:
        ConfigurationError: the certificate cannot be read, or nothing here can speak TLS with it.
    """
    certificate = ""
    if web.tls_certificate is not None:
        path = web.tls_certificate.expanduser().absolute()
        if find_command() is None:
            raise ConfigurationError(
                "web.tls_certificate needs HAProxy, which comes with ray[serve] on Linux"
            )
        try:
            text = path.read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"web.tls_certificate: {path} cannot be read: {error}") from None
        missing = [word for word in ("BEGIN CERTIFICATE-----", "PRIVATE KEY-----") if word not in text]
        if missing:
            raise ConfigurationError(
                f"web.tls_certificate: {path} must hold the private key and the certificate chain, one after "
                "the other"
            )
        if can_others_reach(path):
            raise ConfigurationError(f"Others can read the private key in {path}: chmod 600 it.")
        certificate = os.fspath(path)
    return FrontOptions(
        tls_certificate=certificate,
        https=web.is_https,
        header_timeout_s=web.header_timeout_s,
        idle_timeout_s=web.idle_timeout_s,
        statistics_host=web.statistics_host,
        max_pending_requests=load.max_pending_requests,
    )
