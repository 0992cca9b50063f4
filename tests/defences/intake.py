"""Taking in: what is acknowledged when, and what a worker may conclude from silence."""

from tests.defences.defence import Change, Defence

INGEST = "worker/ingest.py"
MOVES = (
    "        if merged_until is not None:\n            async with pool.acquire() as conn:\n"
    "                await move_fence(conn, merged_until, PATIENCE)\n"
)
MERGES = "        if envelopes:\n            await merge_batch(pool, envelopes, marker)\n"

DEFENCES = (
    Defence(
        "a mark waits for its own batch",
        "the mark is handled before the statuses beside it are merged",
        (Change(INGEST, MERGES + MOVES, MOVES + MERGES),),
        (
            "tests/worker/test_unknown_sends.py::test_a_mark_waits_for_the_statuses_of_its_own_batch",
        ),
    ),
    Defence(
        "lane other is acknowledged when it is taken",
        "its handler says that it is done at once",
        (
            Change(
                INGEST,
                '        ("others", ("other",), partial(take_others, pool, marker=marker)),\n',
                '        ("others", ("other",), at_once),\n',
            ),
            Change(
                INGEST,
                '    return (\n        ("messages"',
                "    async def at_once(bodies: Sequence[bytes]) -> None:\n"
                "        asyncio.ensure_future(take_others(pool, bodies, marker))\n\n"
                '    return (\n        ("messages"',
            ),
        ),
        ("tests/worker/test_in_hand.py::test_it_is_another_s_when_its_worker_dies",),
    ),
    Defence(
        "a beat gap ends steadiness",
        "the look for a gap between two beats",
        (
            Change(
                "worker/liveness.py",
                "        if self._last_beat is None or now - self._last_beat > BEAT_S * 2:\n"
                "            self._steady_since = None\n",
            ),
        ),
        ("tests/worker/test_steadiness.py::test_a_gap_between_two_beats_ends_steadiness",),
    ),
    Defence(
        "who has left is charged nothing more",
        "the look whether a connection is still there when its request ends",
        (
            Change(
                "handlers/process/http/gate.py",
                "        if guest not in self._guests[guest.state]:\n"
                "            return\n        guest.arrived -= count\n",
                "        guest.arrived -= count\n",
            ),
        ),
        ("tests/ingress/test_door.py::test_who_hangs_up_before_the_answer_leaves_nothing_charged",),
    ),
    Defence(
        "a status that is aside counts from the last mark before it",
        "marked_until of what is set aside; when it failed counts",
        (
            Change(
                "db/migrations/0026_marks.sql",
                "min(coalesce(s.marked_until, s.failed_at))",
                "min(s.failed_at)",
            ),
        ),
        (
            "tests/recording/test_refusals.py::test_a_status_that_is_aside_counts_however_long_it_waited",
        ),
    ),
    Defence(
        "a replay counts from its commit",
        "replayed_at is set when the replay's statement runs",
        (
            Change(
                "db/dead.py",
                '    at_commit(conn, f"SELECT date_replay({user_id:d}, {message_id:d})")\n',
                '    await conn.execute(f"SELECT date_replay({user_id:d}, {message_id:d})")\n',
            ),
        ),
        ("tests/turn/test_looked_at_again.py::test_a_replay_counts_from_its_commit",),
    ),
    Defence(
        "intake waits for a locked row for a while only",
        "the limit of the wait, so that the statement's ends the batch",
        (
            Change(
                "handlers/ingest/batch.py",
                "    return tenant(pool, user_id, lock_wait_s=LOCK_WAIT_S)\n",
                "    return tenant(pool, user_id)\n",
            ),
        ),
        ("tests/recording/test_refusals.py::test_a_row_that_stays_locked_holds_up_nobody_else",),
    ),
    Defence(
        "a locked row is one that fails",
        "a look at rows of many tenants ends at one that somebody has locked",
        (
            Change(
                "handlers/process/sweeps.py",
                "if isinstance(error, UNAVAILABLE) and not is_overtime(error):",
                "if isinstance(error, UNAVAILABLE):",
            ),
        ),
        (
            "tests/turn/test_actions.py::test_a_locked_conversation_keeps_nobody_else_s_from_being_looked_at",
        ),
    ),
)
