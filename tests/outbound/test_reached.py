"""What is connected to, and what never is: a listening server counts."""

import socket
from collections.abc import Iterator

import pytest
from aiohttp.abc import ResolveResult

from handlers.outbound.addresses import NOTHING
from handlers.outbound.guard import Outbound
from handlers.outbound.urls import problem
from tests.outbound.servers import Answers, allowed, answer, listening


class Turning(list[ResolveResult]):
    """Empty to who looks through it first."""

    looks = 0

    def __iter__(self) -> Iterator[ResolveResult]:
        self.looks += 1
        return iter(()) if self.looks == 1 else super().__iter__()


class Rebinding(Answers):
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return Turning(await super().resolve(host, port, family))


# Ways to 127.0.0.1 or to what only a machine's own network has; PORT is where a server listens.
SPELLINGS = (
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "017700000001",
    "0177.0.0.1",
    "0x7f.0x0.0x0.0x1",
    "①②⑦.⓪.⓪.①",
    "\uff11\uff12\uff17.0.0.1",
    "127。0。0。1",
    "127.0.0.1.",
    "0.0.0.0",
    "0",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001::1]",
    "[fe80::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "169.254.169.254",
    "169.254.1.1",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "localhost",
    "LOCALHOST.",
    "ⓛⓞcalhost",
)


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_leads_inside(host: str, scheme: str) -> None:
    async with listening() as inner, Outbound(NOTHING, connections=5, seconds=20) as outbound:
        url = f"{scheme}://{host}:{inner.port}/"
        assert problem(url, NOTHING) is not None
        # As if it had been stored all the same.
        outcome = await outbound.post(url, b"{}", {})
        # Whether a system knows "localhost." differs.
        assert outcome.error in ("blocked_address", "dns" if host == "LOCALHOST." else "")
        assert (outcome.status, outcome.text) == (None, "")
        assert inner.connections == 0


# The same with an entry beside: of another port, or another address, that lets nothing more in.
@pytest.mark.parametrize("host", SPELLINGS)
async def test_an_entry_opens_nothing_beside_it(host: str) -> None:
    allow = allowed("10.9.9.9", "127.0.0.1:9", "[fd00:9::]/64")
    async with listening() as inner, Outbound(allow, connections=5, seconds=20) as outbound:
        url = f"http://{host}:{inner.port}/"
        assert (await outbound.post(url, b"{}", {})).error in ("blocked_address", "dns")
        assert inner.connections == 0


@pytest.mark.parametrize(
    "name", ["localhost", "api.localhost", "db.internal", "nas.local", "rabbitmq"]
)
async def test_names_that_lead_inside(name: str) -> None:
    names = Answers(["127.0.0.1"])
    async with listening() as inner, Outbound(NOTHING, connections=5, seconds=20, names=names) as o:
        url = f"https://{name}:{inner.port}/"
        assert problem(url, NOTHING) is not None
        assert (await o.post(url, b"{}", {})).error == "blocked_address"
        assert inner.connections == 0


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1%lo", "no address"]
)
async def test_a_public_name_that_leads_inside(address: str) -> None:
    names = Answers([address])
    async with listening() as inner, Outbound(NOTHING, connections=5, seconds=20, names=names) as o:
        url = f"https://hooks.example.com:{inner.port}/"
        assert problem(url, NOTHING) is None  # nothing is looked up yet
        assert (await o.post(url, b"{}", {})).error == "blocked_address"
        assert (inner.connections, names.asked) == (0, 1)


async def test_a_name_that_leads_elsewhere_the_second_time() -> None:
    """127.0.0.2 plays the public address: the entry lets it, and not 127.0.0.1."""
    names = Answers(["127.0.0.2"], ["127.0.0.1"])
    closing = answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n")
    async with listening(closing, "127.0.0.2") as public, listening(port=public.port) as inner:
        allow = allowed(f"127.0.0.2:{public.port}")
        async with Outbound(allow, connections=5, seconds=20, names=names) as outbound:
            url = f"http://hooks.example.com:{public.port}/"
            assert (await outbound.post(url, b"{}", {})).status == 200
        async with Outbound(allow, connections=5, seconds=20, names=names) as outbound:
            assert (await outbound.post(url, b"{}", {})).error == "blocked_address"
        assert (public.connections, inner.connections, names.asked) == (1, 0, 2)


