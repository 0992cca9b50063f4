"""The table of docs/plans.md, made of the code: `make plans`."""

from pathlib import Path

from handlers.plan_places import table

PAGE = Path(__file__).parents[1] / "docs" / "plans.md"
BEGIN, END = "<!-- made by `make plans` -->\n", "<!-- to here -->\n"


def page(now: str) -> str:
    """With the table as the code has it."""
    head, _, rest = now.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}{table()}{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
