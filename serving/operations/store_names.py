"""Where registry and gallery are, as a command says it to people: no password, no option of a URL."""

from __future__ import annotations

from urllib.parse import urlsplit

from serving.database.location import find_sqlite_file, parse_url
from serving.settings import Settings


def name_registry(settings: Settings) -> str:
    """A file, or a database and the hosts that it is on."""
    path = find_sqlite_file(settings.registry_url)
    if path is not None:
        return str(path)
    url = parse_url(settings.registry_url)
    hosts = url.query.get("host", ()) if url.host is None else url.host  # several stand in the query
    shown = hosts if isinstance(hosts, str) else ", ".join(hosts)
    return f"PostgreSQL {url.database or ''} at {shown or 'this machine'}"


def name_gallery(settings: Settings) -> str:
    """A directory, or a server and its port."""
    if settings.gallery.engine == "embedded":
        return str(settings.gallery_dir)
    return f"Qdrant at {urlsplit(str(settings.gallery.url)).netloc.rpartition('@')[2]}"


def name_stores(settings: Settings) -> str:
    """Both."""
    return f"{name_registry(settings)} and {name_gallery(settings)}"
