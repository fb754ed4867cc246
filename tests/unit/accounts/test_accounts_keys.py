from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from serving.accounts import KeyRing, TokenIssuer, TokenVerifier, VerificationKeys
from serving.accounts import keys as keys_module
from serving.accounts.keys import compute_thumbprint
from serving.errors import ConfigurationError, TokenInvalid

LOAD = """
import sys
from serving.accounts import KeyRing
print("ready", flush=True)
sys.stdin.readline()
print(KeyRing(sys.argv[1]).load_or_create().signing_key.kid)
"""


def start_loading(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_the_first_key_is_private_and_kept(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "keys"
    previous = os.umask(0)
    try:
        first = KeyRing(directory).load_or_create()
    finally:
        os.umask(previous)
    assert [each.name for each in directory.iterdir()] == ["signing-000001.pem"]
    assert stat.S_IMODE((directory / "signing-000001.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert KeyRing(directory).load_or_create().signing_key.kid == first.signing_key.kid


async def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    processes = [start_loading(tmp_path / "keys") for _ in range(4)]
    for each in processes:
        assert each.stdout is not None
        assert await asyncio.to_thread(each.stdout.readline) == "ready\n"
    outputs = await asyncio.gather(*(asyncio.to_thread(each.communicate, "go\n", 60) for each in processes))
    assert len({output for output, _ in outputs}) == 1
    assert len(outputs[0][0].strip()) == 43
    assert [each.name for each in (tmp_path / "keys").iterdir()] == ["signing-000001.pem"]


def test_the_kid_is_the_rfc_8037_thumbprint() -> None:
    # The key and thumbprint of RFC 8037, appendix A.3.
    raw = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    thumbprint = compute_thumbprint(Ed25519PublicKey.from_public_bytes(raw))
    assert thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    document = b'{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
    assert base64.urlsafe_b64decode(thumbprint + "=") == hashlib.sha256(document).digest()


def test_the_newest_key_signs_and_all_verify(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path).load_or_create()
    old_kid = ring.signing_key.kid
    old_token = TokenIssuer(ring, "i", "a").issue("ada", "member", None, 60)
    new_kid = ring.rotate()
    assert ring.signing_key.kid == new_kid != old_kid
    again = KeyRing(tmp_path).load()
    assert again.signing_key.kid == new_kid
    verifier = TokenVerifier(again, "i", "a")
    assert verifier.verify(old_token).subject == "ada"
    assert verifier.verify(TokenIssuer(ring, "i", "a").issue("bob", "member", None, 60)).subject == "bob"


def test_a_key_added_by_another_process_is_found_at_once(tmp_path: Path) -> None:
    here, there = KeyRing(tmp_path).load_or_create(), KeyRing(tmp_path).load_or_create()
    for _ in range(3):
        kid = there.rotate()
        assert here.find(kid) is not None
        assert kid in [key["kid"] for key in here.to_jwks()["keys"]]


def test_unknown_keys_do_not_make_it_read_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = KeyRing(tmp_path).load_or_create()
    reads: list[Path] = []
    read_key = keys_module._read_key
    monkeypatch.setattr(keys_module, "_read_key", lambda path: reads.append(path) or read_key(path))
    for n in range(500):
        assert ring.find(f"{n:043}") is None
    assert reads == []
    KeyRing(tmp_path).rotate()
    for n in range(500):
        assert ring.find(f"{n:043}") is None
    assert len(reads) <= 4  # once for the change, not once for each


def test_a_withdrawn_key_no_longer_verifies(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path).load_or_create()
    token = TokenIssuer(ring, "i", "a").issue("ada", "member", None, 60)
    verifier = TokenVerifier(ring, "i", "a")
    verifier.verify(token)
    ring.rotate()
    (tmp_path / "signing-000001.pem").unlink()
    ring.load()
    with pytest.raises(TokenInvalid):
        verifier.verify(token)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the ring's monotonic clock on by so many seconds."""
    real, skipped_s = time.monotonic, [0.0]

    def skip(seconds: float) -> None:
        skipped_s[0] += seconds

    monkeypatch.setattr(keys_module.time, "monotonic", lambda: real() + skipped_s[0])
    return skip


def age(directory: Path, seconds: float = 60.0) -> None:
    """Let the directory's last change lie so far back."""
    at = time.time() - seconds
    os.utime(directory, (at, at))


@pytest.mark.parametrize("settled", [False, True])
def test_deleting_a_file_withdraws_its_key_from_a_running_process(
    tmp_path: Path, later: Callable[[float], None], settled: bool
) -> None:
    KeyRing(tmp_path).load_or_create()
    there = KeyRing(tmp_path).load()
    old_token = TokenIssuer(there, "i", "a").issue("ada", "member", None, 600)
    there.rotate()
    new_token = TokenIssuer(there, "i", "a").issue("bob", "member", None, 600)
    if settled:
        age(tmp_path)
    verifier = TokenVerifier(KeyRing(tmp_path).load(), "i", "a")
    for token in (old_token, new_token):
        verifier.verify(token)
    (tmp_path / "signing-000001.pem").unlink()
    verifier.verify(old_token)  # it looked a moment ago
    later(keys_module.RESCAN_INTERVAL_S)
    with pytest.raises(TokenInvalid):
        verifier.verify(old_token)
    assert verifier.verify(new_token).subject == "bob"


def test_deleting_the_last_key_withdraws_it_and_ends_signing(
    tmp_path: Path, later: Callable[[float], None]
) -> None:
    ring = KeyRing(tmp_path).load_or_create()
    kid = ring.signing_key.kid
    (tmp_path / "signing-000001.pem").unlink()
    later(keys_module.RESCAN_INTERVAL_S)
    assert ring.find(kid) is None
    with pytest.raises(ConfigurationError):
        _ = ring.signing_key
    KeyRing(tmp_path).load_or_create()
    later(keys_module.RESCAN_INTERVAL_S)
    ring.find(kid)
    assert ring.signing_key.kid != kid


def test_signing_follows_another_process(tmp_path: Path) -> None:
    here, there = KeyRing(tmp_path).load_or_create(), KeyRing(tmp_path).load_or_create()
    for settled in (False, True):
        if settled:
            age(tmp_path)
            assert here.signing_key.kid == there.signing_key.kid
        kid = there.rotate()
        assert here.signing_key.kid == kid, "at once, without any rescan interval"


def test_an_old_key_verifies_until_its_tokens_are_over_and_is_then_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: Callable[[float], None]
) -> None:
    here, there = KeyRing(tmp_path).load_or_create(), KeyRing(tmp_path).load_or_create()
    verifier = TokenVerifier(here, "i", "a")
    token = TokenIssuer(there, "i", "a").issue("ada", "member", None, 60)
    old = there.signing_key.kid
    new = there.rotate(overlap_s=3600)
    newest = there.rotate(overlap_s=7200)
    assert verifier.verify(token).subject == "ada"
    ends = KeyRing(tmp_path).load().ends
    assert list(ends) == [old, new, newest]
    assert ends[old] + 3590 < ends[new] < ends[newest] == float("inf")
    assert stat.S_IMODE((tmp_path / "signing-000001.until").stat().st_mode) == 0o600
    real = time.time
    monkeypatch.setattr(keys_module.time, "time", lambda: real() + 3601)
    later(keys_module.RESCAN_INTERVAL_S)
    assert here.find(old) is None
    assert [here.find(kid) is not None for kid in (new, newest)] == [True, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "signing-000002.pem",
        "signing-000002.until",
        "signing-000003.pem",
    ]


def test_without_overlap_every_token_is_void_at_once(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path).load_or_create()
    token = TokenIssuer(ring, "i", "a").issue("ada", "member", None, 60)
    ring.rotate(overlap_s=0)
    with pytest.raises(TokenInvalid):
        TokenVerifier(ring, "i", "a").verify(token)
    assert [path.name for path in tmp_path.iterdir()] == ["signing-000002.pem"]


def test_an_unreadable_file_takes_no_key_with_it_and_keeps_none_alive(
    tmp_path: Path, later: Callable[[float], None]
) -> None:
    ring = KeyRing(tmp_path).load_or_create()
    first = ring.signing_key.kid
    second, third = ring.rotate(), ring.rotate()
    (tmp_path / "signing-000001.pem").unlink()
    (tmp_path / "signing-000002.pem").chmod(0o644)
    later(keys_module.RESCAN_INTERVAL_S)
    assert [ring.find(kid) is not None for kid in (first, second, third)] == [False, True, True]
    age(tmp_path)
    (tmp_path / "signing-000002.pem").chmod(0o600)  # which leaves the directory's own time alone
    (tmp_path / "signing-000003.pem").unlink()
    age(tmp_path)
    later(keys_module.RESCAN_INTERVAL_S)
    assert [ring.find(kid) is not None for kid in (first, second, third)] == [False, True, False]
    assert ring.signing_key.kid == second


def test_a_directory_at_rest_is_looked_at_and_not_read(
    tmp_path: Path, later: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    KeyRing(tmp_path).load_or_create()
    age(tmp_path)
    ring = KeyRing(tmp_path).load()
    looks, reads = [], []
    look, read = ring._settled_mtime_ns, ring.load
    monkeypatch.setattr(ring, "_settled_mtime_ns", lambda: looks.append(1) or look())
    monkeypatch.setattr(ring, "load", lambda: reads.append(1) or read())
    for _ in range(3):
        later(keys_module.RESCAN_INTERVAL_S)
        for _ in range(1000):
            assert ring.find(ring._newest.kid) is not None
            assert ring.find("A" * 43) is None
    assert len(looks) == 3
    assert reads == []


def test_verifying_needs_no_private_key(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path).load_or_create()
    ring.rotate()
    document = json.loads(json.dumps(ring.to_jwks()))
    assert len(document["keys"]) == 2
    assert all(set(each) == {"kty", "crv", "x", "kid", "use", "alg"} for each in document["keys"])
    keys = VerificationKeys.from_jwks(document)
    token = TokenIssuer(ring, "i", "a").issue("ada", "member", None, 60)
    assert TokenVerifier(keys, "i", "a").verify(token).subject == "ada"


@pytest.mark.parametrize(
    "change",
    [
        lambda jwk: {**jwk, "d": jwk["x"]},
        lambda jwk: {**jwk, "kid": "A" * 43},
        lambda jwk: {**jwk, "crv": "X25519"},
        lambda jwk: {**jwk, "x": jwk["x"][:-4]},
        lambda jwk: {key: value for key, value in jwk.items() if key != "x"},
        lambda jwk: None,
    ],
)
def test_other_jwk_sets_are_refused(tmp_path: Path, change) -> None:
    jwk = KeyRing(tmp_path).load_or_create().to_jwks()["keys"][0]
    with pytest.raises(ConfigurationError):
        VerificationKeys.from_jwks({"keys": [change(jwk)]})
    with pytest.raises(ConfigurationError):
        VerificationKeys.from_jwks({"keys": []})


def test_key_files_that_cannot_be_trusted_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        KeyRing(tmp_path).load()
    KeyRing(tmp_path).load_or_create()
    path = tmp_path / "signing-000001.pem"
    for exposed in (0o604, 0o620, 0o666):
        path.chmod(exposed)
        with pytest.raises(ConfigurationError, match="chmod 600"):
            KeyRing(tmp_path).load()
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KeyRing(tmp_path).load()
    other_kind = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(other_kind.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigurationError, match="not an Ed25519 key"):
        KeyRing(tmp_path).load()


def test_a_draft_left_by_a_crash_is_no_key(tmp_path: Path) -> None:
    (tmp_path / ".draft-00").write_bytes(b"half a key")
    (tmp_path / "signing-000009.pem.bak").write_bytes(b"not ours")
    ring = KeyRing(tmp_path).load_or_create()
    assert len(ring.to_jwks()["keys"]) == 1


def test_key_material_is_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ring = KeyRing(tmp_path).load_or_create()
        ring.rotate()
    secret_lines = [
        line
        for path in tmp_path.glob("signing-*.pem")
        for line in path.read_text().splitlines()
        if not line.startswith("-")
    ]
    assert len(secret_lines) == 2
    shown = repr(ring) + repr(ring.signing_key) + str(ring.signing_key) + caplog.text
    assert not any(line in shown for line in secret_lines)
    assert ring.signing_key.kid in repr(ring.signing_key)


def test_rotations_at_once_leave_one_key_without_an_end(tmp_path: Path) -> None:
    KeyRing(tmp_path).load_or_create()
    with ThreadPoolExecutor(4) as pool:
        kids = list(pool.map(lambda _: KeyRing(tmp_path).rotate(overlap_s=3600), range(8)))
    ends = KeyRing(tmp_path).load().ends
    assert set(kids) < set(ends)
    assert [end == float("inf") for end in ends.values()] == [False] * 8 + [True]


@pytest.mark.parametrize("step", ["_limit_key", "_publish_key", "sync_directory"])
def test_a_rotation_that_stops_half_way_ends_the_older_key_or_has_not_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    ring = KeyRing(tmp_path).load_or_create()
    leaked = ring.signing_key.kid
    with monkeypatch.context() as patch:
        # All is done up to this call; with the last one also what it comes after.
        patch.setattr(keys_module, step, stop)
        with pytest.raises(InterruptedError):
            KeyRing(tmp_path).rotate(overlap_s=0)
    again = KeyRing(tmp_path).load()
    if again.signing_key.kid == leaked:
        assert again.find(leaked) is not None, "what signs verifies"
        assert again.ends == {leaked: float("inf")}
        again.rotate(overlap_s=3600)
        assert again.ends[leaked] > time.time() + 3000, "nothing is left of the one that stopped"
    else:
        assert again.find(leaked) is None


def stop(*_args: object, **_kwargs: object) -> bool:
    raise InterruptedError


def test_a_rotation_killed_after_it_published_has_ended_the_older_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = KeyRing(tmp_path).load_or_create()
    leaked, publish = ring.signing_key.kid, keys_module._publish_key

    def publish_and_stop(directory: Path, number: int) -> bool:
        publish(directory, number)
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(keys_module, "_publish_key", publish_and_stop)
        with pytest.raises(InterruptedError):
            KeyRing(tmp_path).rotate(overlap_s=0)
    assert KeyRing(tmp_path).load().find(leaked) is None
