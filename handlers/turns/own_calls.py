"""A turn and the tenant's own tools: what it knows of them, how they are called, and that the
customer was told."""

from dataclasses import dataclass
from typing import Any

from db.conversations import TurnContext, trust_thread
from db.ids import MessageId, UserId
from db.pool import Conn, Pool, tenant
from db.tool_calls import CallEnd, NewCall, done_tools, known_calls, note_told
from db.tools import OwnTool, own_tools
from handlers.agent.memory import Slot
from handlers.agent.own_tools import BEFORE_MAX, OwnTools
from handlers.rules.budgets import budget_of
from handlers.tools.calling import Caller
from handlers.tools.ledger import LostLease, call_of_turn
from handlers.turns.inputs import Found
from handlers.turns.turn import Turn

DONE_MAX = 50  # calls of a conversation, the last, whose effects an answer may tell of


@dataclass(frozen=True, slots=True)
class TurnCalls:
    turn: Turn
    input_seq: int
    caller: Caller

    async def call(
        self, tool: OwnTool, arguments: dict[str, Any], arguments_hash: str, seconds: float
    ) -> CallEnd:
        call = NewCall(self.input_seq, tool.id, tool.name, tool.effect, arguments_hash, arguments)
        turn = self.turn
        try:
            return await call_of_turn(turn.pool, turn.reserving, self.caller, (call, tool), seconds)
        except LostLease:  # another turn answers, and this one will miss at the fence
            return CallEnd("failed", error="lost_lease")


async def own_tools_of(turn: Turn, found: Found) -> OwnTools | None:
    """None: the chatbot has none."""
    context = found.context
    if not context.has_tools or (caller := turn.agent.caller) is None:
        return None
    user_id, conversation_id = turn.claim.user_id, turn.claim.conversation_id
    # Of a turn that is repeated it is the same: it moves with what a turn has answered.
    input_seq = context.answered_seq + 1
    async with tenant(turn.pool, user_id) as conn:
        tools = await own_tools(conn, user_id, context.chatbot_id)
        before = await known_calls(conn, user_id, conversation_id, input_seq, BEFORE_MAX)
        done = await done_tools(conn, user_id, conversation_id, DONE_MAX)
    turn.heard.before += [one.id for one in before]
    turn.heard.input_seq = input_seq
    return OwnTools(
        tools,
        calls=TurnCalls(turn, input_seq, caller),
        before=before,
        input_seq=input_seq,
        done=done,
        customer_waits=found.customer_waits,
        room=budget_of(context.budgets).input_tokens,
    )


async def own_tools_in_a_test(pool: Pool, user_id: UserId, context: TurnContext) -> OwnTools | None:
    """Offered as in a turn, and never called."""
    if not context.has_tools:
        return None
    async with tenant(pool, user_id) as conn:
        tools = await own_tools(conn, user_id, context.chatbot_id)
    return OwnTools(tools, room=budget_of(context.budgets).input_tokens)


async def keep_thread(
    conn: Conn, turn: Turn, context: TurnContext, slot: Slot, reply: MessageId
) -> None:
    """With the reply. What the agent heard of tools the customer was told, where it matters."""
    user_id, conversation_id = turn.claim.user_id, turn.claim.conversation_id
    await turn.agent.saver.store(conn, context.thread_id, slot)
    if context.rebuild_thread:
        await trust_thread(conn, user_id, conversation_id, context.forgotten)
    heard = turn.heard
    if heard.input_seq is not None:
        known = (heard.before, heard.input_seq)
        await note_told(conn, user_id, conversation_id, known, reply)
