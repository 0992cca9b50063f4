"""What a tenant is told, in the transaction in which it happens."""

from db.events import add_tenant_event
from db.ids import UserId
from db.pool import Conn
from handlers.deliveries.event import TenantEvent


async def tell(conn: Conn, user_id: UserId, event: TenantEvent) -> None:
    await add_tenant_event(
        conn, user_id, event.TYPE, event.data, event.chatbot_id, event.contact_id
    )
