"""Words of choice, the pace of other bots, marks of what is off-topic."""

from datetime import UTC, datetime, timedelta

import pytest

from db.ids import MessageId, Wamid
from db.messages import TurnMessage
from handlers.agent.off_topic import IN_A_ROW, LASTS, declines, without_mark
from handlers.fixed.choices import choice_of, spelling
from handlers.turns.pace import IN_A_ROW as QUICK_IN_A_ROW
from handlers.turns.pace import TURNS_MAX, goes_in_circles, quick_in_a_row

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "STOP",
            "stop.",
            "Stop!!! ",
            "*STOP*",
            "_stop_",
            "stop stop",
            "\uff33\uff34\uff2f\uff30",
            "🛑 stop",
        ),
        *("Unsubscribe", "opt-out", "¡BAJA!", "cancelar suscripcion", "Sair", "Arrêt", "ARRET"),
        *("Stopp", "abmelden", "DUR", "Abonelikten \u00e7\u0131k", "إيقاف", "रोकें", "स्टॉप", "Стоп"),
        *("退订", "停止。", "配信停止", "berhenti", "uitschrijven", "cancellami"),
        *("S.T.O.P.", "s t o p", "Please stop", "stop messaging me", "Bitte keine Werbung!"),
        '[in reply to "Our summer sale"]\nStop',
    ],
)
def test_words_that_end_advertising(text: str) -> None:
    assert choice_of(text) == "stop"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "cancel my order",
            "cancel",
            "stop my order please",
            "don't stop",
            "iptal",
            "no",
            "basta",
        ),
        *("Where does the tram stop?", "parar o pedido", "नमस्ते", "", "?!", "[photo]", "x" * 500),
        "[sticker]\nstop",
        "stop\nwhen are you open?",
    ],
)
def test_words_that_do_not(text: str) -> None:
    assert choice_of(text) is None


def test_a_tenant_s_words_count_beside_ours() -> None:
    assert choice_of("Genug davon!", ["genug davon"]) == "stop"
    assert choice_of("stop", ["genug davon"]) == "stop"
    assert choice_of("genug", ["genug davon"]) is None
    assert choice_of("Start") == "resume"
    assert spelling("?!") == ""


# ---- pace ----------------------------------------------------------------------------------------


def row(n: int, at_s: float, *, by: str = "customer", status: str = "") -> TurnMessage:
    at = NOW + timedelta(seconds=at_s)
    return TurnMessage(
        id=MessageId(n),
        direction="inbound" if by == "customer" else "outbound",
        is_from_human=by == "person",
        status=status or ("received" if by == "customer" else "delivered"),
        content_text=f"{n}",
        sent_at=at,
        created_at=at,
        input_seq=n if by == "customer" else None,
        wamid=Wamid(f"w.{n}"),
        metadata={},
    )


def rounds(count: int, after_s: float, *, status: str = "delivered") -> list[TurnMessage]:
    """The bot's message, and the customer's so long after it."""
    rows = []
    for n in range(count):
        rows.append(row(2 * n + 1, n * 60, by="bot", status=status))
        rows.append(row(2 * n + 2, n * 60 + after_s))
    return rows


@pytest.mark.parametrize(("after_s", "count"), [(-1, 8), (0, 8), (3, 8), (3.1, 0), (-1.1, 0)])
def test_within_three_seconds_of_ours(after_s: float, count: int) -> None:
    assert quick_in_a_row(rounds(8, after_s), None) == count


def test_a_slow_one_begins_anew_and_a_burst_counts_once() -> None:
    rows = [*rounds(7, 1), row(15, 400, by="bot"), row(16, 420), row(17, 421)]
    assert quick_in_a_row(rows, None) == 0
    album = [row(1, 0, by="bot"), *(row(n, 1) for n in range(2, 14))]
    assert quick_in_a_row(album, None) == 1


def test_what_never_left_and_what_people_wrote_is_no_message_of_the_bot() -> None:
    assert quick_in_a_row(rounds(8, 1, status="queued"), None) == 0
    assert quick_in_a_row(rounds(8, 1, status="cancelled"), None) == 0
    assert quick_in_a_row([*rounds(7, 1), row(15, 400, by="person"), row(16, 401)], None) == 0


def test_eight_in_a_row_or_more_than_thirty_turns() -> None:
    assert not goes_in_circles(rounds(QUICK_IN_A_ROW - 1, 1), 0, None)
    assert goes_in_circles(rounds(QUICK_IN_A_ROW, 1), 0, None)
    assert not goes_in_circles([], TURNS_MAX - 1, None)
    assert goes_in_circles([], TURNS_MAX, None)


def test_what_was_before_a_stop_counts_no_more() -> None:
    stopped = NOW + timedelta(seconds=5 * 60 + 30)
    assert quick_in_a_row(rounds(8, 1), stopped) == 2


# ---- off-topic -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bare", "marked"),
    [
        ("I am here for cakes.\n[[off-topic]]", "I am here for cakes.", True),
        ("I am here for cakes. [Off topic]", "I am here for cakes.", True),
        ("[[ OFF_TOPIC ]]", "", True),
        ("From 7 to 18.\n[[12, 15]]", "From 7 to 18.\n[[12, 15]]", False),
        ("That is off-topic.", "That is off-topic.", False),
        ("I am here for cakes.\n[[off", "I am here for cakes.", True),
        ("I am here for cakes.\n[[off-topic]", "I am here for cakes.", True),
        ("[[off we go", "[[off we go", False),
    ],
)
def test_the_mark_is_taken_off(text: str, bare: str, marked: bool) -> None:
    assert without_mark(text) == (bare, marked)


def test_code_declines_after_two_and_for_a_while() -> None:
    assert not declines(IN_A_ROW - 1, NOW, NOW)
    assert declines(IN_A_ROW, NOW, NOW)
    assert not declines(IN_A_ROW, NOW - LASTS, NOW)
    assert not declines(IN_A_ROW, None, NOW)
