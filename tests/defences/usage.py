"""Usage: what is counted, once, on its day, and whether it would be seen to be wrong."""

from tests.defences.defence import Change, Defence

DAYS = "db/migrations/0038_usage_days.sql"
CALLS = "db/migrations/0039_model_calls.sql"
RECONCILE = "tests/usage/test_reconcile.py"
FIGURES = "tests/usage/test_figures.py"
BILLS = "tests/usage/test_bills.py"
ZONES = "tests/usage/test_days.py"

DEFENCES = (
    Defence(
        "the usage day never goes back",
        "the floor under it",
        (
            Change(
                DAYS,
                "    SELECT greatest((now() AT TIME ZONE p_timezone)::date, p_floor)\n",
                "    SELECT (now() AT TIME ZONE p_timezone)::date\n",
            ),
        ),
        (
            f"{ZONES}::test_the_usage_day_stays_when_the_zone_goes_back",
            f"{ZONES}::test_a_limit_that_was_reached_stays_so_in_another_zone",
        ),
    ),
    Defence(
        "days of deleted rows are named",
        "the trigger that notes them",
        (Change(DAYS, "     WHERE d.day IS NOT NULL\n", "     WHERE false\n"),),
        (f"{RECONCILE}::test_days_of_which_rows_were_removed_are_left_out_and_named",),
    ),
    Defence(
        "figures are due again when a counter moves",
        "the trigger that calls for them",
        (
            Change(
                DAYS,
                "    FOR EACH ROW WHEN (NEW.figures_due > now() + interval '40 s'\n",
                "    FOR EACH ROW WHEN (false\n",
            ),
        ),
        (f"{FIGURES}::test_a_month_that_is_over_is_final_until_a_counter_of_it_moves",),
    ),
    Defence(
        "another price calls for the figures",
        "the trigger on plans",
        (Change(DAYS, "s.overage_messages > 0", "false"),),
        (f"{FIGURES}::test_another_price_and_an_order_call_for_them",),
    ),
    Defence(
        "what calls for figures while they are made is heard",
        "the look whether they were called for meanwhile",
        (
            Change(
                DAYS,
                "CASE WHEN v_moved OR s.figures_due <> v_due\n",
                "CASE WHEN v_moved\n",
            ),
        ),
        (f"{FIGURES}::test_what_calls_for_them_while_they_are_made_is_heard",),
    ),
    Defence(
        "figures that are made while counters move are made again",
        "the look for counters that moved meanwhile",
        (
            Change(
                DAYS,
                "                      AND t.updated_at > now() - interval '2 min') INTO v_moved;",
                "                      AND false) INTO v_moved;",
            ),
        ),
        (
            f"{FIGURES}::test_figures_that_are_made_while_counters_move_are_made_again",
            f"{FIGURES}::test_what_moves_is_due_within_40_seconds_and_the_next_day_when_it_is_quiet",
        ),
    ),
    Defence(
        "overage costs what its day's plan says",
        "the day where a plan's price is looked up",
        (
            Change(
                DAYS,
                " AND s.contract_start_date <= t.tracking_date\n",
                "\n",
            ),
        ),
        (f"{FIGURES}::test_overage_costs_what_the_plan_said_that_was_in_force_on_its_day",),
    ),
    Defence(
        "a turn's calls count once",
        "the key of a turn's row",
        (
            Change(
                CALLS, "    UNIQUE (user_id, conversation_id, epoch, model)\n", "    CHECK (true)\n"
            ),
            Change(
                "db/migrations/0085_models_of_chatbots.sql",
                "    ON CONFLICT (user_id, conversation_id, epoch, model) DO NOTHING\n",
            ),
        ),
        (f"{BILLS}::test_a_turn_s_end_that_is_tried_again_counts_once",),
    ),
    Defence(
        "an answer without a use is paid for too",
        "the note of it where it is read",
        (
            Change(
                "handlers/agent/model.py",
                "            if none.billed:\n"
                "                spending.note(self.billed_as or self.name, none.usage)\n",
            ),
        ),
        (f"{BILLS}::test_an_answer_of_which_nothing_can_be_made_is_paid_for_too",),
    ),
    Defence(
        "a turn that failed is paid for too",
        "what a turn without an end has paid for",
        (
            Change(
                "handlers/turns/write.py",
                "        async with _billed(turn) as conn:\n            failures",
                "        async with tenant(turn.pool, claim.user_id) as conn:\n"
                "            failures",
            ),
        ),
        (
            f"{BILLS}::test_a_turn_that_fails_after_the_model_answered_is_counted",
            f"{BILLS}::test_a_turn_that_is_stopped_while_it_thinks_keeps_what_it_had_paid_for",
        ),
    ),
)
