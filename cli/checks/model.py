"""`swiftreplies doctor` asks the model's server one tiny question, and the embedding model's, if
there is one, for one vector."""

from collections.abc import Mapping

import aiohttp

from cli.checks.check import Check, failed, ok, warning
from handlers.process.configuration import BadConfiguration
from worker import settings as worker_settings


async def model(values: Mapping[str, str]) -> list[Check]:
    """Some hundred tokens; nothing for the offline answerer."""
    try:
        settings = worker_settings.read(values)
    except BadConfiguration:
        return []  # said above
    if settings.openai_key is None or settings.openai_model == worker_settings.OFFLINE_MODEL:
        return []
    # The model's client takes seconds to load, which the other checks need not wait for.
    from handlers.agent.answerer import Kind, NoAnswer
    from handlers.agent.completions.dialect import Concession
    from handlers.agent.model import Model
    from handlers.agent.probe import probe

    async with aiohttp.ClientSession(auto_decompress=False, trust_env=False) as session:
        asked = Model.create(
            settings.openai_model, settings.openai_key, settings.openai_url, session
        )
        none: NoAnswer | None = await probe(asked)
    name = f"{settings.openai_model} at {asked.client.root_async_client.base_url}"
    if none is not None and none.kind is Kind.LATER:
        return [failed("model", f"{name} does not answer ({none.word}): look at its server")]
    if none is not None:
        return [failed("model", f"{name}: {_to_do(none.word)}")]
    checks = [ok("model", f"{name} answers")]
    for concession in Concession:
        if concession in asked.concessions:
            say = warning if concession is Concession.NO_TOOLS else ok
            checks.append(say("model", f"{concession}; it gets that"))
    return checks


def _to_do(word: str) -> str:
    return {
        "http_401": "the key is refused: see OPENAI_API_KEY",
        "http_402": "the account has no credit left",
        "http_403": "the key may not use it: see OPENAI_API_KEY",
        "http_404": "there is no such model or address: see OPENAI_MODEL and OPENAI_BASE_URL",
        "http_405": "the address is another one: see OPENAI_BASE_URL",
    }.get(word, f"refuses a question ({word}): see docs/models.md")


async def embedding_model(values: Mapping[str, str]) -> list[Check]:
    """Some tokens. A model that is away is no failure: rows are found by their words then."""
    try:
        settings = worker_settings.read(values)
    except BadConfiguration:
        return []  # said above
    if settings.embedding_model is None or settings.openai_key is None:
        return []
    from handlers.agent.embedding import PLAIN_TEXT, Embedder, NotEmbedded

    async with aiohttp.ClientSession(trust_env=False) as session:
        asked = Embedder.create(
            settings.embedding_model, settings.openai_key, settings.openai_url, session
        )
        name = f"{asked.model} at {asked.url}"
        try:
            found = await asked.embed([PLAIN_TEXT])
        except NotEmbedded as error:
            return [
                warning(
                    "embedding model",
                    f"{name} makes no vectors ({error}), so that rows are found by their words"
                    " alone: see EMBEDDING_MODEL and OPENAI_BASE_URL",
                )
            ]
    return [ok("embedding model", f"{name} makes vectors of {len(found.vectors[0])} numbers")]
