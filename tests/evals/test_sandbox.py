"""A case goes through what a turn goes through, in memory: its memory, its clock, its words."""

from handlers.fixed.texts import Kind, fixed_text
from handlers.handovers import BY_BOT
from tests.evals import HOURS, answers, findings, run


def says(kind: Kind, **parameters: str) -> str:
    return fixed_text(kind, "en", None, **parameters)


async def test_a_stored_answer_is_found_and_cited() -> None:
    (case,) = await run(f"""
bot: Luma
cases:
  - name: hours
    turns:
      - say: when are you open?
        expect:
          contains_all: ["7:00", 18:00]
          cites: ["{HOURS.upper()}"]
          language: en
          silent: false
          handed_over: false
          actions: []
          orders: []
          max_tokens: 0
          no_tool: create_order
""")
    assert findings(case) == []
    assert answers(case) == ["From 7:00 to 18:00."]


async def test_what_does_not_hold_is_told_with_what_was_there_instead() -> None:
    (case,) = await run("""
bot: Luma
repeat: 2
cases:
  - name: hours
    turns:
      - say: when are you open?
        expect:
          contains_all: ["7:00", midnight]
          contains_any: [one, two]
          not_contains: "from 7:00"
          regex: '^\\d+$'
          language: es
          cites: [nothing like it]
          tool: [request_human_action]
          actions: [{type: discount}]
          orders: [{items: [{sku: cake, quantity: 1}]}]
          handed_over: true
""")
    assert not case.passed
    first = findings(case)[: len(findings(case)) // 2]
    assert [one.split(":")[0] for one in first] == [
        *("contains_all", "contains_any", "not_contains", "regex", "language", "cites", "tool"),
        *("actions", "orders", "handed_over"),
    ]
    assert f'it cites "{HOURS}"' in first[5]


async def test_a_request_is_an_action_and_is_not_made_twice() -> None:
    (case,) = await run("""
bot: Luma
cases:
  - name: refund
    turns:
      - say: My cake is broken, I want my money back
        expect:
          tool: {name: request_human_action, arguments: {context: {kb_id: 3}}}
          actions: [{type: my cake is broken I want my money back, details: money back}]
      - say: My cake is broken, I want my money back
        expect: {actions: [], contains_all: ["A person will look at it"]}
      - after: 25h
        expect: {contains_all: [My cake is broken], actions: [], silent: false}
""")
    assert findings(case) == []
    expired = says(Kind.EXPIRED, details="My cake is broken, I want my money back")
    assert answers(case)[2] == expired, "nobody decided it in time"


async def test_a_hand_over_silences_the_bot_until_nobody_came() -> None:
    (case,) = await run("""
bot: Luma
cases:
  - name: a person
    turns:
      - say: I want to talk to a human
        expect: {handed_over: true, silent: false}
      - say: hello?
        expect: {silent: true}
      - after: 3d
        expect: {silent: false}
      - say: when are you open
        expect: {contains_all: "From 7:00"}
""")
    assert findings(case) == []
    assert case.runs[0].turns[1].outcome.reason == "taken_over"
    assert BY_BOT == "bot"


async def test_without_takeovers_in_the_plan_nobody_is_called() -> None:
    off = {"live_chat_takeover": False, "actions_center": False}
    (case,) = await run(
        """
bot: Luma
cases:
  - name: a person
    turns:
      - say: I want to talk to a human
        expect: {handed_over: false, actions: []}
""",
        plan={"features": {"advanced_features": off}},
    )
    assert findings(case) == []


async def test_the_clock_is_the_suites_on_the_tenants_wall_and_time_passes() -> None:
    hours = {"tue": [["09:00", "18:00"]]}
    text = """
bot: Luma
now: 2026-11-24T%s
cases:
  - name: open
    turns:
      - say: are you open now?
        expect: {contains_all: %s}
      - after: 10h
        say: are you open now?
        expect: {contains_all: closed}
"""
    for time, word in (("09:30", "open"), ("08:59", "closed")):
        (case,) = await run(text % (time, word), business_hours=hours)
        assert findings(case) == [], time


async def test_a_word_ends_advertising_and_asks_no_model() -> None:
    (case,) = await run("""
bot: Luma
cases:
  - name: stop
    turns:
      - say: STOP
        expect: {silent: false, cites: []}
      - say: start
        expect: {silent: false}
      - say: when are you open
        expect: {contains_all: "18:00"}
""")
    assert findings(case) == []
    assert answers(case)[:2] == [says(Kind.OPTED_OUT), says(Kind.OPTED_IN)]
    assert [one.outcome.reason for one in case.runs[0].turns[:2]] == ["opted_out", "opted_in"]


async def test_who_writes_as_quickly_as_a_bot_is_met_with_silence() -> None:
    turns = "\n".join("      - {after: 2s, say: when are you open}" for _ in range(10))
    (case,) = await run(f"""
bot: Luma
cases:
  - name: two bots
    turns:
{turns}
      - after: 2s
        say: when are you open
        expect: {{silent: true}}

""")
    assert findings(case) == []
    assert says(Kind.LOOP) in answers(case)


async def test_yes_to_the_bots_own_offer_needs_its_memory() -> None:
    (case,) = await run("""
bot: Luma
cases:
  - name: offered
    turns:
      - say: do you repair bicycles on the moon?
      - say: yes please
        expect: {handed_over: true}
""")
    assert findings(case) == []


async def test_a_setup_is_what_was_before() -> None:
    (case,) = await run("""
bot: Luma
cases:
  - name: before
    setup:
      contact: {name: "Ana", language: es}
      facts: {allergy: nuts}
      history:
        - {customer: hola, ago: 2d}
        - {colleague: "I am Tom.", ago: 1d}
    turns:
      - say: STOP
        expect: {silent: false, language: es}
""")
    assert findings(case) == []


async def test_a_burst_is_answered_once() -> None:
    (case,) = await run("""
bot: Luma
cases:
  - name: burst
    turns:
      - say: [when are you open, how much is a birthday cake]
        expect: {contains_all: ["18:00", "38.50"], amounts_from: kb}
""")
    assert findings(case) == []


async def test_cases_know_nothing_of_each_other() -> None:
    first, second = await run("""
bot: Luma
cases:
  - name: one
    turns:
      - say: I want to talk to a human
        expect: {handed_over: true}
  - name: two
    turns:
      - say: when are you open
        expect: {silent: false}
""")
    assert findings(first) + findings(second) == []
