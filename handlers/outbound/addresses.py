"""Which addresses may be reached for a tenant, and what OUTBOUND_ALLOW adds to them. Pure.

The tables are ours: `ipaddress.is_global` calls multicast, NAT64 and 6to4 of a loopback address,
and the servers that clouds have for their machines alone, global.
"""

import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Refusal = Literal["inner", "port", "plain"]

DENIED = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this machine
        "10.0.0.0/8",
        "100.64.0.0/10",  # behind a provider's NAT; Alibaba's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's server for its machines
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocols; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",  # measuring
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
        "2001::/23",  # Teredo and other protocols
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address within
        "3fff::/20",
    )
)
# Everything else of IPv6 is local, reserved, or leads to an IPv4 address (64:ff9b::/96, ::/96).
ASSIGNED = IPv6Network("2000::/3")

# Servers that speak first or take any line for a command; with what speaks on them.
NOT_HTTP = {
    21: "FTP",
    22: "SSH",
    23: "Telnet",
    25: "SMTP",
    53: "DNS",
    110: "POP3",
    111: "RPC",
    135: "RPC",
    139: "SMB",
    143: "IMAP",
    389: "LDAP",
    445: "SMB",
    465: "SMTP",
    514: "syslog",
    587: "SMTP",
    636: "LDAP",
    993: "IMAP",
    995: "POP3",
    1433: "SQL Server",
    2049: "NFS",
    3306: "MySQL",
    3389: "RDP",
    5432: "PostgreSQL",
    5672: "AMQP",
    6379: "Redis",
    9042: "Cassandra",
    11211: "memcached",
    27017: "MongoDB",
}

_ENTRY = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+))(?P<bits>/\d{1,3})?(?::(?P<port>\d{1,5}))?",
    re.ASCII,
)
_FORMS = "10.0.0.0/8, 10.1.2.3:8080, [fd00::]/8 or [::1]:9000"


@dataclass(frozen=True, slots=True)
class Entry:
    network: Network
    port: int | None = None  # None: any but those of NOT_HTTP

    def takes(self, port: int) -> bool:
        return port not in NOT_HTTP if self.port is None else port == self.port


@dataclass(frozen=True, slots=True)
class Allow:
    """OUTBOUND_ALLOW: may be reached although it is private, and also by http://."""

    entries: tuple[Entry, ...] = ()

    def covers(self, address: Address, port: int) -> bool:
        """Of an address as `plainest` makes it."""
        return any(address in one.network and one.takes(port) for one in self.entries)

    def may_cover_a_name(self, port: int) -> bool:
        """What a name leads to is known when it is connected to."""
        return any(one.takes(port) for one in self.entries)


NOTHING = Allow()


def plainest(text: str) -> Address:
    """An IPv4 address that is written as an IPv6 one is an IPv4 address. Raises ValueError."""
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in ASSIGNED:
        return False
    return not any(address in network for network in DENIED)


def refusal(address: Address, port: int, *, plain: bool, allow: Allow) -> Refusal | None:
    """Why it may not be connected to; `plain` is http://."""
    if allow.covers(address, port):
        return None
    if not is_public(address):
        return "inner"
    if port in NOT_HTTP:
        return "port"
    return "plain" if plain else None


def read_allow(text: str) -> tuple[Allow, list[str]]:
    """A comma-separated list, and what is wrong with it, each entry in words that follow its name.

    An entry is an address or a network, IPv6 in brackets, with a port behind a colon or without.
    """
    entries, problems = [], []
    for part in text.split(","):
        one = part.strip()
        try:
            if one:
                entries.append(_entry(one))
        except ValueError as error:
            problems.append(
                f"has {one[:60]!r}, which is no address or network like {_FORMS}"
                f" ({str(error)[:100]})"
            )
    return Allow(tuple(entries)), problems


def _entry(text: str) -> Entry:
    """Raises ValueError."""
    match = _ENTRY.fullmatch(text)
    if match is None:
        bare = text.count(":") > 1 and "[" not in text
        raise ValueError("IPv6 stands in brackets" if bare else "names are not taken")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 1 <= port <= 65_535:
        raise ValueError("a port is 1 to 65535")
    network = ip_network((match["six"] or match["four"]) + (match["bits"] or ""))
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError("write the IPv4 address that it is")
    return Entry(network, port)
