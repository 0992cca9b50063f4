"""Taking in: what is acknowledged when, and what a worker may conclude from silence."""

from tests.defences.defence import Change, Defence

INGEST = "worker/ingest.py"
MOVES = (
    "        if merged_until is not None:\n            async with pool.acquire() as conn:\n"
    "                await move_fence(conn, merged_until, PATIENCE)\n"
)
MERGES = "        if envelopes:\n            await merge_batch(pool, envelopes)\n"

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
                '        ("others", ("other",), partial(take_others, pool)),\n',
                '        ("others", ("other",), at_once),\n',
            ),
            Change(
                INGEST,
                '    return (\n        ("messages"',
                "    async def at_once(bodies: Sequence[bytes]) -> None:\n"
                "        asyncio.ensure_future(take_others(pool, bodies))\n\n"
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
)
