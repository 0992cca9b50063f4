"""Servers that count who connects, and names that lead where a test says."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from handlers.outbound.addresses import Allow, read_allow

Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Server:
    port: int
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)  # their heads


def answer(
    head: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", body: bytes = b"ok"
) -> Speak:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + body)

    return speak


@asynccontextmanager
async def listening(
    speak: Speak | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    """Each request is read whole, and then spoken to."""
    speaking = speak or answer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        with suppress(OSError, EOFError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                server.requests.append(head)
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                await reader.readexactly(length)
                await speaking(reader, writer)
                await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, host, port, ssl=tls)
    server = Server(listener.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listener.close()


def allowed(*entries: str) -> Allow:
    allow, problems = read_allow(",".join(entries))
    assert not problems
    return allow


class Answers(AbstractResolver):
    """What DNS says to each question, one after the other; the last one stays."""

    def __init__(self, *answers: list[str] | OSError) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        said = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        if isinstance(said, OSError):
            raise said
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in said
        ]

    async def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Certificates:
    """Of an authority that nobody trusts by default."""

    trusting: ssl.SSLContext
    serving: ssl.SSLContext


def certificates(directory: Path, *, name: str, expired: bool = False) -> Certificates:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "outside")])
    now = datetime.now(UTC)
    kind: x509.GeneralName
    try:
        kind = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        kind = x509.DNSName(name)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=-1 if expired else 1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([kind]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = directory / f"{name}-{expired}.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pem)
    return Certificates(ssl.create_default_context(cafile=str(pem)), serving)
