"""Deliveries to tenants' webhooks: told once, signed, held by one worker, in order, no faster than
an endpoint bears."""

from tests.defences.defence import Change, Defence

WEBHOOKS = "db/migrations/0028_webhooks.sql"
DELIVER = "handlers/deliveries/deliver.py"
RULES = "handlers/deliveries/rules.py"
DELIVERING = "tests/deliveries/test_delivering.py"
TELLING = "tests/deliveries/test_telling.py"
RACES = "tests/deliveries/test_races.py"
MEETINGS = "tests/deliveries/test_meetings.py"
HELD = (
    "           AND (s.lease_owner IS NULL OR s.lease_owner = p_worker\n"
    "                OR NOT EXISTS (SELECT FROM public.workers w\n"
    "                                WHERE w.id = s.lease_owner\n"
    "                                  AND w.beat_at > clock_timestamp() - p_term))\n"
)
OF_THOSE_NOT_HELD = "           AND s.webhook_id <> ALL (p_held)\n"
OVER = "           AND coalesce(s.open_until <= clock_timestamp(), true)\n"
BY_NOW = (
    "           -- As it is by now: another worker may have taken it since, and let go of it.\n"
    + OVER
)

DEFENCES = (
    Defence(
        "deliveries: what is told is delivered",
        "the trigger that writes the deliveries of an event",
        (
            Change(
                WEBHOOKS,
                "CREATE TRIGGER tell_webhooks AFTER INSERT ON analytics_events\n"
                "    REFERENCING NEW TABLE AS new FOR EACH STATEMENT"
                " EXECUTE FUNCTION tell_webhooks();\n",
            ),
        ),
        (f"{TELLING}::test_who_wants_it_is_told",),
    ),
    Defence(
        "deliveries: an acceptance is told once",
        "the look whether Meta's answer is the first that is heard of it",
        (
            Change(
                "db/sends.sql",
                "RETURNING m.status, was.status IN ('queued', 'sending', 'unknown')\n",
                "RETURNING m.status, true\n",
            ),
        ),
        (f"{TELLING}::test_an_acceptance_is_told_once",),
    ),
    Defence(
        "deliveries: the exact bytes are signed",
        "that the body is sent as it was signed",
        (
            Change(
                DELIVER,
                "outbound.post(target.url, body, signed)",
                'outbound.post(target.url, body.replace(b": ", b":"), signed)',
            ),
        ),
        (f"{DELIVERING}::test_an_event_arrives_signed",),
    ),
    Defence(
        "deliveries: the secret before signs along",
        "the secret that was replaced, for as long as it signs",
        (
            Change(
                DELIVER,
                'for one in (webhook["secret"], webhook["prev_secret"]) if one',
                'for one in (webhook["secret"],) if one',
            ),
        ),
        (f"{DELIVERING}::test_both_secrets_sign_for_a_day",),
    ),
    Defence(
        "deliveries: a webhook that somebody claims holds up no claim",
        "SKIP LOCKED where webhooks are claimed",
        (Change(WEBHOOKS, "FOR NO KEY UPDATE OF s SKIP LOCKED", "FOR NO KEY UPDATE OF s"),),
        (f"{RACES}::test_what_another_is_about_to_hold_is_gone_past",),
    ),
    Defence(
        "deliveries: a webhook is one living worker's",
        "lease_owner where webhooks are claimed",
        (
            Change(WEBHOOKS, OF_THOSE_NOT_HELD + HELD, OF_THOSE_NOT_HELD),
            Change(WEBHOOKS, BY_NOW + HELD, OVER),
        ),
        (f"{RACES}::test_what_a_living_worker_holds_is_nobody_else_s",),
    ),
    Defence(
        "deliveries: a claim looks again at what it locked",
        "lease_owner as it is once the row is locked",
        (Change(WEBHOOKS, BY_NOW + HELD, OVER),),
        (f"{RACES}::test_of_many_that_claim_at_once_one_holds_a_webhook",),
    ),
    Defence(
        "deliveries: nobody claims what was paused a moment ago",
        "the pause as it is once the row is locked",
        (Change(WEBHOOKS, BY_NOW),),
        (f"{RACES}::test_what_is_let_go_of_for_a_while_is_nobody_s",),
    ),
    Defence(
        "deliveries: a tenant has its share of a worker",
        "the number of a tenant's webhooks in a claim",
        (Change(WEBHOOKS, "         WHERE f.place <= p_tenant_max\n", "         WHERE true\n"),),
        (f"{RACES}::test_a_tenant_s_many_webhooks_leave_places_to_the_others",),
    ),
    Defence(
        "deliveries: who lost a webhook reads nothing of it",
        "lease_owner where what is due is read",
        (
            Change(
                WEBHOOKS,
                "     WHERE t.user_id = p_user AND t.webhook_id = p_webhook"
                " AND t.lease_owner = p_worker;\n    IF v_webhook IS NULL",
                "     WHERE t.user_id = p_user AND t.webhook_id = p_webhook;\n"
                "    IF v_webhook IS NULL",
            ),
        ),
        (f"{RACES}::test_who_lost_a_webhook_reads_nothing_more_of_it",),
    ),
    Defence(
        "deliveries: who lost a webhook does not judge it",
        "lease_owner where it is written how an endpoint fares",
        (
            Change(
                WEBHOOKS,
                "     WHERE t.user_id = p_user AND t.webhook_id = p_webhook"
                " AND t.lease_owner = p_worker\n    RETURNING",
                "     WHERE t.user_id = p_user AND t.webhook_id = p_webhook\n    RETURNING",
            ),
        ),
        (f"{RACES}::test_who_lost_a_webhook_says_nothing_of_how_it_fares",),
    ),
    Defence(
        "deliveries: what was delivered stays delivered",
        "the look whether a delivery is still pending when it is settled",
        (
            Change(
                WEBHOOKS,
                "     WHERE d.user_id = p_user AND d.id = i.id AND d.status = 'pending'\n",
                "     WHERE d.user_id = p_user AND d.id = i.id\n",
            ),
        ),
        (f"{RACES}::test_what_another_delivered_stays_delivered",),
    ),
    Defence(
        "deliveries: of an ordered webhook one goes after the other",
        "that only the first of each conversation is due",
        (
            Change(
                WEBHOOKS, "    IF (v_webhook ->> 'ordered')::boolean THEN\n", "    IF false THEN\n"
            ),
        ),
        (f"{RACES}::test_only_the_first_of_each_conversation_is_due",),
    ),
    Defence(
        "deliveries: events of a conversation are numbered as they commit",
        "the lock of the conversations of which an ordered webhook is told",
        (
            Change(
                WEBHOOKS,
                "          ORDER BY v.id FOR NO KEY UPDATE;\n",
                "          ORDER BY v.id;\n",
            ),
        ),
        (f"{RACES}::test_of_two_that_tell_of_a_conversation_at_once_the_second_waits",),
    ),
    Defence(
        "deliveries: what is due while a webhook rests is kept",
        "the look whether it is on, and its tenant, and the plan",
        (
            Change(
                DELIVER,
                '    return all((webhook["is_active"], webhook["tenant_active"],'
                " plan.allows(Feature.WEBHOOKS)))\n",
                "    return plan is not None\n",
            ),
        ),
        (f"{DELIVERING}::test_what_is_due_while_it_rests_is_kept_and_not_tried",),
    ),
    Defence(
        "deliveries: what is kept is not due",
        "that what is due of a webhook that rests is put aside",
        (
            Change(
                DELIVER,
                "            while await park_deliveries(conn, self.claimed, PARK_BATCH)"
                " == PARK_BATCH:\n                pass\n",
            ),
        ),
        (f"{DELIVERING}::test_what_is_due_while_it_rests_is_kept_and_not_tried",),
    ),
    Defence(
        "deliveries: nothing is tried while an endpoint fails",
        "the pause after ten failures in a row",
        (
            Change(
                RULES,
                "or health.failures >= BREAK_FAILURES:",
                "or health.failures >= 10**9:",
            ),
        ),
        (f"{DELIVERING}::test_ten_failures_in_a_row_and_nothing_is_tried_for_a_while",),
    ),
    Defence(
        "deliveries: an endpoint that is gone is not asked again",
        "410 switches a webhook off",
        (Change(RULES, "if attempt.status == _GONE_STATUS:", "if attempt.status == -1:"),),
        (f"{DELIVERING}::test_gone_switches_it_off_and_says_so",),
    ),
    Defence(
        "deliveries: a tenant settles no other's",
        "user_id where deliveries are settled, and their row-level security",
        (
            Change(
                WEBHOOKS,
                "        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);\n",
            ),
            Change(
                WEBHOOKS,
                "     WHERE d.user_id = p_user AND d.id = i.id AND d.status = 'pending'\n",
                "     WHERE d.id = i.id AND d.status = 'pending'\n",
            ),
        ),
        (f"{RACES}::test_a_tenant_reaches_no_other_s_webhooks",),
    ),
    Defence(
        "deliveries: a tenant reads no other's",
        "user_id where what is due is read, and row-level security",
        (
            Change(
                WEBHOOKS,
                "        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);\n",
            ),
            Change(
                WEBHOOKS,
                "      JOIN webhooks w ON w.user_id = p_user AND w.id = t.webhook_id\n"
                "      JOIN users u ON u.id = p_user\n"
                "     WHERE t.user_id = p_user AND t.webhook_id",
                "      JOIN webhooks w ON w.id = t.webhook_id\n"
                "      JOIN users u ON u.id = p_user\n"
                "     WHERE t.webhook_id",
            ),
        ),
        (f"{RACES}::test_a_tenant_reaches_no_other_s_webhooks",),
    ),
    Defence(
        "deliveries: a migration that is in a deadlock is tried again",
        "that a deadlock is one of the locks for which a migration has several tries",
        (
            Change(
                "db/migrate.py",
                "except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:",
                "except asyncpg.LockNotAvailableError as error:",
            ),
        ),
        (
            "tests/deliveries/test_migrated.py::test_a_migration_that_is_in_a_deadlock_is_tried_again",
        ),
    ),
    Defence(
        "deliveries: what is made and not written is not read again",
        "the deliveries that are being written, among those that are in hand",
        (Change(DELIVER, "[*unwritten, *self.under_way", "[*self.under_way"),),
        ("tests/deliveries/test_queue.py::test_what_is_read_while_others_are_written_goes_once",),
    ),
    Defence(
        "deliveries: a slow endpoint's queue is bounded",
        "that no more is read than there is room for",
        (Change(DELIVER, "room = max(0, BATCH - len(self.queue))", "room = BATCH"),),
        ("tests/deliveries/test_queue.py::test_a_slow_endpoint_does_not_fill_the_memory",),
    ),
    Defence(
        "deliveries: what is old goes",
        "the right to lock what is forgotten",
        (
            Change(
                WEBHOOKS,
                ", UPDATE (created_at), DELETE ON webhook_events",
                ", DELETE ON webhook_events",
            ),
        ),
        (f"{MEETINGS}::test_what_is_old_goes_and_nothing_else",),
    ),
    Defence(
        "deliveries: what the address before says switches nothing off",
        "the look whether the webhook is as it was posted to",
        (Change(WEBHOOKS, " AND w.is_active AND w.version = p_version\n", " AND w.is_active\n"),),
        (f"{MEETINGS}::test_the_address_before_does_not_switch_off_the_one_that_came_after",),
    ),
    Defence(
        "deliveries: the webhook is locked before its state",
        "the lock of the webhook, which whoever changes it takes first",
        (
            Change(
                WEBHOOKS,
                "        PERFORM FROM webhooks w WHERE w.user_id = p_user AND w.id = p_webhook"
                " FOR NO KEY UPDATE;\n",
                "        NULL;\n",
            ),
        ),
        (f"{MEETINGS}::test_who_switches_it_on_while_it_is_switched_off_waits",),
    ),
    Defence(
        "deliveries: nothing is begun with what was known long ago",
        "the look how long ago the webhook was read",
        (
            Change(
                DELIVER,
                "time.monotonic() - self.read_at > FRESH_S\n        if stale",
                "False\n        if stale",
            ),
        ),
        (f"{MEETINGS}::test_what_is_not_begun_goes_to_where_the_webhook_leads_by_now",),
    ),
    Defence(
        "deliveries: an address is judged by what it did itself",
        "the look at the address, when what it did is written",
        (
            Change(
                DELIVER, "            elif url != self.target.url:\n", "            elif False:\n"
            ),
        ),
        (f"{DELIVERING}::test_what_the_address_before_did_is_nothing_against_the_new_one",),
    ),
    Defence(
        "deliveries: a webhook that somebody changes is not waited for",
        "that its row is taken only if it is free",
        (Change("db/deliveries.sql", "FOR NO KEY UPDATE SKIP LOCKED", "FOR NO KEY UPDATE"),),
        (f"{DELIVERING}::test_who_changes_a_webhook_is_not_waited_for",),
    ),
    Defence(
        "deliveries: no tenant makes any number of webhooks",
        "the bound where the plan names none",
        (
            Change(
                "handlers/deliveries/webhooks.py",
                "limit = WEBHOOKS_MAX if named is None else named",
                "limit = 1_000_000 if named is None else named",
            ),
        ),
        ("tests/api/test_webhooks.py::test_a_plan_that_names_no_number_allows_fifty",),
    ),
    Defence(
        "deliveries: another address begins anew",
        "that what the one before failed with is forgiven",
        (
            Change(
                "handlers/deliveries/webhooks.py",
                'if given.get("is_active") or "url" in differs:',
                'if given.get("is_active"):',
            ),
        ),
        ("tests/api/test_webhooks.py::test_at_another_address_it_is_as_if_it_had_never_failed",),
    ),
)
