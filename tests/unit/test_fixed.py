"""What code says to customers, and in which language."""

import tomllib
from pathlib import Path

import pytest

from handlers.fixed.languages import TEXTS_MAX, language_of, recognised
from handlers.fixed.texts import (
    DETAILS_UNITS,
    PARAMETERS,
    Kind,
    _texts,
    fixed_text,
    is_language,
    languages_spoken,
    problems,
)
from handlers.fixed.voice import Voice
from handlers.rules.cutting import units
from handlers.rules.formatting import whatsapp
from handlers.rules.reply import fits

CHAT = tomllib.loads((Path(__file__).parent / "chat_lines.toml").read_text(encoding="utf-8"))
SPOKEN = ["ar", "de", "en", "es", "fr", "hi", "id", "it", "ja", "nl", "pt", "ru", "tr", "zh"]


# ---- the texts ---------------------------------------------------------------------------------


def test_every_kind_is_in_every_language() -> None:
    assert sorted(languages_spoken()) == SPOKEN
    for kind in Kind:
        assert sorted(_texts()[kind]) == SPOKEN, kind


@pytest.mark.parametrize("language", SPOKEN)
@pytest.mark.parametrize("kind", [*Kind])
def test_a_text_names_its_parameters_and_fits(kind: Kind, language: str) -> None:
    given = {name: f"<{name}>" for name in PARAMETERS.get(kind, ())}
    text = fixed_text(kind, language, **given)
    assert all(value in text for value in given.values())
    assert "{" not in text
    assert problems({kind: {language: _texts()[kind][language]}}) == []
    assert fits(text)
    assert units(text) < 200
    assert whatsapp(text) == text == text.strip()
    others = [fixed_text(kind, other, **given) for other in SPOKEN if other != language]
    assert text not in others


def test_a_text_is_in_the_language_that_it_is_for() -> None:
    for language in SPOKEN:
        found = {language_of(fixed_text(kind, language, details="")) for kind in Kind}
        assert found <= {language, None}, language
        assert language in found


def test_what_a_parameter_holds_is_no_text_of_ours() -> None:
    said = fixed_text(Kind.DENIED, "en", details="{details} {other} *x*")
    assert said == 'Your request "{details} {other} *x*" has been declined.'


# ---- whose text, in which language -------------------------------------------------------------

OWN = {
    "apology": {"pt-BR": "Já volto!", "en": "Back soon!", "eu": "Laster itzuliko naiz."},
    "approved": {"en": "Granted: {details}."},
    "media": "not an object",
    "denied": {"en": 5, "es": " "},
    "no kind": {"en": "x"},
}


@pytest.mark.parametrize(
    ("kind", "languages", "said"),
    [
        (Kind.APOLOGY, ["en"], "Back soon!"),
        (Kind.APOLOGY, ["en-GB"], "Back soon!"),
        (Kind.APOLOGY, ["PT-br"], "Já volto!"),
        (Kind.APOLOGY, ["pt"], "Já volto!"),
        (Kind.APOLOGY, ["pt-PT"], "Já volto!"),
        (Kind.APOLOGY, ["eu"], "Laster itzuliko naiz."),
        (Kind.APOLOGY, ["es"], fixed_text(Kind.APOLOGY, "es")),
        (Kind.APOLOGY, ["xx", "es", "en"], fixed_text(Kind.APOLOGY, "es")),
        (Kind.APOLOGY, ["xx"], "Back soon!"),
        (Kind.APOLOGY, [], "Back soon!"),
        (Kind.SLOW, ["zh-Hant-TW"], fixed_text(Kind.SLOW, "zh")),
        (Kind.MEDIA, ["en"], fixed_text(Kind.MEDIA, "en")),
        (Kind.APPROVED, ["en"], "Granted: rye."),
        (Kind.DENIED, ["es"], fixed_text(Kind.DENIED, "es", details="rye")),
    ],
)
def test_the_tenant_s_own_text_in_the_customer_s_language(
    kind: Kind, languages: list[str], said: str
) -> None:
    assert fixed_text(kind, languages, OWN, details="rye") == said


@pytest.mark.parametrize("own", [None, [], "x", 5, {"apology": None}])
def test_own_texts_that_are_none_are_passed_over(own: object) -> None:
    assert fixed_text(Kind.APOLOGY, "fr", own) == fixed_text(Kind.APOLOGY, "fr")


