"""What Meta lists of an account's templates. Pure; nothing raises."""

from collections.abc import Sequence

from db.templates import Told
from handlers.rules.texts import storable
from handlers.templates.anatomy import Json, names_in, part, text_of, word
from handlers.whatsapp.cloud_api.details import plain
from handlers.whatsapp.cloud_api.templates import NAME_CHARS, language_of, reason_of
from handlers.whatsapp.cloud_api.templates import word as spelt
from handlers.whatsapp.cloud_api.untrusted import get, string

TTL_MAX = 2**31 - 1


def told_of(item: Json) -> Told | None:
    """None: it does not say which template it is."""
    name, language = string(get(item, "name")), language_of(get(item, "language"))
    meta_id, status = spelt(get(item, "id")), spelt(get(item, "status"))
    if name is None or language is None or meta_id is None or status is None:
        return None
    components = get(item, "components")
    components = plain(components) if isinstance(components, list) else []
    quality = get(item, "quality_score")
    return Told(
        meta_id=meta_id,
        name=storable(name)[:NAME_CHARS],
        language=language,
        status=status,
        category=spelt(get(item, "category")) or "UNKNOWN",
        correct_category=_other(item),
        quality_score=spelt(get(quality, "score")) or spelt(quality) or "UNKNOWN",
        parameter_format=format_of(get(item, "parameter_format"), components),
        components=components,
        rejected_reason=reason_of(get(item, "rejected_reason")),
        message_send_ttl_seconds=_ttl(get(item, "message_send_ttl_seconds")),
    )


def page_of(fields: Json) -> tuple[list[Told], str | None]:
    """With the cursor of the next page; None: this was the last."""
    data = get(fields, "data")
    told = [one for item in (data if isinstance(data, list) else ()) if (one := told_of(item))]
    paging = get(fields, "paging")
    more = string(get(paging, "next")) is not None
    return told, string(get(get(paging, "cursors"), "after")) if more else None


def format_of(given: Json, components: Sequence[Json]) -> str:
    """Older answers do not tell it."""
    if word(given) in ("POSITIONAL", "NAMED"):
        return word(given)
    names = [
        name for kind in ("HEADER", "BODY") for name in names_in(text_of(part(components, kind)))
    ]
    return "NAMED" if names and not any(name.isdecimal() for name in names) else "POSITIONAL"


def _other(item: Json) -> str | None:
    correct = spelt(get(item, "correct_category"))
    return None if correct == spelt(get(item, "category")) else correct


def _ttl(value: Json) -> int | None:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and -1 <= value <= TTL_MAX else None
