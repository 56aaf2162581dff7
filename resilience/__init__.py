"""Patterns that keep a service answering while what it depends on does not.

Circuit breaker, bulkhead, rate limiter, retry with backoff, and deadlines: for threads and
coroutines alike, typed, without a framework. The clock, and for retries sleep and randomness,
are passed in, so that tests need not wait; `FakeClock` ships for them.

>>> from resilience import BreakerConfig, Bulkhead, CircuitBreaker, Deadline, RetryWithBackoff
>>> breaker = CircuitBreaker("ledger", BreakerConfig(failure_rate=0.5, reset_s=30))
>>> bulkhead = Bulkhead("ledger")
>>> retry = RetryWithBackoff()
>>> def read_balance(account: str) -> int:
...     return 1250
>>> with Deadline.after(30).scope(), bulkhead.slot(timeout_s=5):
...     retry.call(breaker.call, read_balance, "account-1")
1250

As a decorator, on functions and coroutine functions: `@breaker`, `@bulkhead`, `@retry`. As a
context manager: `with breaker.guard():` and `async with breaker.guard():`.

The limiter counts in this process, or in Redis with `resilience.redis_store.RedisStore`:

>>> from resilience import MemoryStore, RateLimiter
>>> limiter = RateLimiter(MemoryStore())
>>> [limiter.decide("user-1", limit=2, window_s=900).allowed for _ in range(3)]
[True, True, False]
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