def test_in_which_language_a_customer_is_spoken_to() -> None:
    hindi = ("क्या आप रविवार को खुले हैं?",)
    assert Voice(chosen="nl", wrote=hindi, otherwise=("fr", "de")).languages == ("nl", "fr", "de")
    assert Voice(wrote=hindi, otherwise=("fr", "de")).languages == ("hi", "fr", "de")
    assert Voice(wrote=("ok",), otherwise=(None, "de")).languages == ("de",)
    assert Voice().says(Kind.SLOW) == fixed_text(Kind.SLOW, "en")
    # Polish is recognised, and not spoken: the chatbot's language comes next.
    polish = Voice(wrote=("Dzień dobry, czy jesteście otwarci?",), otherwise=("de",))
    assert polish.says(Kind.SLOW) == fixed_text(Kind.SLOW, "de")


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (OWN, ["no kind is no text", "media is not an object", "denied.en is not", "denied.es is"]),
        ({"slow": {"en": "Hi {name}"}}, ["slow.en names {name}: it may name nothing"]),
        ({"denied": {"en": "No {name}"}}, ["denied.en names {name}: it may name details"]),
        ({"slow": {"english": "Hi"}}, ["slow.english: 'english' is no language"]),
        ({"slow": {"en": "a\0"}}, ["slow.en is not a text"]),
        ({"slow": {"en": "x" * 4_097}}, ["slow.en has 4097 characters, and may have 4096"]),
        ({"denied": {"en": "{details}" + "x" * 3_900}}, ["denied.en has 4100 characters"]),
        ({"shortened": {"en": "x" * 201}}, ["shortened.en has 201 characters, and may have 200"]),
        ([], ["the texts are not a JSON object"]),
        ({"slow": {"es-419": "Ya vuelvo"}, "denied": {"en": "No: {details}"}}, []),
    ],
)
def test_what_a_tenant_may_not_write(own: object, said: list[str]) -> None:
    found = problems(own)
    assert len(found) == len(said)
    for one in said:
        assert any(problem.startswith(one) for problem in found), (one, found)


@pytest.mark.parametrize(
    ("tag", "good"),
    [
        *((tag, True) for tag in ("en", "pt-BR", "zh-Hant-TW", "fil", "es-419")),
        *((tag, False) for tag in ("EN", "english", "", "e", "en_US", "en-", "en" + "-aa" * 20)),
    ],
)
def test_what_a_language_is(tag: str, good: bool) -> None:
    assert is_language(tag) is good


# ---- which language somebody writes ------------------------------------------------------------


def lines(of: str) -> list[tuple[str, str]]:
    return [(line, language) for language, some in CHAT[of].items() for line in some]


@pytest.mark.parametrize(("of", "share"), [("lines", 0.98), ("unseen", 0.8)])
def test_lines_of_a_chat_are_recognised_or_left_open(of: str, share: float) -> None:
    found = [(line, language, language_of(line)) for line, language in lines(of)]
    assert [one for one in found if one[2] not in (one[1], None)] == []
    assert sum(language == told for _, language, told in found) >= share * len(found)


def test_what_is_in_another_language_is_not_taken_for_one_of_ours() -> None:
    for line, language in lines("others"):
        found = language_of(line)
        assert found in (language, None) or found not in SPOKEN, (line, found)


def test_the_last_text_speaks_first_and_an_unclear_one_asks_the_one_before() -> None:
    assert recognised(["gracias por todo", "thank you very much"]) == "es"
    assert recognised(["thank you very much", "gracias por todo"]) == "en"
    assert recognised(["ok", "👍", "danke, bis morgen"]) == "de"
    assert recognised(["ok"] * TEXTS_MAX + ["danke, bis morgen"]) is None
    assert recognised([]) is None


@pytest.mark.parametrize("text", ["I come at 100 s", "come on", "we come in", "do come"])
def test_an_english_word_that_others_have_is_english_too(text: str) -> None:
    assert recognised([text]) in ("en", None)


def test_our_notes_and_addresses_are_not_the_customer_s_words() -> None:
    assert recognised(["[photo: cannot be opened]"]) is None
    assert recognised(['[in reply to "Are you open on Sunday?"]\nsí, gracias']) == "es"
    assert recognised(["https://the.example/what-is-this"]) is None
    assert recognised(["Luma Bakery Lemon Cake से कितने का है"]) == "hi"


def test_a_text_of_any_size_is_read_in_part() -> None:
    assert recognised(["where is my order? " + "x" * 4_000_000]) == "en"
    assert DETAILS_UNITS < 4_096
