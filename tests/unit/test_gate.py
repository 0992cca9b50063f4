"""Who gives way to whom, without a network."""

from ipaddress import ip_network
from itertools import count

import pytest

from handlers.process.http.bounds import (
    BODY_BYTES_PER_S,
    BODY_S,
    CONNECTIONS_MAX,
    CONNECTIONS_MIN,
    Bounds,
    connections_for,
    is_packed,
)
from handlers.process.http.gate import Gate, Reason, State

_clock = count()


class Guest:
    def __init__(self, gate: Gate, state: State = State.SILENT, peer: str | None = None) -> None:
        self.gate = gate
        self.state = state
        self.peer = peer
        self.since = float(next(_clock))
        self.arrived = 0
        self.gone: Reason | None = None

    def give_way(self, reason: Reason) -> None:
        self.gone = reason
        self.gate.leaves(self)


def entered(gate: Gate, *states: State, peer: str | None = None) -> list[Guest]:
    guests = [Guest(gate, state, peer) for state in states]
    for guest in guests:
        assert gate.enters(guest)
    return guests


@pytest.mark.parametrize("peer", [None, "192.0.2.1"])
def test_idle_ones_give_way_then_the_oldest_that_keep_us_waiting(peer: str | None) -> None:
    bounds = Bounds(connections=5 if peer is None else 99, peer_connections=5)
    gate = Gate(bounds)
    others = [] if peer is None else entered(gate, State.IDLE, State.SILENT, peer="192.0.2.2")
    busy, body, idle, head, unread = entered(
        gate, State.HANDLED, State.BODY, State.IDLE, State.HEAD, State.UNREAD, peer=peer
    )
    gone = []
    for _ in range(4):
        entered(gate, State.HANDLED, peer=peer)
        gone.append([guest for guest in (body, idle, head, unread) if guest.gone][-1:])
        assert len(gate) == 5 + len(others)
    assert [guest.gone for guest in (idle, body, head, unread)] == [Reason.GAVE_WAY] * 4
    assert gone[0] == [idle]
    assert gone[1] != [unread]
    assert busy.gone is None
    assert not gate.enters(Guest(gate, peer=peer))  # everybody has a request in hand
    assert len(gate) == 5 + len(others)
    assert not any(other.gone for other in others)


def test_bytes_are_those_who_hold_them_s_to_give_up() -> None:
    gate = Gate(Bounds(arrived_bytes=100))
    handled, silent, head, body, newest = entered(
        gate, State.HANDLED, State.SILENT, State.HEAD, State.BODY, State.BODY
    )
    gate.takes(handled, 60)
    gate.takes(head, 10)
    gate.takes(body, 20)
    assert (gate.arrived, gate.has_room) == (90, True)
    gate.takes(newest, 20)
    assert [g.gone for g in (body, head, newest)] == [Reason.GAVE_WAY, None, None]
    assert gate.arrived == 90
    gate.takes(handled, 100)
    assert [g.gone for g in (newest, head)] == [Reason.GAVE_WAY] * 2
    assert [g.gone for g in (silent, handled)] == [None] * 2
    assert (gate.arrived, gate.has_room) == (160, False)
    gate.settles(handled, 160)
    assert (gate.arrived, gate.has_room) == (0, True)


def test_who_has_left_counts_no_more() -> None:
    gate = Gate(Bounds(peer_connections=1))
    (guest,) = entered(gate, State.BODY, peer="192.0.2.1")
    gate.takes(guest, 10)
    for _ in range(2):
        gate.leaves(guest)
        gate.takes(guest, 10)
        gate.turns(guest, State.IDLE)
        gate.settles(guest, -10)
        assert (len(gate), gate.arrived, guest.arrived) == (0, 0, 0)
    entered(gate, State.SILENT, peer="192.0.2.1")


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("127.0.0.1", 1), None),
        (("10.2.3.4", 1), None),
        (("::1", 1, 0, 0), None),
        (("::ffff:10.2.3.4", 1, 0, 0), None),
        ("", None),
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
    ],
)
def test_a_peer_is_an_address_or_a_network_and_no_proxy(address: object, peer: str | None) -> None:
    assert Bounds().peer_of(address) == peer
    if peer is not None:
        assert (
            Bounds(trusted=(ip_network("0.0.0.0/0"), ip_network("::/0"))).peer_of(address) is None
        )


def test_a_body_is_due_by_what_has_arrived() -> None:
    bounds = Bounds()
    assert bounds.body_due(100, 0) == 105
    assert bounds.body_due(100, 10 * BODY_BYTES_PER_S) == 115
    assert bounds.body_due(100, 4 * 1024 * 1024) == 100 + BODY_S


def test_connections_leave_files_for_the_rest() -> None:
    assert connections_for(1_024) == 768
    assert connections_for(1_000_000) == CONNECTIONS_MAX
    assert connections_for(64) == CONNECTIONS_MIN


@pytest.mark.parametrize(
    ("codings", "packed"),
    [
        ((), False),
        (("identity",), False),
        (("", " identity , "), False),
        (("GZIP",), True),
        (("identity", "br"), True),
        (("identity,gzip",), True),
    ],
)
def test_only_identity_is_not_packed(codings: tuple[str, ...], packed: bool) -> None:
    assert is_packed(codings) is packed
