"""How Meta misbehaves, on demand: shares from 0 (never) to 1 (always), diced for each webhook,
call or customer. docs/simulator.md lists them all."""

import random
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from simulator import fields
from simulator.fields import Fields, Unfit
from simulator.kinds import KINDS, Kind

# By code: what HTTP status Meta gives with it, and its words.
ERRORS: Mapping[int, tuple[int, str]] = {
    130429: (400, "Rate limit hit"),
    131000: (500, "Something went wrong"),
    131016: (503, "Service unavailable"),
    131026: (400, "Message undeliverable"),
    131047: (400, "Re-engagement message"),
    131056: (400, "(Business Account, Consumer Account) pair rate limit hit"),
}
EXTRAS: tuple[Kind, ...] = ("reaction", "edit", "revoke", "unsupported")


@dataclass(frozen=True, slots=True)
class Lies:
    seed: int | None = None

    # Webhooks, of messages and statuses alike.
    duplicates: float = 0.0  # are posted again, at about the same time
    duplicate_times: int = 1
    delays: float = 0.0  # are held for up to delay_ms
    delay_ms: int = 500
    swaps: float = 0.0  # are held until the customer's next one is out, or for swap_ms
    swap_ms: int = 1_000
    batch_ms: int = 0  # all webhooks of so long go out as one POST

    # What customers do.
    hidden_numbers: float = 0.0  # of the customers, who have a BSUID and no number
    extras: float = 0.0  # of what they say is followed by one of extra_kinds
    extra_kinds: tuple[Kind, ...] = EXTRAS

    # The Graph endpoint.
    enforce_limits: bool = False
    enforce_window: bool = False
    refusals: Mapping[int, float] = field(default_factory=dict)
    server_errors: float = 0.0  # an HTML page with 502; nothing was accepted
    lost_answers: float = 0.0  # accepted, and the connection breaks

    # The statuses of one message.
    statuses_early: float = 0.0  # before the answer to the call
    statuses_late: float = 0.0  # after late_ms
    late_ms: int = 2_000
    statuses_never: float = 0.0
    statuses_shuffled: float = 0.0
    statuses_anonymous: float = 0.0  # without biz_opaque_callback_data

    @property
    def in_background(self) -> bool:
        """Whether webhooks leave at their own time, not the caller's."""
        return bool(self.delays or self.swaps or self.batch_ms)

    def hides_number(self, customer: str) -> bool:
        """The same customers each time."""
        return zlib.crc32(customer.encode()) % 1_000 < self.hidden_numbers * 1_000

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "refusals": {str(c): share for c, share in self.refusals.items()}}


@dataclass(frozen=True, slots=True)
class Fate:
    """What was diced for one call."""

    refusal: int | None
    server_error: bool
    lost_answer: bool
    early: bool
    late: bool
    never: bool
    shuffled: bool
    anonymous: bool

    @classmethod
    def diced(cls, lies: Lies, dice: random.Random) -> "Fate":
        refusals = [code for code, share in lies.refusals.items() if dice.random() < share]
        return cls(
            refusal=refusals[0] if refusals else None,
            server_error=dice.random() < lies.server_errors,
            lost_answer=dice.random() < lies.lost_answers,
            early=dice.random() < lies.statuses_early,
            late=dice.random() < lies.statuses_late,
            never=dice.random() < lies.statuses_never,
            shuffled=dice.random() < lies.statuses_shuffled,
            anonymous=dice.random() < lies.statuses_anonymous,
        )

    def names(self) -> list[str]:
        """For the journal: what a judge has to know of an accepted message."""
        told = ("lost_answer", "early", "late", "never", "shuffled", "anonymous")
        return [name for name in told if getattr(self, name)]


def read_lies(lies: Lies, value: object) -> Lies:
    """Only what is given changes; null ends all lies."""
    if value is None:
        return Lies()
    given = Fields("lies", value)
    changed: dict[str, object] = {}
    for name, known in asdict(lies).items():
        read = {
            "seed": fields.whole,
            "duplicate_times": fields.repeats,
            "extra_kinds": _kinds,
            "refusals": _refusals,
        }.get(name)
        if read is None:
            read = (
                fields.flag
                if isinstance(known, bool)
                else _share
                if isinstance(known, float)
                else fields.milliseconds
            )
        if given.has(name):
            changed[name] = given.take(name, read, None)
    given.done()
    return replace(lies, **changed)  # type: ignore[arg-type]  # each as its reader gave it


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Unfit("must be a share between 0 and 1")
    return float(value)


def _kinds(value: object) -> tuple[Kind, ...]:
    names = fields.texts(value)
    known = tuple(kind for name in names for kind in KINDS if kind == name)
    if len(known) != len(names) or not known:
        raise Unfit(f"must be a list of {', '.join(KINDS)}")
    return known


def _refusals(value: object) -> dict[int, float]:
    if not isinstance(value, dict):
        raise Unfit("must be an object of shares by error code")
    if unknown := sorted(set(value) - {str(code) for code in ERRORS}):
        raise Unfit(f"{', '.join(unknown)} is none of {', '.join(map(str, ERRORS))}")
    return {int(code): _share(share) for code, share in value.items()}
