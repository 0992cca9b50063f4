"""Defences of a conversation against what happens while a turn of it thinks, and of the loop."""

from tests.defences.defence import Change, Defence

MEETS = "tests/turn/test_what_meets.py"
EMBEDDINGS = "tests/turn/test_embeddings.py"
MET = "db/migrations/0092_what_meets.sql"

DEFENCES = (
    Defence(
        "a decision that is told requests nothing",
        "that somebody has to have written where a tool requests",
        (Change("handlers/turns/think.py", "if not found.customer_waits:", "if False:"),),
        (
            f"{MEETS}::test_a_decision_that_is_told_asks_for_nothing",
            f"{MEETS}::test_a_row_for_a_person_that_is_cited_for_a_decision_asks_for_no_other",
        ),
    ),
    Defence(
        "a decision is told with whatever is said instead",
        "decisions in what stands for an answer that is not said",
        (
            Change("handlers/turns/saying.py", "    told = verdicts(found)\n", "    told = []\n"),
            Change("handlers/turns/decide.py", "[*decisions(read.found), *map", "[*map"),
        ),
        (f"{MEETS}::test_a_decision_is_told_although_the_answer_may_not_be_sent",),
    ),
    Defence(
        "a thread that is given up meanwhile is not trusted",
        "that a turn trusts only the thread that it read",
        (Change("db/conversations.sql", " AND forgotten = $3;", " AND $3::integer >= 0;"),),
        (f"{MEETS}::test_a_fact_that_is_deleted_while_its_thread_is_made_anew_is_told_by_nothing",),
    ),
    Defence(
        "a fact goes with all that its turn read",
        "from which message on a fact's turn read",
        (
            Change(
                "db/facts.sql",
                "CASE WHEN f.first_message_id IS NOT NULL THEN f.first_message_id <= r.id",
                "CASE WHEN false THEN true",
            ),
        ),
        (f"{MEETS}::test_a_fact_goes_with_a_message_that_came_while_the_answer_before_was_made",),
    ),
    Defence(
        "a revoked question is not noted",
        "that an unanswered question looks whether it was revoked",
        (Change("db/unanswered.sql", "AND r.metadata ? 'revoked')", "AND false)"),),
        (f"{MEETS}::test_a_question_that_was_revoked_while_the_turn_thought_is_not_noted",),
    ),
    Defence(
        "a customer's day is locked first",
        "the order of a turn's counters",
        (
            Change(
                "handlers/turns/write.py",
                "        count_answer(conn, claim.user_id, claim.conversation_id,"
                " say.unit.usage_day)\n",
                "        pass\n",
            ),
            Change(
                "handlers/turns/write.py",
                "    spend_messages(conn, claim.user_id, claim.conversation_id, 1)\n",
                "    count_answer(conn, claim.user_id, claim.conversation_id, say.unit.usage_day)\n"
                "    spend_messages(conn, claim.user_id, claim.conversation_id, 1)\n",
            ),
        ),
        (f"{MEETS}::test_a_customer_s_day_is_locked_before_the_tenant_s",),
    ),
    Defence(
        "meaning outlives a row that goes",
        "up to which number vectors are read",
        (
            Change(
                "handlers/agent/meaning.py",
                "self._vectors, self._seq = vectors, max(self._seq, seq)",
                "self._vectors, self._seq = vectors, self._seq",
            ),
        ),
        (f"{EMBEDDINGS}::test_a_row_that_changes_or_goes_takes_no_other_s_meaning_along",),
    ),
    Defence(
        "the newest worker's model embeds",
        "that older workers' models rest",
        (Change(MET, "w.id > p_worker AND w.embedding_model <> p_model", "false"),),
        (f"{EMBEDDINGS}::test_of_two_models_in_use_one_embeds",),
    ),
    Defence(
        "a server that takes nothing blames no row",
        "the other text that is tried before a row is refused",
        (
            Change(
                "handlers/embeddings/work.py",
                "spent = (embedder.model, 2, await _tokens_of_proof(embedder))",
                "spent = (embedder.model, 1, 0)",
            ),
        ),
        (f"{EMBEDDINGS}::test_a_server_that_refuses_every_text_is_away_and_no_row_is_to_blame",),
    ),
)
