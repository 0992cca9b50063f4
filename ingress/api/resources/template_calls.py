"""Meta, asked for an account's templates, and its refusals as problems."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from db.ids import ChatbotId
from db.pool import Conn
from db.templates import Account, account_of_chatbot, sync_soon
from handlers.templates.account import Meta
from handlers.templates.sync import problem_of
from handlers.whatsapp.cloud_api.management import EXISTS, Declined, NoAnswer
from ingress.api.mistakes import Mistake
from ingress.api.problems import Problem, invalid, unavailable
from ingress.api.table import Call

LIMIT_S, AWAY_S = 3_600, 30
LOOK_AFTER = timedelta(seconds=20)  # what may have been done; a call takes as long at most


@dataclass(frozen=True, slots=True)
class Asked:
    """Meta, for one account."""

    meta: Meta
    waba_id: str
    tokens: Sequence[str]


async def of_chatbot(
    conn: Conn, call: Call[Any, Any], chatbot_id: ChatbotId
) -> tuple[Asked, datetime]:
    """And when, by the database's clock."""
    account = await account_of_chatbot(conn, call.user_id, chatbot_id)
    if account is None:
        raise invalid([Mistake("chatbot_id", "you have no chatbot with this id")])
    return asked_of(call, account.waba_id, [account]), account.asked_at


def asked_of(call: Call[Any, Any], waba_id: str | None, accounts: Sequence[Account]) -> Asked:
    if call.here.meta is None:
        raise unavailable("This process asks nobody at Meta.")
    tokens = call.here.meta.tokens_of(accounts)
    if waba_id is None or not tokens:
        lacks = "access_token that can be read" if waba_id else "waba_id that is proven"
        raise Problem(
            "no_account",
            f"The chatbot has no {lacks}: give it by PATCH /v1/chatbots/{{id}}. `waba_id` is also"
            " learned from the first webhook of its number.",
        )
    return Asked(call.here.meta, waba_id, tokens)


def refused(said: Declined | NoAnswer) -> Problem:
    match said:
        case NoAnswer():
            return unavailable(
                "WhatsApp's Graph API gave no answer that tells: perhaps it was done, perhaps not."
                " The account is listed again soon; look whether it is there.",
                AWAY_S,
            )
        case Declined("limit"):
            return Problem("meta_limit", problem_of(said), headers={"Retry-After": str(LIMIT_S)})
        case _:
            return Problem(
                "refused_by_meta",
                f"Meta says: {said.words}",
                code=said.code,
                subcode=said.subcode,
            )


def unclear(call: Call[Any, Any], waba_id: str, said: Declined | NoAnswer) -> Problem:
    """What was done all the same is found by a listing."""
    problem = refused(said)

    async def look_soon(conn: Conn) -> None:
        await sync_soon(conn, call.user_id, waba_id, LOOK_AFTER)

    if isinstance(said, NoAnswer) or said.subcode in EXISTS:
        problem.afterwards = look_soon
    return problem
