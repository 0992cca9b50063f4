"""Which store MEDIA_STORE names: the only place that knows the kinds."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from handlers.media_store.local import Directory
from handlers.media_store.port import NoStore, Store


def store(url: str) -> Store:
    """Of a URL that Environment.media_store() took; none: without a store."""
    if not url:
        return NoStore()
    return Directory(Path(unquote(urlsplit(url).path)))
