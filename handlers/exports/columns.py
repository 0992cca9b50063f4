"""Which tables and columns an export may have."""

from db.exports import columns_of, tables_of
from db.pool import Conn
from handlers.exports.content import TABLES, WITHOUT


async def columns_by_table(conn: Conn, what: str) -> dict[str, list[str]]:
    names = TABLES.get(what) or await tables_of(conn, what == "contact", WITHOUT)
    if what == "tenant":
        names = ["users", *names]
    elif what == "contact":
        names = ["contacts", *names, "order_items"]
    return {table: await columns_of(conn, table) for table in names}
