"""rabbitmqctl for private nodes."""

import asyncio
import os
from pathlib import Path

from local.servers.rabbitmq import RabbitMQ


async def control(node: RabbitMQ, *command: str) -> str:
    """rabbitmqctl, in the environment of the private node; what it says."""
    return await _run(node, "rabbitmqctl", *command)


async def script(node: RabbitMQ, file: Path, *arguments: str, **environment: str) -> str:
    """A shell script that calls rabbitmqctl."""
    text = file.read_text()  # the node's user may not be able to read the checkout
    return await _run(node, "sh", "-c", text, file.name, *arguments, **environment)


async def _run(node: RabbitMQ, *command: str, **more: str) -> str:
    environ = Path(f"/proc/{node.pid}/environ").read_bytes().split(b"\0")
    pairs = (entry.partition(b"=") for entry in environ if b"=" in entry)
    environment = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
    home = next(p for p in Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))
    path = f"{home / 'sbin'}:{environment.get('PATH', os.defpath)}"
    process = await asyncio.create_subprocess_exec(
        *("env", f"PATH={path}", *command),
        env=environment | more,
        user=Path(f"/proc/{node.pid}").stat().st_uid,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd="/",
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()
