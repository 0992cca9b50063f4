"""Where a link of Markdown may begin. Pure.

markdown-it looks from each opening bracket for the one that closes it, and through all that stands
between: of 8,000 brackets it took 0.3 s to find out that none is a link.
"""

from collections.abc import Callable

from markdown_it.rules_inline import StateInline

Rule = Callable[[StateInline, bool], bool]

LABEL_MAX = 1_000  # characters before the address
NESTED_MAX = 8  # brackets in them


def near(rule: Rule) -> Rule:
    """The rule, where an address follows."""

    def only_near(state: StateInline, silent: bool) -> bool:
        end = state.src.find("](", state.pos, state.pos + LABEL_MAX)
        if end < 0 or state.src.count("[", state.pos, end) > NESTED_MAX:
            return False
        return rule(state, silent)

    return only_near
