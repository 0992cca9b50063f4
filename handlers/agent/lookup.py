"""Which stored answer the built-in answerer copies. Below a bar an answer is a guess, and within a
margin two rows answer different questions about equally well."""

from collections.abc import Sequence

from handlers.agent.follow_ups import asks_price, refers, telling
from handlers.agent.knowledge import Searched
from handlers.agent.lines import Line
from handlers.agent.prompt import Row
from handlers.rules.amounts import amounts_in
from handlers.rules.cutting import units
from handlers.rules.reply import sentences

# Tuned on the phrasings in tests/agent/test_offline.py.
OFFLINE_BAR = 0.22
OFFLINE_MARGIN = 0.03
TELLING_BAR = 0.10  # of the words that say something, by themselves
SMALL_BAR = 0.45  # of a line that has no such words
LOOKED_AT = 6  # rows
LONG_UNITS = 200
LAST_SENTENCES = 3  # of a long message, each asked by itself


async def rows_for(lines: Sequence[Line], knowledge: Searched) -> list[tuple[Line, Row]]:
    """The rows that answer: each line of the burst by itself, else the burst as a whole."""
    found = [(line, await _of_line(line, knowledge)) for line in lines]
    answered = [(line, row) for line, row in found if row is not None]
    if not answered and len(lines) > 1:
        row = await _best(" ".join(line.question for line in lines), knowledge)
        answered = [(lines[0], row)] if row is not None else []
    return answered


async def _of_line(line: Line, knowledge: Searched) -> Row | None:
    if line.former is None:
        return await _of_message(line.question, knowledge)
    if not refers(line.question) and (row := await _best(line.question, knowledge)) is not None:
        return row
    if (row := await _following(line.question, line.former, knowledge)) is not None:
        return row
    # What says of nothing how much it is has no answer by itself.
    return None if asks_price(line.question) else await _of_message(line.question, knowledge)


async def _following(question: str, former: str, knowledge: Searched) -> Row | None:
    """Of the rows that are about what was asked before, the one that answers this as well."""
    says = telling(question)
    least = TELLING_BAR if says else 0.0 if refers(question) else OFFLINE_BAR
    of_former = await _shares(telling(former) or former, knowledge)
    of_this = await _shares(says or question, knowledge)
    both = [
        (share + of_this.get(row, 0.0), row)
        for row, share in of_former.items()
        if share >= OFFLINE_BAR and of_this.get(row, 0.0) >= least
    ]
    best = _clear(both, 0.0)
    if best is not None and asks_price(question) and not amounts_in(best.answer):
        return None
    return best


async def _of_message(text: str, knowledge: Searched) -> Row | None:
    """Of a long one that as a whole finds nothing: by its last sentences, or else its first."""
    row = await _best(text, knowledge)
    if row is not None or units(text) <= LONG_UNITS:
        return row
    said = sentences(text)
    for sentence in (*said[: -LAST_SENTENCES - 1 : -1], said[0]):
        if (row := await _best(sentence, knowledge)) is not None:
            return row
    return None


async def _best(question: str, knowledge: Searched) -> Row | None:
    """Of the rows that share what the question says, and not only how it is asked."""
    shares, says = await _shares(question, knowledge), telling(question)
    if not says:
        return _clear([(share, row) for row, share in shares.items()], SMALL_BAR)
    about = await _shares(says, knowledge)
    said = [(s, row) for row, s in shares.items() if about.get(row, 0.0) >= TELLING_BAR]
    return _clear(said, OFFLINE_BAR)


async def _shares(question: str, knowledge: Searched) -> dict[Row, float]:
    """By words: what a row means is no reason to copy its answer."""
    return {row: hit.share for row, hit in await knowledge.search(question, LOOKED_AT)}


def _clear(scored: Sequence[tuple[float, Row]], bar: float) -> Row | None:
    hits = sorted(scored, key=lambda one: -one[0])[:2]
    if not hits or hits[0][0] < bar:
        return None
    best = hits[0][1]
    if len(hits) > 1 and hits[0][0] - hits[1][0] < OFFLINE_MARGIN:
        rival = hits[1][1]
        if best.category is None or best.category != rival.category:
            return None
    return best
