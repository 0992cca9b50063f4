"""A reply's text: what the agent thought, checked, and what code says beside it. Pure."""

from dataclasses import asdict, dataclass
from typing import Any

from handlers.agent.graph import Reply
from handlers.agent.offline import OFFLINE
from handlers.checks.answer import AMOUNT, Checked, checked
from handlers.fixed.texts import Kind
from handlers.rules.choices import Layout, in_words, laid_out
from handlers.rules.cutting import head, units
from handlers.rules.formatting import whatsapp
from handlers.rules.quotes import Quoted
from handlers.rules.reply import fitted
from handlers.turns.inputs import Found, nobody_came, verdicts
from handlers.turns.sale import BODY, above, button, quote_text

BLOCK = "block"  # of chatbots.answer_checks


@dataclass(frozen=True, slots=True)
class Spoken:
    text: str
    is_thought: bool  # as the agent's thread has it
    findings: list[dict[str, Any]]  # for the record
    is_cut: bool  # what the agent thought was, and is said
    layout: Layout | None = None  # of what can be chosen under it
    quoted: Quoted | None = None  # what its button orders


def spoken(found: Found, thought: Reply, line: str = "") -> Spoken:
    """`line` ends the message, where something is to be pressed under it: there is less room for
    a text then. Of any other whoever sends it adds the line."""
    voice = found.voice
    formatted = thought.text if thought.model == OFFLINE else whatsapp(thought.text)
    text, check, replaced = _checked(found, thought, formatted)
    said = [text, *(voice.says(kind) for kind in _beside(found, thought))]
    whole = _joined(*said)
    is_cut = thought.cut and not replaced and text != ""
    layout = None
    offer, quoted = thought.offer, thought.quoted
    if thought.handed_over is not None or (check is not None and check.has(AMOUNT)):
        offer = quoted = None
    if quoted is not None:
        if is_cut:
            whole = fitted(whole, voice.says(Kind.SHORTENED), cut=True)
        under = quote_text(voice, quoted)
        under = _joined(under, head(line, BODY - units(under) - 2))  # a tenant's own may be long
        whole, layout = above(whole, under), button(voice)
        said.append("")
    elif offer is not None:
        layout = laid_out(_joined(whole, line), offer, voice.says(Kind.CHOOSE))
        if layout is not None:
            whole = _joined(whole, line)
        else:
            whole = in_words(whole, offer)
            said.append("")  # which the thread does not have
    return Spoken(
        text=whole,
        layout=layout,
        quoted=quoted,
        is_thought=len(said) == 1 and (check is None or text == formatted),
        findings=[] if check is None else [asdict(finding) for finding in check.findings],
        is_cut=is_cut,
    )


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _checked(found: Found, thought: Reply, text: str) -> tuple[str, Checked | None, bool]:
    """And whether something else is said. `text`: what was thought, as WhatsApp formats it."""
    if thought.model == OFFLINE:
        return text, None, False  # stored answers are sent word for word
    kept = thought.requests and not thought.owed
    check = checked(text, thought.told, "")
    if check.findings:  # of most answers nothing; and in which language to say it takes a look
        instead = found.voice.says(Kind.REQUEST_KEPT if kept else Kind.NOT_DONE)
        check = checked(text, thought.told, instead)
    if found.context.answer_checks != BLOCK or not check.findings:
        return text, check, False
    if check.has(AMOUNT):
        return _instead(found, Kind.NO_AMOUNT, kept=bool(kept)), check, True
    if check.text or thought.handed_over is not None:
        return check.text, check, False
    return _instead(found, Kind.NO_ANSWER, kept=False), check, True


def _instead(found: Found, kind: Kind, *, kept: bool) -> str:
    """Of an answer that is not said. What was decided it would have told, and nobody else will."""
    voice = found.voice
    told = verdicts(found)
    if found.inputs or not told:
        told.append(voice.says(kind))
    if kept:
        told.append(voice.says(Kind.REQUEST_KEPT))
    return "\n\n".join(told)


def _beside(found: Found, thought: Reply) -> list[Kind]:
    """Of what happens with the reply: code tells of it, whatever a model says."""
    kinds = []
    if thought.owed:
        kinds.append(Kind.REQUEST_KEPT)
    if any(nobody_came(event) for event in found.events):
        kinds.append(Kind.HANDBACK)
    if thought.handed_over is not None and thought.model != OFFLINE:
        kinds.append(Kind.HANDOVER)
    return kinds
