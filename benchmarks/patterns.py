"""The patterns of `resilience` as a subject, and the semaphores of the standard library."""

import asyncio
import threading

from benchmarks.overhead import (
    Overheads,
    answer,
    answer_async,
    async_blocks,
    awaits,
    awaits_of,
    blocks,
    calls,
    calls_of,
)
from resilience import (
    BreakerConfig,
    Bulkhead,
    CircuitBreaker,
    Fallback,
    MemoryStore,
    Policy,
    RateLimit,
    RateLimiter,
    RetryWithBackoff,
)

WINDOW_S = 10.0
# Calls that take so long are slow; every library that can measure that, does.
SLOW_S = 1.0
# So many slots that none of one caller's calls ever waits.
SLOTS = 15
NO_LIMIT = 1_000_000_000


class Patterns(Overheads):
    """Breaker, bulkhead, retry, and all of them in a policy."""

    def __init__(self) -> None:
        breaker = CircuitBreaker("bench", BreakerConfig(window_s=WINDOW_S, slow_call_s=SLOW_S))
        bulkhead = Bulkhead("bench")
        retry = RetryWithBackoff()
        policy = Policy(
            fallback=Fallback.value(0),
            timeout_s=30.0,
            retry=retry,
            breaker=breaker,
            rate_limit=RateLimit(
                limiter=RateLimiter(MemoryStore()), key="bench", limit=NO_LIMIT, window_s=60.0
            ),
            bulkhead=bulkhead,
        )
        super().__init__(
            {
                "breaker": (calls_of(breaker.call), calls(breaker(answer))),
                "breaker, async": (awaits_of(breaker.async_call), awaits(breaker(answer_async))),
                "bulkhead": (blocks(bulkhead.slot),),
                "bulkhead, async": (async_blocks(bulkhead.slot_async),),
                "bulkhead, call": (calls_of(bulkhead.call), calls(bulkhead(answer))),
                "retry": (calls_of(retry.call), calls(retry(answer))),
                "retry, async": (awaits_of(retry.async_call), awaits(retry(answer_async))),
                "policy": (calls_of(policy.call), calls(policy(answer))),
                "policy, async": (awaits_of(policy.async_call), awaits(policy(answer_async))),
            }
        )


class Semaphores(Overheads):
    """`threading.Semaphore` and `asyncio.Semaphore`: no bound of the queue, and one world each."""

    def __init__(self) -> None:
        threads = threading.Semaphore(SLOTS)
        coroutines = asyncio.Semaphore(SLOTS)
        super().__init__(
            {
                "bulkhead": (blocks(lambda: threads),),
                "bulkhead, async": (async_blocks(lambda: coroutines),),
            }
        )
