"""What is wrong with a tenant's URL, and what OUTBOUND_ALLOW takes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from handlers.outbound.addresses import (
    NOT_HTTP,
    NOTHING,
    Allow,
    is_public,
    plainest,
    read_allow,
)
from handlers.outbound.urls import MAX_URL_CHARS, problem


def allow(text: str) -> Allow:
    read, problems = read_allow(text)
    assert not problems
    return read


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "HTTPS://Example.COM/hook?token=a%2Fb&x=ü",
        "https://example.com:8443/hook",
        "https://example.com:80/",
        "https://example.com./",
        "https://münchen.example/straße",
        "https://xn--mnchen-3ya.example/",
        "https://a_b.example.com/",
        "https://1.1.1.1/",
        "https://1.1.1.1:8443/",
        "https://[2606:4700:4700::1111]/",
        "https://3com.example/",
        "https://example.com/" + "a" * (MAX_URL_CHARS - 20),
    ],
)
def test_what_is_taken(url: str) -> None:
    assert problem(url, NOTHING) is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "does not begin with https://"),
        ("example.com/hook", "does not begin with https://"),
        ("ftp://example.com/", "does not begin with https://"),
        ("https:/example.com/", "does not begin with https://"),
        ("file:///etc/passwd", "does not begin with https://"),
        ("https://", "has no host"),
        ("https:///hook", "has no host"),
        ("https://:443/", "no host|cannot be read"),
        ("https://example.com/" + "a" * MAX_URL_CHARS, "has 520 characters: it may have 500"),
        ("https://example.com/#top", "fragment"),
        ("https://example.com/#", "fragment"),
        ("https://user:pw-of@example.com/", "user name or password"),
        ("https://@example.com/", "user name or password"),
        ("https://example.com\\@127.0.0.1/", "at place 20"),
        ("https://exa mple.com/", "at place 12"),
        ("https://example.com/\r\nHost: x", "at place 21"),
        ("https://example.com/\0", "at place 21"),
        ("https://example.com/\u200b", "at place 21"),
        ("https://example.com/\ud800", "at place 21"),
        (" https://example.com/", "at place 1:"),
        ("https://example.com:0/", "port"),
        ("https://example.com:65536/", "port"),
        ("https://example.com:x/", "port"),
        ("https://example.com:+80/", "port"),
        ("https://example.com:8_0/", "port"),
        ("https://example.com:\uff18\uff10/", "port"),
        ("https://a..example.com/", "no name that can be looked up"),
        ("https://example.com../", "no name that can be looked up"),
        ("https://-a.example.com/", "no name that can be looked up"),
        ("https://ex%2eample.com/", "no name that can be looked up"),
        ("https://" + "a" * 64 + ".com/", "no name that can be looked up"),
        ("https://" + "a." * 127 + "com/", "no name that can be looked up"),
        ("https://999.1.1.1/", "a number that is no address"),
        ("https://1.2.3.4.5/", "a number that is no address"),
        ("https://4294967296/", "a number that is no address"),
        ("https://08.1.1.1/", "a number that is no address"),
        ("https://a.0x1/", "a number that is no address"),
        ("https://16843009/", "write it as 1.1.1.1"),
        ("https://0x1010101/", "write it as 1.1.1.1"),
        ("https://01.1.257/", "write it as 1.1.1.1"),
        ("https://1.1.1.1./", "write it as 1.1.1.1"),
        ("https://127.1/", "leads to 127.0.0.1, which is no public address"),
        ("https://[::ffff:10.0.0.1]/", "leads to 10.0.0.1, which is no public address"),
        ("https://[fe80::1%25eth0]/", "no IPv6 address"),
        ("https://[v1.x]/", "no IPv6 address"),
        ("https://[::1/", "cannot be read"),
        ("https://localhost/", "name of an inner network"),
        ("https://x.LocalHost./", "name of an inner network"),
        ("https://metadata.google.internal/", "name of an inner network"),
        ("https://printer.local/", "name of an inner network"),
        ("https://router.home.arpa/", "name of an inner network"),
        ("https://rabbitmq:8080/", "name of an inner network"),
        ("https://example.com:22/", "port 22 is that of SSH"),
        ("https://1.1.1.1:6379/", "port 6379 is that of Redis"),
        ("http://example.com/", "use https://"),
        ("http://1.1.1.1/", "use https://"),
        ("http://10.0.0.1/", "leads to 10.0.0.1, which is no public address"),
    ],
)
def test_what_is_refused_and_why(url: str, said: str) -> None:
    found = problem(url, NOTHING)
    assert found is not None
    assert any(one in found for one in said.split("|"))
    assert found.startswith("The URL")
    assert found.endswith(".")
    assert "pw-of" not in found
    found.encode()


@pytest.mark.parametrize(
    ("given_allow", "url", "taken"),
    [
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "https://10.1.2.3:8443/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("10.0.0.0/8", "https://192.168.0.1/", False),
        ("10.0.0.0/8", "http://[::ffff:10.1.2.3]/", True),
        ("10.0.0.0/8:8080", "http://10.1.2.3:8080/", True),
        ("10.0.0.0/8:8080", "http://10.1.2.3/", False),
        ("10.0.0.0/8", "http://10.1.2.3:6379/", False),  # the port is to be named
        ("10.0.0.0/8:6379", "http://10.1.2.3:6379/", True),
        ("[fd00::]/8", "http://[fd12::1]/", True),
        ("[::1]:9000", "http://[::1]:9000/", True),
        ("[::1]:9000", "http://[::1]:9001/", False),
        ("1.1.1.1", "http://1.1.1.1/", True),
        # A name: what it leads to is looked at when it is connected to.
        ("10.0.0.0/8", "http://hooks.example.com/", True),
        ("10.0.0.0/8", "http://n8n:5678/hook", True),
        ("10.0.0.0/8", "https://hooks.internal/", True),
        ("10.0.0.0/8:8080", "http://hooks.example.com/", False),
        ("10.0.0.0/8:8080", "http://hooks.internal:8080/", True),
        ("10.0.0.0/8", "https://hooks.example.com:22/", False),
        ("10.0.0.0/8", "http://localhost:9000/", False),
        ("127.0.0.1:9000", "http://localhost:9000/", True),
        ("[::1]", "http://x.localhost/", True),
    ],
)
def test_what_the_installation_allows(given_allow: str, url: str, taken: bool) -> None:
    assert (problem(url, allow(given_allow)) is None) == taken


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.1/8", "host bits set"),
        ("10.0.0.0/33", "10.0.0.0/33"),
        ("10.0.0.256", "10.0.0.256"),
        ("hooks.internal", "names are not taken"),
        ("fd00::/8", "IPv6 stands in brackets"),
        ("::1", "IPv6 stands in brackets"),
        ("[fd00::/8]", "names are not taken"),
        ("[::1]:0", "a port is 1 to 65535"),
        ("10.0.0.1:65536", "a port is 1 to 65535"),
        ("10.0.0.1:", "10.0.0.1:"),
        ("[::ffff:10.0.0.1]", "write the IPv4 address"),
        ("http://10.0.0.1", "http://10.0.0.1"),
        ("*", "names are not taken"),
    ],
)
def test_entries_that_are_none(text: str, said: str) -> None:
    read, problems = read_allow(f"10.0.0.0/8, {text},, [::1]:9000")
    assert len(read.entries) == 2
    (found,) = problems
    assert said in found
    assert repr(text) in found


def test_nothing_is_allowed_by_nothing() -> None:
    assert read_allow("") == read_allow(" , ") == (NOTHING, [])


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "168.63.129.16", "169.254.169.254"),
        *("172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1"),
        *("198.19.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"),
        *(
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
        ),
        *("3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1"),
    ],
)
def test_what_is_not_public(text: str) -> None:
    assert not is_public(plainest(text))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
        ),
        *("128.0.0.0", "168.63.129.15", "168.63.129.17", "172.15.255.255", "172.32.0.0"),
        *("192.0.1.1", "223.255.255.255", "::ffff:1.1.1.1", "2606:4700::1111", "2001:4860::8888"),
        *("2a00:1450::1", "2003::1"),
    ],
)
def test_what_is_public(text: str) -> None:
    assert is_public(plainest(text))


@given(st.text(), st.sampled_from(["", "https://", "http://", "https://[", "https://a@"]))
@example("0xfg.1", "https://")
@example("0x", "https://")
@example("1" * 400, "https://")
@example("xn--\u00fc.example", "https://")
def test_any_text_is_taken_or_refused(text: str, before: str) -> None:
    found = problem(before + text, NOTHING)
    if found is None:
        host = URL(before + text).raw_host
        assert host is not None
        assert "." in host or ":" in host
    else:
        found.encode()


@given(st.ip_addresses(), st.integers(1, 65_535))
def test_an_address_is_taken_if_it_is_public(address: object, port: int) -> None:
    host = f"[{address}]" if ":" in str(address) else str(address)
    expected = is_public(plainest(str(address))) and port not in NOT_HTTP
    assert (problem(f"https://{host}:{port}/", NOTHING) is None) == expected
