"""Two who meet at a row: whoever had to wait decides by what is there then."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage

from cli.dead_items import BUSY, _queue_again
from db.conversations import claim_conversations
from db.dead import Burial, bury
from db.ids import ConversationId, MessageId, WorkerId
from db.pool import CONFLICT, Pool, tenant
from db.sends import claim_sends
from db.status_fence import fence_wanted, move_fence, release_replayed
from db.takeovers import hand_back
from db.workers import sweep_dead_workers, sweep_unheld
from handlers.agent.graph import Agent
from handlers.agent.offline import Offline
from handlers.agent.prompt import Briefing
from handlers.agent.tools import Toolbox
from handlers.ingest.recording import record_batch
from handlers.ingest.statuses import merge_batch
from handlers.process.secrets import Vault
from handlers.sends.sending import Sender
from handlers.sends.tokens import Tokens
from handlers.takeover import (
    hand_back_conversation,
    queue_message_of_person,
    take_over_conversation,
)
from handlers.turns.decide import Silent, decide
from handlers.turns.run import _read, run_turn
from handlers.turns.think import thought_of
from handlers.turns.turn import Turn
from handlers.turns.write import _write
from handlers.whatsapp.port import Accepted
from tests.db.test_races import waiting
from tests.db.test_turn_queries import PAIR
from tests.factories import Owner, Tenant, make_conversation, make_message, make_tenant
from tests.recording import DEBOUNCE, body, parked, recorded, statuses_for, to, wrote
from tests.unit.payloads import change, status, value

ME = WorkerId(1)
DAY = timedelta(days=1)
PATIENCE = timedelta(minutes=5)


# ---- a person is faster than a send


class Meta:
    """Takes everything."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send(
        self, phone_number_id: str, token: str, message: dict[str, Any], *, marketing: bool = False
    ) -> Accepted:
        self.sent.append(message)
        return Accepted(f"wamid.{len(self.sent)}")  # type: ignore[arg-type]


def sender(pool: Pool, meta: Meta) -> Sender:
    return Sender(pool, meta, Tokens(Vault(("x" * 16,)), "token"))  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["by the API", "by writing", "by an echo"])
async def test_a_bot_says_nothing_after_a_person_took_over(
    pool: Pool, owner: Owner, how: str
) -> None:
    """The send waits for the takeover's lock, and must not go by what it read before."""
    user = await make_tenant(owner)
    who = await make_conversation(owner, user)
    message = await make_message(owner, user, *who)
    async with pool.acquire() as conn:
        (claim,) = await claim_sends(conn, ME, 10, 10, PAIR, DAY)
    meta = Meta()
    async with tenant(pool, user.user_id) as conn:
        match how:
            case "by the API":
                await take_over_conversation(conn, user.user_id, who[1], None, "test")
            case "by writing":
                await queue_message_of_person(conn, user.user_id, who[1], "I am here", {})
            case _:
                await conn.execute(
                    "UPDATE conversations SET taken_over_at = now(), taken_over_by = 'human',"
                    " taken_over_until = now() + interval '1 h', taken_over_reason = 'echo'"
                )
        late = await waiting(owner, sender(pool, meta).send(ME, claim))
    await late
    assert meta.sent == []
    now = await owner.fetchval("SELECT status FROM messages WHERE id = $1", message)
    assert now == "cancelled"