async def test_what_was_looked_at_before_does_not_count() -> None:
    """The answer changes between the look at the name and the connection: only the address that is
    connected to is left to look at."""

    names = Rebinding(["127.0.0.1"])
    async with listening() as inner, Outbound(NOTHING, connections=5, seconds=20, names=names) as o:
        outcome = await o.post(f"https://hooks.example.com:{inner.port}/", b"{}", {})
        assert outcome.error == "blocked_address"
        assert inner.connections == 0


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("other", ["127.0.0.1", "::1", "8.8.8.8"])
async def test_one_answer_that_is_denied_denies_the_name(other: str, order: int) -> None:
    """8.8.8.8 is public, and not for http://."""
    async with listening(host="127.0.0.2") as public, listening(port=public.port) as inner:
        names = Answers(["127.0.0.2", other][::order])
        allow = allowed(f"127.0.0.2:{public.port}")
        async with Outbound(allow, connections=5, seconds=20, names=names) as outbound:
            url = f"http://hooks.example.com:{public.port}/"
            assert (await outbound.post(url, b"{}", {})).error == "blocked_address"
        assert (public.connections, inner.connections) == (0, 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_the_answer(status: int) -> None:
    async with listening() as inner:
        head = (
            f"HTTP/1.1 {status} Moved\r\nLocation: http://127.0.0.1:{inner.port}/\r\n"
            "Content-Length: 0\r\n\r\n"
        )
        async with listening(answer(head.encode(), b"")) as outer:
            # Even where the other place might be reached.
            allow = allowed("127.0.0.0/8")
            async with Outbound(allow, connections=5, seconds=20) as outbound:
                outcome = await outbound.post(f"http://127.0.0.1:{outer.port}/", b"{}", {})
        assert (outcome.status, outcome.error) == (status, None)
        assert (outer.connections, inner.connections) == (1, 0)


async def test_what_is_allowed_is_reached() -> None:
    async with listening() as server:
        url = f"http://127.0.0.1:{server.port}/hook?a=%20b"
        allow = allowed(f"127.0.0.1:{server.port}")
        assert problem(url, allow) is None
        async with Outbound(allow, connections=5, seconds=20) as outbound:
            outcome = await outbound.post(url, b'{"a": 1}', {"Content-Type": "application/json"})
        assert (outcome.status, outcome.error, outcome.text) == (200, None, "ok")
        (head,) = server.requests
        assert head.startswith(b"POST /hook?a=%20b HTTP/1.1\r\n")
        assert b"User-Agent: SwiftReplies\r\n" in head


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_no_proxy_of_the_environment(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as proxy, listening() as server:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        async with Outbound(allowed("127.0.0.1"), connections=5, seconds=20) as outbound:
            assert (await outbound.post(f"http://127.0.0.1:{server.port}/", b"", {})).status == 200
        assert (proxy.connections, server.connections) == (0, 1)


async def test_a_session_takes_its_own_scheme_alone() -> None:
    async with listening() as inner, Outbound(NOTHING, connections=5, seconds=20) as outbound:
        for url in (
            f" https://127.0.0.1:{inner.port}/",
            f"ftp://127.0.0.1:{inner.port}/",
            "",
            "x:",
        ):
            assert (await outbound.post(url, b"", {})).error is not None
        assert inner.connections == 0


@pytest.mark.parametrize("port", [22, 25, 6379])
async def test_a_port_of_something_else_is_not_connected_to(port: int) -> None:
    names = Answers(["8.8.8.8"])
    async with Outbound(NOTHING, connections=5, seconds=20, names=names) as outbound:
        outcome = await outbound.post(f"https://hooks.example.com:{port}/", b"{}", {})
    assert outcome.error == "blocked_address"
