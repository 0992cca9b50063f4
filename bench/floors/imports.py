"""The third-party libraries of a process, imported and nothing done with them.

python -m bench.floors.imports ingress | worker
"""

import sys
import time
from importlib import import_module

INGRESS = (
    "aio_pika",
    "aiohttp.web",
    "asyncpg",
    "prometheus_client",
    "pydantic.main",
    "structlog",
    "uvloop",
)
WORKER = (
    *INGRESS,
    "cryptography.hazmat.primitives.ciphers.aead",
    "langchain_openai",
    "langgraph.graph",
    "markdown_it",
    "tenacity",
)

if __name__ == "__main__":
    for library in INGRESS if sys.argv[1] == "ingress" else WORKER:
        import_module(library)
    print("ready", flush=True)
    time.sleep(600)
