"""A model of texts' meaning behind OpenAI's /embeddings: a toy, deterministic, of some languages.

A text is the sum of its words' directions. Words that mean the same have the same direction, in
whatever language; others have one by their letters, so that a typo is near.
"""

import hashlib
import math
import re
import unicodedata
from typing import Any

from aiohttp import web

from simulator.model import bearer, parsed, refusal
from simulator.state import STATE

DIMENSIONS = 96
INPUTS_MAX = 2_048
TEXT_CHARS = 32_000
# A line a meaning: English, Spanish, German, Arabic.
_MEANINGS = """
open opening hours horario abierto abren abrir geoeffnet offen oeffnungszeiten مفتوح تفتحون
close closed closing cierran cerrado schliessen geschlossen مغلق
deliver delivery shipping ship entrega entregan envian envio liefern lieferung versand توصيل
price cost costs much cuesta precio cuanto kostet preis kosten سعر
pay payment card pagar pago tarjeta bezahlen zahlung karte دفع بطاقة
park parking car aparcar aparcamiento coche parken parkplatz auto موقف سيارة
return refund money back devolver devolucion reembolso zurueckgeben rueckgabe geld استرجاع
cake cakes tarta pastel torte kuchen كعكة
bread pan brot خبز
wedding boda hochzeit زفاف
sunday sundays domingo domingos sonntag sonntags الاحد
where donde wo اين
when cuando wann متى
allergy allergic nuts nueces alergia alergico allergie nuesse مكسرات
"""
_COMMON = frozenset(
    [
        "the",
        "a",
        "an",
        "is",
        "are",
        "do",
        "does",
        "you",
        "your",
        "i",
        "we",
        "to",
        "of",
        "on",
        "for",
        "it",
        "in",
        "can",
        "my",
        "el",
        "la",
        "los",
        "las",
        "un",
        "una",
        "es",
        "son",
        "de",
        "en",
        "se",
        "su",
        "mi",
        "para",
        "der",
        "die",
        "das",
        "ein",
        "eine",
        "ist",
        "sind",
        "ihr",
        "sie",
        "ich",
        "wir",
        "zu",
        "auf",
        "fuer",
        "in",
        "und",
        "y",
        "and",
    ]
)
_PLACES = {
    word: place
    for place, line in enumerate(_MEANINGS.strip().splitlines())
    for word in line.split()
}


async def embed(request: web.Request) -> web.Response:
    state = request.app[STATE]
    if not bearer(request):
        return refusal(401, "You didn't provide an API key.")
    settings = state.settings
    body = parsed(await request.read())
    texts = _texts(body)
    await state.pause(settings.embedding_latency_ms)
    status, problem = 200, None
    if texts is None:
        status, problem = 400, "'input' must be a text or a list of texts."
    elif settings.embedding_status != 200:
        status, problem = settings.embedding_status, "Scripted by the simulator."
    elif any(_refuses(settings.embedding_refuses, text) for text in texts):
        status, problem = 400, "This model's maximum context length is 8192 tokens."
    state.journal.add("embedding", request=body, status=status, answer=problem)
    if texts is None or problem is not None:
        return refusal(status, problem or "")
    data = [
        {"object": "embedding", "index": place, "embedding": vector_of(text)}
        for place, text in enumerate(texts)
    ]
    tokens = sum(1 + len(text) // 4 for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return web.json_response(
        {"object": "list", "data": data, "model": body["model"], "usage": usage}
    )


def _texts(body: Any) -> list[str] | None:
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        return None
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 0 < len(texts) <= INPUTS_MAX:
        return None
    return texts if all(isinstance(text, str) and text for text in texts) else None


def _refuses(fits: "re.Pattern[str] | None", text: str) -> bool:
    return len(text) > TEXT_CHARS or (fits is not None and fits.search(text) is not None)


def vector_of(text: str) -> list[float]:
    total = [0.0] * DIMENSIONS
    for word in re.findall(r"\w+", _plain(text)):
        if word not in _COMMON:
            direction = _direction(word)
            total = [a + b for a, b in zip(total, direction, strict=True)]
    length = math.sqrt(sum(x * x for x in total))
    if not length:
        return _direction("?")
    return [round(x / length, 6) for x in total]


def _direction(word: str) -> list[float]:
    place = _PLACES.get(word)
    if place is not None:
        return _random(f"meaning {place}")
    grams = [f"^{word}$"[i : i + 3] for i in range(len(word))]
    sums = [sum(column) for column in zip(*(_random(gram) for gram in grams), strict=True)]
    length = math.sqrt(sum(x * x for x in sums)) or 1.0
    return [x / length for x in sums]


def _random(seed: str) -> list[float]:
    """Of length 1, about at right angles to every other."""
    data = b"".join(hashlib.sha256(f"{seed} {n}".encode()).digest() for n in range(3))
    values = [byte - 127.5 for byte in data[:DIMENSIONS]]
    length = math.sqrt(sum(x * x for x in values))
    return [x / length for x in values]


def _plain(text: str) -> str:
    text = text.lower().replace("ä", "ae").replace("ö", "oe").replace("ü", "ue").replace("ß", "ss")
    parts = unicodedata.normalize("NFKD", text)
    return "".join(c for c in parts if not unicodedata.combining(c))
