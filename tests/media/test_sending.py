"""Files that leave: uploaded to Meta once, sent once, whatever happens in between."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import ClientSession

from db.given_media import GivenMedium, NewFile, delete_given
from db.ids import ContactId, ConversationId, MessageId, WorkerId
from db.pool import tenant
from db.sends import SendClaim, claim_sends
from db.workers import sweep_dead_workers
from handlers.media import giving
from handlers.media.pictures import whole
from handlers.media.sendable import media_metadata, readable
from handlers.media_store.port import Store, StoreProblem
from handlers.process.secrets import Vault
from handlers.sends.rules import MAX_UPLOADS
from handlers.sends.sending import Sender
from handlers.sends.tokens import Tokens
from handlers.sends.uploading import Uploader
from handlers.takeover import queue_message_of_person
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from tests.db.test_turn_queries import PAIR
from tests.factories import Tenant, make_conversation, make_tenant
from tests.media import House, sha256
from worker.liveness import TERM

DAY = timedelta(days=1)
PDF = b"%PDF-1.4 a menu" + bytes(300_000)
Who = tuple[ContactId, ConversationId]


@dataclass(frozen=True, slots=True)
class Post:
    """A worker with the role sends, step by step."""

    house: House
    http: ClientSession
    of: Tenant
    stores: list[Store] = field(default_factory=list)

    @property
    def sender(self) -> Sender:
        graph = GraphApi(self.http, self.house.simulator.url, "v25.0")
        store = self.stores[-1] if self.stores else self.house.store
        uploader = Uploader(self.house.pool, graph.uploads, store)
        return Sender(
            self.house.pool, graph, Tokens(Vault(("a key of the tests",)), "token"), uploader
        )

    async def given(self, data: bytes = PDF, **more: Any) -> GivenMedium:
        user_id = self.of.user_id
        async with tenant(self.house.pool, user_id) as conn:
            file = await giving.begin(conn, user_id)
        await self.house.store.write(file, whole(data))
        new = NewFile(
            kind="document",
            file=file,
            content_type="application/pdf",
            bytes=len(data),
            name="menu.pdf",
            title=None,
            chatbot_id=None,
            contact_id=None,
        )
        async with tenant(self.house.pool, user_id) as conn:
            return await giving.give(conn, user_id, replace(new, **more))

    async def queued(
        self, who: Who, medium: GivenMedium, caption: str | None = "Here it is"
    ) -> MessageId:
        text = readable(medium.kind, medium.name, caption)
        more = media_metadata(medium.id, medium.kind, medium.name, caption)
        async with tenant(self.house.pool, self.of.user_id) as conn:
            return await queue_message_of_person(
                conn, self.of.user_id, who[1], text, {"kind": "human"} | more
            )

    async def claims(self, by: WorkerId) -> list[SendClaim]:
        async with self.house.pool.acquire() as conn:
            return await claim_sends(conn, by, 50, 50, PAIR, DAY)

    async def send_all(self) -> None:
        by = await self.house.worker()
        sender = self.sender
        await asyncio.gather(*(sender.send(by, claim) for claim in await self.claims(by)))

    async def now(self) -> None:
        """Whatever was put off is due; and no pace."""
        await self.house.owner.execute("UPDATE messages SET send_after = NULL")
        await self.house.owner.execute("UPDATE conversations SET pair_full_at = now()")
        await self.house.owner.execute("UPDATE send_limits SET full_at = now()")

    async def fate(self, message: MessageId) -> tuple[str, str | None]:
        (row,) = await self.house.owner.fetch(
            "SELECT status, metadata ->> 'reason' FROM messages WHERE id = $1", message
        )
        return row[0], row[1]

    async def sent(self) -> list[dict[str, Any]]:
        """Bodies that Meta accepted."""
        return [one["body"] for one in await self.house.simulator.sends()]

    async def uploads(self, outcome: str | None = "uploaded") -> list[dict[str, Any]]:
        log = await self.house.simulator.log("upload")
        return [one for one in log if outcome in (None, one["outcome"])]


@pytest.fixture
async def post(house: House, of: Tenant) -> AsyncIterator[Post]:
    async with ClientSession() as http:
        yield Post(house, http, of)


@pytest.fixture
async def who(house: House, of: Tenant) -> Who:
    return await make_conversation(house.owner, of)


async def test_a_file_is_uploaded_and_then_sent_by_its_id(post: Post, who: Who) -> None:
    medium = await post.given()
    message = await post.queued(who, medium)
    (row,) = await post.house.owner.fetch("SELECT * FROM messages WHERE id = $1", message)
    assert (row["message_type"], row["content_url"]) == ("document", f"/v1/media/{medium.id}")
    assert row["content_text"] == '[document "menu.pdf"] Here it is'
    await post.send_all()
    assert await post.fate(message) == ("accepted", None)
    (upload,) = await post.uploads()
    assert (upload["mime_type"], upload["size"]) == ("application/pdf", len(PDF))
    assert upload["sha256"] == sha256(PDF)
    assert upload["length"] > len(PDF)  # known before: not in chunks
    (body,) = await post.sent()
    assert body["type"] == "document"
    assert body["document"] == {
        "id": upload["media_id"],
        "caption": "Here it is",
        "filename": "menu.pdf",
    }


async def test_it_is_uploaded_once_for_a_number(post: Post, who: Who) -> None:
    medium = await post.given()
    others = [await make_conversation(post.house.owner, post.of) for _ in range(3)]
    for one in (who, *others):
        await post.queued(one, medium)
    await post.send_all()  # at once
    await post.queued(who, medium)
    await post.now()
    await post.send_all()
    assert len(await post.uploads()) == 1
    assert len(await post.sent()) == 5


async def test_in_its_place_among_what_is_said(post: Post, who: Who) -> None:
    medium = await post.given()
    user_id, pool = post.of.user_id, post.house.pool
    async with tenant(pool, user_id) as conn:
        await queue_message_of_person(conn, user_id, who[1], "The menu:", {"kind": "human"})
    await post.queued(who, medium)
    async with tenant(pool, user_id) as conn:
        await queue_message_of_person(conn, user_id, who[1], "Enjoy!", {"kind": "human"})
    for _ in range(3):
        await post.now()
        await post.send_all()
    assert [one["type"] for one in await post.sent()] == ["text", "document", "text"]


async def test_who_dies_between_upload_and_send_costs_an_upload_and_no_message(
    post: Post, who: Who
) -> None:
    """Killed when Meta has the file and nobody wrote down under which id."""
    medium = await post.given()
    message = await post.queued(who, medium)
    mine = await post.house.worker()
    (claim,) = await post.claims(mine)
    await post.house.simulator.upload_faults({"kind": "slow", "delay_ms": 3_000})
    dying = asyncio.create_task(post.sender.send(mine, claim))
    while not await post.uploads(None):  # it is there, and not answered
        await asyncio.sleep(0.02)
    dying.cancel()
    await asyncio.wait([dying])
    assert await post.fate(message) == ("queued", None)
    await post.house.owner.execute(
        "UPDATE workers SET beat_at = now() - interval '1 h' WHERE id = $1", mine
    )
    async with post.house.pool.acquire() as conn:
        await sweep_dead_workers(conn, TERM)
    await post.now()
    await post.send_all()
    assert await post.fate(message) == ("accepted", None)
    assert len(await post.sent()) == 1


async def test_who_dies_with_the_id_written_down_uploads_nothing_more(post: Post, who: Who) -> None:
    medium = await post.given()
    message = await post.queued(who, medium)
    mine = await post.house.worker()
    (claim,) = await post.claims(mine)
    begun = await post.sender._begun(mine, claim, 0.0)
    assert begun is not None
    assert await post.sender._uploaded(mine, claim, begun, 0.0)
    assert await post.fate(message) == ("queued", None)  # nothing was marked
    other = await post.house.worker()  # who took it over
    await post.house.owner.execute("UPDATE messages SET send_owner = $1", other)
    await post.sender.send(other, claim)
    await post.sender.send(mine, claim)  # who is not dead after all
    assert await post.fate(message) == ("accepted", None)
    assert (len(await post.uploads()), len(await post.sent())) == (1, 1)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "html", "status": 502},
        {"kind": "error", "status": 500, "code": 131000},
        {"kind": "error", "status": 503, "code": 2},
        {"kind": "timeout_after_accept", "hold_ms": 0},
        {"kind": "timeout_before_accept"},
    ],
)
async def test_an_upload_that_comes_to_nothing_is_tried_again(
    post: Post, who: Who, fault: dict[str, Any]
) -> None:
    message = await post.queued(who, await post.given())
    await post.house.simulator.upload_faults(fault | {"times": 2})
    for _ in range(2):
        await post.send_all()
        assert await post.fate(message) == ("queued", None)
        assert await post.house.owner.fetchval(
            "SELECT send_after > now() AND send_owner IS NULL FROM messages WHERE id = $1", message
        )
        await post.now()
    await post.send_all()
    assert await post.fate(message) == ("accepted", None)
    assert len(await post.sent()) == 1


async def test_an_upload_that_never_succeeds_ends_the_message_and_says_so(
    post: Post, who: Who
) -> None:
    message = await post.queued(who, await post.given())
    await post.house.simulator.upload_faults({"kind": "html", "status": 502, "times": None})
    for _ in range(MAX_UPLOADS):
        await post.now()
        await post.send_all()
    assert await post.fate(message) == ("failed", "file_not_taken")
    assert await post.sent() == []
    assert await post.house.owner.fetchval("SELECT reason FROM dead_sends") == "file_not_taken"
    (used,) = await post.house.owner.fetch("SELECT usage_day FROM messages WHERE id = $1", message)
    assert used["usage_day"] is None  # its unit came back


async def test_a_file_that_meta_does_not_take_ends_the_message(post: Post, who: Who) -> None:
    message = await post.queued(who, await post.given())
    await post.house.simulator.upload_faults({"kind": "error", "code": 131053, "status": 400})
    await post.send_all()
    assert await post.fate(message) == ("failed", "file_refused")


async def test_a_number_that_may_not_send_is_paused_by_an_upload_too(post: Post, who: Who) -> None:
    message = await post.queued(who, await post.given())
    await post.house.simulator.upload_faults({"kind": "error", "code": 190, "status": 401})
    await post.send_all()
    assert await post.fate(message) == ("queued", None)
    reason = await post.house.owner.fetchval("SELECT held_reason FROM send_limits")
    assert reason == "account:190"
    await post.house.owner.execute("UPDATE send_limits SET held_until = now()")
    await post.now()
    await post.send_all()
    assert await post.fate(message) == ("accepted", None)


async def test_an_id_that_meta_has_forgotten_is_uploaded_anew(post: Post, who: Who) -> None:
    medium = await post.given()
    await post.queued(who, medium)
    await post.send_all()
    await post.house.simulator.forget_uploads()
    message = await post.queued(who, medium)
    await post.now()
    await post.send_all()
    assert await post.fate(message) == ("queued", None)
    await post.now()
    await post.send_all()
    assert await post.fate(message) == ("accepted", None)
    assert (len(await post.uploads()), len(await post.sent())) == (2, 2)


async def test_an_id_whose_time_is_over_is_not_tried(post: Post, who: Who) -> None:
    medium = await post.given()
    await post.queued(who, medium)
    await post.send_all()
    await post.house.owner.execute("UPDATE media_handles SET expires_at = now()")
    message = await post.queued(who, medium)
    await post.now()
    await post.send_all()
    assert await post.fate(message) == ("accepted", None)
    assert [one["outcome"] for one in await post.house.simulator.log("send")] == ["accepted"] * 2
    assert len(await post.uploads()) == 2


async def test_what_is_refused_with_a_fresh_id_too_ends(post: Post, who: Who) -> None:
    message = await post.queued(who, await post.given())
    await post.house.simulator.faults({"kind": "error", "code": 131053, "status": 400, "times": 5})
    for _ in range(3):
        await post.now()
        await post.send_all()
    assert await post.fate(message) == ("failed", "file_refused")
    assert len(await post.house.simulator.log("send")) == 2
    assert await post.house.owner.fetchval("SELECT count(*) FROM media_handles") == 0


async def test_an_unknown_outcome_is_not_sent_twice_for_its_file(post: Post, who: Who) -> None:
    message = await post.queued(who, await post.given())
    await post.house.simulator.faults({"kind": "timeout_after_accept", "hold_ms": 0})
    await post.send_all()
    assert (await post.fate(message))[0] == "unknown"
    await post.now()
    await post.send_all()
    assert len(await post.sent()) == 1


@pytest.mark.parametrize("when", ["queued", "uploaded"])
async def test_a_file_that_was_deleted_before_it_left_ends_the_message(
    post: Post, who: Who, when: str
) -> None:
    medium = await post.given()
    message = await post.queued(who, medium)
    if when == "uploaded":
        mine = await post.house.worker()
        (claim,) = await post.claims(mine)
        begun = await post.sender._begun(mine, claim, 0.0)
        assert begun is not None
        assert await post.sender._uploaded(mine, claim, begun, 0.0)
        await post.house.owner.execute("UPDATE messages SET send_owner = NULL")
    async with tenant(post.house.pool, post.of.user_id) as conn:
        assert await delete_given(conn, post.of.user_id, medium.id)
    await post.house.remove()
    await post.send_all()
    assert await post.fate(message) == ("failed", "file_gone")
    assert await post.sent() == []
    assert await post.house.owner.fetchval("SELECT reason FROM dead_sends") == "file_gone"


async def test_a_file_that_goes_while_it_is_uploaded_is_not_sent(post: Post, who: Who) -> None:
    medium = await post.given()
    message = await post.queued(who, medium)
    await post.house.simulator.upload_faults({"kind": "slow", "delay_ms": 500})
    sending = asyncio.create_task(post.send_all())
    while not await post.uploads(None):
        await asyncio.sleep(0.02)
    async with tenant(post.house.pool, post.of.user_id) as conn:
        assert await delete_given(conn, post.of.user_id, medium.id)
    await sending
    assert await post.fate(message) == ("failed", "file_gone")
    assert await post.sent() == []


class Away:
    """A store that cannot be reached."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read(self, key: str, start: int = 0) -> AsyncIterator[bytes]:
        raise StoreProblem("MEDIA_STORE: away")
        yield b""  # type: ignore[unreachable]


