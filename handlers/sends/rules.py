"""What becomes of a message that Meta did not take, or that cannot leave at all. Pure."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

from db.sends import Send
from handlers.rules.backoff import backoff
from handlers.rules.window import WINDOW, is_open
from handlers.whatsapp.port import RefusalKind

# A pair (number and customer) may get one message in 6 s, and Meta lends up to 45 from the future.
PAIR_EVERY = timedelta(seconds=6)
PAIR_BURST = 45
PAIR_RETRY_BASE = 4  # Meta: again after 4^X seconds
PAIR_RETRY_MAX_S = 256.0

MAX_TRANSIENT = 6  # sends refused for a passing reason: two minutes
RETRY_BASE_S = 4.0
RETRY_CAP_S = 120.0
NUMBER_PAUSE = timedelta(seconds=1)
APP_PAUSE = timedelta(minutes=1)  # "back off minutes": with each refusal the rate halves too

MAX_AGE = WINDOW  # an older reply answers what is outside the window

TAKEN_OVER = "taken_over"  # a person answers: the one end that leaves the customer with an answer
WINDOW_CLOSED = "window_closed"  # a template may go instead

HOLDS: dict[RefusalKind, tuple[timedelta, timedelta]] = {  # the first pause, and the longest
    "account": (timedelta(seconds=5), timedelta(minutes=15)),
    "policy": (timedelta(hours=1), timedelta(hours=24)),
}


@dataclass(frozen=True, slots=True)
class Again:
    """The message goes again after a while; whoever was too fast slows down."""

    after: timedelta
    slow: Literal["pair", "number"] | None = None
    pause: timedelta = timedelta(0)  # of whoever slows down
    anew: bool = False  # its file is uploaded again


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing of the number leaves for a while; the message stays where it is in the queue."""

    first: timedelta
    longest: timedelta
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """The message does not leave any more."""

    status: Literal["failed", "cancelled"]
    reason: str


# A file's id that has gone is one of these; so is a file that is not what it says.
HANDLE_LOST = frozenset({100, 131009, 131052, 131053})
MAX_UPLOADS = 8  # tries of a message's: six minutes

UploadProblem: TypeAlias = RefusalKind | Literal["gone", "store"]

OUTSIDE_WINDOW = End("cancelled", WINDOW_CLOSED)
FILE_GONE = End("failed", "file_gone")  # it was deleted before it left
FILE_REFUSED = End("failed", "file_refused")
BLOCKED = End("cancelled", "blocked")  # as the tenant wanted it, so they are not told
# Meta does not take the template of a campaign now: not there in that language, wrong in its
# format, paused, disabled. The campaign waits, and this person is still to be reached.
TEMPLATE_CODES = frozenset({132001, 132007, 132015, 132016})
TEMPLATE_REFUSED = End("cancelled", "template_refused")
LEFT_BEHIND = End("cancelled", "left_behind")  # told to nobody: its reply's end is told, or none
ERASED = End("cancelled", "contact_erased")  # told to nobody: nothing of the contact remains
TENANT_INACTIVE, CHATBOT_INACTIVE = "tenant_inactive", "chatbot_inactive"
# What such a reply answered is answered again when tenant and chatbot are active.
PUT_OFF = frozenset({TENANT_INACTIVE, CHATBOT_INACTIVE})

Consequence: TypeAlias = Again | Pause | End


def after_refusal(kind: RefusalKind, code: int | None, times: int, dice: float) -> Consequence:
    """`times`: how often this message was refused in this way before."""
    match kind:
        case "transient" if times + 1 < MAX_TRANSIENT:
            return Again(backoff(times, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S, dice=dice))
        case "pair":
            wait = timedelta(seconds=min(PAIR_RETRY_MAX_S, PAIR_RETRY_BASE ** min(times, 10)))
            return Again(wait, "pair", PAIR_EVERY * (PAIR_BURST - 1))  # one is left, to try with
        case "number" | "app":
            pause = NUMBER_PAUSE if kind == "number" else APP_PAUSE
            wait = backoff(times, base_s=2.0, cap_s=60.0, dice=dice)
            return Again(wait + pause, "number", pause)
        case "account" | "policy":
            return Pause(*HOLDS[kind], f"{kind}:{code}")
        case "window":
            return End("failed", WINDOW_CLOSED)
        case _:
            return End("failed", kind)


def after_upload(kind: UploadProblem, code: int | None, times: int, dice: float) -> Consequence:
    """Of a file that Meta did not take, or that could not be read; nothing was sent. `times`: how
    often before."""
    match kind:
        case "gone":
            return FILE_GONE
        case "refused" | "window":
            return FILE_REFUSED
        case "transient" | "store" if times + 1 < MAX_UPLOADS:
            return Again(backoff(times, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S, dice=dice))
        case "transient":
            return End("failed", "file_not_taken")
        case "store":
            return End("failed", "file_not_read")
        case _:
            return after_refusal(kind, code, times, dice)


def after_refusal_of(send: Send, kind: RefusalKind, code: int | None, dice: float) -> Consequence:
    """Of a file Meta may not know any more under the id by which it was named: then it is uploaded
    anew, and the message sent once more. Once: what is refused again was not for that."""
    times = send.refused.get(kind, 0)
    if send.medium is not None and kind == "refused" and code in HANDLE_LOST:
        return FILE_REFUSED if times else Again(timedelta(0), anew=True)
    if send.campaign_id is not None and code in TEMPLATE_CODES:
        return TEMPLATE_REFUSED
    return after_refusal(kind, code, times, dice)


def before_sending(send: Send, *, has_token: bool) -> Pause | End | None:
    """Looked at again just before the call, because time has passed since the turn. None: send."""
    if send.blocked:
        return BLOCKED
    if send.left_behind:  # also when the bot is active again by now: the file goes with the next
        return LEFT_BEHIND
    if send.silenced:
        return End("cancelled", TAKEN_OVER)
    if not send.tenant_active:
        return End("cancelled", TENANT_INACTIVE)
    if not send.chatbot_active:
        return End("cancelled", CHATBOT_INACTIVE)
    if send.too_old:
        return End("failed", "too_old")
    if send.template is None and not is_open(send.since_inbound):
        return OUTSIDE_WINDOW
    if send.medium is not None and send.medium["file"] is None:
        return FILE_GONE
    if send.phone_number_id is None:
        return Pause(*HOLDS["account"], "no_phone_number_id")
    if not has_token:
        return Pause(*HOLDS["account"], "no_access_token")
    return None
