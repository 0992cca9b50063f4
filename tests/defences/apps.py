"""Several Meta apps: who may speak for which number, and what an absence of the database says;
and what is beside us in a database that was taken over."""

from tests.defences.defence import Change, Defence

MIGRATION = "db/migrations/0046_apps.sql"
KILLED = "tests/db/test_killed_migrations.py"

DEFENCES = (
    Defence(
        "a number is its own app's",
        "the look at the webhook's app where a number is known by Meta's id",
        (
            Change(
                MIGRATION,
                "    IF FOUND THEN\n        IF bot.app_id IS DISTINCT FROM p_app THEN\n",
                "    IF FOUND THEN\n        IF false THEN\n",
            ),
        ),
        ("tests/recording/test_apps.py::test_only_the_number_s_own_app_is_heard",),
    ),
    Defence(
        "no other app binds a number",
        "the look at the webhook's app before a chatbot takes a phone_number_id",
        (
            Change(
                MIGRATION,
                "\n    IF bot.app_id IS DISTINCT FROM p_app THEN\n",
                "\n    IF false THEN\n",
            ),
            Change(MIGRATION, " AND c.app_id IS NOT DISTINCT FROM p_app;\n", ";\n"),
        ),
        ("tests/recording/test_apps.py::test_a_number_is_never_bound_by_another_app",),
    ),
    Defence(
        "an item keeps its app while it is parked",
        "the app among the bytes that are kept of an item",
        (
            Change(
                "handlers/ingest/parking.py",
                '    if app_id is not None:\n        kept |= {"app": app_id}\n',
            ),
        ),
        ("tests/recording/test_apps.py::test_what_was_parked_for_another_reason_keeps_its_app",),
    ),
    Defence(
        "an app that cannot be looked up is no 404",
        "the look whether the database answered, before a path is said to be nobody's",
        (
            Change(
                "ingress/apps.py",
                "return AWAY if self._table.read_at < came else UNKNOWN",
                "return UNKNOWN",
            ),
        ),
        ("tests/ingress/test_apps.py::test_known_apps_are_believed_while_postgresql_is_away",),
    ),
    Defence(
        "a login's tenant is not ours",
        "the look whether a connection has a tenant before one is set",
        (Change("db/session.py", "    **DURABLE,\n    **NO_TENANT,\n", "    **DURABLE,\n"),),
        ("tests/db/test_old_callers.py::test_a_login_s_tenant_is_nobody_s_in_our_connections",),
    ),
    Defence(
        "what an old caller queues is not sent",
        "the words of today for a message that was written without a conversation",
        (
            Change(
                "db/migrations/0048_old_callers.sql",
                "        ELSE 'sent' END;\n",
                "        ELSE was END;\n",
            ),
        ),
        ("tests/db/test_old_callers.py::test_they_go_on_as_the_tenant_of_their_login",),
    ),
    Defence(
        "nobody stays a member after a kill",
        "the membership within the migration's transaction",
        (
            Change(
                "db/migrate.py",
                "            took_ms = await _apply(conn, migration)\n",
                "            async with _system_member(conn):\n"
                "                took_ms = await _apply(conn, migration)\n",
            ),
        ),
        (f"{KILLED}::test_nobody_stays_a_member_of_what_looks_across_tenants",),
    ),
    Defence(
        "a stored secret is written by compare-and-set",
        "the comparison with the value that was read",
        (
            Change(
                "db/sealed.py",
                ' AND {column.name} = $2"',
                ' AND $2::text IS NOT NULL"',
            ),
        ),
        ("tests/cli/test_secret_keys.py::test_what_somebody_stores_meanwhile_is_not_undone",),
    ),
)
