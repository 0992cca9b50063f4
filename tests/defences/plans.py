"""Defences of contracts, limits and weights."""

from tests.defences.defence import Change, Defence

CONTRACT = "db/migrations/0035_contract.sql"
CONTACTS = "db/migrations/0036_contact_limit.sql"
WEIGHTS = "db/migrations/0037_weights.sql"
ROOM = "tests/plan/test_contact_limit.py"
WAITING = "tests/plan/test_waiting.py"
BOUND = "tests/plan/test_weights.py"

DEFENCES = (
    Defence(
        "what wakes and what answers go by the same day",
        "the contract's day beside the usage day in reserve_messages()",
        (
            Change(
                "db/migrations/0038_usage_days.sql",
                " 'usage_day(u.timezone, u.usage_day_floor)');",
                " 'usage_day(u.timezone, u.usage_day_floor)', 'g');",
            ),
        ),
        (f"{WAITING}::test_what_wakes_and_what_answers_go_by_the_same_day",),
    ),
    Defence(
        "a tenant of whom many wait holds nobody up",
        "the order in which waits that are over are taken",
        (
            Change(
                CONTRACT,
                "     ORDER BY v.nth, v.user_id, v.id LIMIT p_limit;",
                "     LIMIT p_limit;",
            ),
        ),
        (f"{WAITING}::test_a_tenant_of_whom_many_wait_holds_nobody_up",),
    ),
    Defence(
        "what a reply answered that does not leave waits",
        "the wait of what a cancelled reply answered",
        (
            Change(
                "handlers/sends/ending.py",
                "        elif one.reason in PUT_OFF and await put_off_again(",
                "        elif False and await put_off_again(",
            ),
        ),
        (f"{WAITING}::test_a_reply_that_was_queued_is_no_loss",),
    ),
    Defence(
        "whom an older transaction lets in is answered",
        "the note that a contact of another transaction entered",
        (
            Change(
                CONTACTS,
                "CASE WHEN c.created_at IS DISTINCT FROM now() THEN now() END",
                "CASE WHEN c.created_at < now() THEN now() END",
            ),
        ),
        (f"{ROOM}::test_whom_an_older_transaction_lets_in_is_answered",),
    ),
    Defence(
        "room for contacts is counted under a lock",
        "the lock of contact_counts in admit_contacts()",
        (
            Change(
                CONTACTS,
                " FROM contact_counts c WHERE c.user_id = p_user\n       FOR NO KEY UPDATE;",
                " FROM contact_counts c WHERE c.user_id = p_user;",
            ),
        ),
        (f"{ROOM}::test_two_that_do_not_see_each_other_s_contact_have_one_place",),
    ),
    Defence(
        "nobody overtakes a contact that waits for room",
        "the stop at the first that somebody has locked",
        (
            Change(
                CONTACTS,
                "    SELECT min(w) INTO v_until FROM unnest(v_wanted) w"
                " WHERE w <> ALL (v_locked);\n",
            ),
        ),
        (f"{ROOM}::test_who_is_locked_is_not_overtaken",),
    ),
    Defence(
        "contacts are counted when nobody is adding one",
        "the wait for those who add a contact while a plan begins to limit them",
        (
            Change(
                CONTACTS,
                "        PERFORM FROM public.users u WHERE u.id = NEW.user_id FOR UPDATE;\n",
            ),
        ),
        (f"{ROOM}::test_a_limit_that_comes_while_a_contact_is_added_counts_it",),
    ),
    Defence(
        "a turn that read before a change is woken after it",
        "the note that a conversation waits",
        (
            Change(
                "handlers/turns/write.py",
                "if decision.reason in PUT_OFF and read.found.inputs:",
                "if False:",
            ),
        ),
        (f"{WAITING}::test_a_turn_that_read_before_the_change_is_not_forgotten",),
    ),
    Defence(
        "what a person answered is not answered again",
        "the look for a person's message where a wait ends",
        (
            Change(
                CONTRACT,
                "o.direction = 'outbound' AND o.is_from_human)",
                "o.direction = 'outbound' AND o.is_from_human AND false)",
            ),
        ),
        (f"{WAITING}::test_what_a_person_answered_meanwhile_stays_answered",),
    ),
    Defence(
        "a contract is advanced once",
        "the lock, and the look after it, in advance_contract()",
        (
            Change(
                CONTRACT,
                " AND k.contract_end_date IS NOT NULL\n       FOR NO KEY UPDATE;",
                " AND k.contract_end_date IS NOT NULL;",
            ),
        ),
        ("tests/plan/test_contract.py::test_the_end_is_told_14_7_and_1_days_before_each_once",),
    ),
    Defence(
        "never more turns at once than the plan has",
        "one claim at a time of a tenant with a bound",
        (Change(WEIGHTS, "         WHERE NOT b.got;", "         WHERE NOT b.got AND false;"),),
        (
            f"{BOUND}::test_a_claim_of_a_bounded_tenant_waits_for_no_other_and_takes_nothing_beside_it",
        ),
    ),
)
