"""A database in which customers have just written: what the benchmarks of turns start from."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from bench.harness import TICKS_PER_S
from db.migrate import migrate
from db.pool import Conn
from local.servers.postgres import Postgres, postgres

LOGIN = "bench"  # bound by row-level security, as in production
ASKED = "Hello, I was wondering whether you are open on Saturday, and until when?"
ANSWERED = (
    "We are open from eight to six, on Saturdays until two. On Sundays we are closed, but orders"
    " can be placed at any time."
)
INSTRUCTIONS = (
    "You answer for a bakery with three shops. Be brief and friendly, one question at a time."
    " Prices are in euros. Never promise a delivery time; orders of more than 200 euros are for a"
    " person."
)
ROW_CHARS = 120  # of a knowledge-base row here, question and answer together


@dataclass(frozen=True, slots=True)
class Variant:
    """What the conversations of a group of tenants are like."""

    name: str
    knowledge_chars: int = 1_000
    history: int = 10  # messages before the one that is answered
    ask: str = ASKED
    tenants: int = 4


@dataclass(slots=True)
class Prepared:
    """One side's own database."""

    server: Postgres
    url: str  # of the runtime login
    owner_url: str
    owner: Conn
    name: str
    chatbots: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # by variant
    _made: int = 0

    async def add_tenants(self, variant: Variant) -> None:
        rows = max(1, variant.knowledge_chars // ROW_CHARS)
        self.chatbots[variant.name] = []
        for _ in range(variant.tenants):
            self._made += 1
            n = self._made
            user_id = await self.owner.fetchval(
                "INSERT INTO users (email, password_hash) VALUES ($1, '!') RETURNING id",
                f"bench{n}@example.com",
            )
            await self.owner.execute(
                "INSERT INTO user_subscriptions (user_id, subscription_name, daily_message_limit,"
                " monthly_message_limit, contract_start_date)"
                " VALUES ($1, 'bench', 10000000, 100000000, CURRENT_DATE - 2)",
                user_id,
            )
            chatbot_id = await self.owner.fetchval(
                "INSERT INTO chatbots (user_id, name, whatsapp_phone_number, phone_number_id,"
                " general_instructions) VALUES ($1, $2, $3, $4, $5) RETURNING id",
                user_id,
                f"Bot {n}",
                f"+1202666{n:04d}",
                f"4099{n:08d}",
                INSTRUCTIONS,
            )
            await self.owner.execute(
                "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
                " SELECT $1, $2, left('Question ' || n || ': is shop number ' || n || ' open on"
                " Saturday?', 50), left('Shop ' || n || ' is open from eight until two on Saturday,"
                " and closed on Sunday all day.', 70) FROM generate_series(1, $3::int) n",
                user_id,
                chatbot_id,
                rows,
            )
            # Meta's 80 a second are not what is measured.
            await self.owner.execute(
                "UPDATE send_limits SET max_rate = 1000 WHERE chatbot_id = $1", chatbot_id
            )
            self.chatbots[variant.name].append((user_id, chatbot_id))

    async def conversations(self, variant: Variant, count: int) -> list[int]:
        """New ones with `history` messages said and answered, spread over the variant's tenants."""
        made: list[int] = []
        bots = self.chatbots[variant.name]
        for place, (user_id, chatbot_id) in enumerate(bots):
            share = count // len(bots) + (place < count % len(bots))
            first = self._made * 100_000
            self._made += 1
            rows = await self.owner.fetch(
                "WITH c AS (INSERT INTO contacts (user_id, chatbot_id, name, phone_number, wa_id,"
                " thread_id) SELECT $1::bigint, $2::bigint, 'Ada', '+1' || (3035550000 + n),"
                " (13035550000 + n)::text, $1::bigint || ':' || gen_random_uuid()"
                " FROM generate_series($3::bigint, $3 + $4 - 1) n RETURNING id, thread_id)"
                " INSERT INTO conversations (user_id, chatbot_id, contact_id, thread_id,"
                " last_inbound_at) SELECT $1, $2, id, thread_id, now() FROM c RETURNING id",
                user_id,
                chatbot_id,
                first,
                share,
            )
            made += [row["id"] for row in rows]
        await self.owner.execute(
            "WITH said AS (INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id,"
            "   message_id, direction, message_type, content_text, status, ai_processed, sent_at,"
            "   created_at, metadata, input_seq)"
            " SELECT v.user_id, v.chatbot_id, v.contact_id, v.id, 'wamid.' || v.id || '.' || n,"
            "   CASE WHEN n % 2 = 1 THEN 'inbound' ELSE 'outbound' END, 'text',"
            "   CASE WHEN n % 2 = 1 THEN $3 ELSE $4 END,"
            "   CASE WHEN n % 2 = 1 THEN 'received' ELSE 'delivered' END, n % 2 = 1,"
            # Not all at one moment: that would be the pace of a bot.
            "   said.at, said.at, CASE WHEN n % 2 = 1 THEN '{}'::jsonb"
            '   ELSE \'{"kind": "reply"}\'::jsonb END, CASE WHEN n % 2 = 1 THEN (n + 1) / 2 END'
            " FROM conversations v, generate_series(1, $2) n, LATERAL (SELECT now()"
            "   - interval '1 h' - ($2 - n) * interval '1 min') said (at)"
            " WHERE v.id = ANY ($1::bigint[])"
            " ORDER BY v.id, n)"
            " UPDATE conversations SET input_seq = ($2 + 1) / 2, answered_seq = ($2 + 1) / 2"
            " WHERE id = ANY ($1::bigint[])",
            made,
            variant.history,
            ASKED,
            ANSWERED,
        )
        return made

    async def ask(self, variant: Variant, conversations: list[int]) -> None:
        """Every customer writes; nobody is due yet."""
        await self.owner.execute(
            "WITH fresh AS (UPDATE conversations SET input_seq = input_seq + 1,"
            "   last_inbound_at = now() WHERE id = ANY ($1::bigint[])"
            "   RETURNING user_id, chatbot_id, contact_id, id, input_seq)"
            " INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, message_id,"
            "   direction, message_type, content_text, status, sent_at, metadata, input_seq)"
            " SELECT user_id, chatbot_id, contact_id, id, 'wamid.' || id || '.new.' || input_seq,"
            "   'inbound', 'text', $2, 'received', now(), '{}', input_seq FROM fresh",
            conversations,
            variant.ask,
        )

    async def due(self, conversations: list[int]) -> None:
        await self.owner.execute(
            "UPDATE conversations SET ready_at = now() WHERE id = ANY ($1::bigint[])", conversations
        )

    async def answered(self, conversations: list[int], patience_s: float = 60.0) -> None:
        unanswered = (
            "SELECT EXISTS (SELECT FROM conversations"
            " WHERE id = ANY ($1::bigint[]) AND answered_seq < input_seq)"
        )
        async with asyncio.timeout(patience_s):
            while await self.owner.fetchval(unanswered, conversations):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def replies(self, conversations: list[int]) -> int:
        """Since the customers' last messages."""
        found: int = await self.owner.fetchval(
            "SELECT count(*) FROM messages m JOIN conversations v ON v.id = m.conversation_id"
            " WHERE v.id = ANY ($1::bigint[]) AND m.direction = 'outbound'"
            " AND m.metadata ->> 'kind' = 'reply' AND m.id > (SELECT max(i.id) FROM messages i"
            "   WHERE i.conversation_id = v.id AND i.direction = 'inbound')",
            conversations,
        )
        return found

    async def vacuum(self) -> None:
        """Not in the middle of a round."""
        await self.owner.execute("VACUUM ANALYZE")

    async def another(self) -> Conn:
        """A connection of the owner's, for what goes on beside the first."""
        return await asyncpg.connect(self.owner_url)

    def server_cpu_s(self) -> float:
        """Of the server and its backends that live."""
        spent = 0
        for place in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = place.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == self.server.pid:
                spent += int(fields[11]) + int(fields[12])
        return spent / TICKS_PER_S

    async def statements(self, log: bool) -> list[str]:
        """Turns the log of statements on or off; what it has of this database since it was on."""
        value = "'all'" if log else "'none'"
        file = self.server.directory / "log"
        if log:
            await self.owner.execute("ALTER SYSTEM SET log_line_prefix = '%d|%a|'")
        await self.owner.execute(f"ALTER SYSTEM SET log_statement = {value}")
        await self.owner.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(0.3)
        lines = file.read_text(errors="replace").splitlines()
        return [line for line in lines if line.startswith(f"{self.name}|swiftreplies ")]


@asynccontextmanager
async def databases(*names: str) -> AsyncIterator[dict[str, Prepared]]:
    """One for each side, on one private server."""
    async with postgres(fsync=True) as server:
        admin = await asyncpg.connect(server.url)
        await admin.execute(f"CREATE ROLE {LOGIN} LOGIN PASSWORD '{LOGIN}'")
        made: dict[str, Prepared] = {}
        for name in names:
            await admin.execute(f"CREATE DATABASE {name}")
            owner_url = url_of(server.url, name)
            runtime = url_of(server.url, name, f"{LOGIN}:{LOGIN}")
            await migrate(owner_url, runtime, lambda _: None)
            owner = await asyncpg.connect(owner_url)
            await owner.set_type_codec(
                "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
            )
            made[name] = Prepared(server, runtime, owner_url, owner, name)
        try:
            yield made
        finally:
            for prepared in made.values():
                prepared.owner.terminate()
            await admin.close()


def url_of(url: str, database: str, login: str | None = None) -> str:
    parts = urlsplit(url)
    netloc = parts.netloc if login is None else f"{login}@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{database}"))
