"""Chatbots are made and changed by their tenants.

Each is part of the caller's transaction. What cannot be done is raised, so that the transaction
leaves nothing behind.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from db.chatbots import (
    LockedSettings,
    Settings,
    add_chatbot,
    change_chatbot,
    next_chatbot_id,
)
from db.claims import numbers_taken, rest_proof, seek_proof
from db.ids import ChatbotId, UserId
from db.pool import Conn
from db.templates import read_template
from handlers.fixed.texts import problems
from handlers.limits import hold_place
from handlers.plans import Limit
from handlers.process.secrets import Undecryptable, Vault, access_token_of, model_keys_of
from handlers.rules import budgets, hours, models
from handlers.rules.claims import CLAIMED, PATIENCE, named, obstacle
from handlers.templates.parameters import OF_DECISION, OF_ORDER, OF_REPLY, mistakes

TEXTS_BYTES = 64 * 1024  # of a chatbot, all of them as JSON: a turn reads them
# What goes instead of a message outside the 24-hour window, and what beside the contact fills it.
TEMPLATES: Final[Mapping[str, tuple[str, ...]]] = {
    "window_template": OF_REPLY,
    "order_template": (*OF_REPLY, *OF_ORDER),
    "decision_template": (*OF_REPLY, *OF_DECISION),
}
NAMES: Final[frozenset[str]] = frozenset({*CLAIMED, "access_token"})

_NEW = Settings(
    name="",
    whatsapp_phone_number=None,
    phone_number_id=None,
    waba_id=None,
    claimed_number=None,
    claimed_phone_number_id=None,
    claimed_waba_id=None,
    access_token=None,
    general_instructions=None,
    is_active=True,
    bot_status="active",
    language=None,
    texts={},
    window_template=None,
    budgets={},
    embeddings=False,
    business_hours=None,
    answer_checks="block",
    model=None,
    model_keys=None,
    topic=None,
    opt_out_words=[],
    order_messages=[],
    marketing_api=False,
    order_template=None,
    decision_template=None,
)


class Taken(Exception):
    """Another chatbot, of whatever tenant, has proven these."""

    def __init__(self, members: list[str]) -> None:
        super().__init__(*members)
        self.members = members


class Gone(Exception):
    """The tenant was erased a moment ago."""


class Unfit(Exception):
    """What was given does not go with what there is: member -> what is wrong."""

    def __init__(self, mistakes: Mapping[str, str]) -> None:
        super().__init__(*mistakes)
        self.mistakes = mistakes


async def make(conn: Conn, user_id: UserId, given: Mapping[str, Any], vault: Vault) -> ChatbotId:
    """Raises Gone, Taken, Unfit, and what hold_place() raises."""
    if not await hold_place(conn, user_id, Limit.MAX_CHATBOTS):
        raise Gone
    chatbot_id = await next_chatbot_id(conn)
    given = await named_templates(conn, user_id, None, given)
    new = _changed(_NEW, given, chatbot_id, vault)
    await _be_free(conn, None, new)
    await add_chatbot(conn, user_id, chatbot_id, new)
    await _seek(conn, user_id, chatbot_id, new)
    return chatbot_id


async def change(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    has: LockedSettings,
    given: Mapping[str, Any],
    vault: Vault,
) -> None:
    """Of a locked one. Raises Taken, Unfit."""
    given = await named_templates(conn, user_id, has.settings.waba_id, given)
    new = _changed(has.settings, given, chatbot_id, vault)
    if NAMES & given.keys():
        await _be_free(conn, chatbot_id, new)
    if new != has.settings:
        await change_chatbot(conn, user_id, chatbot_id, new)
    if NAMES & given.keys():
        await _seek(conn, user_id, chatbot_id, new)


def _changed(
    has: Settings, given: Mapping[str, Any], chatbot_id: ChatbotId, vault: Vault
) -> Settings:
    plain: dict[str, Any] = {n: v for n, v in given.items() if n not in NAMES}
    if "texts" in plain:
        plain["texts"] = merged_texts(has.texts, plain["texts"])
    if plain.get("window_template") is not None:
        plain["window_template"] = merged_template(has.window_template, plain["window_template"])
    if "budgets" in plain:
        plain["budgets"] = merged_budgets(has, plain)
    if plain.get("business_hours") is not None:
        plain["business_hours"] = hours.merged(has.business_hours, plain["business_hours"])
    if given.get("access_token") is not None:
        plain["access_token"] = vault.encrypt(given["access_token"], access_token_of(chatbot_id))
    if "model" in plain:
        plain |= _model(has, plain["model"], chatbot_id, vault)
    plain |= named(asdict(has), given)
    return replace(has, **plain)


def _model(
    has: Settings, given: Mapping[str, Any] | None, chatbot_id: ChatbotId, vault: Vault
) -> dict[str, Any]:
    """The two columns. Raises Unfit."""
    belongs_to = model_keys_of(chatbot_id)
    keys: models.Keys = ()
    if has.model_keys is not None:
        with contextlib.suppress(Undecryptable):  # then they have to be given anew
            keys = models.read_keys(vault.decrypt(has.model_keys, belongs_to))
    model, new = models.changed(has.model, keys, given)
    if found := models.mistakes(model, new):
        raise Unfit(found)
    text = models.keys_text(new)
    # Sealed anew it would be another.
    sealed = has.model_keys if new == keys else text and vault.encrypt(text, belongs_to)
    return {"model": model, "model_keys": sealed}


def merged_texts(has: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """By kind and language; null takes away. Raises Unfit."""
    texts: dict[str, Any] = dict(has) if isinstance(has, dict) else {}
    for kind, by_language in given.items():
        before = texts.get(kind)
        after = dict(before) if isinstance(before, dict) and by_language is not None else {}
        for language, text in (by_language or {}).items():
            after[language] = text
        after = {language: text for language, text in after.items() if text is not None}
        texts[kind] = after
    texts = {kind: by_language for kind, by_language in texts.items() if by_language}
    size = len(json.dumps(texts, ensure_ascii=False).encode())
    if size > TEXTS_BYTES:
        raise Unfit({"texts": f"all texts together have {size} bytes, {TEXTS_BYTES} at most"})
    return texts


def text_problems(given: Mapping[str, Any]) -> list[str]:
    """Of what is given, where null takes away."""
    kept = {
        kind: {language: text for language, text in by_language.items() if text is not None}
        if isinstance(by_language, dict)
        else by_language
        for kind, by_language in given.items()
    }
    known = {kind: {} if by_language is None else by_language for kind, by_language in kept.items()}
    return problems(known)


def merged_template(has: Mapping[str, Any] | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Raises Unfit."""
    if "template_id" in given:
        return dict(given)
    plain = {k: v for k, v in (has or {}).items() if k not in ("template_id", "parameters")}
    template = {**plain, **given}
    missing = [name for name in ("name", "language") if template.get(name) is None]
    if missing:
        raise Unfit({f"window_template.{name}": "missing" for name in missing})
    return template


