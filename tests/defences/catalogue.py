"""The defences: what is taken out, and which tests have to notice."""

from tests.defences import (
    agent,
    answers,
    api,
    apps,
    claims,
    deliveries,
    evals,
    files,
    intake,
    knowledge,
    lives,
    media,
    meets,
    outbound,
    people,
    plans,
    replays,
    sends,
    shop,
    tools,
    turns,
    usage,
)
from tests.defences.defence import Change, Defence

__all__ = ["DEFENCES", "Change", "Defence"]

ISOLATION = "db/migrations/0003_isolation.sql"
CLAIMS = "db/migrations/0037_weights.sql"
SENDS = "db/migrations/0130_campaigns.sql"
RESERVES = "db/migrations/0035_contract.sql"
COUNTS = "db/migrations/0015_plans_kept.sql"
LIMIT_CHOICE = "db/migrations/0006_limit_choice.sql"
SETTLES = "db/migrations/0121_cost_of_a_turn.sql"
PEOPLE = "db/migrations/0022_people_and_turns.sql"
FENCE = "db/migrations/0054_contacts.sql"
ON_ITS_LEASE = (
    " AS taken_over\n      INTO v FROM conversations c\n"
    "     WHERE c.user_id = p_user AND c.id = p_conversation\n"
    "       AND c.lease_owner = p_worker AND c.epoch = p_epoch\n"
)
RABBITMQ = "handlers/ingest_log/rabbitmq"
CONFIRMS = f"{RABBITMQ}/confirms.py"
SESSION = "db/session.py"
CONNECTIONS = "tests/db/test_connections.py"
TURN_QUERIES = "tests/db/test_turn_queries.py"
LOOKED = "tests/turn/test_looked_at_again.py"
LOCKS = "tests/worker/test_session_locks.py"
METERING = "tests/db/test_metering.py"
CONTRACT = "tests/ingest_log/test_contract.py"
WEBHOOK = "tests/ingress/test_webhook.py"
CATALOGUE = "tests/db/test_isolation.py"
HTTP = "handlers/process/http"
DOOR = "tests/ingress/test_door.py"
CROWDS = "tests/api/test_crowds.py"
GATE = "tests/unit/test_gate.py"

