"""The judge finds what it is there to find."""

from dataclasses import replace

import pytest

from tests.chaos.judge import (
    Asked,
    Attempt,
    Claimed,
    Evidence,
    Inbound,
    Outage,
    Outbound,
    Send,
    judge,
    row_of,
    table,
)
from tests.chaos.plan import FULL, SMALL, Customer, Message, Plan, Post, Size, draw

CUSTOMER = Customer(
    number=0,
    tenant=0,
    digits="12025550000",
    posts=tuple(Post(n, (Message(f"c000-m{n:03d}", f"in{n}"),)) for n in range(3)),
)


def sent(row: int, text: str, at: float, **changes: str) -> Send:
    given = {"phone_number_id": "number", "to": "+12025550000", "wamid": f"out{row}@{at}"}
    return Send(at=at, row=row, text=text, **{**given, **changes})


def written(row: int, text: str, at: float, *, resent: bool = False) -> Outbound:
    return Outbound(row, 1, text, at, "delivered", None, resent)


FIRST, SECOND = "Re: c000-m000 | c000-m001", "Re: c000-m002"
GOOD = Evidence(
    plan=Plan(1, SMALL, (CUSTOMER,), (), (), ()),
    wall_s=1.0,
    unsettled=(),
    attempts=[
        *(Attempt(n, n + 0.1, True, (f"in{n}",), ()) for n in range(3)),
        Attempt(5.1, 5.2, True, (), ("out11@5.0",)),
        Attempt(9.1, 9.2, True, (), ("out12@9.0",)),
    ],
    sends=[sent(11, FIRST, 5.0), sent(12, SECOND, 9.0)],
    asked=[Asked(4.0, FIRST), Asked(8.0, SECOND)],
    inbound=[Inbound(n + 1, 1, f"in{n}", f"c000-m00{n}", float(n), n + 1, None) for n in range(3)],
    outbound=[written(11, FIRST, 4.9), written(12, SECOND, 8.9)],
    phone_number_ids=["number"],
    counters={"daily_messages_sent": (2, 2)},
    over_limit=(),
    parked={},
    outages=[Outage("broker", 1.5, 4.0)],
    claimed=[],
    helpless=(),
    ended_badly=(),
    story=[],
)


def test_a_good_run_has_no_violations() -> None:
    verdict = judge(GOOD)
    assert verdict.violations == []
    assert verdict.unknown == []
    assert verdict.reply_after_s == {"broker": ["5.0"]}
    assert len(table([row_of(GOOD, verdict)]).splitlines()) == 2


RESENT = [written(11, FIRST, 4.9, resent=True), written(12, SECOND, 8.9)]
BAD = {
    "lost: c000-m002 is recorded": replace(GOOD, sends=GOOD.sends[:1]),
    "lost: c000-m002 was answered 200": replace(GOOD, inbound=GOOD.inbound[:2]),
    "doubled: in2 is recorded 2 times": replace(
        GOOD, inbound=[*GOOD.inbound, replace(GOOD.inbound[2], id=4, input_seq=4)]
    ),
    "doubled: c000-m002 is answered in rows": replace(
        GOOD, sends=[*GOOD.sends, sent(13, SECOND, 10.0)]
    ),
    "doubled: Re: c000-m002 went out again after 1.0 s, not marked": replace(
        GOOD, sends=[*GOOD.sends, sent(12, SECOND, 10.0)]
    ),
    "3.8 s after its status was answered 200": replace(
        GOOD, sends=[*GOOD.sends, sent(11, FIRST, 9.0)], outbound=RESENT
    ),
    "out of order: c000-m002 is answered before c000-m000": replace(
        GOOD, sends=[sent(12, SECOND, 5.0), sent(11, FIRST, 9.0)]
    ),
    "out of order: within Re: c000-m001 | c000-m000": replace(
        GOOD, sends=[sent(11, "Re: c000-m001 | c000-m000", 5.0), GOOD.sends[1]]
    ),
    "out of order: the inputs of conversation 1 are [1, 2, 4]": replace(
        GOOD, inbound=[*GOOD.inbound[:2], replace(GOOD.inbound[2], input_seq=4)]
    ),
    "overlapping: Re: c000-m002 began before": replace(
        GOOD, asked=[GOOD.asked[0], Asked(4.5, SECOND)]
    ),
    "miscounted: daily_messages_sent says 3, the rows say 2": replace(
        GOOD, counters={"daily_messages_sent": (3, 2)}
    ),
    "astray: c000-m002 is answered to +13": replace(
        GOOD, sends=[GOOD.sends[0], sent(12, SECOND, 9.0, to="+13")]
    ),
    "trouble: 1 items parked as poison": replace(GOOD, parked={"poison": 1}),
    "trouble: not settled": replace(GOOD, unsettled=("1 replies queued",)),
}


@pytest.mark.parametrize("violation", BAD)
def test_each_violation_is_found(violation: str) -> None:
    found = judge(BAD[violation]).violations
    assert any(violation in one for one in found), found


def test_a_send_that_no_status_ever_told_of_is_explained() -> None:
    unheard = replace(
        GOOD,
        attempts=[a for a in GOOD.attempts if "out11@5.0" not in a.statuses],
        sends=[GOOD.sends[0], sent(11, FIRST, 8.5), GOOD.sends[1]],
        outbound=RESENT,
    )
    verdict = judge(unheard)
    assert verdict.violations == []
    assert len(verdict.unknown) == 1


def test_a_claim_counts_where_somebody_could_tell_who_is_dead() -> None:
    """Not while no worker had been ready for a term, nor for a term after the database was away."""
    seen = replace(
        GOOD,
        outages=[Outage("database", 10.0, 12.0), Outage("broker", 39.0, 41.0)],
        claimed=[
            *(Claimed(3.0, 0.5), Claimed(9.0, 5.0), Claimed(16.0, 2.0), Claimed(20.0, 4.0)),
            *(Claimed(30.0, 3.0), Claimed(40.0, 0.4)),
        ],
        unsteady=(31.0,),
    )
    verdict = judge(seen)
    assert verdict.claimed_s == [0.4, 0.5, 4.0]
    assert verdict.claimed_beside == 3
    assert "claimed after 4.0 s" in verdict.slow
    assert verdict.violations == []


def test_meta_may_bring_messages_out_of_order_itself() -> None:
    """The first one got its 200 only after the third was posted, and is recorded after it."""
    late = replace(
        GOOD,
        attempts=[
            Attempt(0.0, 0.1, False, ("in0",), ()),
            Attempt(1.0, 1.1, True, ("in1",), ()),
            Attempt(2.0, 2.1, True, ("in2",), ()),
            Attempt(2.2, 2.3, True, ("in0",), ()),
        ],
        sends=[sent(11, "Re: c000-m001 | c000-m002", 5.0), sent(12, "Re: c000-m000", 9.0)],
        inbound=[
            replace(GOOD.inbound[1], id=1, input_seq=1),
            replace(GOOD.inbound[2], id=2, input_seq=2),
            replace(GOOD.inbound[0], id=3, input_seq=3),
        ],
    )
    assert judge(late).violations == []


@pytest.mark.parametrize("size", [SMALL, FULL])
def test_a_seed_is_a_plan(size: Size) -> None:
    assert draw(7, size) == draw(7, size)
    plan = draw(7, size)
    texts = [m.text for c in plan.customers for p in c.posts for m in p.messages]
    assert len(texts) == len(set(texts)) == size.messages
    assert len(plan.customers) == size.conversations
    assert len(plan.strikes) == sum(size.blows.values())
    assert all(0 < s.at < size.seconds for s in plan.strikes)
