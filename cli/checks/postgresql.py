"""PostgreSQL: there, new enough, migrated, with the right powers, and workers beat in it."""

from cli.checks.check import Check, failed, ok, warning
from cli.operating import database_problem
from db.connecting import CannotConnect, Unfit
from db.migrate import pending
from db.pool import Conn, connect_login, connect_runtime

OLDEST_POSTGRESQL = 15
BEAT_FRESH_S = 4.0  # as workers judge each other


async def postgresql(url: str) -> list[Check]:
    try:
        conn = await connect_login(url)
    except CannotConnect as error:
        return [failed("postgresql", database_problem(error))]
    try:
        version = conn.get_server_version()
        spelt = f"version {version.major}.{version.minor}"
        checks = [
            ok("postgresql", f"reachable, {spelt}")
            if version.major >= OLDEST_POSTGRESQL
            else failed("postgresql", f"{spelt}: {OLDEST_POSTGRESQL} or newer is needed")
        ]
        power = await _power(conn)
        checks += [power, *await _apart(conn)]
    finally:
        await conn.close()
    if power.state == "failed":
        return checks
    try:
        runtime = await connect_runtime(url, "swiftreplies doctor")
    except Unfit as unfit:
        return [*checks, *(failed("postgresql session", one) for one in unfit.problems)]
    except CannotConnect as error:
        return [*checks, failed("postgresql session", database_problem(error))]
    try:
        missing = await pending(runtime)
        if missing:
            return [
                *checks,
                failed("schema", f"lacks {', '.join(missing)}: run `swiftreplies migrate`"),
            ]
        return [*checks, ok("schema", "current"), await _workers(runtime)]
    finally:
        await runtime.close()


async def _power(conn: Conn) -> Check:
    """Whether the login may do what it must, and no more."""
    row = await conn.fetchrow(
        "SELECT rolname, rolsuper, rolbypassrls,"
        " EXISTS (SELECT FROM pg_roles WHERE rolname = 'swiftreplies_app') AS migrated,"
        " EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid AND c.relname = 'messages'"
        "   AND c.relnamespace = 'public'::regnamespace) AS owner"
        " FROM pg_roles r WHERE rolname = current_user"
    )
    assert row is not None, "who is connected has a role"
    if not row["migrated"]:
        return failed("postgresql login", "the roles are missing: run `swiftreplies migrate`")
    if not await conn.fetchval("SELECT pg_has_role('swiftreplies_app', 'MEMBER')"):
        return failed(
            "postgresql login",
            f"{row['rolname']} is no member of swiftreplies_app: run `swiftreplies migrate`, or as"
            f" an administrator GRANT swiftreplies_app TO {row['rolname']}",
        )
    if row["rolsuper"] or row["rolbypassrls"] or row["owner"]:
        what = (
            "a superuser" if row["rolsuper"] else "the owner" if row["owner"] else "above the rules"
        )
        return warning(
            "postgresql login",
            f"{row['rolname']} is {what}. Tenants are kept apart all the same (connections take"
            " the role swiftreplies_app), but a login of less power is better: see Database roles"
            " in docs/operations.md",
        )
    return ok("postgresql login", f"{row['rolname']} may only what the runtime needs")


async def _apart(conn: Conn) -> list[Check]:
    """An envelope of the ingest log holds text of several tenants."""
    how = "SET" if conn.get_server_version().major >= 16 else "MEMBER"
    together = await conn.fetchval(
        "SELECT session_user::text FROM pg_roles r, pg_roles l WHERE r.rolname = 'swiftreplies_log'"
        " AND l.rolname = session_user AND NOT l.rolsuper AND pg_has_role(l.oid, r.oid, $1)",
        how,
    )
    if together is None:
        return []
    return [
        warning(
            "postgresql login",
            f"{together} may see the ingest log, and need not: as an administrator REVOKE"
            f" swiftreplies_log FROM {together}",
        )
    ]


async def _workers(conn: Conn) -> Check:
    silent = await conn.fetch(
        "SELECT name, extract(epoch FROM clock_timestamp() - beat_at)::float AS s FROM workers"
    )
    alive = [row for row in silent if row["s"] < BEAT_FRESH_S]
    if alive:
        return ok("workers", f"{len(alive)} alive")
    return failed(
        "workers",
        "none beats, so nothing is recorded, answered or sent: start `swiftreplies worker`",
    )
