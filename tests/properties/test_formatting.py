"""Markdown becomes what WhatsApp shows, and nothing else changes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.rules.formatting import whatsapp
from tests.unit.test_rules import fitted

FAST = settings(max_examples=300, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("It is **open** today", "It is *open* today"),
        ("__Very important__", "*Very important*"),
        ("_soft_ and ~~gone~~", "_soft_ and ~gone~"),
        ("***both***", "_*both*_"),
        ("**a _b_ c**", "*a _b_ c*"),
        ("# Opening **hours**\nMon-Fri", "*Opening hours*\nMon-Fri"),
        ("* one\n* two\n  * three", "- one\n- two\n  - three"),
        ("3. three\n4. four", "3. three\n4. four"),
        ("Cakes:\n\n- **Lemon:** 12\n- Rye", "Cakes:\n\n- *Lemon:* 12\n- Rye"),
        ("[Menu](https://b.example/a_b?q=é)", "Menu (https://b.example/a_b?q=é)"),
        ("[https://b.example](https://b.example)", "https://b.example"),
        ("<https://b.example>", "https://b.example"),
        ("[ada@b.example](mailto:ada@b.example)", "ada@b.example"),
        ("![the cake](https://b.example/c.png)", "the cake (https://b.example/c.png)"),
        ("```python\nx = 2**3\n```", "```\nx = 2**3\n```"),
        ("**b** `a**b` c", "*b* `a**b` c"),
        ("> **quoted**\n> text", "> *quoted*\n> text"),
        (
            "| Cake | Price |\n|---|--:|\n| Lemon | 12 |\n| Rye | 3 |",
            "- Cake: Lemon, Price: 12\n- Cake: Rye, Price: 3",
        ),
        ("one<br>two", "one\ntwo"),
    ],
)
def test_what_markdown_becomes(markdown: str, shown: str) -> None:
    assert whatsapp(markdown) == shown
    assert whatsapp(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "2*3*4 and 2**3**4",
        "file_name_x, __init__.py, a_b_",
        "*bold* _italic_ ~strike~ ```code``` `x`",
        "5 * 3 * 2 = 30",
        "¯\\_(ツ)_/¯",
        "  spaces   stay\n\n\nand empty lines",
        "a | b | c",
        "Price\n---",
        "    not code",
        "[1]: https://b.example",
        "#hashtag 1) a",
        "AT&T <b> 3 < 4",
        "",
        " ",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    assert whatsapp(text) == text


def test_a_very_long_answer_ends_where_one_message_does() -> None:
    long = "**Rye** bread. " * 100_000
    assert len(whatsapp(long)) < 20_000
    assert fitted(whatsapp(long)).startswith("*Rye* bread. *Rye*")


MARKS = [*"`|[!\\<>aé*_", "**", "__", "~~", "```", "|-|-|", "](", ")", "https://b.example"]
markup = st.lists(
    st.sampled_from([*MARKS, "# ", "- ", "1. ", "> ", " ", "\t", "\n", "\n\n"]), max_size=60
).map("".join)


@FAST
@given(markup | st.text(max_size=200))
def test_whatever_a_model_writes_comes_out_bounded_and_not_empty(text: str) -> None:
    shown = whatsapp(text)
    assert len(shown) <= 200 + 50 * len(text)
    assert bool(shown) == bool(text)


@FAST
@given(st.text(alphabet="abc xyz.,!?123\n", max_size=200))
def test_plain_text_is_itself(text: str) -> None:
    words = "\n".join(line for line in text.split("\n") if not line[:1].isdigit())
    assert whatsapp(words) == words


@FAST
@given(st.lists(st.sampled_from(["**", "~~", "word", "two words", " ", "\n", "- "]), max_size=30))
def test_converting_again_changes_no_word(parts: list[str]) -> None:
    once = whatsapp("".join(parts))
    again = whatsapp(once)
    assert [w for w in again if w.isalnum()] == [w for w in once if w.isalnum()]
