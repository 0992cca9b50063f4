"""Templates as Meta tells of them: in webhooks, and in its listings. Pure; nothing raises."""

import json
from typing import Any, Final

from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.untrusted import Json, get, string
from handlers.whatsapp.values import TemplateNews

LISTED: Final = (
    "id,name,language,status,category,previous_category,correct_category,parameter_format,"
    "components,quality_score,rejected_reason,message_send_ttl_seconds"
)
# What an event says that is no status: it is as it was before.
_MEANS: Final = {"REINSTATED": "APPROVED", "UNARCHIVED": "APPROVED"}
WORD_CHARS, NAME_CHARS, INFO_BYTES = 64, 512, 8 * 1024


def template_news(value: Json) -> TemplateNews | None:
    """By its keys: a quality update was seen under the field of a status too."""
    name, language = _name(value), language_of(get(value, "message_template_language"))
    if name is None or language is None:
        return None
    if (quality := word(get(value, "new_quality_score"))) is not None:
        return TemplateNews("quality", name, language, quality_score=quality)
    if (category := word(get(value, "new_category"))) is not None:
        announced = word(get(value, "correct_category"))
        return TemplateNews(
            "category", name, language, category=category, correct_category=announced
        )
    if (event := word(get(value, "event"))) is not None:
        infos = (get(value, k) for k in ("rejection_info", "other_info", "disable_info"))
        return TemplateNews(
            "status",
            name,
            language,
            status=_MEANS.get(event, event),
            category=word(get(value, "message_template_category")),
            rejected_reason=reason_of(get(value, "reason")),
            rejection_info=next((i for info in infos if (i := info_of(info))), None),
        )
    if get(value, "message_template_element") is not None:
        return TemplateNews("components", name, language)
    return None


def language_of(value: Json) -> str | None:
    """Meta spells it with a dash in some places."""
    code = word(value)
    return code.replace("-", "_") if code else None


def word(value: Json) -> str | None:
    text = string(value)
    return storable(text)[:WORD_CHARS] if text else None


def reason_of(value: Json) -> str | None:
    reason = word(value)
    return None if reason == "NONE" else reason


def info_of(value: Json) -> dict[str, Any] | None:
    """Word for word, as long as a person reads it."""
    if not isinstance(value, dict) or not value:
        return None
    told = {storable(str(k)): _plain(v) for k, v in value.items()}
    fits = len(json.dumps(told).encode()) <= INFO_BYTES
    return told if fits else None


def _plain(value: Json) -> Json:
    return storable(value) if isinstance(value, str) else storable(json.dumps(value))


def _name(value: Json) -> str | None:
    name = string(get(value, "message_template_name"))
    return storable(name)[:NAME_CHARS] if name else None
