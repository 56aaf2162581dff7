"""What the rate limiter asks of a store, and what it is told."""

from typing import Literal, NamedTuple, Protocol

# A window wherever it begins; or one that begins with a request after the one before it ended.
LimiterWindow = Literal["sliding", "fixed"]


class Rest(NamedTuple):
    """What is left of a lease, to be given back.

    Args:
        ticket: which lease; as the store's `Grant` named it.
        units: how many were not used, and never will be.
    """

    ticket: str | bytes
    units: int


class Ask(NamedTuple):
    """One question to a store.

    Args:
        key: who is limited.
        limit: requests allowed in each window.
        window_s: length of the window, in seconds.
        units: how many requests shall be admitted: 1; more, as a lease; or 0, only to give back.
        lease_s: how long a lease lasts, in seconds; not longer than the window.
        rest: what is given back before anything is granted.
    """

    key: str
    limit: int
    window_s: float
    units: int = 1
    lease_s: float = 0.0
    rest: Rest | None = None


class Grant(NamedTuple):
    """A store's answer.

    Args:
        units: how many requests were admitted, and so recorded; 0 when the limit is reached. With
            one, it is the request that asked. With more, it is a lease: that request at once, and
            the others until the lease ends.
        remaining: how many more would be admitted now.
        frees_in_s: seconds until the oldest recorded request that counts leaves the window: the
            moment at which one more would be admitted for certain.
        frees_at_s: the same moment in Unix seconds, on the store's clock.
        recheck_in_s: seconds until a refusal is worth another question: sooner than `frees_in_s`
            when leases are out, of which a rest may come back.
        lease_s: how long the lease may be used, counted from before the question; 0.0 without one.
        ticket: names the lease when its rest is given back.
    """

    units: int
    remaining: int
    frees_in_s: float
    frees_at_s: float
    recheck_in_s: float
    lease_s: float = 0.0
    ticket: str | bytes | None = None


class LimiterStore(Protocol):
    """Where the requests of each key are recorded."""

    def take(self, ask: Ask, /) -> Grant:
        """Take back a rest, then admit and record as many of the units asked for as may be.

        One indivisible step, also between processes when the store is shared by several. What is
        refused is not recorded. A lease is counted until a window after its end; of several units
        asked for, fewer may be granted.

        Raises:
            StoreUnavailable: the store could not be asked.
        """


class AsyncLimiterStore(Protocol):
    """A `LimiterStore` whose answer is awaited."""

    async def take(self, ask: Ask, /) -> Grant:
        """See `LimiterStore.take`."""
