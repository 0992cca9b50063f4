"""Lives that end: erasure, retention, exports."""

from tests.defences.defence import Change, Defence

CONTACT = "tests/erasure/test_contact.py"
HISTORY = "tests/retention/test_history.py"
EXPORTS = "tests/exports/test_exports.py"
BETWEEN = "tests/exports/test_between.py"
RETENTION = "db/migrations/0042_retention.sql"
ERASURE = "db/migrations/0041_erasure.sql"
STILL = " AND epoch = $3"

DEFENCES = (
    Defence(
        "an erased tenant gets nothing any more",
        "the look at its e-mail with the lock",
        (
            Change(
                "db/tenants.sql",
                "SELECT true FROM users WHERE id = $1 AND email <> 'erased-' || id || '@invalid'"
                " FOR NO KEY UPDATE;\n",
                "SELECT true FROM users WHERE id = $1 FOR NO KEY UPDATE;\n",
            ),
        ),
        ("tests/erasure/test_tenant.py::test_an_erased_tenant_gets_nothing_any_more",),
    ),
    Defence(
        "what comes again of an erased person is dropped",
        "the look at marks before a message is recorded",
        (
            Change(
                "handlers/ingest/messages.py",
                "        if not erased.has(item.value.who, _at(item.value))\n",
                "        if True\n",
            ),
        ),
        (f"{CONTACT}::test_what_meta_repeats_is_dropped_and_counted",),
    ),
    Defence(
        "recording looks again when its contact was erased",
        "the look at erased_at behind the wait for the contact's lock",
        (
            Change(
                "db/contacts.sql",
                " WHERE c.user_id = $1 AND c.id = n.id AND c.erased_at IS NULL\n",
                " WHERE c.user_id = $1 AND c.id = n.id\n",
            ),
        ),
        (f"{CONTACT}::test_what_is_recorded_meanwhile_is_a_new_contact_s",),
    ),
    Defence(
        "a turn that runs writes nothing about who is erased",
        "the epoch that an erasure moves on",
        (
            Change(
                "db/erasures.sql",
                "   SET lease_owner = NULL, epoch = c.epoch + 1, ready_at = NULL,"
                " pending_since = NULL,\n       answered_seq = c.input_seq, waits_for = NULL,"
                " updated_at = now()\n",
                "   SET ready_at = NULL, waits_for = NULL, updated_at = now()\n",
            ),
        ),
        (f"{CONTACT}::test_a_turn_that_runs_writes_nothing_and_its_unit_goes_back",),
    ),
    Defence(
        "what is unanswered is not removed for its age",
        "the look at answered_seq",
        (
            Change(
                RETENTION,
                "               AND NOT coalesce(m.input_seq > (SELECT v.answered_seq"
                " FROM conversations v\n                                               "
                " WHERE v.user_id = p_user\n                                                 "
                " AND v.id = m.conversation_id), false)\n",
                "",
            ),
        ),
        (f"{HISTORY}::test_what_is_unanswered_stays_until_it_is",),
    ),
    Defence(
        "a conversation that is being answered keeps its messages",
        "the look at its lease",
        (Change(RETENTION, "               AND v.lease_owner IS NULL\n", ""),),
        (f"{HISTORY}::test_a_conversation_that_is_being_answered_is_left",),
    ),
    Defence(
        "a message that was removed is not recorded anew",
        "the look at wamids of messages that went",
        (
            Change(
                "db/messages.sql",
                "       AND NOT EXISTS (SELECT FROM gone_messages g WHERE g.user_id = $1\n"
                "                          AND g.chatbot_id = item.chatbot_id"
                " AND g.wamid = item.wamid)\n",
                "",
            ),
        ),
        (f"{HISTORY}::test_a_message_that_went_is_not_recorded_when_it_comes_again",),
    ),
    Defence(
        "an export that somebody else has begun anew is thrown away",
        "the fence on the job's epoch",
        (
            Change(
                "db/jobs.sql",
                f"FROM jobs WHERE user_id = $1 AND id = $2{STILL}\n"
                "                  AND status = 'running');",
                "FROM jobs WHERE user_id = $1 AND id = $2 AND $3::bigint > 0);",
            ),
            Change(
                "db/exports.sql",
                f"WHERE user_id = $1 AND id = $2{STILL} AND status = 'running'\n",
                "WHERE user_id = $1 AND id = $2 AND $3::bigint > 0\n",
            ),
        ),
        (f"{EXPORTS}::test_what_a_dead_worker_began_another_begins_anew",),
    ),
    Defence(
        "what is old waits for nobody who is being erased",
        "the contact is locked with the conversation, or passed over",
        (
            Change(
                RETENTION,
                "OF v SKIP LOCKED\n                           FOR KEY SHARE OF k SKIP LOCKED",
                "OF v SKIP LOCKED",
            ),
        ),
        ("tests/retention/test_between.py::test_it_waits_for_nobody_who_is_being_erased",),
    ),
    Defence(
        "a worker takes back a job that it lost sight of",
        "its own lease is nobody's when it has no job",
        (
            Change(
                "db/migrations/0087_evals.sql",
                "d.kind = ANY (p_kinds)\n"
                "               AND (d.lease_owner IS NULL OR d.lease_owner = p_worker",
                "d.kind = ANY (p_kinds)\n               AND (d.lease_owner IS NULL",
            ),
        ),
        (f"{BETWEEN}::test_what_a_worker_lost_sight_of_it_begins_anew",),
    ),
    Defence(
        "an erasure takes what was made before it was committed",
        "exports are voided once more when it is",
        (Change("handlers/erasure/work.py", "    await void_exports(conn, due.user_id)\n", ""),),
        (f"{BETWEEN}::test_what_is_made_before_the_erasure_is_committed_goes_too",),
    ),
    Defence(
        "half a file of who is erased goes with the whole ones",
        "what is being written is known by its key",
        (
            Change(
                "handlers/media_store/local.py",
                "(*found, *self._unfinished()) if",
                "found if",
            ),
        ),
        (f"{BETWEEN}::test_an_export_of_who_is_erased_ends_and_leaves_no_file",),
    ),
    Defence(
        "a store that refuses holds up the one erasure that needs it",
        "its errors are none of PostgreSQL's",
        (
            Change(
                "handlers/media_store/local.py",
                '        except OSError as error:\n            raise StoreProblem(f"MEDIA_STORE: '
                '{self._root}: {error.strerror or error}") from error',
                "        except OSError:\n            raise",
            ),
        ),
        (f"{BETWEEN}::test_a_file_that_cannot_be_removed_holds_up_nobody_else_s_erasure",),
    ),
    Defence(
        "nothing is posted of who is being erased",
        "the look at erased_at beside the event",
        (
            Change(
                ERASURE,
                "        ('next_deliveries(bigint,bigint,bigint,bigint[],integer,bigint,bigint)',\n"
                "         'e.user_id = p_user AND e.id = d.event_id', 'e.contact_id'),\n",
                "",
            ),
        ),
        ("tests/api/test_erasing.py::test_at_204_they_are_in_no_answer",),
    ),
    Defence(
        "what a webhook answers about who was erased meanwhile is not kept",
        "an attempt is kept with its event only",
        (
            Change(
                "db/migrations/0028_webhooks.sql",
                "      JOIN webhook_deliveries d ON d.user_id = p_user AND d.id = i.id\n"
                "      JOIN webhook_events e ON",
                "      LEFT JOIN webhook_deliveries d ON d.user_id = p_user AND d.id = i.id\n"
                "      LEFT JOIN webhook_events e ON",
            ),
        ),
        (f"{CONTACT}::test_nothing_of_them_is_in_any_table_and_of_others_everything",),
    ),
    Defence(
        "what is counted can be counted again after an erasure",
        "takeovers and model calls stay, without their conversation",
        (
            Change(
                ERASURE,
                "('conversations', 'erasures', 'takeovers', 'model_calls')",
                "('conversations', 'erasures')",
            ),
        ),
        (f"{CONTACT}::test_what_stays_is_that_it_happened",),
    ),
    Defence(
        "bodies for webhooks are kept no longer than the messages in them",
        "they go by message_history_days as well",
        (
            Change(
                "handlers/retention/sweep.py",
                "        told = await forget_told(conn, user_id, this.days, rows)\n",
                "        told = 0\n",
            ),
        ),
        (f"{HISTORY}::test_what_webhooks_were_told_goes_at_the_same_age",),
    ),
)
