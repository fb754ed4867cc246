"""The secrets of a deployment, one file each: passwords, tokens, and certificates of an authority of its own.

What is there is kept, so making them again adds what is missing and changes nothing that runs, but for what
was asked for. All is worked out before the first file is written: what cannot be made changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from cryptography import x509

from serving.commands.secret_certificates import (
    Signed,
    check_host,
    find_missing,
    is_of_own_kind,
    is_signed_by,
    list_names,
    load_authority,
    load_certificates,
    make_authority,
    sign,
)
from serving.commands.secret_urls import URLS, StoreUrl
from serving.errors import CommandError
from serving.operations.certificate_expiry import tell_expiry
from serving.operations.private_files import MOUNTED_SECRETS

TOKEN_BYTES = 32
SERVERS = ("postgres", "qdrant", "redis")
"""Whose certificates the deployment's own authority signs, under the names that docker-compose.yml gives."""
RANDOM = (
    "database_password",
    "gallery_api_key",
    "redis_password",
    "metrics_token",
    "ray_token",
    "grafana_password",
)
HERE = ("localhost", "127.0.0.1")
PROXY = "proxy.pem"
State = Literal["made", "changed", "kept"]


@dataclass(frozen=True, slots=True)
class Written:
    """A file, what became of it, and what whoever runs the deployment should know.

    Attributes:
        state: `made` where none was, `changed` where one was, `kept`.
        notes: about this file: what was asked for and not done, what is about to expire, what to start anew.
    """

    name: str
    state: State
    notes: tuple[str, ...] = ()

    @property
    def made(self) -> bool:
        """Whether it was written now."""
        return self.state != "kept"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a deployment's secrets beside being there.

    Attributes:
        hosts: for the proxy's certificate; none: as it is, or this machine's own names.
        store_hosts: by the store's name: for its certificate, and the first of them for its URL.
        prefix: folder of ca.pem where the URLs are used; None: as they have it, or a container's.
        rewrite_urls: URLs that are there follow the passwords, hosts and prefix.
    """

    hosts: tuple[str, ...] = ()
    store_hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prefix: PurePosixPath | None = None
    rewrite_urls: bool = False

    def check(self) -> Wanted:
        """The same with names as certificates carry them, or an error that names the option."""
        if unknown := set(self.store_hosts) - set(SERVERS):
            raise CommandError(f"--store-host {min(unknown)}: there are {', '.join(SERVERS)}")
        if self.prefix is not None and not self.prefix.is_absolute():
            raise CommandError(f"--prefix {self.prefix}: a whole path, such as /etc/rollcall")
        return Wanted(
            tuple(check_host(host, "--host") for host in self.hosts),
            {
                store: tuple(check_host(host, f"--store-host {store}") for host in hosts)
                for store, hosts in self.store_hosts.items()
            },
            self.prefix,
            self.rewrite_urls,
        )


def make_secret_files(
    folder: Path,
    hosts: Sequence[str] = (),
    *,
    store_hosts: Mapping[str, tuple[str, ...]] | None = None,
    prefix: PurePosixPath | None = None,
    rewrite_urls: bool = False,
) -> list[Written]:
    """Make what is missing of a deployment's secrets, and what was asked for.

    Only the folder's owner can enter it; the files in it can be read by whoever a container engine mounts
    them for, since the users within containers are none of the host's. A file that is written anew keeps the
    mode and the owner that it had.

    Args:
        folder: made with mode 0700 if it is not there.
        hosts: as in `Wanted`, as are the others.

    Raises:
        CommandError: the folder cannot be written, others may enter it, something is to be signed and the
            authority is not whole, or a name is none. Nothing was written.
    """
    wanted = Wanted(tuple(hosts), store_hosts or {}, prefix, rewrite_urls).check()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            raise CommandError(f"Others can enter {folder}: chmod 700 it.")
        plan = _Plan(folder, wanted)
        plan.make_all()
        return plan.write()
    except OSError as error:
        raise CommandError(f"{error.filename or folder}: {error.strerror}") from None


class _Plan:
    """What is to be written, worked out whole before the first file is."""

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        self._folder = folder
        self._wanted = wanted
        self._texts: dict[str, str] = {}
        self._notes: dict[str, list[str]] = {}
        self._authorities: list[x509.Certificate] = []

    def make_all(self) -> None:
        for name in RANDOM:
            if not self._is_there(name):
                self._texts[name] = secrets.token_urlsafe(TOKEN_BYTES)
            self._listed(name)
        for url in URLS:
            self._follow(url)
        password, key = self._password("redis_password"), self._password("gallery_api_key")
        self._set("redis_auth.conf", f"requirepass {_quote(password)}\n")
        self._set("qdrant_auth.yaml", f"service:\n  api_key: {json.dumps(key, ensure_ascii=False)}\n")
        self._make_certificates()

    def write(self) -> list[Written]:
        """Every draft first, then every name: a full disk leaves all as it was."""
        changed = {name for name, text in self._texts.items() if text != self._read(name)}
        states: dict[str, State] = {
            name: ("changed" if self._is_there(name) else "made") if name in changed else "kept"
            for name in self._notes
        }
        with self._drafts(sorted(changed)) as drafts:
            for draft, path in drafts:
                draft.replace(path)
        return [Written(name, state, tuple(self._notes[name])) for name, state in states.items()]

    @contextlib.contextmanager
    def _drafts(self, names: Sequence[str]) -> Iterator[list[tuple[Path, Path]]]:
        drafts = [(self._folder / f".{name}.new", self._folder / name) for name in names]
        try:
            for draft, path in drafts:
                draft.unlink(missing_ok=True)
                _write_draft(draft, self._texts[path.name], path)
            yield drafts
        finally:
            for draft, _ in drafts:
                draft.unlink(missing_ok=True)

    def _follow(self, url: StoreUrl) -> None:
        """Write a URL that is not there; one that is follows a password that was made now, or on demand."""
        notes = self._listed(url.file)
        password = self._password(url.password_file)
        asked = self._wanted.store_hosts.get(url.store, ())
        host = asked[0] if asked else None
        authority = str(self._wanted.prefix / "ca.pem") if self._wanted.prefix else None
        there = self._read(url.file)
        if there is None:
            self._texts[url.file] = (
                url.make(password, host or url.store, authority or f"{MOUNTED_SECRETS}/ca.pem") + "\n"
            )
            return
        there = there.strip()
        followed: str | None = there
        if self._wanted.rewrite_urls:
            followed = url.follow(there, password, host, authority)
        elif url.password_file in self._texts:
            followed = url.follow(there, password, None, None)
        if followed is not None and followed != there:
            self._texts[url.file] = followed + "\n"
        differences = url.compare(followed or there, password, host, authority)
        cure = f"remove {url.file} and run this again" if followed is None else "--rewrite-urls puts it right"
        notes += [f"{difference}: {cure}, or leave it if you meant it" for difference in differences]

    def _make_certificates(self) -> None:
        self._listed("ca.pem")
        self._authorities = self._load("ca.pem")
        asked = {f"{server}.pem": self._wanted.store_hosts.get(server, ()) for server in SERVERS}
        asked[PROXY] = self._wanted.hosts
        to_sign = {name: names for name, hosts in asked.items() if (names := self._judge(name, hosts))}
        self._judge_authority()
        if not to_sign and self._authorities:
            return
        signer = self._find_signer(sorted(to_sign))
        for name, names in to_sign.items():
            made = sign(signer, names)
            if self._is_there(name):
                self._notes[name].append(f"is now for {', '.join(names)}: start {name[:-4]} anew")
            if name == PROXY:
                self._texts[name] = made.key_pem + made.pem + signer.pem
            else:
                self._texts[name], self._texts[_key_of(name)] = made.pem, made.key_pem

    def _judge(self, name: str, asked: Sequence[str]) -> list[str]:
        """The names that a certificate is to be signed for; none where the one that is there does."""
        notes = self._listed(name)
        files = [name] if name == PROXY else [name, _key_of(name)]
        for file in files:
            self._listed(file)
        if not all(self._is_there(file) for file in files):
            if name == PROXY and not asked:
                notes.append(
                    f"is for {' and '.join(HERE)} alone: remove it and give --host for clients elsewhere"
                )
            own = ([] if asked else HERE) if name == PROXY else [name[:-4], *HERE]
            return list(dict.fromkeys([*own, *asked]))
        certificate = self._load(name)[0]
        is_ours = is_of_own_kind(certificate) and is_signed_by(certificate, self._authorities)
        missing = find_missing(certificate, asked)
        if missing and is_ours:
            return list(dict.fromkeys([*list_names(certificate), *missing]))
        again = f"remove {' and '.join(files)}, run this again{_ask_for(name, certificate)}"
        again += f", start {name[:-4]} anew"
        if is_of_own_kind(certificate) and not is_ours and self._authorities:
            notes.append(f"is signed by another authority than ca.pem: {again}")
        elif expiry := tell_expiry(certificate):
            notes.append(f"{expiry}: {again if is_ours else 'put the next in its place'}")
        if missing:
            notes.append(
                f"is not for {', '.join(missing)}, and was not signed here: put one that is in its place, or "
                f"{again}"
            )
        return []

    def _judge_authority(self) -> None:
        for expiry in filter(None, map(tell_expiry, self._authorities)):
            self._notes["ca.pem"].append(
                f"holds an authority that {expiry}: remove ca.pem, ca.key and what they signed, run this "
                "again, hand ca.pem to all, start all anew"
            )
        if self._is_there("ca.key") or not self._authorities:  # it is kept elsewhere once all is made
            self._listed("ca.key")

    def _find_signer(self, to_sign: Sequence[str]) -> Signed:
        key = self._read("ca.key")
        if self._authorities:
            if key is None:
                raise CommandError(
                    f"{self._folder} has no ca.key to sign {', '.join(to_sign)} with: bring it back. "
                    "Nothing was written"
                )
            return load_authority(self._authorities, key.encode())
        there = [f"{server}.pem" for server in SERVERS] + [PROXY]
        orphans = [name for name in there if name not in to_sign and is_of_own_kind(self._load(name)[0])]
        if key is not None or orphans:
            left = ", ".join([*(["ca.key"] if key is not None else []), *orphans])
            raise CommandError(
                f"{self._folder} has lost ca.pem: bring it back, or remove {left}, so that a new authority "
                "signs all. Nothing was written"
            )
        made = make_authority()
        self._texts["ca.pem"], self._texts["ca.key"] = made.pem, made.key_pem
        return made

    def _load(self, name: str) -> list[x509.Certificate]:
        """The certificates of a file; none where there is no file."""
        pem = self._read(name)
        return [] if pem is None else load_certificates(pem.encode(), name)

    def _set(self, name: str, text: str) -> None:
        self._texts[name] = text
        self._listed(name)

    def _listed(self, name: str) -> list[str]:
        return self._notes.setdefault(name, [])

    def _password(self, name: str) -> str:
        password = self._texts.get(name) or (self._read(name) or "").strip()
        if not password or not password.isprintable():
            raise CommandError(
                f"{self._folder / name} holds no password of one line: write one, or remove it"
            )
        return password

    def _is_there(self, name: str) -> bool:
        return (self._folder / name).exists()

    def _read(self, name: str) -> str | None:
        try:
            return (self._folder / name).read_text("utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            raise CommandError(f"{self._folder / name} is not text: remove it to have it made anew") from None


def _write_draft(draft: Path, text: str, path: Path) -> None:
    """A file on the disk with the mode and the owner of the one it will replace."""
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        try:
            before = path.stat()
        except FileNotFoundError:
            os.fchmod(handle, 0o600 if path.name == "ca.key" else 0o644)
        else:
            if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(handle, before.st_uid, before.st_gid)
            os.fchmod(handle, before.st_mode & 0o777)
        file.write(text)
        file.flush()
        os.fsync(handle)


def _key_of(name: str) -> str:
    return f"{name.removesuffix('.pem')}.key"


def _ask_for(name: str, certificate: x509.Certificate) -> str:
    """The options that give a certificate the names it has, beyond those that it has in any case."""
    if name == PROXY:
        return " with" + "".join(f" --host {host}" for host in list_names(certificate))
    hosts = [host for host in list_names(certificate) if host not in (name[:-4], *HERE)]
    return f" with --store-host {name[:-4]}={','.join(hosts)}" if hosts else ""


def _quote(password: str) -> str:
    """As Redis's configuration takes it: as it is, or in quotes where it would not end where it should."""
    is_plain = password.replace("-", "").replace("_", "").isalnum()
    return password if is_plain else json.dumps(password, ensure_ascii=False)
