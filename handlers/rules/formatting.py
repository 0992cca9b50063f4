"""From the Markdown that models write to what WhatsApp shows: *bold*, _italic_, ~strike~,
```code```, `code`, lists and quotes. Pure.

A text without anything to convert comes back as it is, to the character: so stars in "2*3*4" and
underscores in file_name_x survive, and so does what is in WhatsApp's own form already.
"""

import re
from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_inline import image, link
from markdown_it.tree import SyntaxTreeNode

from handlers.rules.brackets import near
from handlers.rules.emphasis import (
    CLOSING,
    OPENING,
    bare,
    is_operator,
    is_shown,
    placed,
    tokenize,
    tokenize_strike,
    without_strays,
)

# A reply has 4,096 characters; markup is at most a few times as long as what it marks.
MAX_SOURCE = 20_000
MAX_LABEL = 40  # of a table's column: beyond that a cell stands without it
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)

# Not: indented code and underlined headings, which people write without meaning them; references,
# which would vanish. The tree is at most 20 deep.
_PARSER = (
    MarkdownIt("commonmark", {"html": False})
    .enable(["table", "strikethrough"])
    .disable(["code", "lheading", "reference", "html_block", "html_inline"])
)
_PARSER.inline.ruler.at("emphasis", tokenize)
_PARSER.inline.ruler.at("strikethrough", tokenize_strike)
for _name, _rule in (("link", link), ("image", image)):
    _PARSER.inline.ruler.at(_name, near(_rule))
_PARSER.normalizeLink = lambda url: url  # type: ignore[method-assign]  # as the model wrote it
_PARSER.normalizeLinkText = lambda link: link  # type: ignore[method-assign]

# What WhatsApp shows as Markdown means it, or as plain text.
_AS_IT_IS = {"root", "paragraph", "inline", "text", "softbreak", "em", "code_inline", "fence"}


def whatsapp(text: str) -> str:
    """Idempotent but for exotic nestings; never empty for a text that is not."""
    source = bare(text[:MAX_SOURCE])
    tree = SyntaxTreeNode(_PARSER.parse(source))
    if not any(_converts(node) for node in tree.walk()):
        return text
    return placed(_Renderer(source).blocks(tree.children)).strip() or text


def _converts(node: SyntaxTreeNode) -> bool:
    match node.type:
        case "fence":
            return bool(node.info) or node.markup[0] != "`"
        case "text":
            return _BREAK.search(node.content) is not None or (
                without_strays(node.content) != node.content
            )
        case "em":
            breaks = any(child.type in ("softbreak", "hardbreak") for child in node.walk())
            return not _is_literal(node) and (breaks or not is_shown(*_around(node)))
        case _:
            return node.type not in _AS_IT_IS


class _Renderer:
    def __init__(self, source: str) -> None:
        self._lines = re.split(r"\r\n?|\n", source)

    def blocks(self, nodes: Sequence[SyntaxTreeNode]) -> str:
        """One below the other, with an empty line where the source has one."""
        out = ""
        for node in nodes:
            block = self._block(node)
            if out:
                out += "\n\n" if self._gap_before(node) else "\n"
            out += block
        return out

    def _gap_before(self, node: SyntaxTreeNode) -> bool:
        above = node.map[0] - 1 if node.map else 0
        return above < len(self._lines) and not self._lines[above].strip(" \t>")

    def _block(self, node: SyntaxTreeNode) -> str:
        match node.type:
            case "heading":
                words = _inlines(node.children, in_bold=True).strip()
                return _marked("*", words) if words else ""
            case "fence":
                return f"```\n{node.content.rstrip()}\n```"
            case "bullet_list":
                return "\n".join(self._item("- ", item) for item in node.children)
            case "ordered_list":
                first = int(node.attrs.get("start", 1))
                return "\n".join(
                    self._item(f"{first + n}. ", item) for n, item in enumerate(node.children)
                )
            case "blockquote":
                lines = self.blocks(node.children).split("\n")
                return "\n".join(f"> {line}" if line else ">" for line in lines)
            case "table":
                return _table(node)
            case "hr":
                return "---"
            case _:
                return _inlines(node.children)

    def _item(self, marker: str, item: SyntaxTreeNode) -> str:
        lines = self.blocks(item.children).split("\n")
        below = [f"  {line}" if line else "" for line in lines[1:]]
        return "\n".join([marker + lines[0], *below])


def _table(node: SyntaxTreeNode) -> str:
    """A line for each row: "- Cake: Lemon, Price: 12"."""
    rows = [
        [_inlines(cell.children).strip() for cell in row.children]
        for part in node.children
        for row in part.children
    ]
    labels = [bare(label).strip() if len(label) <= MAX_LABEL else "" for label in rows[0]]
    if len(rows) == 1:
        return ", ".join(rows[0])
    lines = []
    for row in rows[1:]:
        cells = [
            f"{label}: {cell}" if label else cell
            for label, cell in zip(labels, row, strict=True)
            if cell
        ]
        lines.append("- " + ", ".join(cells))
    return "\n".join(lines)


def _inlines(nodes: Sequence[SyntaxTreeNode], *, in_bold: bool = False) -> str:
    return "".join(_inline(node, in_bold) for node in nodes)


def _inline(node: SyntaxTreeNode, in_bold: bool) -> str:
    match node.type:
        case "inline":
            return _inlines(node.children, in_bold=in_bold)
        case "text":
            return _BREAK.sub("\n", without_strays(node.content))
        case "softbreak" | "hardbreak":
            return "\n"
        case "code_inline":
            return f"`{node.content}`"
        case "strong":
            words = _inlines(node.children, in_bold=True)
            if _is_literal(node):
                return f"{node.markup}{words}{node.markup}"
            return words if in_bold else _marked("*", words)
        case "em":
            words = _inlines(node.children, in_bold=in_bold)
            if _is_literal(node):
                return f"{node.markup}{words}{node.markup}"
            nested = in_bold or any(child.type == "strong" for child in node.walk())
            return _marked("_" if nested else node.markup, words)
        case "s":
            return _marked("~", _inlines(node.children, in_bold=in_bold))
        case "link":
            return _link(_inlines(node.children, in_bold=in_bold).strip(), node.attrs["href"])
        case "image":
            return _link(node.content.strip(), node.attrs["src"])
        case _:
            return node.content


def _marked(mark: str, words: str) -> str:
    return f"{OPENING[mark]}{words}{CLOSING[mark]}"


def _is_literal(node: SyntaxTreeNode) -> bool:
    """No emphasis, though it looks like one: 2**3**4, __init__.py."""
    before, after = _text_of(node.previous_sibling), _text_of(node.next_sibling)
    words = "".join(_text_of(child) for child in node.walk())
    if node.markup == "__":
        return bool(_IDENTIFIER.fullmatch(words)) and after[:1] in (".", "(")
    return "*" in node.markup and (is_operator(before, words) or is_operator(words, after))


def _around(node: SyntaxTreeNode) -> tuple[str, str]:
    return _text_of(node.previous_sibling)[-1:], _text_of(node.next_sibling)[:1]


def _text_of(node: SyntaxTreeNode | None) -> str:
    return node.content if node is not None and node.type == "text" else ""


def _link(words: str, url: Any) -> str:
    address = str(url).removeprefix("mailto:").removeprefix("tel:")
    return (
        str(url) if words == url else address if words in ("", address) else f"{words} ({address})"
    )
