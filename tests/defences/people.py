"""What people of the business do in conversations, and what the operator replays."""

from tests.defences.defence import Change, Defence

PEOPLE = "db/migrations/0022_people_and_turns.sql"
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
                PEOPLE,
                "    RETURN v.taken_over OR v.answered_seq >= p_read_seq\n",
                "    RETURN v.taken_over\n",
            ),
        ),
        (ANSWERED,),
    ),
    Defence(
        "what a person answered stays answered",
        "the greater of what a turn read and what a person answered",
        (Change(PEOPLE, "greatest(c.answered_seq, p_read_seq) AS done", "p_read_seq AS done"),),
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
                " AND v.taken_over_until >= n.until, false);",
                ";",
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
                " AND NOT coalesce(taken_over_until > now(), false)\nRETURNING chatbot_id",
                "\nRETURNING chatbot_id",
            ),
        ),
        (f"{TURN_QUERIES}::test_who_has_a_conversation_keeps_it_when_the_bot_gives_up",),
    ),
)