async def test_a_store_that_is_away_is_asked_again(post: Post, who: Who) -> None:
    message = await post.queued(who, await post.given())
    post.stores.append(Away(post.house.store))
    await post.send_all()
    assert await post.fate(message) == ("queued", None)
    post.stores.append(post.house.store)
    await post.now()
    await post.send_all()
    assert await post.fate(message) == ("accepted", None)


async def test_outside_the_window_no_file_leaves_and_none_is_uploaded(post: Post, who: Who) -> None:
    message = await post.queued(who, await post.given())
    await post.house.owner.execute(
        "UPDATE conversations SET last_inbound_at = now() - interval '25 h'"
    )
    await post.send_all()
    assert await post.fate(message) == ("cancelled", "window_closed")
    assert await post.uploads(None) == []


async def test_two_workers_send_it_once(post: Post, who: Who) -> None:
    message = await post.queued(who, await post.given())
    one, two = await post.house.worker(), await post.house.worker()
    (claim,) = await post.claims(one)
    assert await post.claims(two) == []
    await asyncio.gather(
        post.sender.send(one, claim), post.sender.send(two, claim), post.sender.send(one, claim)
    )
    assert await post.fate(message) == ("accepted", None)
    assert len(await post.sent()) == 1


async def test_a_status_that_says_the_file_could_not_be_had_makes_a_replay_upload_anew(
    post: Post, who: Who
) -> None:
    medium = await post.given()
    message = await post.queued(who, medium)
    await post.send_all()
    assert await post.house.owner.fetchval("SELECT count(*) FROM media_handles") == 1
    from handlers.sends.ending import Ended, settle_ends

    ended = Ended(
        message_id=message,
        conversation_id=who[1],
        chatbot_id=post.of.chatbot_id,
        contact_id=who[0],
        trace_id=None,
        bulk=False,
        usage_day=None,
        overage=False,
        reason="refused",
        error={"code": 131053, "title": "Media upload error", "details": None},
    )
    async with tenant(post.house.pool, post.of.user_id) as conn:
        await settle_ends(conn, post.of.user_id, [ended])
    assert await post.house.owner.fetchval("SELECT count(*) FROM media_handles") == 0


async def test_another_tenants_file_is_not_found_by_a_send(post: Post, who: Who) -> None:
    """Should its id ever get into a message of ours."""
    theirs = Post(post.house, post.http, await make_tenant(post.house.owner))
    medium = await theirs.given()
    message = await post.queued(who, medium)
    await post.send_all()
    assert await post.fate(message) == ("failed", "file_gone")
    assert await post.uploads(None) == []
    assert json.dumps(await post.sent()) == "[]"
