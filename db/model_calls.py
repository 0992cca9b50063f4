"""What model calls are paid for (migrations/0039_model_calls.sql)."""

from dataclasses import dataclass

from db.ids import ChatbotId
from db.pool import Conn, at_commit
from db.usage import Reserving


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Of one turn, to one model."""

    model: str
    calls: int
    input_tokens: int
    cached_tokens: int  # of the input
    output_tokens: int


def count_model_calls(conn: Conn, turn: Reserving, chatbot_id: ChatbotId, of: Calls) -> None:
    """With the COMMIT; once a turn and model. A name goes in as hexadecimal digits: what travels
    with a COMMIT has no parameters and no text."""
    model = f"convert_from(decode('{of.model.encode().hex()}', 'hex'), 'UTF8')"
    at_commit(
        conn,
        f"SELECT count_model_calls({turn.user_id:d}, {chatbot_id:d}, {turn.conversation_id:d},"
        f" {turn.epoch:d}, {model}, {of.calls:d}, {of.input_tokens:d}, {of.cached_tokens:d},"
        f" {of.output_tokens:d})",
    )
