"""The environment: everything that is wrong is told at once, and no secret is."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from handlers.outbound.addresses import Allow
from handlers.process.configuration import BadConfiguration
from handlers.process.http.bounds import Bounds
from ingress import settings as ingress
from worker import settings as worker

INGRESS = {
    "DATABASE_URL": "postgresql://swift:pw-of-database@db.example/swiftreplies",
    "AMQP_URL": "amqp://swift:pw-of-broker@mq.example/",
    "WHATSAPP_APP_SECRET": "secret-of-app",
    "WHATSAPP_VERIFY_TOKEN": "token-to-verify",
    "SECRETS_KEY": "key-of-all-secrets-at-rest",
}
WORKER = {
    "DATABASE_URL": INGRESS["DATABASE_URL"],
    "AMQP_URL": INGRESS["AMQP_URL"],
    "OPENAI_API_KEY": "key-of-model",
    "SECRETS_KEY": "key-of-all-secrets-at-rest",
}
Read = Callable[[Mapping[str, str]], Any]


def problems(read: Read, values: Mapping[str, str]) -> list[str]:
    with pytest.raises(BadConfiguration) as caught:
        read(values)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def names(read: Read, values: Mapping[str, str]) -> list[str]:
    return sorted(problem.split()[0] for problem in problems(read, values))


def test_the_ingress_names_all_that_is_missing() -> None:
    assert names(ingress.read, {}) == sorted(INGRESS)
    assert names(ingress.read, dict.fromkeys(INGRESS, "  ")) == sorted(INGRESS)


def test_the_worker_names_all_that_is_missing() -> None:
    assert names(worker.read, {}) == sorted(WORKER)


def test_missing_and_malformed_are_told_together() -> None:
    bad = {
        "DATABASE_URL": "mysql://swift:pw-of-database@db.example/",
        "AMQP_URL": "amqp://swift:pw-of-broker@:99999999/",
        "WHATSAPP_APP_SECRET": " , ,",
        "PORT": "65536",
        "LOG_LEVEL": "loud",
        "LOG_FORMAT": "xml",
        "INGEST_LOG": "kafka",
    }
    found = problems(ingress.read, bad)
    assert sorted(p.split()[0] for p in found) == sorted(
        [*bad, "SECRETS_KEY", "WHATSAPP_VERIFY_TOKEN"]
    )
    assert "pw-of" not in "\n".join(found)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("amqp://u:pw-of@a/,amqp://u:pw-of@:x/", "AMQP_URL (number 2 of 2) is not a valid URL"),
        ("amqp://u:pw-of@a/,amqp://u:pw-of@b/, ,", None),
        ("amqp://u:pw-of@a,b/", "AMQP_URL has a comma in it: of several brokers each has"),
        ("amqp://u:pw-of@a/,http://b", "AMQP_URL has a comma in it"),
        (",", "AMQP_URL has only commas in it"),
    ],
)
def test_each_of_several_brokers_is_looked_at(value: str, said: str | None) -> None:
    bad = {**INGRESS, "AMQP_URL": value}
    if said is None:
        assert ingress.read(bad).log_url == value
        return
    (problem,) = problems(ingress.read, bad)
    assert problem.startswith(said)
    assert "pw-of" not in problem


def test_the_log_in_postgresql_has_a_login_of_its_own() -> None:
    chosen = {**INGRESS, "INGEST_LOG": "postgres"}
    assert ingress.read(chosen).log_url == INGRESS["DATABASE_URL"]
    own = "postgresql://log:pw-of@db.example/swiftreplies"
    assert ingress.read({**chosen, "INGEST_LOG_URL": own}).log_url == own
    assert names(ingress.read, {**chosen, "INGEST_LOG_URL": "amqp://x"}) == ["INGEST_LOG_URL"]
    assert ingress.read({**INGRESS, "INGEST_LOG_URL": "amqp://x"}).log_url == INGRESS["AMQP_URL"]


def test_the_worker_tells_everything_together() -> None:
    bad = {
        "DATABASE_URL": "db.example",
        "AMQP_URL": "amqp://",
        "SECRETS_KEY": "short-key",
        "OPENAI_BASE_URL": "localhost:8080",
        "WHATSAPP_API_URL": "ftp://graph.example",
        "METRICS_PORT": "-1",
        "SEND_UNKNOWN_MS": "1s",
        "DEBOUNCE_MS": "9000",
        "DEBOUNCE_MAX_MS": "8000",
    }
    found = problems(worker.read, bad)
    expected = [*(set(bad) - {"DEBOUNCE_MS"}), "OPENAI_API_KEY"]
    assert sorted(p.split()[0] for p in found) == sorted(expected)
    assert "short-key" not in "\n".join(found)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h:port/db",
        "postgresql:///db",
        "postgresql://[::1/db",
        "http://h/db",
        "h:5432",
        "//h/db",
    ],
)
def test_a_database_url_is_checked(url: str) -> None:
    assert names(ingress.read, INGRESS | {"DATABASE_URL": url}) == ["DATABASE_URL"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///db?host=/run/postgresql",
        "postgres://u@h/db",
        "postgresql://u:p@[::1]:5433/db?sslmode=require",
    ],
)
def test_a_good_database_url_is_taken_as_it_is(url: str) -> None:
    assert ingress.read(INGRESS | {"DATABASE_URL": url}).database_url == url


def test_the_ingress_has_defaults() -> None:
    read = ingress.read(INGRESS | {"PORT": "", "LOG_LEVEL": " "})
    assert (read.host, read.port, read.log_level, read.log_format) == (
        *("0.0.0.0", 8080, "info", "json"),
    )
    assert read.app_secrets == ("secret-of-app",)


def test_the_worker_has_defaults() -> None:
    read = worker.read(WORKER)
    assert read.graph_url == "https://graph.facebook.com"
    assert read.graph_version == "v25.0"
    assert (read.debounce, read.debounce_max) == (
        *(timedelta(milliseconds=1_500), timedelta(milliseconds=8_000)),
    )
    assert read.send_unknown == timedelta(minutes=1)
    assert read.metrics_port is None
    assert read.shared_token is None
    assert read.openai_url is None


def test_a_rotation_lists_new_and_old() -> None:
    read = ingress.read(INGRESS | {"WHATSAPP_APP_SECRET": " new , old ,"})
    assert read.app_secrets == ("new", "old")
    keys = worker.read(WORKER | {"SECRETS_KEY": "a" * 16 + "," + "b" * 16}).secrets_keys
    assert keys == ("a" * 16, "b" * 16)
    with pytest.raises(BadConfiguration, match="SECRETS_KEY is shorter than 16"):
        worker.read(WORKER | {"SECRETS_KEY": "a" * 16 + ",b"})


def test_case_does_not_matter_for_the_log_level() -> None:
    assert ingress.read(INGRESS | {"LOG_LEVEL": "WARNING"}).log_level == "warning"


def test_port_zero_is_any_port() -> None:
    assert ingress.read(INGRESS | {"PORT": "0"}).port == 0
    assert worker.read(WORKER | {"METRICS_PORT": "0"}).metrics_port == 0


@pytest.mark.parametrize("port", ["-1", "65536", "80.0", "http", "1e3", "99999999999999999999"])
def test_a_port_is_a_number(port: str) -> None:
    assert names(ingress.read, INGRESS | {"PORT": port}) == ["PORT"]


@pytest.mark.parametrize(("read", "values"), [(ingress.read, INGRESS), (worker.read, WORKER)])
def test_what_urls_of_tenants_may_lead_to(read: Read, values: dict[str, str]) -> None:
    assert read(values).outbound_allow == Allow()
    found = read(values | {"OUTBOUND_ALLOW": " 10.0.0.0/8, [::1]:9000,"}).outbound_allow
    assert [(str(one.network), one.port) for one in found.entries] == [
        ("10.0.0.0/8", None),
        ("::1/128", 9000),
    ]
    bad = problems(read, values | {"OUTBOUND_ALLOW": "10.0.0.1/8,10.0.0.0/8,n8n", "LOG_LEVEL": "x"})
    assert [problem.split()[0] for problem in bad] == ["LOG_LEVEL", *["OUTBOUND_ALLOW"] * 2]
    assert "'n8n', which is no address or network like 10.0.0.0/8" in bad[2]


def test_no_model_key_is_fine_only_when_that_is_said() -> None:
    keyless = {k: v for k, v in WORKER.items() if k != "OPENAI_API_KEY"}
    (problem,) = problems(worker.read, keyless)
    assert "OPENAI_MODEL=offline" in problem
    assert names(worker.read, keyless | {"OPENAI_MODEL": "gpt-x"}) == ["OPENAI_API_KEY"]
    offline = keyless | {"OPENAI_MODEL": "offline"}
    assert worker.read(offline).openai_key is None
    assert worker.read(offline | {"EMBEDDING_MODEL": " "}).embedding_model is None
    assert names(worker.read, offline | {"EMBEDDING_MODEL": "e"}) == ["OPENAI_API_KEY"]
    assert worker.read(WORKER | {"EMBEDDING_MODEL": "e"}).embedding_model == "e"
    assert worker.read(offline).transcription_model is None
    assert names(worker.read, offline | {"TRANSCRIPTION_MODEL": "t"}) == ["OPENAI_API_KEY"]
    assert worker.read(WORKER | {"TRANSCRIPTION_MODEL": "t"}).transcription_model == "t"


def test_a_debounce_of_nothing_is_possible() -> None:
    read = worker.read(WORKER | {"DEBOUNCE_MS": "0", "DEBOUNCE_MAX_MS": "0"})
    assert read.debounce == read.debounce_max == timedelta()


@pytest.mark.parametrize(("read", "values"), [(ingress.read, INGRESS), (worker.read, WORKER)])
def test_settings_do_not_print_secrets(read: Read, values: dict[str, str]) -> None:
    shown = repr(read(values | {"WHATSAPP_ACCESS_TOKEN": "token-shared"}))
    for secret in ("pw-of", "secret-of", "token-", "key-of"):
        assert secret not in shown


def test_a_log_in_postgresql_needs_no_broker() -> None:
    """And the broker's URL is not even looked at: what is chosen is INGEST_LOG's to say."""
    for read, values in ((ingress.read, INGRESS), (worker.read, WORKER)):
        for broker in ("", values["AMQP_URL"], "nonsense"):
            chosen = {**values, "AMQP_URL": broker, "INGEST_LOG": "postgres"}
            assert read(chosen).log_url == values["DATABASE_URL"]
        assert read(values).log_url == values["AMQP_URL"]
        lacking = {k: v for k, v in values.items() if k not in ("AMQP_URL", "DATABASE_URL")}
        assert names(read, {**lacking, "INGEST_LOG": "postgres"}) == ["DATABASE_URL"]


def test_proxies_are_networks() -> None:
    assert ingress.read(INGRESS).trusted_proxies == Bounds().trusted
    one = ingress.read(INGRESS | {"TRUSTED_PROXIES": " 192.0.2.7, 2001:db8::/32"}).trusted_proxies
    assert [str(network) for network in one] == ["192.0.2.7/32", "2001:db8::/32"]
    assert ingress.read(INGRESS | {"TRUSTED_PROXIES": "none"}).trusted_proxies == ()
    for bad in ("10.0.0.1/8", "proxy", "10.0.0.0/40", "10.0.0.0/8,,", "none,10.0.0.0/8", "1/2/3"):
        (problem,) = problems(ingress.read, INGRESS | {"TRUSTED_PROXIES": bad})[:1]
        assert problem.startswith("TRUSTED_PROXIES has ")
        assert "10.0.0.0/8" in problem


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://files", None),
        ("s3://files/a/b?endpoint=http://127.0.0.1:9000&region=eu-1", None),
        ("s3://key:pw-of@files/a", "credentials belong in AWS_ACCESS_KEY_ID"),
        ("s3://files/a?secret=pw-of", "credentials belong in AWS_ACCESS_KEY_ID"),
        ("s3://files/a?endpoint=https://key:pw-of@s3.example.com", "credentials in its endpoint"),
        ("s3://files/a?endpoint=s3.example.com", "has an endpoint that is not like"),
        ("s3://files/a?endpoint=https://s3.example.com/more", "has an endpoint that is not like"),
        ("s3://files/a?endpoint=https://s3.example.com:x", "has an endpoint that is not like"),
        ("s3:///a", "names no bucket"),
        ("s3://Files/a", "names no bucket"),
        ("s3://files/a/../b", "has a prefix with more in it"),
        ("s3://files/a?region=Here!", "has a region that is none"),
        ("gs://files/a", "is not a URL like file:///path or s3://"),
    ],
)
def test_a_bucket_is_named_by_a_url_without_secrets(url: str, said: str | None) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "pw-of-bucket"}
    for read, values in ((ingress.read, INGRESS), (worker.read, WORKER)):
        if said is None:
            settings = read({**values, **keys, "MEDIA_STORE": url})
            assert settings.media_keys is not None
            assert "pw-of" not in repr(settings)
            assert names(read, {**values, "MEDIA_STORE": url}) == sorted(keys)
        else:
            (problem,) = problems(read, {**values, **keys, "MEDIA_STORE": url})
            assert problem.startswith("MEDIA_STORE ")
            assert said in problem
            assert "pw-of" not in problem
