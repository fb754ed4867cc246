from __future__ import annotations

import pytest

from serving.accounts import KeyRing, TokenIssuer, TokenVerifier
from tests.unit.accounts.forging import AUDIENCE, ISSUER


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return KeyRing(tmp_path_factory.mktemp("keys")).load_or_create()


@pytest.fixture
def issuer(ring: KeyRing) -> TokenIssuer:
    return TokenIssuer(ring, ISSUER, AUDIENCE)


@pytest.fixture
def verifier(ring: KeyRing) -> TokenVerifier:
    return TokenVerifier(ring, ISSUER, AUDIENCE, leeway_s=0)
