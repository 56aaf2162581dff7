"""Send transfers over HTTP: as fast as 32 clients can, or at a given rate."""

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from benchmarks.common import percentile
from benchmarks.threads import per_second
from benchmarks.wrk import Load, is_installed, wrk

ANSWER_TIMEOUT_S = 30.0
CREATED = b"201"
BATCH_SIZE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who sends, and what between.

    Args:
        url: of the server.
        secret: of an API key.
        accounts: among which money is moved.
    """

    url: str
    secret: str
    accounts: Sequence[str]

    def transfer(self) -> dict[str, str | int]:
        """Return the body of one transfer."""
        source, destination = random.sample(self.accounts, 2)
        return {
            "type": "transfer",
            "source": source,
            "destination": destination,
            "amount": 1,
            "currency": "EUR",
        }

    def request(self) -> bytes:
        """Return the bytes of one transfer with a new Idempotency-Key."""
        body = json.dumps(self.transfer()).encode()
        head = (
            "POST /api/transactions HTTP/1.1\r\n"
            f"Host: {urlsplit(self.url).netloc}\r\n"
            f"Authorization: Bearer {self.secret}\r\n"
            "Content-Type: application/json\r\n"
            f"Idempotency-Key: {uuid4()}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def flat_out(client: Client, *, clients: int, duration_s: float) -> Load:
    """Let each of so many clients send its next transfer when the last is answered.

    By wrk where it is installed, which costs the machine least.

    Raises:
        RuntimeError: an answer was not 201.
    """
    if not is_installed():
        return asyncio.run(_closed_loop(client, clients=clients, duration_s=duration_s))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as accounts:
        accounts.write("\n".join(client.accounts))
        accounts.flush()
        load = wrk(
            client.url, "transfer.lua", client.secret, accounts.name,
            clients=clients, duration_s=duration_s,
        )  # fmt: skip
    if load.refused:
        raise RuntimeError(f"{load.refused} of {load.requests} transfers failed")
    return load


def at_rate(client: Client, *, clients: int, rate: float, duration_s: float) -> Load:
    """Send so many transfers a second, whether or not the last ones are answered.

    The time of a transfer counts from the moment at which it was due, so that a server that
    stops for a moment is not forgiven those that had to wait for it.
    """
    return asyncio.run(_open_loop(client, clients=clients, rate=rate, duration_s=duration_s))


async def _open_loop(client: Client, *, clients: int, rate: float, duration_s: float) -> Load:
    due: asyncio.Queue[float | None] = asyncio.Queue()
    times_s: list[float] = []

    async def serve() -> None:
        reader, writer = await _connect(client)
        while (due_s := await due.get()) is not None:
            await _send(client, reader, writer)
            times_s.append(time.perf_counter() - due_s)
        writer.close()

    servers = [asyncio.create_task(serve()) for _ in range(clients)]
    started_s = time.perf_counter()
    for number in range(max(1, round(rate * duration_s))):
        due_s = started_s + number / rate
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        due.put_nowait(due_s)
    for _ in servers:
        due.put_nowait(None)
    await asyncio.gather(*servers)
    return _load(times_s, time.perf_counter() - started_s)


async def _closed_loop(client: Client, *, clients: int, duration_s: float) -> Load:
    times_s: list[float] = []
    started_s = time.perf_counter()

    async def serve() -> None:
        reader, writer = await _connect(client)
        while (sent_s := time.perf_counter()) < started_s + duration_s:
            await _send(client, reader, writer)
            times_s.append(time.perf_counter() - sent_s)
        writer.close()

    await asyncio.gather(*(serve() for _ in range(clients)))
    return _load(times_s, time.perf_counter() - started_s)


async def _connect(client: Client) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(client.url)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def _send(client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(client.request())
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        body = await reader.readexactly(length)
    if head.split(b" ", maxsplit=2)[1] != CREATED:
        raise RuntimeError(f"a transfer was answered with {body[:300]!r}")


def _load(times_s: Sequence[float], elapsed_s: float) -> Load:
    return Load(
        per_second=len(times_s) / elapsed_s,
        p50_ms=percentile(times_s, 0.5) * 1000,
        p99_ms=percentile(times_s, 0.99) * 1000,
    )


def has_batches(client: Client) -> bool:
    """Return whether the server takes batches."""
    answer = httpx.post(
        f"{client.url}/api/transactions/batch",
        json={},
        headers={"Authorization": f"Bearer {client.secret}", "Idempotency-Key": str(uuid4())},
    )
    # An empty body is no batch; what matters is who says so.
    return answer.status_code not in {httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED}


def batches(client: Client, *, clients: int, count: int) -> float:
    """Let each of so many clients send `count` atomic batches of 1,000; transfers a second.

    Raises:
        RuntimeError: a batch was not done; for a server without that call, it says so.
    """

    def send(number: int) -> int:
        with httpx.Client(base_url=client.url, timeout=ANSWER_TIMEOUT_S) as session:
            for body in given[number]:
                answer = session.post(
                    "/api/transactions/batch",
                    content=body,
                    headers={
                        "Authorization": f"Bearer {client.secret}",
                        "Content-Type": "application/json",
                        "Idempotency-Key": str(uuid4()),
                    },
                )
                if answer.status_code != httpx.codes.CREATED:
                    raise RuntimeError(f"a batch was answered with {answer.text[:300]}")
        return count * BATCH_SIZE

    given = [[_batch(client) for _ in range(count)] for _ in range(clients)]
    return per_second(clients, send)


def _batch(client: Client) -> bytes:
    transactions = [client.transfer() for _ in range(BATCH_SIZE)]
    return json.dumps({"atomic": True, "transactions": transactions}).encode()