async def test_a_bot_says_nothing_after_its_contact_was_paused(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    who = await make_conversation(owner, user)
    await make_message(owner, user, *who)
    async with pool.acquire() as conn:
        (claim,) = await claim_sends(conn, ME, 10, 10, PAIR, DAY)
    meta = Meta()
    async with tenant(pool, user.user_id) as conn:
        await conn.execute("UPDATE contacts SET conversation_paused = true")
        late = await waiting(owner, sender(pool, meta).send(ME, claim))
    await late
    assert meta.sent == []


@pytest.mark.parametrize("change", ["conversation_paused = true", "contact_status = 'blocked'"])
async def test_a_turn_says_nothing_after_its_contact_was_paused_or_blocked(
    pool: Pool, owner: Owner, change: str
) -> None:
    """While the turn's last transaction waits for the conversation."""
    user, who = await asked(owner)
    turn = await claimed_turn(pool)
    read = await _read(turn)
    assert read is not None
    async with tenant(pool, user.user_id) as conn:
        await conn.execute("UPDATE conversations SET updated_at = now()")
        late = await waiting(owner, _write(turn, read, decide(read, None)))
        await conn.execute(f"UPDATE contacts SET {change}")
    written = await late
    assert isinstance(written, Silent)
    assert await outbound(owner) == []
    assert who


# ---- a person answers while a turn runs


async def asked(owner: Owner, text: str = "Are you open?") -> tuple[Tenant, Any]:
    user = await make_tenant(owner)
    who = await make_conversation(owner, user, input_seq=1, ready_at=datetime.now(UTC))
    await make_message(
        *(owner, user, *who),
        direction="inbound",
        status="received",
        text=text,
        wamid="w.1",
        input_seq=1,
    )
    await owner.execute("UPDATE messages SET sent_at = now() - interval '1 min'")
    return user, who


async def claimed_turn(pool: Pool) -> Turn:
    async with pool.acquire() as conn:
        (claim,) = await claim_conversations(conn, ME, 10, 10)
    return Turn(pool, Agent(Offline()), ME, claim, None)


async def outbound(owner: Owner) -> list[tuple[str, bool]]:
    rows = await owner.fetch(
        "SELECT content_text, is_from_human FROM messages WHERE direction = 'outbound' ORDER BY id"
    )
    return [(row["content_text"], row["is_from_human"]) for row in rows]


async def reason(owner: Owner) -> Any:
    return await owner.fetchval(
        "SELECT metadata ->> 'reason' FROM messages WHERE direction = 'inbound'"
    )


async def test_what_a_person_answered_and_handed_back_is_not_answered_again(
    pool: Pool, owner: Owner
) -> None:
    user, (_, conversation) = await asked(owner)
    turn = await claimed_turn(pool)
    read = await _read(turn)
    assert read is not None
    async with tenant(pool, user.user_id) as conn:
        await take_over_conversation(conn, user.user_id, conversation, None, "test")
    async with tenant(pool, user.user_id) as conn:
        await queue_message_of_person(conn, user.user_id, conversation, "Until six.", {})
    async with tenant(pool, user.user_id) as conn:
        await hand_back_conversation(conn, user.user_id, conversation)
    reply = await turn.agent.run(task_of(turn, read))
    await_write = _write(turn, read, decide(read, reply))
    # The person's message used the unit that the turn held.
    try:
        written = await await_write
    except RuntimeError:
        written = None
    assert written is None or isinstance(written, Silent)
    await owner.execute("UPDATE conversations SET lease_owner = NULL, ready_at = now()")
    for _ in range(3):  # the hand-back is an input too
        async with pool.acquire() as conn:
            claims = await claim_conversations(conn, ME, 10, 10)
        for claim in claims:
            await run_turn(pool, Agent(Offline()), ME, claim)
    assert await outbound(owner) == [("Until six.", True)]
    assert await reason(owner) == "answered_by_person"
    (row,) = await owner.fetch("SELECT input_seq, answered_seq, ready_at FROM conversations")
    assert (row["answered_seq"], row["ready_at"]) == (row["input_seq"], None)


def task_of(turn: Turn, read: Any) -> Any:
    from handlers.agent.graph import Task
    from handlers.agent.knowledge import Knowledge
    from handlers.turns.think import _toolbox
    from handlers.turns.thinking import briefing_of

    knowledge = Knowledge(1, ())
    return Task(
        thread_id=read.found.context.thread_id,
        slot=read.slot,
        history=read.found.history,
        inputs=read.found.inputs,
        events=read.found.events,
        briefing=briefing_of(read.found, knowledge),
        tools=_toolbox(turn, read.found, knowledge),
    )


async def test_what_comes_after_a_person_s_message_is_the_bot_s_again(
    pool: Pool, owner: Owner
) -> None:
    user, (_, conversation) = await asked(owner)
    async with tenant(pool, user.user_id) as conn:
        await queue_message_of_person(conn, user.user_id, conversation, "Until six.", {})
        await hand_back(conn, user.user_id, conversation)
    phone = await owner.fetchval("SELECT wa_id FROM contacts")
    await record_batch(pool, [to(user, wrote("w.2", phone))], DEBOUNCE)
    await owner.execute("UPDATE conversations SET ready_at = now()")
    await owner.execute("UPDATE messages SET sent_at = now() WHERE message_id = 'w.2'")
    turn = await claimed_turn(pool)
    read = await _read(turn)
    assert read is not None
    assert [row.wamid for row in read.found.inputs] == ["w.2"]


async def test_an_echo_answers_what_came_before_it_by_whatsapp_s_time(
    pool: Pool, owner: Owner
) -> None:
    """The customer wrote again before the echo reached us."""
    user = await make_tenant(owner)
    now = int(datetime.now(UTC).timestamp())
    await record_batch(
        pool, [to(user, wrote("w.1", at=now - 60), wrote("w.2", at=now - 10))], DEBOUNCE
    )
    await record_batch(pool, [echo_of(user, now - 30)], DEBOUNCE)
    rows = await owner.fetch(
        "SELECT message_id, metadata ->> 'reason' AS reason FROM messages"
        " WHERE direction = 'inbound' ORDER BY id"
    )
    assert [tuple(r) for r in rows] == [("w.1", "answered_by_person"), ("w.2", None)]
    (row,) = await owner.fetch("SELECT input_seq, answered_seq, ready_at FROM conversations")
    assert (row["input_seq"], row["answered_seq"]) == (2, 1)
    assert row["ready_at"] is not None


def echo_of(user: Tenant, at: int) -> bytes:
    """What a person wrote on the phone to the customer who is known by a number alone."""
    echo = {
        "from": user.number.lstrip("+"),
        "to": "13035550111",
        "id": "wamid.ECHO",
        "timestamp": str(at),
        "type": "text",
        "text": {"body": "Yes"},
    }
    content = value(user.phone_number_id, user.number, message_echoes=[echo])
    return body(change(content, "smb_message_echoes"))


async def answered_meanwhile(pool: Pool, owner: Owner, upto: int, *, by_echo: bool) -> str:
    """What became of a turn that read two messages, while a third came, a person answered the first
    `upto`, and handed the conversation back."""
    user = await make_tenant(owner)
    now = int(time.time()) - 600
    await record_batch(pool, [to(user, wrote("w1", at=now), wrote("w2", at=now + 2))], DEBOUNCE)
    await owner.execute("UPDATE conversations SET ready_at = now()")
    async with pool.acquire() as conn:
        (claim,) = await claim_conversations(conn, ME, 1, 1)
    turn = Turn(pool, Agent(Offline()), ME, claim, None)
    read = await _read(turn)
    assert read is not None
    decision = decide(read, await thought_of(turn, read))
    await record_batch(pool, [to(user, wrote("w3", at=now + 4))], DEBOUNCE)
    if by_echo:
        await record_batch(pool, [echo_of(user, now + 2 * upto - 1)], DEBOUNCE)
    async with tenant(pool, user.user_id) as conn:
        if not by_echo:
            said = (claim.conversation_id, "At seven.", {"kind": "human"})
            await queue_message_of_person(conn, user.user_id, *said)
        await hand_back(conn, user.user_id, claim.conversation_id)
    await _write(turn, read, decision)
    return turn.report.outcome


async def bots(owner: Owner) -> list[str]:
    rows = await owner.fetch(
        "SELECT content_text FROM messages WHERE direction = 'outbound' AND NOT"
        " coalesce(is_from_human, false) ORDER BY id"
    )
    return [row[0] for row in rows]


@pytest.mark.parametrize("by_echo", [True, False], ids=["on the phone", "through the API"])
async def test_what_a_person_answered_is_not_answered_by_a_turn_that_had_read_it(
    pool: Pool, owner: Owner, by_echo: bool
) -> None:
    """Though the conversation is the bot's again; nor is it an input again."""
    await answered_meanwhile(pool, owner, 3, by_echo=by_echo)
    assert await bots(owner) == []
    row = await owner.fetchrow("SELECT answered_seq, ready_at, lease_owner FROM conversations")
    assert tuple(row or ()) == (3, None, None)
    reasons = await owner.fetch(
        "SELECT metadata ->> 'reason' FROM messages WHERE direction = 'inbound'"
    )
    assert {row[0] for row in reasons} == {"answered_by_person"}
    assert await owner.fetchval("SELECT count(*) FROM usage_reservations") == 0


async def test_what_a_person_left_over_is_answered_without_the_rest(
    pool: Pool, owner: Owner
) -> None:
    """The turn had thought of one answer to all of it: it is repeated."""
    assert await answered_meanwhile(pool, owner, 1, by_echo=True) == "outdated"
    assert await bots(owner) == []
    assert await owner.fetchval("SELECT count(*) FROM usage_reservations") == 0
    await owner.execute("UPDATE conversations SET ready_at = now()")
    async with pool.acquire() as conn:
        (claim,) = await claim_conversations(conn, ME, 1, 1)
    await run_turn(pool, Agent(Offline()), ME, claim)
    answered = await owner.fetch("SELECT message_id FROM messages WHERE ai_processed ORDER BY id")
    assert [row[0] for row in answered] == ["w2", "w3"]
    assert len(await bots(owner)) == 1
    assert await owner.fetchval("SELECT daily_messages_sent FROM usage_tracking") == 1


async def test_an_echo_shortens_no_takeover(pool: Pool, owner: Owner) -> None:
    """Whoever took it over until they hand it back still has it."""
    user = await make_tenant(owner)
    now = int(time.time())
    await record_batch(pool, [to(user, wrote("w1", at=now - 60))], DEBOUNCE)
    conversation = await owner.fetchval("SELECT id FROM conversations")
    async with tenant(pool, user.user_id) as conn:
        await take_over_conversation(conn, user.user_id, conversation, None, "by hand")
    await record_batch(pool, [echo_of(user, now - 30)], DEBOUNCE)
    row = await owner.fetchrow(
        "SELECT taken_over_until = 'infinity', taken_over_reason FROM conversations"
    )
    assert tuple(row or ()) == (True, "by hand")


@pytest.mark.parametrize("order", ["echo, sweep", "sweep, echo", "echo, let go"])
async def test_a_unit_held_by_a_turn_that_died_comes_back_though_a_person_answered(
    pool: Pool, owner: Owner, order: str
) -> None:
    """Nothing is left to answer; the turn that gives it back says nothing."""
    user = await make_tenant(owner)
    now = int(time.time())
    await record_batch(pool, [to(user, wrote("w1", at=now - 60))], DEBOUNCE)
    await owner.execute("UPDATE conversations SET ready_at = now()")
    async with pool.acquire() as conn:
        (claim,) = await claim_conversations(conn, ME, 1, 1)
    assert await _read(Turn(pool, Agent(Offline()), ME, claim, None)) is not None
    for step in order.split(", "):
        async with pool.acquire() as conn:
            match step:
                case "echo":
                    await record_batch(pool, [echo_of(user, now - 30)], DEBOUNCE)
                case "sweep":  # it never beat
                    await sweep_dead_workers(conn, timedelta(seconds=4))
                case _:
                    await sweep_unheld(conn, ME, [], [])
    assert await owner.fetchval("SELECT count(*) FROM usage_reservations") == 1
    async with pool.acquire() as conn:
        (claim,) = await claim_conversations(conn, ME, 1, 1)
    await run_turn(pool, Agent(Offline()), ME, claim)
    assert await owner.fetchval("SELECT count(*) FROM usage_reservations") == 0
    assert await owner.fetchval("SELECT messages_reserved FROM usage_tracking") == 0
    assert await bots(owner) == []
    assert await owner.fetchval("SELECT ready_at FROM conversations") is None


async def test_a_takeover_after_one_that_ran_out_wakes_what_waits(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    who = await make_conversation(owner, user)
    message = await make_message(owner, user, *who)
    await owner.execute("UPDATE messages SET send_after = now() + interval '1 h'")
    await owner.execute(
        "UPDATE conversations SET taken_over_at = now() - interval '2 h', taken_over_by = 'human',"
        " taken_over_until = now() - interval '1 h', taken_over_reason = 'echo'"
    )
    await owner.execute("UPDATE messages SET send_after = now() + interval '1 h'")
    async with tenant(pool, user.user_id) as conn:
        await take_over_conversation(conn, user.user_id, who[1], None, "test")
    assert await owner.fetchval("SELECT send_after FROM messages WHERE id = $1", message) is None


# ---- replays from the dead list


async def dead(owner: Owner) -> tuple[Tenant, ConversationId, MessageId]:
    """A reply that Meta took and then failed; its unit was given back."""
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    message = await make_message(
        owner, user, contact, conversation, wamid="wamid.OURS1", status="failed"
    )
    await owner.execute("UPDATE messages SET send_attempts = 1")
    await owner.execute(
        "INSERT INTO dead_sends (user_id, message_id, reason) VALUES ($1, $2, 'x')",
        user.user_id,
        message,
    )
    return user, conversation, message


async def replay(pool: Pool, user: Tenant, message: MessageId) -> str | None:
    for _ in range(5):
        try:
            async with tenant(pool, user.user_id) as conn:
                return await _queue_again(conn, user.user_id, message)
        except CONFLICT:
            continue
    raise AssertionError("conflicts without end")


async def test_eight_replays_at_once_are_one_send_and_one_unit(pool: Pool, owner: Owner) -> None:
    user, _, message = await dead(owner)
    outcomes = await asyncio.gather(*(replay(pool, user, message) for _ in range(8)))
    assert sorted(map(str, outcomes)) == [""] * 7 + ["None"]
    assert await owner.fetchval("SELECT daily_messages_sent FROM usage_tracking") == 1
    assert await owner.fetchval("SELECT count(*) FROM usage_reservations") == 0


async def test_a_replay_waits_for_the_statuses_that_were_accepted_before(
    pool: Pool, owner: Owner
) -> None:
    """One of them says that it was delivered after all: it is not sent again."""
    user, _, message = await dead(owner)
    late = statuses_for(user, status("delivered", 1, biz_opaque_callback_data=f"sr:{message}:1"))
    assert await replay(pool, user, message) is None

    async def claimable() -> list[Any]:
        async with pool.acquire() as conn:
            return await claim_sends(conn, ME, 10, 10, PAIR, DAY)

    assert await claimable() == []
    async with pool.acquire() as conn:
        until = await fence_wanted(conn, timedelta(hours=1))
        assert until is not None, "a replay asks for a mark"
        assert await release_replayed(conn) == []
    await merge_batch(pool, [late])  # it stood in the log before the mark
    async with pool.acquire() as conn:
        await move_fence(conn, until + timedelta(seconds=2), PATIENCE)
        await owner.execute("SELECT pg_sleep(1.1)")
        await release_replayed(conn)
    assert await claimable() == []
    assert await owner.fetchval("SELECT status FROM messages WHERE id = $1", message) == "delivered"
    assert await owner.fetchval("SELECT count(*) FROM dead_sends") == 0


async def test_a_replay_counts_from_its_commit(pool: Pool, owner: Owner) -> None:
    """Which waits for a counter: what is accepted meanwhile may say that it arrived."""
    user, _, message = await dead(owner)
    async with tenant(pool, user.user_id) as counting:

        async def replayed() -> None:
            async with tenant(pool, user.user_id) as conn:
                assert await _queue_again(conn, user.user_id, message) is None
                await counting.execute("SELECT lock_usage($1, ARRAY[current_date])", user.user_id)

        late = await waiting(owner, replayed())
        waited = await owner.fetchval("SELECT clock_timestamp()")
    await late
    assert await owner.fetchval("SELECT replayed_at FROM messages") > waited


async def test_a_replay_waits_for_them_also_when_a_person_was_there_for_a_moment(
    pool: Pool, owner: Owner
) -> None:
    user, conversation, message = await dead(owner)
    assert await replay(pool, user, message) is None
    async with tenant(pool, user.user_id) as conn:
        await take_over_conversation(conn, user.user_id, conversation, None, "test")
    async with tenant(pool, user.user_id) as conn:
        await hand_back_conversation(conn, user.user_id, conversation)
    async with pool.acquire() as conn:
        assert await claim_sends(conn, ME, 10, 10, PAIR, DAY) == []


async def test_a_replay_begins_anew_but_for_its_attempts(pool: Pool, owner: Owner) -> None:
    """Its next send has a wamid of its own, and may be unknown as often as the first."""
    user, _, message = await dead(owner)
    await owner.execute(
        "UPDATE messages SET unknown_count = 2, metadata = $1::text::jsonb",
        '{"kind": "reply", "reason": "x", "refused": {"transient": 6}}',
    )
    assert await replay(pool, user, message) is None
    row = await owner.fetchrow(
        "SELECT message_id, unknown_count, send_attempts, usage_day IS NOT NULL,"
        " metadata ->> 'reason', metadata -> 'refused' FROM messages WHERE id = $1",
        message,
    )
    assert tuple(row or ()) == (None, 0, 1, True, None, None)


@pytest.mark.parametrize(
    ("since", "send_after", "leaves"),
    [
        ("2 s", "infinity", True),
        ("0.5 s", "infinity", False),  # clocks of two machines, and a status on its way
        ("2 s", "now() + interval '1 h'", False),  # it went meanwhile, and is to be tried again
    ],
)
async def test_what_a_mark_lets_go(
    pool: Pool, owner: Owner, since: str, send_after: str, leaves: bool
) -> None:
    user, _, message = await dead(owner)
    assert await replay(pool, user, message) is None
    after = "'infinity'" if send_after == "infinity" else send_after
    await owner.execute(
        f"UPDATE messages SET replayed_at = now() - $1::text::interval, send_after = {after}",
        since,
    )
    async with pool.acquire() as conn:
        await move_fence(conn, await owner.fetchval("SELECT now()"), PATIENCE)
        await release_replayed(conn)
        claims = await claim_sends(conn, ME, 10, 10, PAIR, DAY)
    assert [c.message_id for c in claims] == [message] * leaves


async def test_what_dies_again_is_on_the_list_with_its_last_reason(
    pool: Pool, owner: Owner
) -> None:
    user, _, message = await dead(owner)
    again = Burial(message_id=message, reason="refused", detail="131026 x", trace_id=None)
    async with tenant(pool, user.user_id) as conn:
        await bury(conn, user.user_id, [again])
    row = await owner.fetchrow("SELECT reason, detail FROM dead_sends")
    assert tuple(row or ()) == ("refused", "131026 x")


async def test_a_replay_goes_when_no_status_says_otherwise(pool: Pool, owner: Owner) -> None:
    user, _, message = await dead(owner)
    assert await replay(pool, user, message) is None
    await owner.execute("UPDATE messages SET replayed_at = now() - interval '5 s'")
    async with pool.acquire() as conn:
        await move_fence(conn, await owner.fetchval("SELECT clock_timestamp()"), PATIENCE)
        assert [c.message_id for c in await release_replayed(conn)] == [message]
        assert [c.message_id for c in await claim_sends(conn, ME, 10, 10, PAIR, DAY)] == [message]
        assert await fence_wanted(conn, timedelta(hours=1)) is None


class Replays:
    """While the answer is thought of, something of the same conversation is replayed."""

    name = "m"

    def __init__(self, pool: Pool, user: Tenant, message: MessageId) -> None:
        self._replayed = (pool, user, message)
        self.outcomes: list[str | None] = []

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        self.outcomes.append(await replay(*self._replayed))
        return AIMessage("Yes.")


async def test_a_replay_takes_no_unit_from_a_running_turn(pool: Pool, owner: Owner) -> None:
    """Else the turn would find its unit gone, and think of its answer once more."""
    user, conversation, message = await dead(owner)
    contact = await owner.fetchval("SELECT contact_id FROM conversations")
    await make_message(
        *(owner, user, contact, conversation),
        direction="inbound",
        status="received",
        wamid="w1",
        input_seq=1,
    )
    await owner.execute("UPDATE conversations SET input_seq = 1, ready_at = now()")
    async with pool.acquire() as conn:
        (claim,) = await claim_conversations(conn, ME, 1, 1)
    thinks = Replays(pool, user, message)
    await run_turn(pool, Agent(thinks), ME, claim)
    assert thinks.outcomes == [BUSY]
    queued = await owner.fetch("SELECT content_text FROM messages WHERE status = 'queued'")
    assert [row[0] for row in queued] == ["Yes."]
    assert await replay(pool, user, message) is None
    assert await owner.fetchval("SELECT daily_messages_sent FROM usage_tracking") == 2
    assert await owner.fetchval("SELECT count(*) FROM usage_reservations") == 0


async def test_replays_and_statuses_meet_without_deadlock(pool: Pool, owner: Owner) -> None:
    for _ in range(20):
        user, _, message = await dead(owner)
        late = statuses_for(
            user, status("delivered", 1, biz_opaque_callback_data=f"sr:{message}:1")
        )
        await asyncio.gather(
            merge_batch(pool, [late]),
            replay(pool, user, message),
            merge_batch(pool, [late]),
            replay(pool, user, message),
        )
        found = await owner.fetchval("SELECT status FROM messages WHERE id = $1", message)
        assert found == "delivered"


# ---- first conversations, and people who moved


async def test_two_first_conversations_of_one_contact_at_once(pool: Pool, owner: Owner) -> None:
    """An echo to one bot and a message to another: one thread each, and nothing is parked."""
    for n in range(30):
        user = await make_tenant(owner)
        await owner.execute(
            "INSERT INTO chatbots (user_id, name, whatsapp_phone_number, phone_number_id)"
            f" VALUES ($1, 'second', '+1202555{n:04d}9', 'second-{n}')",
            user.user_id,
        )
        phone = "13035550177"
        await record_batch(pool, [to(user, wrote("first", phone))], DEBOUNCE)
        await owner.execute("DELETE FROM messages")
        await owner.execute("DELETE FROM conversations")
        echo = {
            "from": f"1202555{n:04d}9",
            "to": phone,
            "id": f"wamid.ECHO{n}",
            "timestamp": "1795000000",
            "type": "text",
            "text": {"body": "Yes"},
        }
        content = value(f"second-{n}", f"1202555{n:04d}9", message_echoes=[echo])
        await asyncio.gather(
            record_batch(pool, [body(change(content, "smb_message_echoes"))], DEBOUNCE),
            record_batch(pool, [to(user, wrote(f"w{n}", phone))], DEBOUNCE),
        )
        assert await parked(owner) == []
        threads = await owner.fetch(
            "SELECT DISTINCT thread_id FROM conversations WHERE user_id = $1", user.user_id
        )
        assert len(threads) == 2


async def test_a_batch_with_a_move_recorded_twice_leaves_no_ghost(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    old, new = "13035550111", "13035550144"
    moved = {
        "from": old,
        "id": "wamid.MOVED",
        "timestamp": "1795000010",
        "type": "system",
        "system": {"type": "user_changed_number", "wa_id": new, "body": "moved"},
    }
    batch = [to(user, wrote("w1", old), moved, wrote("w2", new, at=1_795_000_020))]
    for _ in range(3):
        await record_batch(pool, batch, DEBOUNCE)
    assert await recorded(owner, user) == ["w1", "w2"]
    contacts = await owner.fetch("SELECT phone_number FROM contacts")
    assert [row["phone_number"] for row in contacts] == [f"+{new}"]
    assert await owner.fetchval("SELECT count(*) FROM conversations") == 1
