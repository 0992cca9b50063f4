"""How much of the outside an HTTP server lets in at once, and how slow it may be. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

# Who stands before the door as a rule: a proxy on the machine, in the container's or the cluster's
# network.
PRIVATE = ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")

CONNECTIONS_MAX = 4_096
PEER_CONNECTIONS = 128
FILES_KEPT = 256  # of the process's file descriptors, for its pools, logs, and a burst of accepts
CONNECTIONS_MIN = 16  # whatever the limit of files is

HEAD_BYTES = 32 * 1024  # of a request's line and headers
HEAD_S = 10.0  # for them to be whole
BODY_GRACE_S = 5.0  # before a body has to have a pace
BODY_BYTES_PER_S = 1_024
BODY_S = 60.0  # for a body to be whole, whatever its pace
STREAM_IDLE_S = 20.0  # in which nothing comes of a body that is read as it comes
UNREAD_S = 10.0  # in which nothing of an answer is taken
IDLE_S = 650.0  # longer than proxies keep theirs (nginx 60 s, Caddy 120, Google's 600)
# Of a body in chunks, what is no body, besides a quarter of it. The parser takes 1 s of CPU for
# 15 MB of chunks of a byte or two, and for a body in one piece some ms.
WASTE_BYTES = 16 * 1024
REST_BYTES = 8 * 1024 * 1024  # of a body that was answered before its end, read and thrown away:
REST_S = 5.0  # who is cut off in mid-body does not see the answer
ARRIVED_BYTES = 32 * 1024 * 1024  # of requests that have no answer yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    connections: int = CONNECTIONS_MAX
    peer_connections: int = PEER_CONNECTIONS
    trusted: tuple[Network, ...] = tuple(ip_network(one) for one in PRIVATE)
    arrived_bytes: int = ARRIVED_BYTES
    head_s: float = HEAD_S
    body_grace_s: float = BODY_GRACE_S
    unread_s: float = UNREAD_S

    def peer_of(self, address: object) -> str | None:
        """Who is bounded together; None: a proxy, which is many. Of IPv6 the network that one
        customer of a provider has."""
        if not isinstance(address, tuple):  # a socket of this machine
            return None
        ip: IPv4Address | IPv6Address = ip_address(address[0])
        if isinstance(ip, IPv6Address):
            ip = ip.ipv4_mapped or ip
        if any(ip in network for network in self.trusted):
            return None
        return str(
            ip if isinstance(ip, IPv4Address) else IPv6Network((ip.packed[:8] + bytes(8), 64))
        )

    def body_due(self, began: float, arrived: int) -> float:
        """When a body of which so much has arrived will have been too slow."""
        return began + min(BODY_S, self.body_grace_s + arrived / BODY_BYTES_PER_S)


def connections_for(files: int) -> int:
    """Of a process that may have so many files open."""
    return max(CONNECTIONS_MIN, min(CONNECTIONS_MAX, files - FILES_KEPT))


def is_packed(codings: Sequence[str]) -> bool:
    """Of the values of Content-Encoding."""
    named = (one.strip().lower() for value in codings for one in value.split(","))
    return any(one not in ("", "identity") for one in named)
