"""Who is connected, by what they keep us waiting for; and who gives way when there is no room.

Told by the connections themselves, at every event; nothing here looks around by the clock.
"""

import enum
from typing import Protocol

from handlers.process import telemetry
from handlers.process.http.bounds import Bounds


class State(enum.Enum):
    """Of a connection. In the order in which they give way; HANDLED never does."""

    IDLE = 0  # answered, and may ask again
    SILENT = 1  # has said nothing yet
    HEAD = 2  # is in mid-headers
    BODY = 3  # is in mid-body
    UNREAD = 4  # does not take its answer
    HANDLED = 5  # a whole request is ours to answer


class Reason(enum.Enum):
    """Why a connection was closed by us, before its time."""

    SLOW = "slow"
    GAVE_WAY = "gave_way"
    REFUSED = "refused"
    TOO_LARGE = "too_large"
    WASTEFUL = "wasteful"
    UNREAD = "unread"


class Guest(Protocol):
    state: State
    since: float  # when it came into this state
    arrived: int  # bytes of requests without an answer

    @property
    def peer(self) -> str | None: ...

    def give_way(self, reason: Reason) -> None:
        """Leaves the gate before it returns."""


class Gate:
    """Of one server. Connections are few thousands, each in one dict, the longest there first."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.arrived = 0
        self._guests: dict[State, dict[Guest, None]] = {state: {} for state in State}
        self._peers: dict[str, dict[Guest, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._guests.values()))

    @property
    def has_room(self) -> bool:
        """For what has arrived; what is only announced takes none."""
        return self.arrived <= self.bounds.arrived_bytes

    def enters(self, guest: Guest) -> bool:
        """False: everybody who is here has a request in hand."""
        if guest.peer is not None:
            same = self._peers.get(guest.peer, {})
            if len(same) >= self.bounds.peer_connections and not _gave_way(same):
                return False
        if len(self) >= self.bounds.connections:
            firsts = (next(iter(self._guests[state]), None) for state in State)
            if not _gave_way({first: None for first in firsts if first is not None}):
                return False
        self._guests[guest.state][guest] = None
        if guest.peer is not None:  # looked up again: who gave way may have been its last
            self._peers.setdefault(guest.peer, {})[guest] = None
        return True

    def leaves(self, guest: Guest) -> None:
        """Safe to repeat."""
        if guest not in self._guests[guest.state]:
            return
        self.settles(guest, guest.arrived)
        del self._guests[guest.state][guest]
        if guest.peer is not None:
            same = self._peers[guest.peer]
            del same[guest]
            if not same:
                del self._peers[guest.peer]

    def turns(self, guest: Guest, state: State) -> None:
        is_here = self._guests[guest.state].pop(guest, guest) is None
        guest.state = state
        if is_here:  # else it has left, and its end is on the way
            self._guests[state][guest] = None

    def takes(self, guest: Guest, count: int) -> None:
        """Bytes, which are charged when they are here. Beyond the bound those in mid-body give
        way, and then those in mid-headers, the oldest first."""
        if guest not in self._guests[guest.state]:
            return
        guest.arrived += count
        self.arrived += count
        while not self.has_room and (oldest := self._oldest_holder()) is not None:
            oldest.give_way(Reason.GAVE_WAY)

    def settles(self, guest: Guest, count: int) -> None:
        """Of who has left everything is settled. Its request may end only now."""
        if guest not in self._guests[guest.state]:
            return
        guest.arrived -= count
        self.arrived -= count

    def _oldest_holder(self) -> Guest | None:
        for state in (State.BODY, State.HEAD):
            for guest in self._guests[state]:
                if guest.arrived:
                    return guest
        return None


def _gave_way(guests: dict[Guest, None]) -> bool:
    """One of them. Idle ones lose nothing; of those that keep us waiting, the one that has done so
    for longest."""
    waiting = [guest for guest in guests if guest.state is not State.HANDLED]
    if not waiting:
        return False
    first = min(waiting, key=lambda g: (g.state is not State.IDLE, g.since))
    first.give_way(Reason.GAVE_WAY)
    return True


def closed(reason: Reason) -> None:
    telemetry.CONNECTIONS_CLOSED.labels(reason.value).inc()
