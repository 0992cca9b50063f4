"""What people of the business do in conversations, and what the operator replays."""

from tests.defences.defence import Change, Defence

PEOPLE = "db/migrations/0022_people_and_turns.sql"
FENCE = "db/migrations/0054_contacts.sql"
TURN_QUERIES = "tests/db/test_turn_queries.py"
LOOKED = "tests/turn/test_looked_at_again.py"
ANSWERED = f"{LOOKED}::test_what_a_person_answered_is_not_answered_by_a_turn_that_had_read_it"
HELD = f"{LOOKED}::test_a_unit_held_by_a_turn_that_died_comes_back_though_a_person_answered"
OR_HELD = (
    " OR EXISTS (\n                                    SELECT FROM public.usage_reservations r\n"
    "                                     WHERE r.user_id = c.user_id"
    " AND r.conversation_id = c.id)\n"
)

DEFENCES = (
    Defence(
        "a takeover wakes what waits",
        "the trigger that lets silenced sends be looked at",
        (
            Change(
                PEOPLE,
                "            AND w.direction = 'outbound' AND w.status = 'queued'"
                " AND w.send_after < 'infinity'\n",
                "            AND false\n",
            ),
        ),
        (f"{LOOKED}::test_a_takeover_after_one_that_ran_out_wakes_what_waits",),
    ),
    Defence(
        "a takeover wakes no replay",
        "the look at send_after 'infinity' where silenced sends are woken",
        (
            Change(
                PEOPLE,
                " AND w.send_after < 'infinity'\n",
                " AND w.send_after IS NOT NULL\n",
            ),
        ),
        (f"{LOOKED}::test_a_replay_waits_for_them_also_when_a_person_was_there_for_a_moment",),
    ),
    Defence(
        "a replay leaves a running turn alone",
        "the question whether the conversation is being answered",
        (Change("cli/dead_items.py", "    if locked.being_answered:", "    if False:"),),
        (f"{LOOKED}::test_a_replay_takes_no_unit_from_a_running_turn",),
    ),
    Defence(
        "what a person answered is not answered again",
        "the look at answered_seq when a turn is to be written",
        (
            Change(
                FENCE,
                "    RETURN v.taken_over OR v.answered_seq >= p_read_seq\n",
                "    RETURN v.taken_over\n",
            ),
        ),
        (ANSWERED,),
    ),
    Defence(
        "what a person answered stays answered",
        "the greater of what a turn read and what a person answered",
        (Change(FENCE, "greatest(c.answered_seq, p_read_seq) AS done", "p_read_seq AS done"),),
        (ANSWERED,),
    ),
    Defence(
        "a turn that a person overtook reads again",
        "the look whether a person answered some of what was read",
        (
            Change(
                "db/conversations.sql",
                "CASE WHEN answered_seq > $6 AND answered_seq < $5 THEN 'outdated'",
                "CASE WHEN answered_seq > $6 AND false THEN 'outdated'",
            ),
        ),
        (f"{LOOKED}::test_what_a_person_left_over_is_answered_without_the_rest",),
    ),
    Defence(
        "no unit is held for nothing after a sweep",
        "the look for a reservation where a dead worker's conversations are freed",
        (
            Change(
                PEOPLE,
                f"attempts = c.attempts + 1,\n           ready_at = CASE WHEN"
                f" c.input_seq > c.answered_seq{OR_HELD}",
                "attempts = c.attempts + 1,\n           ready_at = CASE WHEN"
                " c.input_seq > c.answered_seq\n",
            ),
        ),
        (HELD,),
    ),
    Defence(
        "no unit is held for nothing after an echo",
        "the look for a reservation when a person has answered",
        (
            Change(
                "handlers/ingest/messages.py",
                "            await wake_held(conn, user_id, conversations)\n",
            ),
        ),
        (HELD,),
    ),
    Defence(
        "an echo shortens no takeover",
        "the look for a longer one where an echo takes over",
        (
            Change(
                "db/changes.sql",
                "\n   AND NOT coalesce(v.taken_over_by = 'human'"
                " AND v.taken_over_until >= n.until, false)\n",
                "\n",
            ),
        ),
        (f"{LOOKED}::test_an_echo_shortens_no_takeover",),
    ),
    Defence(
        "a person keeps a conversation that the bot gives up",
        "the look for a takeover where the product hands over",
        (
            Change(
                "db/conversations.sql",
                "       taken_over_reason = $5\n WHERE user_id = $1 AND id = $2"
                " AND NOT coalesce(taken_over_until > now(), false)\n",
                "       taken_over_reason = $5\n WHERE user_id = $1 AND id = $2\n",
            ),
        ),
        (f"{TURN_QUERIES}::test_who_has_a_conversation_keeps_it_when_the_bot_gives_up",),
    ),
    Defence(
        "a replay forgets the wamid of before",
        "the old wamid stays with what is replayed",
        (
            Change(
                "db/dead.sql",
                "message_id = NULL, send_owner = NULL, send_after",
                "send_owner = NULL, send_after",
            ),
        ),
        (f"{LOOKED}::test_a_replay_begins_anew_but_for_its_attempts",),
    ),
    Defence(
        "a replay may be unknown again",
        "unknown_count stays with what is replayed",
        (
            Change(
                "db/dead.sql",
                "unknown_at = NULL, unknown_count = 0, sent_at",
                "unknown_at = NULL, sent_at",
            ),
        ),
        (f"{LOOKED}::test_a_replay_begins_anew_but_for_its_attempts",),
    ),
    Defence(
        "a mark lets go what was replayed well before it",
        "the second between a replay and the mark that lets it go",
        (
            Change(
                "db/migrations/0017_looked_at_again.sql",
                "WHERE r.replayed_at < p_until - interval '1 s'",
                "WHERE r.replayed_at < p_until",
            ),
        ),
        (f"{LOOKED}::test_what_a_mark_lets_go",),
    ),
    Defence(
        "what died again says why",
        "the new reason of what was on the dead list",
        (
            Change(
                "db/dead.sql",
                "   SET reason = excluded.reason, detail = excluded.detail, died_at = now();",
                "   SET died_at = now();",
            ),
        ),
        (f"{LOOKED}::test_what_dies_again_is_on_the_list_with_its_last_reason",),
    ),
    Defence(
        "of replays at once one finds it dead",
        "the locks of the message and its conversation",
        (
            Change(
                "db/dead.sql",
                "SELECT id FROM messages WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE;",
                "SELECT id FROM messages WHERE user_id = $1 AND id = $2;",
            ),
            Change(
                "db/dead.sql",
                " WHERE m.user_id = $1 AND m.id = $2)\n   FOR NO KEY UPDATE;",
                " WHERE m.user_id = $1 AND m.id = $2);",
            ),
        ),
        (f"{LOOKED}::test_eight_replays_at_once_are_one_send_and_one_unit",),
    ),
    Defence(
        "a mark hurries nothing that is to be tried again",
        "the look at send_after 'infinity' where a replay is let go",
        (
            Change(
                "db/migrations/0017_looked_at_again.sql",
                "CASE WHEN m.status = 'queued' AND m.send_after = 'infinity'\n"
                "                             THEN NULL ELSE m.send_after END",
                "NULL",
            ),
        ),
        (f"{LOOKED}::test_what_a_mark_lets_go",),
    ),
)
