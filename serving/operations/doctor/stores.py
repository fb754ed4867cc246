"""Checks of what the service talks to: registry, gallery, Redis, clocks, packs, the service itself."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, TypeVar

from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import make_url

from serving.database.location import find_sqlite_file
from serving.database.migration import current_revision
from serving.database.migrations import HEAD
from serving.operations.doctor.answers import find_url, get
from serving.operations.doctor.checks import Check, Finding, Subject, fail, ok, warn
from serving.operations.galleries import is_owned
from serving.operations.registry_session import open_snapshot
from serving.operations.service_note import read_note
from serving.packs.configured import find_served_packs, open_store
from serving.registry.event_counts import find_miscounted
from serving.settings.hidden import STORES, find_hidden
from serving.settings.remote_security import is_this_machine

T = TypeVar("T")

LEAST_POSTGRES = 13
UNMARKED = ""
"""For a revision: there are tables, and not the one that names it."""
CLOCK_WARN_S, CLOCK_FAIL_S = 2.0, 10.0
COMPACTION_LATE_S = 3 * 3600.0
QDRANT_TIMEOUT_S = 5.0


def look_at_config(subject: Subject) -> Iterator[Finding]:
    if subject.config_fault:
        yield fail(subject.config_fault, "Correct the named key (docs/configuration.md, docs/operations.md).")
    elif subject.config_path is not None:
        yield ok(f"{subject.config_path} can be deployed; every setting is in order")
    else:
        yield ok("every setting is in order; no serve config was named")
    args = (subject.config.get("applications") or [{}])[0].get("args") or {}
    for name in find_hidden(args, subject.settings):
        if name in STORES:
            yield fail(
                f"{name} stands under args: the service refuses it, since no command sees it",
                "Set its variable (docs/configuration.md) for the service and every command.",
            )
        else:
            yield warn(
                f"{name} stands under args, where no command sees it",
                "Set its variable (docs/configuration.md) for the service and every command.",
            )


def look_at_registry(subject: Subject) -> Iterator[Finding]:
    path = find_sqlite_file(subject.settings.registry_url)
    if path is not None and not path.exists():
        yield ok(f"{path} is not there yet; the first start makes it")
        return
    if path is not None:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            yield fail(
                f"{path} is damaged: {found}"[:200], "Stop the service and restore a backup (docs/backup.md)."
            )
            return
    facts = asyncio.run(_ask(subject, _read_facts))
    revision, number, is_encrypted, miscounted = facts
    if revision == UNMARKED:
        yield fail(
            "the database has tables, and none that says of which release",
            "Correct database_url if it is another program's; else restore a backup (docs/backup.md).",
        )
    elif revision is None:
        yield warn(
            "the database has no tables of Rollcall yet; the first start makes them",
            "Where the service has run already, correct database_url.",
        )
    elif revision < HEAD:
        yield warn(
            f"tables of revision {revision}; this release has {HEAD}",
            "The next start upgrades: back up first, with the release that serves.",
        )
    elif revision > HEAD:
        yield fail(
            f"tables of revision {revision}, newer than this release's {HEAD}", "Install the newer release."
        )
    else:
        yield ok(f"reachable, sound, tables of revision {revision}")
    if miscounted:
        yield warn(
            f"{miscounted} events have other numbers of people, faces or arrivals than are shown",
            "rollcall doctor --recount; were triggers of the database switched off, or dropped?",
        )
    if number is not None:
        if number // 10_000 < LEAST_POSTGRES:
            yield fail(f"PostgreSQL {number // 10_000}", f"PostgreSQL {LEAST_POSTGRES} or newer.")
        host = make_url(subject.settings.registry_url).host
        if not is_encrypted and not is_this_machine(host):
            yield fail(
                f"the connection to {host} is not encrypted",
                "?sslmode=verify-full at the end of database_url.",
            )
        else:
            yield ok(f"PostgreSQL {number // 10_000}, {'TLS' if is_encrypted else 'this machine'}")


def look_at_gallery(subject: Subject) -> Iterator[Finding]:
    if subject.settings.gallery.engine == "server":
        yield from asyncio.run(_look_at_server(subject))
        return
    directory = subject.settings.gallery_dir
    if not directory.exists():
        yield ok(f"{directory} is not there yet; the first start makes it")
        return
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    collections = sorted(path.name for path in directory.iterdir() if path.is_dir())
    serves = read_note(subject.settings.data_dir) is not None
    for name in collections:
        if is_owned(directory, name) and not serves:
            owner = (directory / f"{name}.lock").read_text("ascii", "replace").strip() or "unknown"
            yield warn(
                f"{name} is held by process {owner}, and no service of `rollcall serve` runs here",
                "In order on a cluster's head node; else end that process before the next start.",
            )
        mark = directory / f"{name}.erased"
        if mark.exists() and time.time() - mark.stat().st_mtime > COMPACTION_LATE_S:
            hours = (time.time() - mark.stat().st_mtime) / 3600
            yield warn(
                f"{name} holds bytes of faces erased {hours:.0f} hours ago",
                "Compaction is due after an hour while the service runs: start it, or read its log.",
            )
    yield ok(f"embedded: {len(collections)} collections, {size / 2**20:.0f} MiB")


def look_at_redis(subject: Subject) -> Iterator[Finding]:
    url = subject.settings.rate_limits.redis_url
    if url is None:
        yield ok("not used: each ingress replica counts rate limits for itself")
        return
    import redis

    client = redis.Redis.from_url(url.get_secret_value(), socket_timeout=3, socket_connect_timeout=3)
    try:
        info: Any = client.info()
    except redis.RedisError as error:
        yield fail(f"does not answer: {type(error).__name__}", "Start it, or correct rate_limits.redis_url.")
        return
    finally:
        client.close()
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory") and str(policy).startswith("allkeys"):
        yield warn(f"maxmemory-policy {policy}", "noeviction: counts that are thrown out lift the limits.")
    yield ok(f"Redis {info.get('redis_version')}")


def look_at_clocks(subject: Subject) -> Iterator[Finding]:
    if find_sqlite_file(subject.settings.registry_url) is None:
        before = time.time()
        theirs = asyncio.run(_ask(subject, _read_clock))
        yield _judge_clock("the database's", theirs - (before + time.time()) / 2)
    url = find_url(subject)
    if url is not None:
        before = time.time()
        try:
            date = get(f"{url}/healthz", is_verified=subject.url is not None).date
        except OSError as error:
            yield _describe_silence(url, error)
            return
        if date is not None:
            # The header counts whole seconds, and is half of one late on average.
            yield _judge_clock("the service's", date + 0.5 - (before + time.time()) / 2)
    if find_sqlite_file(subject.settings.registry_url) is not None and url is None:
        yield ok("one machine, one clock")


def look_at_packs(subject: Subject) -> Iterator[Finding]:
    store = open_store(subject.settings)
    for pack in find_served_packs(subject.settings):
        state = store.state_of(pack)
        if not store.licences.is_accepted(pack):
            yield fail(
                f"{pack.id}: its licence is not accepted", f"rollcall packs fetch {pack.id} --accept-licence"
            )
        if not store.is_calibrated(pack):
            yield fail(f"{pack.id} is not calibrated", f"rollcall calibrate --pack {pack.id}")
        if state == "ready":
            yield ok(f"{pack.id}: every file has its hash")
        elif state == "damaged":
            yield fail(f"{pack.id}: a file is damaged", f"rollcall packs fetch {pack.id} makes it again.")
        else:
            yield warn(f"{pack.id} is not fetched yet", "rollcall packs prepare; the start does it too.")


def look_at_models(subject: Subject) -> Iterator[Finding]:
    from serving.packs.model_check import check_models

    store = open_store(subject.settings)
    for pack in find_served_packs(subject.settings):
        if store.is_ready(pack):
            began = time.monotonic()
            check_models(store.verify_files(pack))
            yield ok(f"{pack.id}: pictures went through both models in {time.monotonic() - began:.1f} s")
        else:
            yield warn(f"{pack.id} is not here to be run", "rollcall packs prepare")


def look_at_service(subject: Subject) -> Iterator[Finding]:
    url = find_url(subject)
    if url is None:
        yield ok("not running here")
        return
    try:
        status = get(f"{url}/readyz", is_verified=subject.url is not None).status
    except OSError as error:
        yield _describe_silence(url, error)
        return
    if status == 200:
        yield ok(f"{url} is ready")
    else:
        yield fail(f"{url}/readyz answers {status}", f"curl {url}/readyz names the stage or store.")


async def _look_at_server(subject: Subject) -> list[Finding]:
    from serving.gallery.engines import make_address
    from serving.gallery.records import collection_name

    settings = subject.settings.gallery
    address = make_address(settings)
    client = address.connect(QDRANT_TIMEOUT_S)
    rows: list[Finding] = []
    try:
        try:
            version = (await client.info()).version
            there = {each.name for each in (await client.get_collections()).collections}
        except Exception as error:
            words = f"{settings.url} does not answer as it should: {type(error).__name__}"
            return [fail(words, "Is it up, and are gallery.url, gallery.api_key and gallery.ca_file right?")]
        rows.append(ok(f"Qdrant {version}, {'TLS' if str(settings.url).startswith('https') else 'no TLS'}"))
        rows += await _look_without_key(subject)
        for pack in find_served_packs(subject.settings):
            name = collection_name(pack.id, pack.dimension)
            if name not in there:
                rows.append(ok(f"{name} is not there yet; the first start makes it"))
                continue
            info = await client.get_collection(name)
            strict = info.config.strict_mode_config
            vectors: Any = info.config.params.vectors
            if getattr(vectors, "size", None) != pack.dimension:
                cure = "Another pack's collection, or another server: see docs/gallery.md."
                rows.append(fail(f"{name} holds vectors of another dimension", cure))
            if strict is None or not strict.enabled or strict.unindexed_filtering_retrieve:
                cure = f"PATCH /collections/{name} with the strict_mode_config in docs/gallery.md."
                rows.append(warn(f"{name} is not in strict mode", cure))
            missing = {"event", "person"} - set(info.payload_schema or {})
            if missing:
                rows.append(fail(f"{name} has no index of {', '.join(sorted(missing))}", "A start makes it."))
            rows.append(ok(f"{name}: {info.points_count} faces, {info.status.value}"))
    finally:
        await client.close()
    return rows


async def _look_without_key(subject: Subject) -> list[Finding]:
    """Whether the server lets in whoever has no key."""
    from dataclasses import replace

    from serving.gallery.engines import make_address

    if is_this_machine(make_url(str(subject.settings.gallery.url)).host):
        return []
    stranger = replace(make_address(subject.settings.gallery), api_key=None).connect(QDRANT_TIMEOUT_S)
    try:
        await stranger.get_collections()
    except Exception:
        return [ok("it refuses whoever has no key")]
    finally:
        await stranger.close()
    return [
        fail("it answers whoever has no key", "QDRANT__SERVICE__API_KEY on the server, gallery.api_key here.")
    ]


async def _ask(subject: Subject, work: Callable[[Connection], T]) -> T:
    async with open_snapshot(subject.settings.registry_url, check_tables=False) as session:
        return await session.run(work)


def _read_facts(connection: Connection) -> tuple[str | None, int | None, bool, int]:
    """Revision; of PostgreSQL its version number and whether the connection is encrypted; wrong counts."""
    revision = current_revision(connection)
    if revision is None and inspect(connection).get_table_names():
        revision = UNMARKED
    miscounted = len(find_miscounted(connection)) if revision == HEAD else 0
    if connection.dialect.name == "sqlite":
        return revision, None, False, miscounted
    number = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    encrypted = connection.execute(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).scalar()
    return revision, number, bool(encrypted), miscounted


def _read_clock(connection: Connection) -> float:
    return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())


def _judge_clock(whose: str, ahead_s: float) -> Finding:
    seen = f"{whose} clock is {abs(ahead_s):.1f} s {'ahead' if ahead_s > 0 else 'behind'}"
    cure = "Let NTP (chrony, systemd-timesyncd) keep all machines' time: tokens and leases count on it."
    if abs(ahead_s) > CLOCK_FAIL_S:
        return fail(seen, cure)
    return warn(seen, cure) if abs(ahead_s) > CLOCK_WARN_S else ok(seen)


def _describe_silence(url: str, error: OSError) -> Finding:
    reason = getattr(error, "reason", error)
    return fail(f"{url} does not answer: {reason}", "Look at its log; is the URL right?")


CHECKS = (
    Check("config", "settings, and whether Serve would take the config", look_at_config),
    Check(
        "registry", "reachable, sound, schema, counts; PostgreSQL's version and TLS", look_at_registry, 30.0
    ),
    Check(
        "gallery",
        "files, owner, due compaction; a server's version, key, TLS, strict mode",
        look_at_gallery,
        30.0,
    ),
    Check("redis", "reachable, keeps its counts", look_at_redis),
    Check("clocks", "against the database's and the service's", look_at_clocks, 20.0),
    Check("packs", "files, licences, calibration", look_at_packs, 60.0),
    Check("models", "pictures through the detector and the embedder", look_at_models, 120.0),
    Check("service", "`/readyz` of the one that runs", look_at_service),
)
