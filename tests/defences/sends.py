"""Sends: whose reply leaves when, and what is known of it."""

from tests.defences.defence import Change, Defence

SENDS = "db/migrations/0130_campaigns.sql"
TURN_QUERIES = "tests/db/test_turn_queries.py"
BEFORE = "tests/turn/test_before_it_leaves.py::test_what_stops_a_reply_and_what_does_not"
OF_WHICH = "tests/recording/test_statuses.py::test_what_a_status_says_of_which_send"
FIRST_TIME = "tests/recording/test_statuses.py::test_of_a_status_told_again_the_first_time_counts"
SEND_LIMITS = "tests/db/test_send_limits.py"

DEFENCES = (
    Defence(
        "a tenant's running sends count",
        "those that a worker has of a tenant, against its share of the worker",
        (
            Change(
                SENDS,
                "         WHERE coalesce(r.here, 0) + d.place <= p_tenant_max\n",
                "         WHERE d.place <= p_tenant_max\n",
            ),
        ),
        (f"{TURN_QUERIES}::test_a_tenant_s_many_replies_leave_places_to_the_others",),
    ),
    Defence(
        "who has replies under way waits behind who has none",
        "a tenant's running sends, in the order of claim_sends()",
        (
            Change(
                SENDS,
                "ORDER BY d.bulk, (coalesce(r.n, 0) + d.place - 1)",
                "ORDER BY d.bulk, (d.place - 1)",
            ),
        ),
        (f"{TURN_QUERIES}::test_who_has_replies_under_way_waits_behind_who_has_none",),
    ),
    Defence(
        "a locked reply holds up no other",
        "SKIP LOCKED where replies are claimed",
        (
            Change(
                SENDS,
                "           AND m.status = 'queued' AND m.send_owner IS NULL\n"
                "           FOR NO KEY UPDATE SKIP LOCKED\n",
                "           AND m.status = 'queued' AND m.send_owner IS NULL\n"
                "           FOR NO KEY UPDATE\n",
            ),
        ),
        (f"{TURN_QUERIES}::test_a_reply_that_somebody_has_locked_holds_up_no_other",),
    ),
    Defence(
        "bulk waits for everybody's live replies",
        "bulk in the order between tenants",
        (
            Change(
                SENDS,
                "ORDER BY d.bulk, (coalesce(r.n, 0) + d.place - 1)",
                "ORDER BY (coalesce(r.n, 0) + d.place - 1)",
            ),
        ),
        (f"{SEND_LIMITS}::test_one_tenant_s_bulk_waits_for_another_s_live_replies",),
    ),
    Defence(
        "a person's own message is not silenced",
        "is_from_human where a send is read",
        (
            Change(
                "db/sends.sql",
                "       (NOT coalesce(m.is_from_human, false)\n        AND (coalesce(c.conv",
                "       (true\n        AND (coalesce(c.conv",
            ),
        ),
        (BEFORE,),
    ),
    Defence(
        "only a person's takeover silences what was queued",
        "taken_over_by where a send is read",
        (
            Change(
                "db/sends.sql",
                " AND v.taken_over_by = 'human', false)))\n           AS silenced",
                ", false)))\n           AS silenced",
            ),
        ),
        (BEFORE,),
    ),
    Defence(
        "a takeover that ran out silences nothing",
        "taken_over_until where a send is read",
        (
            Change(
                "db/sends.sql",
                "             OR coalesce(v.taken_over_until > now() AND v.taken_over_by",
                "             OR coalesce(v.taken_over_by",
            ),
        ),
        (BEFORE,),
    ),
    Defence(
        "what is too old does not leave",
        "the age of a reply where it is read",
        (
            Change(
                "db/sends.sql",
                "coalesce(m.sent_at < now() - $3::interval, false) AS too_old",
                "coalesce($3::interval IS NULL, false) AS too_old",
            ),
        ),
        (BEFORE,),
    ),
    Defence(
        "an inactive tenant sends nothing",
        "is_active of the tenant where a send is read",
        (
            Change(
                "db/sends.sql",
                "coalesce(u.is_active, false) AS tenant_active",
                "true AS tenant_active",
            ),
        ),
        (BEFORE,),
    ),
    Defence(
        "a chatbot that was switched off sends nothing",
        "is_active and bot_status where a send is read",
        (
            Change(
                "db/sends.sql",
                "       (coalesce(b.is_active, false)"
                " AND coalesce(b.bot_status, 'active') = 'active')\n",
                "       true\n",
            ),
        ),
        (BEFORE,),
    ),
    Defence(
        "another wamid's failure is another send's",
        "the comparison of wamids where statuses are merged",
        (
            Change(
                "db/statuses.sql",
                "            AND (m.message_id <> i.wamid\n"
                "                 OR (m.message_id IS NULL\n",
                "            AND (false\n                 OR (m.message_id IS NULL\n",
            ),
        ),
        (OF_WHICH,),
    ),
    Defence(
        "what is queued again has not failed",
        "'queued' in the comparison of attempts",
        (
            Change(
                "db/statuses.sql",
                "AND (m.status = 'queued' OR i.attempt < m.send_attempts)",
                "AND (i.attempt < m.send_attempts)",
            ),
        ),
        (OF_WHICH,),
    ),
    Defence(
        "a send that failed leaves no wamid to one that is under way",
        "another send's failure gives its wamid",
        (
            Change(
                "db/statuses.sql",
                "CASE WHEN f.of_another_send THEN m.message_id\n"
                "                             ELSE coalesce(m.message_id, f.wamid) END",
                "coalesce(m.message_id, f.wamid)",
            ),
        ),
        (OF_WHICH,),
    ),
    Defence(
        "a status ends what was unknown",
        "unknown_at stays when a status came",
        (
            Change(
                "db/statuses.sql",
                "CASE WHEN f.upward THEN NULL ELSE m.unknown_at END",
                "m.unknown_at",
            ),
        ),
        (OF_WHICH,),
    ),
    Defence(
        "a status ends who sends",
        "send_owner stays when a status came",
        (
            Change(
                "db/statuses.sql",
                "CASE WHEN f.upward THEN NULL ELSE m.send_owner END",
                "m.send_owner",
            ),
        ),
        (OF_WHICH,),
    ),
    Defence(
        "a cancelled message may have arrived",
        "the rank of what was cancelled",
        (
            Change(
                "db/statuses.sql",
                "CASE WHEN m.status = 'cancelled' AND i.status <> 'failed' THEN 'accepted'\n"
                "                               ELSE m.status::text END",
                "m.status::text",
            ),
        ),
        (OF_WHICH,),
    ),
    Defence(
        "a cancelled message has not failed",
        "'failed' counts against what was cancelled",
        (
            Change(
                "db/statuses.sql",
                " AND i.status <> 'failed' THEN 'accepted'\n",
                " THEN 'accepted'\n",
            ),
        ),
        (OF_WHICH,),
    ),
    Defence(
        "one send, one wamid",
        "whether a message went more than once, where our id is looked up",
        (
            Change(
                "db/statuses.sql",
                "OR (m.id = i.our_id AND (m.message_id IS NULL OR m.send_attempts > 1))",
                "OR m.id = i.our_id",
            ),
        ),
        (OF_WHICH,),
    ),
    Defence(
        "of a status told again the first time counts",
        "the last time replaces it",
        (
            Change(
                "db/statuses.sql",
                "f.report -> 'statuses' || coalesce(m.metadata -> 'statuses', '{}')",
                "coalesce(m.metadata -> 'statuses', '{}') || (f.report -> 'statuses')",
            ),
        ),
        (FIRST_TIME,),
    ),
)
