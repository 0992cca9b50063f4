"""Databases' URLs as hosters print them."""

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.urls import BadUrl, read
from handlers.process.configuration import left_out
from handlers.rules.brokers import brokers
from local.stack import for_looking

# As the pages of hosters, poolers and frameworks have them; no host of them is asked.
PRINTED = (
    "postgresql://u:p@ep-cool-1.eu-central-1.aws.neon.tech/db?sslmode=require&channel_binding=require",
    "postgresql://u:p@ep-cool-1.neon.tech/db?sslmode=verify-full&sslrootcert=system",
    "postgres://u:p@h/db?options=endpoint%3Dep-cool-1&sslmode=require",
    "postgres://postgres.abc:p@aws-0-eu-1.pooler.supabase.com:6543/postgres?pgbouncer=true",
    "postgres://u:p@h:6543/db?pgbouncer=true&connection_limit=1&pool_timeout=0&schema=public",
    "postgres://u:p@h/db?sslmode=no-verify",
    "postgres://u:p@h/db?ssl=true",
    "postgresql://doadmin:p@x.db.ondigitalocean.com:25060/defaultdb?sslmode=require",
    "postgres://avnadmin:p@pg-1.aivencloud.com:12345/defaultdb?sslmode=require",
    "postgresql://u:p@h1:5432,h2:5433,h3/db?target_session_attrs=read-write&connect_timeout=10",
    "postgresql://u:p@/db?host=h1,h2&port=5432,5433&target_session_attrs=primary",
    "postgresql://u:p@/db?host=/var/run/postgresql",
    "postgresql://u:p@%2Fvar%2Frun%2Fpostgresql/db",
    "postgresql://u:p@[2001:db8::1]:5433,[2001:db8::2]/db",
    "postgresql://u:p@h/db?keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=5",
    "postgresql://u:p@h/db?application_name=mine&fallback_application_name=x&gssencmode=prefer",
    "postgresql://u:p@h/db?connect_timeout=0&sslsni=1&tcp_user_timeout=1000&load_balance_hosts=random",
    "postgresql://u:p@h/db?&sslmode=require&",
    "  postgresql://u:p@h/db  ",
)


@pytest.mark.parametrize("url", PRINTED)
def test_the_driver_takes_what_is_made_of_it(url: str) -> None:
    """Nothing of it is left that the driver would send to the server as a setting."""
    target = read(url)
    assert target.hosts
    assert target.password == "p"
    assert target.database
    _, params, _ = asyncpg.connect_utils._parse_connect_arguments(  # type: ignore[attr-defined]
        dsn=target.dsn or None,
        host=target.hosts[0][0],
        port=target.hosts[0][1],
        user=target.user,
        password=target.password,
        passfile=None,
        database=target.database,
        command_timeout=None,
        statement_cache_size=0,
        max_cached_statement_lifetime=0,
        max_cacheable_statement_size=0,
        ssl=None,
        direct_tls=None,
        server_settings={},
        target_session_attrs=None,
        krbsrvname=None,
        gsslib=None,
        service=None,
        servicefile=None,
    )
    assert params.server_settings == {}
    assert params.user == target.user
    assert params.database == target.database


def test_hosts_in_all_their_forms() -> None:
    assert read(PRINTED[9]).hosts == (("h1", 5432), ("h2", 5433), ("h3", 5432))
    assert read(PRINTED[10]).hosts == (("h1", 5432), ("h2", 5433))
    assert read(PRINTED[11]).hosts == read(PRINTED[12]).hosts == (("/var/run/postgresql", 5432),)
    assert read(PRINTED[13]).hosts == (("2001:db8::1", 5433), ("2001:db8::2", 5432))
    assert read("postgres://h1,h2/db?port=6000").hosts == (("h1", 6000), ("h2", 6000))
    assert read("postgres:///db?host=::1").hosts == (("::1", 5432),)


