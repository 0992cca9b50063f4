"""Tests for bots: runs of suites."""

from tests.defences.defence import Change, Defence

API = "tests/api/test_evals.py"
SUITES = "tests/unit/test_suites.py"
COMMAND = "tests/evals/test_command.py"
SANDBOX = "tests/evals/test_sandbox.py"
EVALS = "db/migrations/0087_evals.sql"

BESIDE = "tests/api/test_evals_beside.py"

DEFENCES = (
    Defence(
        "evals: an expression of a suite cannot take all memory",
        "the bound of what it repeats",
        (
            Change(
                "handlers/evals/patterns.py",
                "    if _copies(text) > COPIES_MAX:\n"
                '        return "repeats too much: write it more simply"\n',
            ),
        ),
        (f"{SUITES}::test_an_expression_that_would_take_all_memory_is_none",),
    ),
    Defence(
        "evals: of a chatbot no more than the last runs are kept",
        "that those before go when one is made",
        (
            Change(
                "db/evals.py",
                '    await conn.execute(_SQL["drop_older"], user_id, new.chatbot_id, RUNS_KEPT)\n',
            ),
        ),
        (f"{API}::test_of_a_chatbot_the_last_runs_are_kept_with_their_jobs",),
    ),
    Defence(
        "evals: a case has its time",
        "that no turn is begun after it",
        (
            Change(
                "handlers/evals/running.py",
                "        if turns and time.monotonic() >= until:\n            break\n",
            ),
        ),
        (f"{BESIDE}::test_a_case_that_takes_too_long_has_failed_and_the_rest_of_it_is_not_asked",),
    ),
    Defence(
        "evals: who lost a run, or whose run was ended, keeps no case of it",
        "the fence before a case is kept",
        (
            Change(
                "db/evals.sql",
                " WHERE user_id = $1 AND id = $2 AND epoch = $3 AND status = 'running' FOR NO KEY"
                " UPDATE;\n",
                " WHERE user_id = $1 AND id = $2 AND $3::bigint > 0 FOR NO KEY UPDATE;\n",
            ),
        ),
        (f"{API}::test_an_erasure_ends_what_runs_and_takes_the_words_of_what_ran",),
    ),
    Defence(
        "evals: what a dead worker asked is counted",
        "the holds of whoever was at a run before",
        (
            Change(
                "handlers/evals/house.py",
                "            await add_tokens(conn, run.user_id, run.id, dead.asked)\n"
                '            count_test_calls(conn, run.user_id, bill, calls, "eval")\n',
            ),
        ),
        (
            f"{API}::test_who_lost_the_run_writes_nothing_and_no_case_is_there_twice",
            f"{API}::test_a_command_that_died_is_ended_and_what_it_asked_is_counted",
        ),
    ),
    Defence(
        "evals: asks and runs share the day's test tokens",
        "what the others hold",
        (
            Change(
                EVALS,
                "        v_left := least(v_left, v_limit - v_used - v_held);\n",
                "        v_left := least(v_left, v_limit - v_used);\n",
            ),
            Change(
                EVALS,
                "        IF v_left < p_least OR (v_left < p_most AND v_held > 0) THEN\n",
                "        IF v_left < p_least THEN\n",
            ),
        ),
        (f"{API}::test_cases_at_once_hold_no_more_than_there_is",),
    ),
    Defence(
        "evals: a run has its budget",
        "what is left of it, before a model is asked",
        (
            Change(
                EVALS,
                "    IF v_budget IS NOT NULL AND v_outcome = 'granted' THEN\n",
                "    IF false THEN\n",
            ),
        ),
        (f"{COMMAND}::test_what_plan_and_budget_have_no_tokens_for_is_not_run",),
    ),
    Defence(
        "evals: a worker of the release before takes no run",
        "the kind of a job, where it is claimed",
        (Change(EVALS, " AND d.kind <> 'eval'\n", "\n"),),
        (f"{API}::test_a_worker_of_the_release_before_leaves_runs_alone",),
    ),
    Defence(
        "evals: an erasure takes the words of all runs",
        "that results are emptied",
        (
            Change(
                "db/evals.py",
                '    await conn.execute(_SQL["forget_words"], user_id)\n',
            ),
        ),
        (f"{API}::test_an_erasure_ends_what_runs_and_takes_the_words_of_what_ran",),
    ),
    Defence(
        "evals: an expression has its time",
        "the bound on how long a tenant's expression may take",
        (
            Change(
                "handlers/evals/patterns.py",
                ".search(text, timeout=SECONDS, concurrent=True)",
                ".search(text[:12])",
            ),
        ),
        (f"{SUITES}::test_an_expression_that_takes_long_is_ended",),
    ),
    Defence(
        "evals: a suite's YAML expands nothing",
        "that anchors and aliases are refused",
        (
            Change(
                "handlers/evals/document.py",
                'isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None)',
                "isinstance(event, int)",
            ),
        ),
        (f"{SUITES}::test_what_is_wrong_is_told_with_its_line",),
    ),
    Defence(
        "evals: a model that gave no answer passes no case",
        "that its failure is a check that does not hold",
        (
            Change(
                "handlers/evals/checks.py",
                "    if outcome.failure is not None:\n",
                "    if False:\n",
            ),
        ),
        (f"{SUITES}::test_a_model_that_gave_no_answer_holds_no_check",),
    ),
)
