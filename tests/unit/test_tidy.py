"""The sizes that a reviewer would ask for, with the exceptions and why they are."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "cli", "db", "handlers", "ingress", "local", "simulator", "worker")
LINES, FUNCTION_LINES, PARAMETERS = 400, 50, 6

# Path, or path and function: the reason.
LONG_MODULES = {
    "local/bootstrap.py": "runs by itself on any Python, before anything can be imported",
}
LONG_FUNCTIONS: dict[tuple[str, str], str] = {}
MANY_PARAMETERS: dict[tuple[str, str], str] = {}
# Whatever goes wrong there, somebody else's work goes on; each logs or answers.
CATCHES_ALL = {
    ("bench/__main__.py", "main"): "the other benchmarks are measured all the same",
    ("bench/harness.py", "tested"): "ends what it started, and raises",
    ("cli/serving.py", "serve"): "the process ends without a traceback, which would quote data",
    ("db/pool.py", "_whole"): "a connection of which nobody knows its state is closed; raises",
    ("db/pool.py", "tenant_transaction"): "rolls back, and raises",
    ("db/bulk.py", "savepoint"): "undoes what was done inside, and raises",
    ("ingress/api/streams.py", "job"): "forgets what it began, and raises",
    ("ingress/api/outflow.py", "_begun"): "an answer that has begun can only break off",
    ("handlers/ingest/batch.py", "_divided"): "one item never takes its batch along",
    ("handlers/ingest_log/rabbitmq/connection.py", "connect"): "closes what it opened, and raises",
    ("handlers/media/listening.py", "listen"): "one medium never ends the role; its row says so",
    ("handlers/media/work.py", "fetch"): "one medium never ends the role; its row says so",
    ("handlers/media_store/local.py", "write"): "takes back what it began, and raises",
    ("handlers/media_store/s3.py", "write"): "takes back what it began, and raises",
    ("handlers/process/sweeps.py", "each"): "one row never takes the others along",
    ("handlers/agent/meaning.py", "_read"): "this search is by words, the next one tries again",
    ("handlers/agent/own_tools.py", "call"): "the model hears that nobody knows",
    ("handlers/agent/tools.py", "call"): "the model hears of it and can still answer",
    ("handlers/asks/run.py", "run_ask"): "whoever waits hears of it",
    ("handlers/asks/run.py", "_give_back"): "another worker takes the lease",
    ("handlers/turns/run.py", "run_turn"): "the customer is waiting: another try is owed",
    ("handlers/turns/write.py", "give_up"): "the sweep finds the lease",
    ("ingress/api/door.py", "answer_problems"): "the client gets an answer",
    ("local/bootstrap.py", "_run"): "ends what it started, and raises",
    ("local/servers/daemon.py", "start"): "ends what it started, and raises",
    ("local/servers/rabbitmq.py", "start"): "ends what it started, and raises",
    ("worker/claims.py", "work"): "the role goes on claiming",
    ("worker/tools.py", "_call"): "one call must not end the role",
    ("worker/webhooks.py", "one"): "one webhook must not end the role",
    ("worker/claims.py", "one"): "a mistake with one message must not end the role",
    ("worker/clock.py", "every"): "what nobody sweeps, nobody answers",
    ("worker/ingest.py", "handle"): "a mistake of ours must not end the subscription",
    ("worker/jobs.py", "_work"): "a job that fails is tried again, and the role goes on",
    ("worker/liveness.py", "_beat_forever"): "a beat that ended would leave a zombie",
}


@cache
def modules() -> list[tuple[str, ast.Module, int]]:
    """Each with its path and its lines."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    texts = [path.read_text() for path in paths]
    return [
        (str(path.relative_to(ROOT)), ast.parse(text), len(text.splitlines()))
        for path, text in zip(paths, texts, strict=True)
    ]


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    a = function.args
    names = [arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def catching_all(tree: ast.Module) -> Iterator[str]:
    """The innermost function around each `except Exception` or wider."""
    around: dict[ast.AST, str] = {}
    for function in functions(tree):  # outer ones come first
        for node in ast.walk(function):
            around[node] = function.name
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "BaseException"
            if caught in ("Exception", "BaseException"):
                yield around.get(node, "")


def test_modules_are_one_use() -> None:
    long = {path for path, _, lines in modules() if lines > LINES}
    assert long == LONG_MODULES.keys()


def test_functions_are_one_idea() -> None:
    long = {
        (path, function.name)
        for path, tree, _ in modules()
        for function in functions(tree)
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES
    }
    assert long == LONG_FUNCTIONS.keys()


def test_what_belongs_together_is_one_parameter() -> None:
    many = {
        (path, function.name)
        for path, tree, _ in modules()
        for function in functions(tree)
        if parameters(function) > PARAMETERS
    }
    assert many == MANY_PARAMETERS.keys()


def test_what_catches_everything_is_known() -> None:
    found = {(path, name) for path, tree, _ in modules() for name in catching_all(tree)}
    assert found == CATCHES_ALL.keys()


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("def f():\n try: pass\n except Exception: pass", ["f"]),
        ("def f():\n def g():\n  try: pass\n  except: pass", ["g"]),
        ("try: pass\nexcept BaseException as e: raise", [""]),
        ("def f():\n try: pass\n except (OSError, ValueError): pass", []),
    ],
)
def test_a_broad_except_is_seen(code: str, names: list[str]) -> None:
    assert list(catching_all(ast.parse(code))) == names
