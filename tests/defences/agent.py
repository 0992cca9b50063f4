"""The agent: what an answer may say, what a model may do, and how much a turn may take."""

from tests.defences.defence import Change, Defence

ANSWER = "handlers/checks/answer.py"
CHECKS = "tests/unit/test_checks.py"
RED_TEAM = "tests/turn/test_red_team.py"
ACTIONS = "db/actions.sql"
BOUNDS = "tests/turn/test_bounds.py"
CARE = "tests/turn/test_care.py"
MEMORY = "tests/turn/test_memory.py"
EMBEDDINGS = "tests/turn/test_embeddings.py"
HAND_OVER = "tests/turn/test_hand_over.py"
OWN = "handlers/agent/own_models.py"
OWN_MODELS = "tests/turn/test_own_models.py"
DOCUMENTS = "tests/unit/test_documents.py"

DEFENCES = (
    Defence(
        "agent: an answer leads nowhere that nobody named",
        "the look whether a link, address or number was told",
        (Change(ANSWER, " if not told.leads(way)]", " if False]"),),
        (f"{CHECKS}::test_ways_to_strangers_are_taken_out",),
    ),
    Defence(
        "agent: an answer names no amount that nobody named",
        "the look whether an amount was told",
        (Change(ANSWER, " if not told.names(one)]", " if False]"),),
        (f"{CHECKS}::test_foreign_amounts_are_found",),
    ),
    Defence(
        "agent: what was not done is not said to be done",
        "the look whether a row says so too",
        (
            Change(
                ANSWER, " if not told.backs(one.effect, text[one.start : one.end])]", " if False]"
            ),
        ),
        (f"{CHECKS}::test_what_is_said_to_be_done",),
    ),
    Defence(
        "agent: a price in words is one",
        "numbers that are written in words",
        (
            Change(
                "handlers/rules/amounts.py",
                "    for one in _in_words(shown):\n        found.setdefault",
                "    for one in ():\n        found.setdefault",
            ),
        ),
        (f"{CHECKS}::test_prices_are_found_in_every_spelling",),
    ),
    Defence(
        "agent: a price without a currency is one, and a part of a price",
        "what stands behind a price's word, and per cent",
        (
            Change(
                ANSWER,
                "from handlers.rules.prices import prices_in\n",
                "from handlers.rules.amounts import amounts_in as prices_in\n",
            ),
        ),
        (f"{CHECKS}::test_prices_are_found_in_every_spelling",),
    ),
    Defence(
        "agent: a claim is one however it is dressed",
        "mark-up and look-alike letters, which are read as people read them",
        (
            Change(
                "handlers/checks/claims.py",
                "    view = seen(text)\n",
                "    view = Seen(text)\n",
            ),
            Change(
                "handlers/checks/claims.py",
                "from handlers.rules.seen import seen\n",
                "from handlers.rules.seen import Seen\n",
            ),
        ),
        (f"{CHECKS}::test_a_claim_is_one_however_it_is_dressed",),
    ),
    Defence(
        "agent: a model is no source of its own",
        "that what it says in a run is nothing that it was told",
        (
            Change(
                "handlers/agent/evidence.py",
                "if n < begun and not _is_call(message):",
                "if not _is_call(message):",
            ),
        ),
        (f"{RED_TEAM}::test_nothing_comes_of_an_attack[a link in the customer's name]",),
    ),
    Defence(
        "agent: sums are made of what was told",
        "the look at a sum's numbers",
        (
            Change(
                "handlers/agent/powers.py",
                "    if not told.adds_up(total):\n",
                "    if False:\n",
            ),
        ),
        (f"{RED_TEAM}::test_nothing_comes_of_an_attack[a sum made of nothing]",),
    ),
    Defence(
        "agent: only rows that were shown are cited",
        "the look whether a row was",
        (
            Change(
                "handlers/agent/citing.py",
                "    known = tuple(one for one in ids if one in shown)\n",
                "    known = tuple(ids)\n",
            ),
        ),
        ("tests/unit/test_citing.py::test_what_was_not_shown_is_dropped_and_counted",),
    ),
    Defence(
        "agent: a decision approves no more than its day's sum",
        "max_per_day where an amount is taken of it",
        (
            Change(
                ACTIONS,
                "   AND CASE WHEN a.auto_approved_day >= $3 THEN a.auto_approved_sum ELSE 0 END"
                " + $4\n       <= a.max_per_day\n",
            ),
        ),
        (f"{BOUNDS}::test_within_the_amount_and_the_day",),
    ),
    Defence(
        "agent: who takes of a decision holds it",
        "the lock of the decisions that may approve",
        (Change(ACTIONS, " ORDER BY a.id FOR NO KEY UPDATE OF a;", " ORDER BY a.id;"),),
        (f"{BOUNDS}::test_a_withdrawal_waits_for_who_takes_of_it_though_no_sum_is_taken",),
    ),
    Defence(
        "agent: a decision is of one contact",
        "the contact where decisions are looked for",
        (Change(ACTIONS, "   AND (a.any_contact OR a.contact_id = v.contact_id)\n"),),
        (f"{BOUNDS}::test_another_contact_only_when_somebody_says_so",),
    ),
    Defence(
        "agent: an amount is approved by words that name no other",
        "the look at the amounts in a request's words",
        (
            Change(
                "handlers/rules/requests.py",
                "_within(one, money) and says_no_other(details, money)",
                "_within(one, money)",
            ),
        ),
        ("tests/unit/test_amounts.py::test_what_a_bound_approves",),
    ),
    Defence(
        "agent: equal requests are one",
        "the look at what the contact has asked for",
        (
            Change(
                "handlers/actions.py",
                " for one in reversed(requests) if one.key not in asked}",
                " for one in reversed(requests)}",
            ),
        ),
        (f"{BOUNDS}::test_equal_requests_at_once_are_one",),
    ),
    Defence(
        "agent: who said a word keeps what was handed over",
        "the look whether the bot's hand-over is still what silences it",
        (
            Change(
                "db/takeovers.sql",
                " AND taken_over_by = 'bot' AND taken_over_until <= now()\n"
                "RETURNING chatbot_id, contact_id;",
                "\nRETURNING chatbot_id, contact_id;",
            ),
        ),
        (f"{HAND_OVER}::test_who_says_a_word_as_the_time_ends_keeps_it",),
    ),
    Defence(
        "agent: nobody is told that nobody came where no word is taken",
        "the look at WhatsApp's window where a hand-over ends",
        (
            Change(
                "handlers/handovers.py",
                "        if await can_be_told(conn, one.user_id, one.conversation_id):\n",
                "        if True:\n",
            ),
        ),
        (f"{HAND_OVER}::test_outside_the_window_it_is_handed_back_without_a_word",),
    ),
    Defence(
        "agent: a contact has so many tokens a day",
        "that they are held before a model is asked",
        (
            Change(
                "handlers/turns/think.py",
                "ContactPurse(turn).afford if bounded else None",
                "None",
            ),
        ),
        (f"{CARE}::test_of_turns_at_once_none_spends_what_another_holds",),
    ),
    Defence(
        "agent: a contact has so many answers a day",
        "that each is counted",
        (
            Change(
                "handlers/turns/write.py",
                "        count_answer(conn, claim.user_id, claim.conversation_id,"
                " say.unit.usage_day)\n",
                "        pass\n",
            ),
        ),
        (f"{CARE}::test_answers_of_a_day_are_bounded_and_told_once",),
    ),
    Defence(
        "agent: two bots are not left to each other",
        "the look at the pace",
        (
            Change(
                "handlers/turns/pace.py",
                "    return turns_lately >= TURNS_MAX or"
                " quick_in_a_row(rows, stopped_at) >= IN_A_ROW\n",
                "    return False\n",
            ),
        ),
        (f"{CARE}::test_eight_at_once_stop_the_bot_for_an_hour_and_a_hand_back_ends_it",),
    ),
    Defence(
        "agent: STOP is heard when it is recorded",
        "the words of a choice, where messages are recorded",
        (
            Change(
                "handlers/ingest/messages.py",
                "        if own is None or (choice := choice_of(one.value.text, own)) is None:\n",
                "        if own is None or (choice := None) is None:\n",
            ),
        ),
        ("tests/recording/test_choices.py::test_a_word_alone_ends_advertising",),
    ),
    Defence(
        "agent: a prompt is within its budget",
        "the room that history and this turn's messages have",
        (
            Change(
                "handlers/agent/told.py",
                "    room = int(briefing.budget.input_tokens / scale) - of_messages(around)"
                " - tools\n",
                "    room = 10**9\n",
            ),
        ),
        ("tests/agent/test_told.py",),
    ),
    Defence(
        "agent: a turn costs no more than its budget",
        "the look at what it did cost before tools are called again",
        (
            Change(
                "handlers/agent/cost.py",
                "        return by_now + 2 * self._last <= self.most\n",
                "        return True\n",
            ),
        ),
        (f"{MEMORY}::test_money_ends_the_rounds_of_tools",),
    ),
    Defence(
        "agent: who reads a document writes no file",
        "the bound of the size of files in its process",
        (
            Change(
                "handlers/documents/child.py",
                "        (resource.RLIMIT_FSIZE, 0),\n",
            ),
        ),
        (f"{DOCUMENTS}::test_what_it_may_use_is_bounded",),
    ),
    Defence(
        "agent: who reads a document opens few files",
        "the bound of open files in its process",
        (
            Change(
                "handlers/documents/child.py",
                "        (resource.RLIMIT_NOFILE, OPEN_FILES),\n",
            ),
        ),
        (f"{DOCUMENTS}::test_what_it_may_use_is_bounded",),
    ),
    Defence(
        "agent: half a document is none",
        "the look whether its process came to the end",
        (
            Change(
                "handlers/documents/reading.py",
                '    if end.get("passages") != len(lines):',
                "    if False:",
            ),
        ),
        (f"{DOCUMENTS}::test_half_a_document_is_none",),
    ),
    Defence(
        "agent: a vector is of the text that was embedded",
        "the comparison with the row's text where vectors are stored",
        (
            Change(
                "db/embeddings.sql",
                "   AND knowledge_hash(k.question, k.alternatives, k.answer) = n.text_hash\n",
            ),
        ),
        (f"{EMBEDDINGS}::test_what_is_edited_while_it_is_embedded_is_due_again",),
    ),
    Defence(
        "agent: a base is embedded by one worker",
        "the claim where vectors are stored",
        (
            Change(
                "db/embeddings.sql",
                " WHERE k.user_id = $1 AND k.chatbot_id = $2 AND k.embedder = $3\n"
                "RETURNING k.embedding_seq;",
                " WHERE k.user_id = $1 AND k.chatbot_id = $2 AND $3 > 0\n"
                "RETURNING k.embedding_seq;",
            ),
        ),
        (f"{EMBEDDINGS}::test_who_lost_a_base_stores_nothing_in_it",),
    ),
    Defence(
        "agent: a contact has so many facts",
        "that the oldest go",
        (
            Change(
                "db/facts.sql",
                "                             ORDER BY k.updated_at DESC, k.id DESC LIMIT $3)\n",
                "                             ORDER BY k.updated_at DESC, k.id DESC"
                " LIMIT $3 + 100)\n",
            ),
        ),
        (f"{MEMORY}::test_a_contact_has_a_bounded_number_of_facts",),
    ),
    Defence(
        "agent: nothing is learnt from what was revoked",
        "the look at what the turn had read",
        (
            Change(
                "db/facts.sql",
                " WHERE NOT EXISTS (SELECT FROM messages r WHERE r.user_id = $1"
                " AND r.id = ANY ($5::bigint[])\n"
                "                      AND r.metadata ? 'revoked')\n",
                " WHERE $5::bigint[] IS NOT NULL\n",
            ),
        ),
        (f"{MEMORY}::test_what_was_revoked_while_the_turn_thought_is_not_noted",),
    ),
    Defence(
        "agent: what was edited or revoked is in no thread",
        "that the thread is made anew",
        (
            Change(
                "handlers/ingest/changes.py",
                "        await forget_threads(conn, user_id, [changed])\n",
                "        pass\n",
            ),
        ),
        ("tests/recording/test_kinds.py::test_the_newest_edit_counts_and_the_first_text_is_kept",),
    ),
    Defence(
        "agent: a model's address is reached through the guard",
        "the session for what a tenant names",
        (
            Change(
                OWN,
                "ours.session if one.base_url is None else self._guarded(one.base_url)",
                "ours.session",
            ),
        ),
        (f"{OWN_MODELS}::test_an_inner_address_is_reached_only_where_the_operator_allows_it",),
    ),
    Defence(
        "agent: the installation's key is for its own address",
        "that an address has a key of its own",
        (
            Change(
                OWN,
                "one.api_key if own or one.base_url is not None else ours.api_key",
                "one.api_key or ours.api_key",
            ),
        ),
        (f"{OWN_MODELS}::test_a_url_never_gets_a_key_that_is_not_its_own",),
    ),
    Defence(
        "agent: a tenant's server that is away is nobody else's",
        "whose breaker it is",
        (
            Change(
                OWN,
                "            (user_id, base_url, api_key, name), lambda: Breaker(ours=False)\n",
                '            ("one for all",), lambda: Breaker(ours=False)\n',
            ),
        ),
        (f"{OWN_MODELS}::test_one_tenant_s_server_that_is_away_is_nobody_else_s",),
    ),
    Defence(
        "without a model only what is named whole is quoted",
        "that all words of a line have to be of one product's name",
        (
            Change(
                "handlers/agent/buying.py",
                "    return bool(words) and all(there & _stems(word) for word in words)\n",
                "    return bool(words) and any(there & _stems(word) for word in words)\n",
            ),
        ),
        ("tests/agent/test_buying.py",),
    ),
    Defence(
        "without a model what is not wanted is not quoted",
        "the look for words like not and without",
        (
            Change(
                "handlers/agent/buying.py",
                '    if not said or _matches("never", said):\n',
                "    if not said:\n",
            ),
        ),
        ("tests/agent/test_buying.py",),
    ),
)
