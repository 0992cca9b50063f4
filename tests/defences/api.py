"""What the tenant API does once, exactly, or not at all."""

from tests.defences.defence import Change, Defence

RECOVERY = "db/migrations/0029_api_writes.sql"
SPELLINGS = "tests/api/test_spellings.py"
ONCE = "tests/api/test_once.py"
WEBHOOKS = "tests/api/test_webhooks.py"
DELIVERIES = "tests/api/test_deliveries.py"

DEFENCES = (
    Defence(
        "an Idempotency-Key is held while its request is in hand",
        "the advisory lock of the key",
        (
            Change(
                "db/idempotency.sql",
                "SELECT pg_try_advisory_xact_lock(hashtextextended('idempotency_keys:' || $2, $1))"
                " AS held;\n",
                "SELECT ($1::bigint, $2::text) IS NOT NULL AS held;\n",
            ),
        ),
        (
            f"{ONCE}::test_while_the_first_is_in_hand_it_is_409_and_when_it_died_the_key_is_free",
            f"{ONCE}::test_the_key_is_held_as_long_as_its_transaction",
        ),
    ),
    Defence(
        "an Idempotency-Key is of one request",
        "the comparison of what was asked for",
        (
            Change(
                "ingress/api/once.py",
                "    if request_hash != once.request_hash:\n",
                "    if not request_hash:\n",
            ),
        ),
        (f"{ONCE}::test_another_request_with_the_key_is_refused",),
    ),
    Defence(
        "what is shown once is not kept",
        "leaving such members out of the answer that is kept",
        (
            Change(
                "ingress/api/encoding.py",
                "    members = {name: value for name, value in _members(row).items() if name not in"
                " hidden}\n",
                "    members = _members(row)\n    assert hidden is not None\n",
            ),
        ),
        (
            f"{ONCE}::test_the_first_answer_stays_whatever_becomes_of_the_row",
            f"{WEBHOOKS}::test_a_repeated_rotation_with_its_key_rotates_once",
        ),
    ),
    Defence(
        "If-Match is looked at behind the lock",
        "the comparison of versions",
        (
            Change(
                "ingress/api/resources/webhooks.py",
                "    call.expect(there(await lock_webhook(conn, call.user_id, webhook_id))"
                ".version)\n",
                "    there(await lock_webhook(conn, call.user_id, webhook_id))\n",
            ),
        ),
        (f"{WEBHOOKS}::test_of_two_changes_of_one_version_one_is_made",),
    ),
    Defence(
        "webhooks are counted one after the other",
        "the lock before they are counted",
        (
            Change(
                "db/webhooks.py",
                '    await conn.execute(_SQL["lock_webhooks"], user_id)\n',
            ),
        ),
        (f"{WEBHOOKS}::test_the_limit_is_exact_however_many_come_at_once",),
    ),
    Defence(
        "a recovery goes on from where it was",
        "moving the mark with each batch",
        (
            Change(
                RECOVERY,
                "        UPDATE webhook_recoveries o SET after_event = v_last\n"
                "         WHERE o.user_id = p_user AND o.webhook_id = p_webhook;\n",
            ),
        ),
        (f"{DELIVERIES}::test_a_large_recovery_goes_on_by_itself_from_where_it_was",),
    ),
    Defence(
        "a webhook that rests is given nothing",
        "the look at is_active",
        (
            Change(
                "handlers/deliveries/webhooks.py",
                "    if webhook is not None and not webhook.is_active:\n",
                "    if webhook is not None and webhook.version < 0:\n",
            ),
        ),
        (f"{DELIVERIES}::test_what_rests_is_not_tried",),
    ),
    Defence(
        "a repeated request gets the first answer",
        "the answer that is kept",
        (
            Change(
                "ingress/api/once.py",
                "    if before is not None:\n        if before.status is None",
                '    if before is not None and once.key == "":\n        if before.status is None',
            ),
        ),
        (
            f"{ONCE}::test_twenty_at_once_are_one",
            f"{ONCE}::test_the_first_answer_stays_whatever_becomes_of_the_row",
        ),
    ),
    Defence(
        "a key makes no key that can do more",
        "the comparison with what its maker may",
        (
            Change(
                "ingress/api/resources/api_keys.py",
                "    beyond = [one for one in body.permissions if one not in maker.permissions]\n",
                "    beyond = [one for one in body.permissions if one not in body.permissions]\n",
            ),
        ),
        ("tests/api/test_api_keys.py::test_a_key_gives_nothing_that_it_has_not",),
    ),
    Defence(
        "an order's total is the sum of its items",
        "the comparison with the items where a total is written",
        (
            Change(
                "db/migrations/0056_orders.sql",
                "        IF v_items > 0 AND v_total IS DISTINCT FROM NEW.total_amount THEN\n",
                "        IF v_items < 0 AND v_total IS DISTINCT FROM NEW.total_amount THEN\n",
            ),
        ),
        ("tests/api/test_orders.py::test_nobody_gives_an_order_another_total",),
    ),
    Defence(
        "what a deleted chatbot had is hidden at once",
        "the policy on what is still to be deleted",
        (
            Change(
                "db/migrations/0051_lives.sql",
                "                USING (NOT coalesce(chatbot_id = ANY (ARRAY(\n",
                "                USING (true OR NOT coalesce(chatbot_id = ANY (ARRAY(\n",
            ),
        ),
        ("tests/api/test_deletions.py::test_at_204_it_is_in_no_answer_and_soon_in_no_row",),
    ),
    Defence(
        "the spellings of a line that meet are one contact",
        "the lock on the line before a contact of it is made",
        (
            Change(
                "db/contacts.py",
                '    await conn.execute(_SQL["hold_numbers"], user_id, lines)\n',
            ),
        ),
        (
            f"{SPELLINGS}::test_who_writes_waits_for_the_program_and_is_the_same",
            f"{SPELLINGS}::test_the_program_waits_for_who_writes_and_is_told_of_them",
        ),
    ),
    Defence(
        "a key that ends ends its files",
        "the look at the key before each page",
        (Change("ingress/api/stream.py", "            await self.still(conn)\n"),),
        ("tests/api/test_imports.py::test_a_key_that_ends_ends_its_export",),
    ),
    Defence(
        "a job is seen by who may read its noun",
        "the look at its kind",
        (
            Change(
                "ingress/api/resources/jobs.py",
                "    return Answer(there(job if job.kind in _seen(call) else None))\n",
                "    return Answer(there(job))\n",
            ),
        ),
        ("tests/api/test_imports.py::test_a_job_is_seen_by_who_may_read_its_noun",),
    ),
    Defence(
        "a name that a file gives stays",
        "that the name is the tenant's",
        (
            Change(
                "db/bulk.sql",
                "                         THEN n.name IS NOT NULL ELSE c.name_given END,\n",
                "                         THEN c.name_given ELSE c.name_given END,\n",
            ),
        ),
        ("tests/api/test_imports.py::test_a_name_that_a_file_gave_stays",),
    ),
)
