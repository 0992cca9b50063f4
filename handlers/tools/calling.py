"""One call of a tenant's own tool: through the guard, signed as webhooks are, bounded in time and
bytes. The ledger (handlers/tools/ledger.py) has it before it leaves."""

import asyncio
import json
import time

import structlog

from db.ids import ToolCallId
from db.tool_calls import CallEnd, Calling
from db.tools import OwnTool
from handlers.deliveries.signing import headers, key_of
from handlers.outbound.guard import Outbound, Outcome
from handlers.process.secrets import Undecryptable, Vault, tool_secret_of
from handlers.tools.outcome import KEPT_BYTES, end_of

log: structlog.stdlib.BoundLogger = structlog.get_logger()

CALL_S = 10.0  # of any call; a tool's timeout_ms is at most that


class Caller:
    def __init__(self, outbound: Outbound, vault: Vault) -> None:
        self._outbound = outbound
        self._vault = vault

    async def call(self, calling: Calling, tool: OwnTool, seconds: float = CALL_S) -> CallEnd:
        """Raises nothing but a cancellation, after which nobody knows whether it was done."""
        try:
            keys = [
                key_of(self._vault.decrypt(sealed, tool_secret_of(tool.id)))
                for sealed in tool.secrets
            ]
        except (Undecryptable, ValueError) as error:
            log.error("tool.no_secret", tool_id=tool.id, why=str(error))
            keys = []
        if not keys:
            return CallEnd("failed", error="no_secret")
        outcome = await self._post(calling, tool, keys, seconds)
        end = end_of(outcome, tool.effect)
        log.info(
            "tool.called",
            tool_id=tool.id,
            call_id=calling.id,
            status=end.status,
            status_code=end.status_code,
            error=end.error,
            duration_ms=outcome.milliseconds,
        )
        return end

    async def _post(
        self, calling: Calling, tool: OwnTool, keys: list[bytes], seconds: float
    ) -> Outcome:
        name, body = call_name(calling.id), body_of(calling)
        signed = headers(keys, name, int(time.time()), body) | {"idempotency-key": name}
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(seconds, tool.timeout_ms / 1_000)):
                return await self._outbound.post(tool.url, body, signed, KEPT_BYTES)
        except TimeoutError:
            return Outcome(round((time.monotonic() - began) * 1_000), error="timeout")


def call_name(call_id: ToolCallId) -> str:
    """The webhook-id and Idempotency-Key: the same however often it is tried."""
    return f"call_{call_id}"


def body_of(calling: Calling) -> bytes:
    """The same bytes however often it is tried."""
    data = {
        "call_id": call_name(calling.id),
        "tool": calling.tool_name,
        "arguments": calling.arguments,
        "chatbot_id": calling.chatbot_id,
        "contact_id": calling.contact_id,
        "conversation_id": calling.conversation_id,
        "phone_number": calling.phone_number,
        "action_id": calling.action_id,
    }
    event = {"type": "tool.called", "timestamp": calling.created_at.isoformat(), "data": data}
    return json.dumps(event, ensure_ascii=False).encode()
