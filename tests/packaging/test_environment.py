""".env.example has every variable that is read, with its default, and no other."""

from collections.abc import Iterator, Mapping

from handlers.process.configuration import BadConfiguration, Environment
from ingress import settings as ingress
from tests.packaging import ROOT
from tests.packaging.composing import completed, composed, example
from worker import settings as worker

SERVERS = {
    "DATABASE_URL": "postgresql://u:p@db/x",
    "MIGRATION_DATABASE_URL": "postgresql://o:p@db/x",
    "AMQP_URL": "amqp://u:p@mq/",
    "INGEST_LOG_URL": "postgresql://l:p@db/x",
}


class Watched(Mapping[str, str]):
    """An environment that knows who asked for what."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def read_by_the_product() -> set[str]:
    watched = Watched(completed() | SERVERS)
    ingress.read(watched)
    worker.read(watched)
    env = Environment(watched)  # as the operator's commands do
    env.owner_url(env.database_url())
    env.log_url()
    env.secrets_keys()
    env.check()
    in_database = Watched(completed() | SERVERS | {"INGEST_LOG": "postgres"})
    Environment(in_database).log_url()
    return watched.asked | in_database.asked


def test_every_variable_is_there_and_no_other() -> None:
    _, used = composed(completed())
    ours = read_by_the_product()
    assert set(example()) == ours | set(used)
    # Compose hands on what the product reads, but for what it says itself.
    assert ours - set(used) == {*SERVERS, "HOST", "PORT", "METRICS_PORT"}


def test_what_is_commented_out_is_the_default() -> None:
    values = completed() | SERVERS
    defaults = {name: value for name, (is_set, value) in example().items() if not is_set}
    assert ingress.read(values) == ingress.read(values | defaults)
    assert worker.read(values) == worker.read(values | defaults)


def test_what_has_to_be_filled_in_is_what_is_refused_when_empty() -> None:
    given = {name: value for name, (is_set, value) in example().items() if is_set}
    refused: set[str] = set()
    for read in (ingress.read, worker.read):
        try:
            read(given)
        except BadConfiguration as bad:
            refused |= {problem.split()[0] for problem in bad.problems}
    assert refused == {
        *("DATABASE_URL", "AMQP_URL", "WHATSAPP_APP_SECRET", "WHATSAPP_VERIFY_TOKEN"),
        *("OPENAI_API_KEY", "SECRETS_KEY"),
    }


def test_each_variable_is_explained_and_in_the_readme() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    readme = (ROOT / "README.md").read_text()
    of_the_product = read_by_the_product()
    for name in example():
        at = next(n for n, line in enumerate(lines) if line.lstrip("#").startswith(f"{name}="))
        while lines[at].lstrip("#").partition("=")[0].isupper():
            at -= 1  # several share their explanation
        assert lines[at].startswith("# "), f"{name} is not explained"
        assert name not in of_the_product or f"`{name}`" in readme, name
