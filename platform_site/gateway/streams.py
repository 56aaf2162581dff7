"""The answer of another process, passed on part by part as it comes.

# Note [A client that takes its time]

A slot says that a service works. While an answer comes as fast as the service makes it, the slot
is held until its last byte. A client that reads slowly stops the answer on its way: what is
between holds a few parts and no more. So the time that the client takes is counted, and when it
comes to `CLIENT_PATIENCE_S` over all parts the slot is given back: the service has answered, and
the rest of the answer waits on a connection that costs little. Of such answers a service has
`SLOW_STREAMS_MAX` at most; beyond, they are broken off. How long a client may take over one part
is bounded where it is sent, in `platform_site.gateway.server`.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator

import aiohttp

from resilience import Permit, Slot

logger = logging.getLogger(__name__)

CLIENT_PATIENCE_S = 2.0
SLOW_STREAMS_MAX = 100
# A process that says nothing for this long, in the middle of an answer, has broken off.
READ_TIMEOUT_S = 30.0


class BrokenOff(ConnectionError):
    """An answer ended before its end. Whoever sends it on has to end its own connection, too."""


class SlowStreams:
    """How many answers of one service wait for their clients, without a slot."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Stream:
    """The parts of an answer; to be read to the end, or closed.

    Not a generator: that would not give anything back when it is closed before it has begun.

    Args:
        origin: the answer, whose head has come.
        first: the first part of its body.
        slot: given back once, at the end or when the client has taken its time.
        permit: reported to at the same moment; an answer that breaks off before is a failure.
        took_s: the seconds until the answer began.
        slow: where it is counted once it waits for its client without a slot.
        name: the service, for the log.
    """

    def __init__(
        self,
        origin: aiohttp.ClientResponse,
        *,
        first: bytes,
        slot: Slot,
        permit: Permit,
        took_s: float,
        slow: SlowStreams,
        name: str,
    ) -> None:
        self._origin = origin
        self._first = first
        self._slot = slot
        self._permit = permit
        self._took_s = took_s
        self._slow = slow
        self._name = name
        self._is_slow = False
        self._patience_s = CLIENT_PATIENCE_S
        self._gave_at_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._wait_for_client()

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next part.

        Raises:
            BrokenOff: the other process ended in the middle, or said nothing for too long.
        """
        self._client_is_back()
        part, self._first = self._first, b""
        try:
            part = part or await self._read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._permit.failure(self._took_s)
            self._end()
            logger.warning("An answer of %s broke off: %r", self._name, error)
            raise BrokenOff(f"The answer of {self._name} broke off.") from error
        except BaseException:
            self._end()
            raise
        if not part:
            self._permit.success(self._took_s)
            self._end()
            raise StopAsyncIteration
        self._wait_for_client()
        return part

    async def aclose(self) -> None:
        """Give everything back; a client that went away says nothing about the service."""
        self._client_is_back()
        self._end()

    async def _read(self) -> bytes:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await self._origin.content.readany()

    def _wait_for_client(self) -> None:
        if self._origin.content.is_eof():
            # The last byte is here, if not yet with the client: the service is done.
            self._permit.success(self._took_s)
            self._slot.release()
        elif not self._is_slow:
            loop = asyncio.get_running_loop()
            self._gave_at_s = time.monotonic()
            self._timer = loop.call_later(self._patience_s, self._go_on_without_slot)

    def _client_is_back(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._patience_s = max(0.0, self._patience_s - (time.monotonic() - self._gave_at_s))

    def _go_on_without_slot(self) -> None:
        self._timer = None
        if self._slow.count >= SLOW_STREAMS_MAX:
            self._end()  # The next part that is asked for is an error.
            return
        self._is_slow = True
        self._slow.count += 1
        self._permit.success(self._took_s)
        self._slot.release()

    def _end(self) -> None:
        """Give back what is still held; does nothing the second time."""
        if self._is_slow:
            self._is_slow = False
            self._slow.count -= 1
        self._permit.cancel()
        self._slot.release()
        self._origin.close()


class Nothing:
    """No part at all: the body of an answer to HEAD of which nobody has told the length."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Say that there is no part."""
        raise StopAsyncIteration