DEFENCES = (
    Defence(
        "a message is recorded once",
        "the unique key of the wamid, and the look and ON CONFLICT that rest on it",
        (
            Change(
                "db/migrations/0002_tenants.sql",
                "    ADD CONSTRAINT unique_wamid_per_chatbot"
                " UNIQUE (user_id, chatbot_id, message_id),\n",
            ),
            Change(
                "db/messages.sql",
                "     WHERE NOT EXISTS (SELECT FROM messages m WHERE m.user_id = $1\n"
                "                          AND m.chatbot_id = item.chatbot_id"
                " AND m.message_id = item.wamid)\n",
            ),
            Change("db/messages.sql", "ON CONFLICT (user_id, chatbot_id, message_id) DO NOTHING\n"),
        ),
        (
            f"{TURN_QUERIES}::test_a_message_is_recorded_once",
            "tests/recording/test_messages.py::test_at_once_from_everywhere_is_still_once",
        ),
    ),
    Defence(
        "the fence",
        "lease_owner and epoch in the first statement of a turn's last transaction",
        (
            Change(
                FENCE,
                ON_ITS_LEASE,
                ON_ITS_LEASE.replace(" AND c.lease_owner = p_worker AND c.epoch = p_epoch", ""),
            ),
            Change(
                "db/conversations.sql",
                "     WHERE user_id = $1 AND id = $2 AND lease_owner = $3 AND epoch = $4\n"
                "       FOR NO KEY UPDATE\n",
                "     WHERE user_id = $1 AND id = $2\n       FOR NO KEY UPDATE\n",
            ),
        ),
        (
            f"{TURN_QUERIES}::test_who_lost_the_lease_misses_at_the_fence",
            f"{TURN_QUERIES}::test_a_turn_can_be_settled_once",
            "tests/turn/test_limits.py::test_a_turn_that_lost_its_lease_tells_nobody",
        ),
    ),
    Defence(
        "no lost wake-up",
        "input_seq > read_seq where a turn releases its conversation",
        (
            Change(
                FENCE,
                "           ready_at = CASE WHEN c.input_seq > v.done"
                " THEN coalesce(c.ready_at, now()) END,\n",
                "           ready_at = NULL,\n",
            ),
        ),
        (
            f"{TURN_QUERIES}::test_a_message_that_comes_after_the_turn_read_is_the_next_turn_s",
            f"{TURN_QUERIES}::test_every_message_is_answered_whatever_the_timing",
        ),
    ),
    Defence(
        "no phantom turn",
        "input_seq > answered_seq where a dead worker's conversations are freed",
        (
            Change(
                PEOPLE,
                "       SET lease_owner = NULL, attempts = c.attempts + 1,\n"
                "           ready_at = CASE WHEN c.input_seq > c.answered_seq OR EXISTS (\n"
                "                                    SELECT FROM public.usage_reservations r\n"
                "                                     WHERE r.user_id = c.user_id"
                " AND r.conversation_id = c.id)\n"
                "                           THEN now() END\n",
                "       SET lease_owner = NULL, attempts = c.attempts + 1,\n"
                "           ready_at = now()\n",
            ),
        ),
        (f"{TURN_QUERIES}::test_what_a_dead_worker_held_is_free_again",),
    ),
    Defence(
        "no answer to what was answered",
        "input_seq > answered_seq where a turn picks its inputs",
        (
            Change(
                "handlers/turns/inputs.py",
                " if r.input_seq is not None and r.input_seq > answered_seq]",
                " if r.input_seq is not None]",
            ),
        ),
        (f"{LOOKED}::test_what_comes_after_a_person_s_message_is_the_bot_s_again",),
    ),
    Defence(
        "a claim is one worker's",
        "the second look of claim_conversations(), under the row's lock",
        (
            Change(
                CLAIMS,
                " AND c.ready_at <= now() AND c.lease_owner IS NULL\n"
                "           FOR NO KEY UPDATE SKIP LOCKED\n",
                "\n",
            ),
        ),
        (
            f"{TURN_QUERIES}::test_concurrent_claimers_never_get_the_same",
            f"{TURN_QUERIES}::test_a_claim_skips_what_another_is_claiming",
        ),
    ),
    Defence(
        "publisher confirms",
        "the ingress says 200 without waiting for RabbitMQ",
        (
            Change(
                f"{RABBITMQ}/publisher.py",
                "            ended = await asyncio.gather(*futures, return_exceptions=True)",
                "            ended: list[object] = []",
            ),
        ),
        (
            f"{CONTRACT}::test_a_full_log_is_not_durable",
            f"{CONTRACT}::test_a_lane_that_does_not_exist_is_not_durable",
            f"{WEBHOOK}::test_a_lane_without_a_queue_is_not_durable",
        ),
    ),
    Defence(
        "mandatory publishing",
        "what no queue takes is not returned",
        (Change(CONFIRMS, "mandatory=True)", "mandatory=False)"),),
        (f"{WEBHOOK}::test_a_lane_without_a_queue_is_not_durable",),
    ),
    Defence(
        "single active consumer",
        "the argument of the ordered queues",
        (
            Change(
                f"{RABBITMQ}/topology.py",
                '                **({"x-single-active-consumer": True} if ordered else {}),\n',
            ),
        ),
        (f"{CONTRACT}::test_each_lane_is_in_order_with_two_consumers_on_all",),
    ),
    Defence(
        "acknowledged after the commit",
        "the batch is acknowledged before it is handled",
        (
            Change(
                f"{RABBITMQ}/consumer.py",
                "        try:\n            await handler([message.body for message in batch])\n",
                "        last = batch[-1]\n"
                "        await last.channel.basic_ack(last.delivery_tag or 0, multiple=True)\n"
                "        try:\n            await handler([message.body for message in batch])\n",
            ),
            Change(
                f"{RABBITMQ}/consumer.py",
                "            last = batch[-1]\n"
                "            await last.channel.basic_ack(last.delivery_tag or 0, multiple=True)\n",
                "            pass\n",
            ),
        ),
        (
            f"{CONTRACT}::test_what_is_handed_back_comes_again_in_order",
            f"{CONTRACT}::test_a_consumer_that_dies_is_followed_in_order",
        ),
    ),
    Defence(
        "sending is committed before the call",
        "it is marked after Meta has answered",
        (
            Change(
                "handlers/sends/sending.py",
                "                    await mark_sending(conn, user_id, message_id, PAIR_EVERY)\n",
                "                    pass\n",
            ),
            Change(
                "handlers/sends/sending.py",
                "        result = await self._settle_patiently(",
                "        async with tenant(self.pool, user_id) as conn:\n"
                "            await mark_sending(conn, user_id, message_id, PAIR_EVERY)\n"
                "        result = await self._settle_patiently(",
            ),
        ),
        ("tests/e2e/test_killed_sends.py",),
    ),
    Defence(
        "a reply waits for the one before it",
        "the look for an older unsettled reply in claim_sends()",
        (
            Change(
                SENDS,
                "                  AND NOT EXISTS (\n"
                "                      SELECT FROM public.messages e\n"
                "                       WHERE e.user_id = m.user_id"
                " AND e.conversation_id = m.conversation_id\n"
                "                         AND e.direction = 'outbound'\n"
                "                         AND e.status IN ('queued', 'sending', 'unknown')"
                " AND e.id < m.id\n"
                "                         AND e.bulk <= m.bulk)\n",
            ),
        ),
        (f"{TURN_QUERIES}::test_a_reply_waits_for_the_one_before_it",),
    ),
    Defence(
        "a token is spent once",
        "the lock of a number's row while its replies are claimed",
        (Change(SENDS, "           FOR NO KEY UPDATE OF l SKIP LOCKED\n"),),
        ("tests/db/test_send_limits.py::test_a_token_that_another_claim_is_spending_is_spent",),
    ),
    Defence(
        "a pause lets one message try",
        "the half minute that a try spends of the number's bucket",
        (
            Change(
                SENDS,
                "CASE WHEN b.holds > 0 THEN interval '30 s'",
                "CASE WHEN false THEN interval '30 s'",
            ),
        ),
        ("tests/db/test_send_limits.py::test_a_paused_number_is_tried_by_one_message_at_a_time",),
    ),
    Defence(
        "an earlier attempt does not fail a later one",
        "the comparison of attempts where statuses are merged",
        (
            Change(
                "db/statuses.sql",
                "                     AND (m.status = 'queued' OR i.attempt < m.send_attempts))))"
                " AS of_another_send\n",
                "                     AND false))) AS of_another_send\n",
            ),
        ),
        (f"{TURN_QUERIES}::test_an_earlier_attempt_cannot_fail_a_message_that_goes_again",),
    ),
    Defence(
        "locks count only when steady",
        "the term for which a session has held its own lock before it believes that one is gone",
        (
            Change(
                "db/workers.sql",
                "                  AND me.locked_at < clock_timestamp() - $2::interval)\n",
                "                  AND me.locked_at < clock_timestamp() - 0 * $2::interval)\n",
            ),
            Change("worker/clock.py", "        if liveness.may_judge:\n", "        if True:\n"),
        ),
        (f"{LOCKS}::test_after_an_outage_the_locks_of_those_who_are_not_back_yet_say_nothing",),
    ),
    Defence(
        "a broken lock is seen twice",
        "the second look of a session that may itself be about to end",
        (
            Change(
                "worker/session_lock.py",
                "        still = await broken_locks(conn, worker_id, term, SPACE)\n",
                "        still = first\n",
            ),
        ),
        (f"{LOCKS}::test_who_goes_last_does_not_take_the_others_for_dead",),
    ),
    Defence(
        "a pooler's lock is not believed",
        "the look whether two connections are two sessions, and keep their backends",
        (
            Change(
                "db/workers.py",
                "    return first != second and set(seen) == {told}\n",
                "    return bool(first and second and told)\n",
            ),
        ),
        (f"{LOCKS}::test_behind_a_transaction_pooler_beats_alone_count",),
    ),
    Defence(
        "a killed worker's lock is missed",
        "the look for locks that nobody holds",
        (Change("db/workers.sql", " AND w.session_lock IS NOT NULL\n", " AND false\n"),),
        (f"{LOCKS}::test_what_a_killed_worker_held_is_free_long_before_its_beat_is_old",),
    ),
    Defence(
        "the term of the sweep",
        "a worker is dead as soon as anybody looks",
        (
            Change(
                PEOPLE,
                "     WHERE w.beat_at > clock_timestamp() - p_term;\n",
                "     WHERE w.beat_at > clock_timestamp() - 0 * p_term;\n",
            ),
        ),
        (f"{TURN_QUERIES}::test_what_a_living_worker_holds_is_left_alone",),
    ),
    Defence(
        "a reservation holds its unit",
        "it is granted, and not counted against the limit",
        (
            Change(
                COUNTS,
                "           messages_reserved = messages_reserved + p_reserved,\n"
                "           daily_overage",
                "           messages_reserved = messages_reserved + 0 * p_reserved,\n"
                "           daily_overage",
            ),
            Change(
                COUNTS,
                "           messages_reserved = messages_reserved + p_reserved,\n"
                "           overage",
                "           messages_reserved = messages_reserved + 0 * p_reserved,\n"
                "           overage",
            ),
        ),
        (
            f"{METERING}::test_of_64_at_once_exactly_20_are_granted",
            f"{METERING}::test_64_clients_against_40_whatever_becomes_of_their_units",
        ),
    ),
    Defence(
        "the counters are locked before they are read",
        "the second lock_usage() of reserve_messages()",
        (
            Change(
                RESERVES,
                "    PERFORM lock_usage(p_user, ARRAY[v_day]);\n    SELECT d.daily",
                "    PERFORM lock_usage(p_user, ARRAY[v_day]) WHERE NOT EXISTS (SELECT FROM"
                " usage_tracking t WHERE t.user_id = p_user AND t.tracking_date = v_day);\n"
                "    SELECT d.daily",
            ),
        ),
        (f"{METERING}::test_64_clients_against_40_whatever_becomes_of_their_units",),
    ),
    Defence(
        "overage is counted apart",
        "a unit beyond the limit is settled like any other",
        (Change(SETTLES, "    IF held.overage THEN\n", "    IF false THEN\n"),),
        (
            f"{METERING}::test_what_is_beyond_a_limit_is_counted_apart",
            "tests/turn/test_limits.py::test_with_overage_everybody_is_answered_and_nobody_told",
        ),
    ),
    Defence(
        "a unit that is settled is given back once",
        "the trigger's look whether somebody settles it",
        (Change(SETTLES, "OLD.conversation_id::text THEN\n", "'' THEN\n"),),
        (f"{METERING}::test_64_clients_against_40_whatever_becomes_of_their_units",),
    ),
    Defence(
        "a tenant is told of a limit once",
        "the event's index is not unique",
        (
            Change(
                LIMIT_CHOICE,
                "CREATE UNIQUE INDEX analytics_events_limit_once",
                "CREATE INDEX analytics_events_limit_once",
            ),
        ),
        (f"{METERING}::test_of_64_that_find_a_limit_one_tells_the_tenant",),
    ),
    Defence(
        "a customer is told of a limit once",
        "the day in limit_notice_day is not looked at",
        (
            Change(
                "db/conversations.sql",
                " AND (limit_notice_day IS NULL OR limit_notice_day < $3)\n",
                "\n",
            ),
        ),
        ("tests/turn/test_limits.py::test_a_customer_is_told_once_a_day",),
    ),
    Defence(
        "the runtime's role",
        "connections stay what their URL's login is",
        (
            Change(SESSION, 'asked["role"] = self.role', "pass"),
            Change(SESSION, 'lacks["role"] = session.role', "pass"),
            Change(SESSION, "and (runs.superuser or runs.bypasses)", "and False"),
        ),
        (f"{CATALOGUE}::test_only_the_tenant_s_own_rows_are_there",),
    ),
    Defence(
        "what is never confirmed is forgotten",
        "the end of a channel that remembers too much",
        (Change(CONFIRMS, "            self.stalled.set()\n", "            pass\n"),),
        (
            "tests/ingest_log/test_brokers.py::test_what_is_never_confirmed_is_not_remembered_for_ever",
        ),
    ),
    Defence(
        "the role is proved",
        "the look at it: what was asked for at the start is believed",
        (
            Change(SESSION, 'lacks["role"] = session.role', "pass"),
            Change(SESSION, "and (runs.superuser or runs.bypasses)", "and False"),
        ),
        (
            f"{CONNECTIONS}::test_a_superuser_s_connections_are_bound_although_their_role_was_dropped",
        ),
    ),
    Defence(
        "commits are durable",
        "the look at synchronous_commit",
        (Change(SESSION, "    **DURABLE,\n    **NO_TENANT,\n", "    **NO_TENANT,\n"),),
        (
            f"{CONNECTIONS}::test_what_the_database_is_set_to_does_not_matter",
            f"{CONNECTIONS}::test_a_commit_is_on_the_disk_whatever_the_database_says",
        ),
    ),
    Defence(
        "nothing is set behind a pooler",
        "the comparison of who answers with whom the connection was begun",
        (Change(SESSION, "pooled = running.pid != conn.get_server_pid()", "pooled = False"),),
        (f"{CONNECTIONS}::test_where_nothing_stays_set_nothing_is_begun_and_it_says_what_to_do",),
    ),
    Defence(
        "row-level security is forced",
        "FORCE on the tables with a user_id",
        (
            Change(
                ISOLATION,
                "c.relkind IN ('r', 'p')\n    LOOP\n"
                "        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);\n"
                "        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t);\n",
                "c.relkind IN ('r', 'p')\n    LOOP\n"
                "        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);\n",
            ),
        ),
        (f"{CATALOGUE}::test_the_catalogue_has_no",),
    ),
    Defence(
        "the signature",
        "a webhook is taken whoever signed it",
        (
            Change(
                "ingress/webhook.py",
                "        if not is_signed(body,",
                "        if False and is_signed(body,",
            ),
        ),
        (f"{WEBHOOK}::test_what_is_not_signed_is_refused_and_leaves_nothing",),
    ),
    Defence(
        "what is announced takes no room",
        "a body's length is charged before it has come",
        (
            Change(
                "ingress/doorkeeper.py",
                "        body = await _whole_body(request)\n",
                "        self._gate.arrived += request.content_length or MAX_BODY_BYTES\n"
                "        body = await _whole_body(request)\n",
            ),
        ),
        (f"{DOOR}::test_what_is_announced_and_not_sent_takes_no_room",),
    ),
    Defence(
        "a place is a whole body's",
        "a POST has its place among those in flight before its body has come",
        (
            Change(
                "ingress/doorkeeper.py",
                "        body = await _whole_body(request)\n",
                "        self._requests += 1\n        body = await _whole_body(request)\n"
                "        self._requests -= 1\n",
            ),
        ),
        (f"{DOOR}::test_what_is_announced_and_not_sent_takes_no_room",),
    ),
    Defence(
        "a body has a pace",
        "nothing looks at how fast it comes",
        (
            Change(
                f"{HTTP}/connection.py",
                "            self._until(self._gate.bounds.body_due(self.since, 0))\n",
            ),
        ),
        (
            f"{DOOR}::test_a_body_that_does_not_come_is_given_up",
            f"{DOOR}::test_a_body_wants_a_pace",
        ),
    ),
    Defence(
        "headers come to their end",
        "nothing waits for them",
        (
            Change(
                f"{HTTP}/connection.py",
                "            self._until(self.since + self._gate.bounds.head_s)\n",
                "            pass\n",
            ),
            Change(
                f"{HTTP}/connection.py",
                "            self._until(due or self.since + self._gate.bounds.head_s)\n",
            ),
        ),
        (f"{DOOR}::test_headers_that_do_not_come_to_their_end_are_given_up",),
    ),
    Defence(
        "connections are bounded",
        "any number is let in",
        (Change(f"{HTTP}/gate.py", "if len(self) >= self.bounds.connections:", "if False:"),),
        (
            f"{DOOR}::test_the_oldest_unfinished_connection_gives_way",
            f"{GATE}::test_idle_ones_give_way_then_the_oldest_that_keep_us_waiting",
        ),
    ),
    Defence(
        "a peer has its share",
        "any number of connections is one peer's",
        (
            Change(
                f"{HTTP}/gate.py",
                "if len(same) >= self.bounds.peer_connections and",
                "if False and",
            ),
        ),
        (f"{DOOR}::test_one_peer_has_its_share_and_a_proxy_is_many",),
    ),
    Defence(
        "what has arrived is bounded",
        "nobody gives way to it",
        (
            Change(
                f"{HTTP}/gate.py",
                "while not self.has_room and (oldest",
                "while False and (oldest",
            ),
        ),
        (f"{DOOR}::test_what_has_arrived_takes_room_and_the_oldest_gives_way",),
    ),
    Defence(
        "answers that nobody reads",
        "they are kept for as long as the other side likes",
        (
            Change(
                f"{HTTP}/connection.py",
                "            self._until(self.since + self._gate.bounds.unread_s)\n",
            ),
        ),
        (f"{DOOR}::test_who_does_not_read_its_answers_is_closed",),
    ),
    Defence(
        "nothing is unpacked",
        "a Content-Encoding is taken, and the body unpacked",
        (
            Change(f"{HTTP}/connection.py", "auto_decompress=False", "auto_decompress=True"),
            Change(
                f"{HTTP}/bounds.py",
                'return any(one not in ("", "identity") for one in named)',
                "return False and any(named)",
            ),
        ),
        (
            f"{DOOR}::test_nothing_is_unpacked",
            "tests/worker/test_probes.py::test_nothing_is_unpacked",
        ),
    ),
    Defence(
        "a page ends by bytes",
        "it has as many rows as are asked for, whatever they hold",
        (Change("db/pages.py", "PAGE_BYTES = 256 * 1024 ", "PAGE_BYTES = 256 * 1024 * 1024 "),),
        (f"{CROWDS}::test_a_page_of_large_rows_ends_early_and_loses_none",),
    ),
    Defence(
        "answers are written in turns",
        "a large one is written while everybody waits",
        (Change("ingress/api/encoding.py", "            await asyncio.sleep(0)\n"),),
        (f"{CROWDS}::test_a_large_answer_is_written_in_turns",),
    ),
    Defence(
        "large answers have a pace",
        "a tenant gets them as fast as it asks",
        (
            Change(
                "ingress/api/door.py",
                "if (pause := pause_s(len(body))) > 0:",
                "if (pause := pause_s(len(body))) < 0:",
            ),
        ),
        (f"{CROWDS}::test_large_answers_have_a_pace_and_others_none",),
    ),
    Defence(
        "a request keeps no whole burst",
        "all that the customer wrote is in actions.context_data",
        (
            Change(
                "handlers/agent/tools.py",
                'plain["customer_wrote"] = newest(self._customer_wrote)',
                'plain["customer_wrote"] = list(self._customer_wrote)',
            ),
        ),
        ("tests/agent/test_agent.py::test_a_request_does_not_keep_a_whole_burst",),
    ),
    Defence(
        "keys in use are known before the door opens",
        "each is looked up when it comes",
        (
            Change(
                "ingress/api/keys.py",
                "        for owner in reversed(recent):\n            self._remember(owner)\n",
            ),
        ),
        (f"{CROWDS}::test_keys_in_use_are_known_before_the_door_opens",),
    ),
    Defence(
        "strangers' keys share a look-up",
        "they are looked up one by one",
        (
            Change(
                "ingress/api/keys.py",
                "while batch := [*self._asked]:",
                "while batch := [*self._asked][:1]:",
            ),
        ),
        (f"{CROWDS}::test_keys_that_there_are_not_shut_nobody_out",),
    ),
    Defence(
        "a turn without an answer comes again",
        "the rungs of the ladder before the last",
        (
            Change(
                "handlers/turns/ladder.py",
                "    if _in_vain(none, since, failing.paid + 1):\n        return None\n",
                "    return None\n",
            ),
        ),
        ("tests/turn/test_ladder.py::test_two_failures_cost_the_customer_seconds",),
    ),
    Defence(
        "a model that is away is tried by one",
        "the breaker's refusal",
        (
            Change(
                "handlers/agent/breaker.py",
                "        if self._trying or self.clock() < self._trial_at:\n",
                "        if False:\n",
            ),
        ),
        ("tests/unit/test_breaker.py::test_one_at_a_time_tries_what_is_away",),
    ),
    Defence(
        "who is silenced is not told that it takes longer",
        "the look at takeover and pause when the turn is put off",
        (
            Change(
                FENCE,
                "    v_tells := p_tells AND v.waits AND NOT v.taken_over\n"
                "           AND NOT EXISTS (SELECT FROM contacts c WHERE c.user_id = p_user"
                " AND c.id = v.contact_id\n"
                "                              AND (c.conversation_paused"
                " OR c.contact_status = 'blocked'));\n",
                "    v_tells := p_tells;\n",
            ),
        ),
        (
            "tests/turn/test_ladder.py::test_who_is_silenced_meanwhile_is_not_told_that_it_takes_longer",
        ),
    ),
    Defence(
        "a request outlives the answer that fails",
        "what a turn's tools had requested when its answer failed",
        (
            Change(
                "handlers/turns/decide.py",
                "    told = [Kind.REQUEST_KEPT] if thought.requests else []\n",
                "    told: list[Kind] = []\n",
            ),
        ),
        (
            "tests/turn/test_ladder.py::test_an_answer_that_fails_after_a_request_keeps_it_and_says_so",
        ),
    ),
    Defence(
        "counters travel with the COMMIT",
        "counting and COMMIT in one message",
        (
            Change(
                "db/pool.py",
                '    await _whole(conn, "; ".join([*last, "COMMIT"]))\n',
                '    for statement in [*last, "COMMIT"]:\n        await _whole(conn, statement)\n',
            ),
        ),
        ("tests/turn/test_convoy.py::test_no_counter_is_locked_over_a_round_trip",),
    ),
    Defence(
        "a tenant has half of a pool",
        "a tenant's share of the connections",
        (
            Change(
                "db/pool.py",
                "asyncio.Semaphore(max(1, pool.get_max_size() // 2))",
                "asyncio.Semaphore(1_000)",
            ),
        ),
        ("tests/turn/test_convoy.py::test_a_tenant_has_half_of_a_pool",),
    ),
    Defence(
        "turns are admitted by lateness",
        "the loop's lateness in what is begun",
        (Change("worker/admission.py", "int(AT_ONCE * (1 - self.late_s / LATE_S))", "AT_ONCE"),),
        ("tests/unit/test_admission.py::test_as_many_as_leave_the_loop_on_time",),
    ),
    *tools.DEFENCES,
    *turns.DEFENCES,
    *answers.DEFENCES,
    *api.DEFENCES,
    *plans.DEFENCES,
    *replays.DEFENCES,
    *claims.DEFENCES,
    *people.DEFENCES,
    *lives.DEFENCES,
    *sends.DEFENCES,
    *intake.DEFENCES,
    *knowledge.DEFENCES,
    *agent.DEFENCES,
    *outbound.DEFENCES,
    *deliveries.DEFENCES,
    *apps.DEFENCES,
    *meets.DEFENCES,
    *usage.DEFENCES,
    *evals.DEFENCES,
    *shop.DEFENCES,
    *media.DEFENCES,
    *files.DEFENCES,
)
