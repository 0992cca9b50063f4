"""What is wrong with a URL when a tenant gives it. Pure: no name is looked up here.

Read with the same parser that it is connected with (yarl), or the two could see different hosts.
What a name leads to is looked at when it is connected to, each time: `guard`.
"""

import re
import unicodedata
from ipaddress import AddressValueError, IPv4Address

from yarl import URL

from handlers.outbound.addresses import NOT_HTTP, Address, Allow, plainest, refusal

MAX_URL_CHARS = 500  # the column

_WRITE = "write https://, a host and a path, as in https://example.com/hook"
_ASK = "or ask who runs this installation to name it in OUTBOUND_ALLOW"
_AUTHORITY = re.compile(r"(?i)https?://([^/?#]*)")
_PORT = re.compile(r":([0-9]{0,5})$")
_LABEL = re.compile(r"(?i)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"(?i)0x[0-9a-f]*|[0-9]+")
# They lead into the machine or the network around it, wherever that is.
_LOOPBACK = ("localhost", "localdomain", "ip6-localhost", "ip6-loopback")
_INNER = ("internal", "local", "lan", "home", "intranet", "corp", "private", "home.arpa")


def problem(url: str, allow: Allow) -> str | None:
    """A sentence that says why it is refused and what to do; None: it can be stored and tried."""
    if wrong := _text(url):
        return wrong
    authority = _AUTHORITY.match(url)
    if authority is None:
        return f"The URL does not begin with https://: {_WRITE}."
    if "#" in url:
        return "The URL has a fragment (#...), which is never sent: leave it out."
    if "@" in authority[1]:
        return (
            "The URL has a user name or password before its host: leave them out; what is sent is"
            " signed, or put a secret of your own into the path or query."
        )
    try:
        parsed = URL(url)
    except ValueError:
        return f"The URL's host or port cannot be read: {_WRITE}."
    host = parsed.raw_host or ""
    if not host:
        return f"The URL has no host: {_WRITE}."
    port = parsed.port
    spelled = _PORT.search(authority[1])
    if not port or (parsed.explicit_port is not None and spelled is None):
        return "The URL's port is none: write a number from 1 to 65535, or none for 443."
    return _host(host, port, parsed.scheme == "http", "[" in authority[1], allow)


def _text(url: str) -> str | None:
    if len(url) > MAX_URL_CHARS:
        return f"The URL has {len(url)} characters: it may have {MAX_URL_CHARS}."
    for place, character in enumerate(url, start=1):
        # Controls, what is not seen, halves of characters, and every kind of space.
        if character == "\\" or unicodedata.category(character)[0] in "CZ":
            return (
                f"The URL has a space, a backslash or a character that is not seen, at place"
                f" {place}: leave it out, or write it as %20 and the like."
            )
    return None


def _host(host: str, port: int, plain: bool, bracketed: bool, allow: Allow) -> str | None:
    if bracketed or ":" in host:
        try:
            address = plainest(host)
        except ValueError:
            address = None
        if address is None or ":" not in host or "%" in host:
            return "The URL's host is no IPv6 address: write it as in https://[2606:4700::1]/."
        return _address(address, port, plain, allow)
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _four(host, labels, port, plain, allow)
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return f"The URL's host is no name that can be looked up: {_WRITE}."
    return _name(labels, port, plain, allow)


def _four(host: str, labels: list[str], port: int, plain: bool, allow: Allow) -> str | None:
    """A host whose last part is a number is an IPv4 address to those who connect, or nothing."""
    address = _any_spelling(labels)
    if address is None:
        return "The URL's host is a number that is no address: write a name, or a.b.c.d."
    wrong = _address(address, port, plain, allow)
    if wrong is None and str(address) != host:
        return f"The URL's host is an address in another spelling: write it as {address}."
    return wrong


def _any_spelling(labels: list[str]) -> IPv4Address | None:
    """As inet_aton reads it: 1 to 4 numbers, decimal, octal or hexadecimal; the last fills up."""
    if len(labels) > 4 or not all(_NUMBER.fullmatch(label) for label in labels):
        return None
    try:
        numbers = [_number(label) for label in labels]
        *first, last = numbers
        if any(number > 255 for number in first) or last >= 256 ** (5 - len(labels)):
            return None
        high = sum(number << (24 - 8 * place) for place, number in enumerate(first))
        return IPv4Address(high + last)
    except (ValueError, AddressValueError):
        return None


def _number(label: str) -> int:
    if label[:2].lower() == "0x":
        return int(label[2:] or "0", 16)
    return int(label, 8) if len(label) > 1 and label[0] == "0" else int(label)


def _address(address: Address, port: int, plain: bool, allow: Allow) -> str | None:
    match refusal(address, port, plain=plain, allow=allow):
        case "inner":
            return (
                f"The URL leads to {address}, which is no public address: give one that can be"
                f" reached from the internet, {_ASK}."
            )
        case "port":
            return _port(port)
        case "plain":
            return _clear()
        case None:
            return None


def _name(labels: list[str], port: int, plain: bool, allow: Allow) -> str | None:
    name = ".".join(labels).lower()
    maybe = allow.may_cover_a_name(port)
    inner = len(labels) == 1 or any(name.endswith(f".{zone}") for zone in _INNER)
    if labels[-1].lower() in _LOOPBACK:
        inner = True
        maybe = any(allow.covers(plainest(one), port) for one in ("127.0.0.1", "::1"))
    if inner and not maybe:
        return (
            f"The URL's host {name[:100]} is a name of an inner network: give one that can be"
            f" reached from the internet, {_ASK}."
        )
    if port in NOT_HTTP and not maybe:
        return _port(port)
    return _clear() if plain and not maybe else None


def _port(port: int) -> str:
    return (
        f"The URL's port {port} is that of {NOT_HTTP[port]}, which takes no webhooks: give that of"
        f" an HTTPS server, {_ASK}."
    )


def _clear() -> str:
    return f"The URL begins with http://, which anybody on the way can read: use https://, {_ASK}."
