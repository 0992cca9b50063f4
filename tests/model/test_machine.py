"""Many short histories in which anything may happen at any moment.

The same in every run, but for who gets a lock first, after which anything may be different: a run
goes on until all that it must have seen has happened, up to four times its length.

To look further: MODEL_SEED=1000 MODEL_EXAMPLES=200, with a first seed of
your choice; one or two seconds each. A failure names the history's own seed, and MODEL_SHRINK=1
makes it shorter, which takes minutes.
"""

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import Database
from tests.model.machine import Log, Machine, World
from tests.model.product import Connections
from tests.model.stepping import VirtualClock
from tests.recording import plainly_logged

SEED = int(os.environ.get("MODEL_SEED", "0"))
HISTORIES = int(os.environ.get("MODEL_EXAMPLES", "16"))
SHRINK = bool(os.environ.get("MODEL_SHRINK"))
STEPS = 50

# A run in which one of these never happened says nothing about it.
SEEN = (
    *("written again", "batch again", "limit reached", "waited for a lock"),
    *(
        "turn replied",
        "turn silent",
        "turn apologised",
        "turn put_off",
        "turn failed",
        "turn lost_lease",
    ),
    *("send accepted", "send unknown", "send retry", "send failed", "sent again"),
    *("unknown resent", "status before the answer", "commit lost", "commit unheard"),
    *("swept conversation", "swept message", "let go", "killed with work in hand"),
    *("said by a person: human", "said by a person: echo", "person: hand back"),
    *("replayed", "replay released", "replay: not dead"),
    *("written: wish", "written: stop", "notice: opted_out"),
    *(f"{kind} {when} its turn" for kind in ("edit", "revoke") for when in ("before", "after")),
    *(
        "model: asks for 20",
        "model: asks, then fails",
        "model: remembers",
        "model: calls nonsense",
        "answered offline",
    ),
    *("action: requested", "action: approved", "action: denied", "action: expired"),
    *("action: approves more", "action: approved by an earlier decision", "action: withdrawn"),
    *("decision: decided before", "answered fixed"),
    *("handed over: the model", "handed over: offline", "handed over: fixed"),
    *("event action_decided: told", "event handed_back", "event nobody_came"),
)


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    loop = VirtualClock()
    world = World(loop, Connections(database.runtime_url, database.owner_url), Log())
    loop.run_until_complete(world.open())
    yield world
    loop.run_until_complete(world.close())
    loop.close()


@pytest.mark.timeout(1_800 if SHRINK else 60 + 40 * HISTORIES)
def test_whatever_happens_each_message_is_answered_once(world: World) -> None:
    with plainly_logged():
        logging.getLogger().handlers = [world.log]
        for n in range(SEED, SEED + HISTORIES):
            one_history(world, n)
        for n in range(SEED + HISTORIES, SEED + 4 * HISTORIES):
            if HISTORIES < 16 or not unseen(world):
                break
            one_history(world, n)
    for what, times in sorted(world.tally.items()):
        print(f"{times:8} {what}")
    assert HISTORIES < 16 or not unseen(world)


def unseen(world: World) -> list[str]:
    return [what for what in SEEN if not world.tally[what]]


def one_history(world: World, n: int) -> None:
    """Two of each seed: the first is Hypothesis's simplest, in which nothing happens. Of more it
    would make most by small changes to one that it had."""
    machine: type[Machine] = type("Model", (Machine,), {"world": world, "number": n})
    how = settings(
        max_examples=2,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=False,
        database=None,
        phases=(Phase.generate, Phase.shrink) if SHRINK else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(n)(machine), settings=how)
    except BaseException as error:
        error.add_note(f"Again, and shortened: MODEL_SEED={n} MODEL_EXAMPLES=1 MODEL_SHRINK=1")
        raise
