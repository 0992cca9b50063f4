"""Turns: the lease, the ladder, and whose turn it is."""

from tests.defences.defence import Change, Defence

FENCE = "db/migrations/0054_contacts.sql"
NO_CONVOY = "db/migrations/0021_no_convoy.sql"
CLAIMS = "db/migrations/0037_weights.sql"
CONVERSATIONS = "db/conversations.sql"
TURN_QUERIES = "tests/db/test_turn_queries.py"
LOOKED = "tests/turn/test_looked_at_again.py"
ZONES = "tests/db/test_zones.py"
OWN_DAY = (f"{ZONES}::test_what_comes_in_counts_on_the_tenant_s_own_day",)
WAITS = (
    " AS waits\n      INTO v FROM conversations c\n"
    "     WHERE c.user_id = p_user AND c.id = p_conversation\n"
)
MISSES = f"{TURN_QUERIES}::test_who_lost_the_lease_misses_at_the_fence"

DEFENCES = (
    Defence(
        "requests are reserved by the turn that has the lease",
        "the epoch where a turn reserves",
        (
            Change(
                NO_CONVOY,
                "        AND c.lease_owner = p_worker AND c.epoch = p_epoch FOR SHARE;\n",
                "        AND c.lease_owner = p_worker FOR SHARE;\n",
            ),
        ),
        ("tests/db/test_races.py::test_a_turn_that_was_swept_adds_nothing_to_the_next_one_s_hold",),
    ),
    Defence(
        "a turn that lost its lease puts nothing off",
        "lease_owner and epoch in put_off_turn()",
        (
            Change(
                FENCE,
                f"{WAITS}       AND c.lease_owner = p_worker AND c.epoch = p_epoch\n",
                WAITS,
            ),
        ),
        (MISSES,),
    ),
    Defence(
        "what is put off comes again with what came meanwhile",
        "ingest's ready_at, where a turn is put off",
        (
            Change(
                FENCE,
                "THEN least(c.ready_at, now() + p_wait * (0.75 + random() / 2)) END,",
                "THEN now() + p_wait * (0.75 + random() / 2) END,",
            ),
        ),
        (f"{TURN_QUERIES}::test_a_turn_that_is_put_off_comes_again_with_what_came_meanwhile",),
    ),
    Defence(
        "patience is counted from the first failure",
        "failing_since of before, where a turn is put off",
        (
            Change(
                FENCE,
                "THEN coalesce(c.failing_since, now() - p_failing) END,",
                "THEN now() - p_failing END,",
            ),
        ),
        (f"{TURN_QUERIES}::test_a_turn_that_is_put_off_comes_again_with_what_came_meanwhile",),
    ),
    Defence(
        "nobody is told to wait for what a person answered",
        "the look whether anything is unanswered, where a turn is put off",
        (Change(FENCE, "v_tells := p_tells AND v.waits AND NOT", "v_tells := p_tells AND NOT"),),
        (f"{TURN_QUERIES}::test_nobody_is_told_that_it_takes_longer_who_is_not_to_be_told",),
    ),
    Defence(
        "an answer ends what was counted against it",
        "attempts and the ladder go on counting after an answer",
        (
            Change(
                FENCE,
                "           attempts = 0, failing_since = NULL, model_tries = 0,"
                " told_slow_at = NULL,\n           updated_at = now()\n",
                "           updated_at = now()\n",
            ),
        ),
        (f"{TURN_QUERIES}::test_an_answer_ends_what_was_counted_against_it",),
    ),
    Defence(
        "a claim begins the next burst",
        "pending_since of the burst that a turn answers stays",
        (Change(CLAIMS, "ready_at = NULL, pending_since = NULL\n", "ready_at = NULL\n"),),
        (f"{TURN_QUERIES}::test_a_claim_begins_the_next_burst",),
    ),
    Defence(
        "who waits longest is claimed first",
        "the order of a tenant's conversations in claim_conversations()",
        (
            Change(
                CLAIMS,
                "                ORDER BY c.ready_at LIMIT p_limit) k\n",
                "                ORDER BY c.id LIMIT p_limit) k\n",
            ),
        ),
        (f"{TURN_QUERIES}::test_who_waits_longest_is_claimed_first",),
    ),
    Defence(
        "a chatbot that is switched off says nothing",
        "is_active and bot_status where a turn reads",
        (
            Change(
                CONVERSATIONS,
                "       (coalesce(b.is_active, false)"
                " AND coalesce(b.bot_status, 'active') = 'active')\n"
                "           AS chatbot_active,\n       b.business_hours",
                "       true AS chatbot_active,\n       b.business_hours",
            ),
        ),
        (f"{TURN_QUERIES}::test_a_chatbot_that_is_switched_off_is_so_for_turns_sends_and_people",),
    ),
    Defence(
        "instructions end",
        "is_active and expires_at of what a turn is instructed",
        (
            Change(
                CONVERSATIONS,
                " AND o.is_active\n"
                "                         AND (o.expires_at IS NULL OR o.expires_at > now())\n",
            ),
        ),
        (f"{TURN_QUERIES}::test_a_turn_gets_the_instructions_that_are_in_force",),
    ),
    Defence(
        "an event that is being told is not raised",
        "lease_owner IS NULL where a passed event's conversation is locked",
        (
            Change(
                "db/conversation_events.sql",
                " WHERE user_id = $1 AND id = $2 AND lease_owner IS NULL FOR NO KEY UPDATE;",
                " WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE;",
            ),
        ),
        ("tests/turn/test_actions.py::test_an_event_that_a_turn_is_telling_is_not_raised",),
    ),
    Defence(
        "what comes in counts on the tenant's own day",
        "the tenant's zone where a message is recorded",
        (
            Change(
                "db/messages.sql",
                "       usage_day(u.timezone, u.usage_day_floor)\n",
                "       usage_day('UTC', u.usage_day_floor)\n",
            ),
        ),
        OWN_DAY,
    ),
    Defence(
        "takeovers count on the tenant's own day",
        "the tenant's zone in count_takeover()",
        (
            Change(
                "db/migrations/0038_usage_days.sql",
                "    SELECT p_user, p_conversation, usage_day(u.timezone, u.usage_day_floor)\n",
                "    SELECT p_user, p_conversation, usage_day('UTC', u.usage_day_floor)\n",
            ),
        ),
        OWN_DAY,
    ),
    Defence(
        "a connection whose COMMIT failed is closed",
        "it goes back into the pool as it is",
        (
            Change(
                "db/pool.py",
                "        await conn.execute(statement)\n    except BaseException:\n"
                "        conn.terminate()\n        raise\n",
                "        await conn.execute(statement)\n    except BaseException:\n        raise\n",
            ),
        ),
        ("tests/db/test_isolation.py::test_a_connection_whose_commit_failed_is_nobody_s_again",),
    ),
)
