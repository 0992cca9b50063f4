"""`swiftreplies doctor` asks the model's server one tiny question."""

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
