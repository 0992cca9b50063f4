"""Which store MEDIA_STORE names: the only place that knows the kinds."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from handlers.media_store.local import Directory
from handlers.media_store.place import Keys, is_bucket, place_of
from handlers.media_store.port import NoStore, Store


def store(url: str, keys: Keys | None = None) -> Store:
    """Of a URL that Environment.media_store() took; none: without a store."""
    if not url:
        return NoStore()
    if is_bucket(url):
        from handlers.media_store.s3 import Bucket  # its libraries are nobody else's

        assert keys is not None, "Environment.media_keys() refuses to go on without"
        return Bucket(place_of(url), keys)
    return Directory(Path(unquote(urlsplit(url).path)))
