"""rabbitmqctl for private nodes."""

import asyncio
import os
from pathlib import Path

from cli.servers import RabbitMQ


async def control(node: RabbitMQ, *command: str) -> None:
    """rabbitmqctl, in the environment of the private node."""
    environ = Path(f"/proc/{node.pid}/environ").read_bytes().split(b"\0")
    pairs = (entry.partition(b"=") for entry in environ if b"=" in entry)
    environment = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
    home = next(p for p in Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))
    process = await asyncio.create_subprocess_exec(
        home / "sbin" / "rabbitmqctl",
        *command,
        env=environment,
        user=Path(f"/proc/{node.pid}").stat().st_uid,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd="/",
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
