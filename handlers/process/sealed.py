"""Every value that is stored encrypted: where it is, and what it is encrypted for."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from db.ids import UserId
from db.pool import Conn, tenant_transaction
from db.sealed import Column, every_user, read_sealed, reseal
from handlers.process.secrets import (
    Undecryptable,
    Vault,
    access_token_of,
    app_secret_of,
    model_keys_of,
    tool_secret_of,
    verify_token_of,
    webhook_secret_of,
)

PAGE = 100  # values of a transaction

SEALED: tuple[tuple[Column, Callable[[int], str]], ...] = (
    (Column("chatbots", "access_token"), access_token_of),
    (Column("chatbots", "model_keys"), model_keys_of),
    (Column("webhooks", "secret_token"), webhook_secret_of),
    (Column("webhooks", "prev_secret_token"), webhook_secret_of),
    (Column("tools", "secret_token"), tool_secret_of),
    (Column("tools", "prev_secret_token"), tool_secret_of),
    (Column("apps", "app_secret", of_tenants=False), app_secret_of),
    (Column("apps", "old_app_secret", of_tenants=False), app_secret_of),
    (Column("apps", "verify_token", of_tenants=False), verify_token_of),
    (Column("apps", "old_verify_token", of_tenants=False), verify_token_of),
)


@dataclass(frozen=True, slots=True)
class Looked:
    """At one value; `problem`: why no key opens it."""

    column: Column
    user_id: UserId | None
    id: int
    is_current: bool  # encrypted with the first key
    problem: str | None = None

    @property
    def place(self) -> str:
        of = f" (tenant {self.user_id})" if self.user_id is not None else ""
        return f"{self.column.table}.{self.column.name} of {self.id}{of}"


@dataclass(frozen=True, slots=True)
class _Part:
    """A column, of one tenant or of none."""

    column: Column
    belongs_to: Callable[[int], str]
    user_id: UserId | None


async def look_at_all(conn: Conn, vault: Vault, *, reseals: bool) -> AsyncIterator[Looked]:
    """As the owner. With `reseals`, what another key than the first opens is encrypted anew; what
    is interrupted goes on when it is run again."""
    tenants: list[UserId | None] = [*await every_user(conn)]
    for column, belongs_to in SEALED:
        for user_id in tenants if column.of_tenants else [None]:
            part, after = _Part(column, belongs_to, user_id), 0
            while page := await _page(conn, vault, part, after, reseals):
                for looked in page:
                    yield looked
                after = page[-1].id


async def _page(conn: Conn, vault: Vault, part: _Part, after: int, reseals: bool) -> list[Looked]:
    column, user_id = part.column, part.user_id
    transaction = conn.transaction() if user_id is None else tenant_transaction(conn, user_id)
    async with transaction:
        found = []
        for value in await read_sealed(conn, column, user_id, after, PAGE):
            belongs_to = part.belongs_to(value.id)
            try:
                clear = vault.decrypt(value.sealed, belongs_to)
            except Undecryptable as error:
                found.append(Looked(column, user_id, value.id, False, str(error)))
                continue
            current = vault.is_current(value.sealed)
            if not current and reseals:
                await reseal(conn, column, user_id, value, vault.encrypt(clear, belongs_to))
            found.append(Looked(column, user_id, value.id, current))
        return found
