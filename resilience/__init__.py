"""Patterns that keep a service answering while what it depends on does not.

Circuit breaker, bulkhead, rate limiter, retry with backoff, deadline and fallback, and a policy
that composes them: for threads and coroutines alike, typed, without a framework. The clock, and
for retries sleep and randomness, are passed in, so that tests need not wait; `FakeClock` ships
for them.

Make the patterns once for each dependency, share them, and state a policy for each kind of call:

>>> from resilience import Bulkhead, CircuitBreaker, Fallback, Policy, RetryWithBackoff
>>> breaker = CircuitBreaker("ledger")
>>> bulkhead = Bulkhead("ledger")
>>> retry = RetryWithBackoff(name="ledger")
>>> reads = Policy(
...     name="read from the ledger",
...     fallback=Fallback(lambda error, account: None),
...     timeout_s=30,
...     retry=retry.idempotent,
...     breaker=breaker,
...     bulkhead=bulkhead,
... )
>>> @reads
... def read_balance(account: str) -> int | None:
...     return 1250
>>> read_balance("account-1")
1250
>>> breaker.force_open()
>>> read_balance("account-1") is None
True
>>> breaker.reset()

A policy applies its members in one order, from the outside in: fallback, deadline, retry,
breaker, rate limit, bulkhead, call. Only what was said to be `idempotent` is repeated after an
error that leaves open whether the call took effect.

Each pattern also works alone: as a decorator on functions and coroutine functions (`@breaker`,
`@bulkhead`, `@retry`), with `call` and `async_call`, and as a context manager where a block can be
guarded:

>>> from resilience import BulkheadFull, Deadline
>>> with Deadline.after(30).scope(), bulkhead.slot(timeout_s=5), breaker.guard():
...     balance = 1250
>>> bulkhead.snapshot().active
0

What a pattern refuses with says when to come back. All are a `ResilienceError`, and those that
did not begin the call are a `Refused`:

>>> full = Bulkhead("mail")
>>> slots = [full.acquire() for _ in range(15)]
>>> try:
...     full.acquire(timeout_s=0)
... except BulkheadFull as error:
...     print(error.code, error.retry_after_s, error)
overloaded 1.0 mail is at its capacity; try again in 1.0 s.

The limiter counts in this process, or in Redis with `resilience.redis_store.RedisStore`:

>>> from resilience import MemoryStore, RateLimiter
>>> limiter = RateLimiter(MemoryStore())
>>> [limiter.decide("user-1", limit=2, window_s=900).allowed for _ in range(3)]
[True, True, False]

Metrics and logs hear of everything through a `Listener`; `LoggingListener` is one.
"""

from resilience._breaker import CircuitBreaker
from resilience._breaker_config import (
    BreakerChange,
    BreakerConfig,
    BreakerSnapshot,
    BreakerState,
)
from resilience._bulkhead import Bulkhead
from resilience._bulkhead_config import BulkheadConfig, BulkheadSnapshot
from resilience._clock import SYSTEM_CLOCK, Clock, FakeClock, SystemClock
from resilience._deadline import Deadline, bounded_timeout_s, current_deadline
from resilience._decision import Decision, DecisionSource, LimiterConfig, LimiterSnapshot
from resilience._fallback import Fallback
from resilience._limiter import RateLimiter
from resilience._limiter_store import Ask, AsyncLimiterStore, Grant, LimiterStore, Rest
from resilience._listener import Listener
from resilience._logging_listener import LoggingListener
from resilience._memory_store import MemoryStore
from resilience._permit import Guard, Permit
from resilience._policy import Policy, RateLimit
from resilience._retry import RetryConfig, RetryWithBackoff
from resilience._slot import Slot
from resilience.errors import (
    BreakerOpen,
    BulkheadFull,
    DeadlineExceeded,
    RateLimited,
    Refused,
    ResilienceError,
    StoreUnavailable,
)

__all__ = [
    "SYSTEM_CLOCK",
    "Ask",
    "AsyncLimiterStore",
    "BreakerChange",
    "BreakerConfig",
    "BreakerOpen",
    "BreakerSnapshot",
    "BreakerState",
    "Bulkhead",
    "BulkheadConfig",
    "BulkheadFull",
    "BulkheadSnapshot",
    "CircuitBreaker",
    "Clock",
    "Deadline",
    "DeadlineExceeded",
    "Decision",
    "DecisionSource",
    "FakeClock",
    "Fallback",
    "Grant",
    "Guard",
    "LimiterConfig",
    "LimiterSnapshot",
    "LimiterStore",
    "Listener",
    "LoggingListener",
    "MemoryStore",
    "Permit",
    "Policy",
    "RateLimit",
    "RateLimited",
    "RateLimiter",
    "Refused",
    "ResilienceError",
    "Rest",
    "RetryConfig",
    "RetryWithBackoff",
    "Slot",
    "StoreUnavailable",
    "SystemClock",
    "bounded_timeout_s",
    "current_deadline",
]
