"""`make nouns`: what can be done with each noun of the API, as a table in docs/testing.md.

Each name in it is an operation that tests/api/test_walk.py calls and that has to answer 2xx.
"""

from ingress.api.endpoints import ENDPOINTS
from ingress.api.nouns import NOUNS, noun_of
from ingress.api.table import AnyEndpoint
from tests.cli import ROOT

DOES = ("create", "read", "change", "delete", "list", "import", "export", "others")
# Beside test_walk.py, which calls every operation.
TESTS = {
    "chatbots": ("chatbots", "claims", "deletions", "ask", "evals", "tools"),
    "knowledge": ("knowledge", "imports"),
    "instructions": ("instructions",),
    "contacts": ("contacts", "spellings", "imports", "erasing"),
    "conversations": ("people", "talks", "versions", "cases"),
    "media": ("media",),
    "actions": ("people", "talks", "versions"),
    "products": ("products", "imports"),
    "orders": ("orders",),
    "templates": ("templates",),
    "campaigns": ("campaigns",),
    "webhooks": ("webhooks", "deliveries"),
    "events": ("events",),
    "usage": ("usage",),
    "subscription": ("plan",),
    "api-keys": ("api_keys",),
    "exports": ("exports",),
    "jobs": ("imports", "exports", "evals"),
}
BEGIN, END = "<!-- nouns: make nouns -->", "<!-- end of nouns -->"


def does(endpoint: AnyEndpoint) -> str:
    last = endpoint.path.rpartition("/")[2]
    if last in ("import", "export"):
        return last
    match endpoint.method:
        case "GET":
            return "read" if last.startswith("{") or not _listed(endpoint) else "list"
        case "PATCH" | "PUT":
            return "change"
        case "DELETE":
            return "delete"
        case _:
            return "create" if 201 in endpoint.statuses or endpoint.begins_job else "others"


def _listed(endpoint: AnyEndpoint) -> bool:
    return endpoint.name.startswith("list_") or "Page" in endpoint.answers.__name__


def table() -> str:
    cells: dict[str, dict[str, list[str]]] = {}
    for endpoint in ENDPOINTS:
        row = cells.setdefault(noun_of(endpoint), {})
        row.setdefault(does(endpoint), []).append(f"`{endpoint.name}`")
    lines = [f"| | {' | '.join(DOES)} | tests |", f"|{'---|' * (len(DOES) + 2)}"]
    for noun in NOUNS:
        if noun in cells:
            told = (", ".join(cells[noun].get(one, ())) for one in DOES)
            files = ", ".join(f"`test_{name}.py`" for name in TESTS[noun])
            lines.append(f"| {noun} | {' | '.join(told)} | {files} |".replace("|  |", "| |"))
    return "\n".join(lines).replace("|  |", "| |")


def main() -> None:
    page = ROOT / "docs" / "testing.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}")


if __name__ == "__main__":
    main()
