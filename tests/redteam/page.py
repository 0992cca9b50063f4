"""The table of docs/red-team.md, made of attacks.toml: `make redteam`."""

from collections.abc import Mapping
from pathlib import Path

from tests.redteam.attack import Attack, attacks

PAGE = Path(__file__).parents[2] / "docs" / "red-team.md"
BEGIN, END = "<!-- made by `make redteam` -->\n", "<!-- to here -->\n"


def table() -> str:
    lines = [
        "| attack | through | the model, obeying | the customer gets | rows |",
        "|" + "---|" * 5,
    ]
    lines += [_line(attack) for attack in attacks()]
    return "\n".join(lines) + "\n"


def _line(attack: Attack) -> str:
    rows = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in attack.leaves.items())
    shown = (attack.name, attack.through, _tries(attack), _gets(attack), rows or "none")
    return f"| {' | '.join(_cell(one) for one in shown)} |"


def _tries(attack: Attack) -> str:
    says = [
        f"calls {one['call']}" if isinstance(one, Mapping) else f"\u201c{one}\u201d"
        for one in attack.obeys
    ]
    return ", then ".join(says)


def _gets(attack: Attack) -> str:
    """Fixed texts by their names."""
    return attack.gets.replace("{", "*").replace("}", "*").replace("\n", " ")


def _cell(text: str) -> str:
    """What is hidden or active in an attack is shown, and does nothing here."""
    plain = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    for char in "\\[]<|":
        plain = plain.replace(char, f"\\{char}" if char != "\\" else "\\\\")
    return plain.replace("://", "&#58;//")


def page(now: str) -> str:
    head, _, rest = now.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}{table()}{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