def test_what_has_an_equivalent_is_translated() -> None:
    assert read(PRINTED[0]).needs_tls
    assert read(PRINTED[1]).trusts_system
    assert read(PRINTED[1]).dsn == ""
    assert read(PRINTED[2]).options == "endpoint=ep-cool-1"
    assert dict(read(PRINTED[5]).parameters) == {"sslmode": "require"}
    assert dict(read(PRINTED[6]).parameters) == {"sslmode": "require"}
    assert read(PRINTED[9]).patience_s == 10
    assert read("postgres://h/d?connect_timeout=600").patience_s == 30
    assert read(PRINTED[16]).patience_s is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (PRINTED[0], "channel_binding=require: the driver has none; sslmode=verify-full"),
        (PRINTED[4], "pgbouncer: is another client's"),
        (PRINTED[14], "keepalives: a dead line is noticed"),
        (PRINTED[15], "application_name: every process names itself"),
        (PRINTED[16], "connect_timeout=0: nothing waits for ever here"),
        ("postgres://h/d?connect_timeout=600", "connect_timeout=600: 30 s are the most"),
        ("postgres://h/d?statement_timeout=0", "statement_timeout: it is no parameter"),
    ],
)
def test_what_is_left_out_is_said_with_its_reason(url: str, said: str) -> None:
    assert any(one.startswith(said) for one in read(url).ignored), read(url).ignored
    told = left_out({"INGEST_LOG_URL": url})
    assert any(one.startswith(f"INGEST_LOG_URL: without {said}") for one in told)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgres://u:pw-of@h/d?sslmode=requierd", "sslmode is none of disable"),
        ("postgres://u:pw-of@h/d?sslmode=", "sslmode is none of disable"),
        ("postgres://u:pw-of@h/d?sslmode=Require", "sslmode is none of disable"),
        ("postgres://u:pw-of@h/d?ssl_mode=require", "ssl_mode is no parameter that is known"),
        ("postgres://u:pw-of@h/d?SSLMODE=require", "SSLMODE is no parameter that is known"),
        ("postgres://u:pw-of@h/d?sslrotcert=x", "sslrotcert is no parameter that is known"),
        ("postgres://u:pw-of@h/d?require_auth=scram-sha-256", "require_auth is no parameter"),
        ("postgres://u:pw-of@h/d?requirepeer=postgres", "requirepeer is no parameter"),
        ("postgres://u:pw-of@h/d?channel_binding=required", "channel_binding is none of"),
        ("postgres://u:pw-of@h/d?chanel_binding=require", "chanel_binding is no parameter"),
        ("postgres://u:pw-of@h/d?gssencmode=require", "gssencmode is none of"),
        ("postgres://u:pw-of@h/d?target_session_attrs=standby", "the product has to write"),
        ("postgres://u:pw-of@h/d?target_session_attrs=prefer-standby", "has to write"),
        ("postgres://u:pw-of@h/d?ssl=true&sslmode=disable", "different things of TLS"),
        ("postgres://u:pw-of@h/d?sslrootcert=system&sslmode=require", "verify-full only"),
        ("postgres://u:pw-of@h/d?connect_timeout=soon", "not a number of seconds"),
        ("postgres://u:pw-of@h:99999/d", "not from 1 to 65535"),
        ("postgres://u:pw-of@h:0/d", "not from 1 to 65535"),
        ("postgres://u:pw/of@h/d", "%2F"),
        ("postgres://u:pw-of@h,h2:x/d", "%2F"),
        ("postgres:///d", "it names no host"),
        ("postgres://u:pw-of@/d?host=a,b&port=1,2,3", "2 hosts and 3 ports"),
        ("postgres://u:pw-of@h/d?sslmode", "name=value"),
        ("mysql://u:pw-of@h/d", "postgresql://"),
        ("u:pw-of@h/d", "postgresql://"),
        ("", "postgresql://"),
    ],
)
def test_what_would_be_weaker_or_nothing_is_refused(url: str, said: str) -> None:
    with pytest.raises(BadUrl, match=said) as caught:
        read(url)
    assert "pw-of" not in str(caught.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(BadUrl) as caught:
        read("postgres://h:x/d?sslmode=maybe&gssencmode=require&connect_timeout=x")
    assert len(caught.value.problems) == 4


@given(st.text(max_size=60))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    for url in (text, f"postgres://{text}", f"postgres://h/d?{text}", f"postgres://u:{text}@h/d"):
        try:
            target = read(url)
        except BadUrl:
            continue
        assert all(host and 0 < port < 65_536 for host, port in target.hosts)


def test_passwords_with_any_characters() -> None:
    assert read("postgres://u:a%40b%2F%3A%23@h/d").password == "a@b/:#"
    assert read("postgres://u:a#b@h/d").password == "a#b"
    assert read("postgres://u:a@b@h/d").password == "a@b"
    assert "secret" not in repr(read("postgres://u:secret@h/d"))


@pytest.mark.parametrize("url", PRINTED)
def test_the_development_page_can_look_into_a_hoster_s_database(url: str) -> None:
    looking = for_looking(url)
    for other in ("channel_binding", "connect_timeout", "pgbouncer", "keepalives", "options"):
        assert other not in looking
    assert ("sslmode=require" in looking) == ("sslmode=require" in url)


# ---- brokers -------------------------------------------------------------------------------------


def test_brokers_are_told_apart_by_commas() -> None:
    assert brokers("amqp://u:p,w@a/, amqps://b:1/v ,amqp://c") == [
        *("amqp://u:p,w@a/", "amqps://b:1/v", "amqp://c")
    ]
    assert brokers("amqp://a/,") == ["amqp://a/"]
    assert brokers(" ,amqp://a") == ["amqp://a"]
