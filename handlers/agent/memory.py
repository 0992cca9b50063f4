"""LangGraph's checkpoint, read before a run and written in the turn's own last transaction.

LangGraph's saver for PostgreSQL brings a second driver and commits by itself, so a crash could keep
the checkpoint and lose the reply. Here a run works on a Slot: what was loaded goes in, what the
graph wants saved comes out, and whoever runs the turn stores it together with the reply. That holds
for durability="exit" and graphs without interrupts, which is all we use.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from db import checkpoints
from db.pool import Conn

_PLAIN = (str, int, float, bool, type(None))  # kept in the checkpoint's JSON, as LangGraph does


@dataclass(slots=True)
class Slot:
    """One run's memory: what it starts from, and what it leaves."""

    loaded: checkpoints.Checkpoint | None
    saved: tuple[Checkpoint, CheckpointMetadata] | None = None


_slot: ContextVar[Slot] = ContextVar("slot")


@contextmanager
def run_on(slot: Slot) -> Iterator[None]:
    """The graph runs inside this block read and write the slot."""
    token = _slot.set(slot)
    try:
        yield
    finally:
        _slot.reset(token)


class SlotSaver(BaseCheckpointSaver[int]):
    """What the graph is compiled with; one for the process."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        loaded = _slot.get().loaded
        if loaded is None:
            return None
        checkpoint: Any = {**loaded.checkpoint, "channel_values": self._values(loaded)}
        metadata: Any = loaded.metadata
        thread = (config.get("configurable") or {})["thread_id"]
        return CheckpointTuple(_at(thread, loaded.checkpoint_id), checkpoint, metadata)

    def _values(self, loaded: checkpoints.Checkpoint) -> dict[str, Any]:
        values = dict(loaded.checkpoint.get("channel_values", {}))
        stored = zip(loaded.channels, loaded.versions, loaded.types, loaded.blobs, strict=True)
        for channel, version, kind, blob in stored:
            if str(loaded.checkpoint["channel_versions"].get(channel)) == version:
                values[channel] = self.serde.loads_typed((kind, blob or b""))
        return values

    def messages(self, loaded: checkpoints.Checkpoint) -> list[AnyMessage]:
        """Of a thread."""
        return list(self._values(loaded).get("messages", ()))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002 - the base class's signature
    ) -> RunnableConfig:
        _slot.get().saved = (checkpoint, metadata)
        return _at((config.get("configurable") or {})["thread_id"], checkpoint["id"])

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """A run that did not finish is repeated from its inputs: its parts are worth nothing."""

    async def store(self, conn: Conn, thread_id: str, slot: Slot) -> None:
        """Writes what the run left, inside the caller's transaction."""
        if (saved := self.packed(slot)) is not None:
            await checkpoints.save_checkpoint(conn, thread_id, saved)

    def packed(self, slot: Slot) -> checkpoints.Checkpoint | None:
        """What the run left, as it is stored and loaded."""
        if slot.saved is None:
            return None
        checkpoint, metadata = slot.saved
        plain = {k: v for k, v in checkpoint["channel_values"].items() if isinstance(v, _PLAIN)}
        rich = {k: v for k, v in checkpoint["channel_values"].items() if k not in plain}
        typed = {channel: self.serde.dumps_typed(value) for channel, value in rich.items()}
        return checkpoints.Checkpoint(
            checkpoint_id=checkpoint["id"],
            checkpoint=_json({**checkpoint, "channel_values": plain}),
            metadata=_json(dict(metadata)),
            channels=list(typed),
            versions=[str(checkpoint["channel_versions"][channel]) for channel in typed],
            types=[kind for kind, _ in typed.values()],
            blobs=[blob for _, blob in typed.values()],
        )


def _at(thread_id: str, checkpoint_id: str) -> RunnableConfig:
    return {
        "configurable": {
            "thread_id": thread_id,
            "checkpoint_ns": "",
            "checkpoint_id": checkpoint_id,
        }
    }


def _json(value: dict[str, Any]) -> dict[str, Any]:
    """As PostgreSQL takes it: JSON's own types, and no NUL."""
    plain: dict[str, Any] = json.loads(json.dumps(value, default=str).replace("\\u0000", "\\ufffd"))
    return plain
