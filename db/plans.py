"""Plans for tables that grow.

A statement is planned once a connection, for tables as they are then. On a new database they are
empty, any index is as good as another, and a plan that goes through all of a tenant's rows for each
item of a batch is kept: with 4,000 customers a batch of 400 took 11 s, until PostgreSQL had looked
at the tables (within a minute) and the plans were made anew. So where batches are written,
statements are planned each time until the tables are known to have grown.
"""

from db.driver import Conn
from db.sql import load

_SQL = load(__file__)


async def fit_plans(conn: Conn) -> None:
    """For a new connection."""
    await conn.execute(_SQL["fit_plans"], conn.get_server_pid())


async def have_grown(conn: Conn) -> bool:
    """Connections that were fitted before are to be made anew."""
    return bool(await conn.fetchval(_SQL["have_grown"]))