def merged_budgets(has: Settings, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Raises Unfit."""
    new = budgets.merged(has.budgets, plain["budgets"])
    if wrong := budgets.mistakes(new):
        raise Unfit(wrong)
    return new


async def named_templates(
    conn: Conn, user_id: UserId, waba_id: str | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Those of a chatbot that are given by their row, with name and language, checked. Raises
    Unfit with all that is wrong."""
    found, wrong = dict(given), dict[str, str]()
    for member, fields in TEMPLATES.items():
        template = given.get(member)
        if not isinstance(template, Mapping) or "template_id" not in template:
            continue
        row = await read_template(conn, user_id, template["template_id"])
        if row is None or (waba_id is not None and row.template.waba_id != waba_id):
            wrong[f"{member}.template_id"] = "no template of the chatbot's account has this id"
            continue
        parameters = template.get("parameters", {})
        for one in mistakes(row.template.components, parameters, fields):
            wrong[f"{member}.parameters.{one.place}"] = one.detail
        found[member] = {
            "template_id": row.template.id,
            "name": row.template.name,
            "language": row.template.language,
            "parameters": parameters,
        }
    if wrong:
        raise Unfit(wrong)
    return found


async def _be_free(conn: Conn, chatbot_id: ChatbotId | None, new: Settings) -> None:
    if new.claimed_number is None and new.claimed_phone_number_id is None:
        return
    taken = await numbers_taken(conn, chatbot_id, new.claimed_number, new.claimed_phone_number_id)
    if taken:
        members = {"number": "whatsapp_phone_number", "phone_number_id": "phone_number_id"}
        raise Taken([member for what, member in members.items() if what in taken])


async def _seek(conn: Conn, user_id: UserId, chatbot_id: ChatbotId, new: Settings) -> None:
    claims = asdict(new)
    if any(claims[column] is not None for column in CLAIMED.values()):
        await seek_proof(conn, user_id, chatbot_id, PATIENCE, obstacle(claims))
    else:
        await rest_proof(conn, user_id, chatbot_id)
