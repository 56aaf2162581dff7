"""What a rate limiter says, and how it is set up."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from resilience import _check
from resilience._breaker_config import BreakerSnapshot

DecisionSource = Literal["store", "lease", "denial_cache", "fallback"]


class Decision(NamedTuple):
    """Whether a request may pass, and what its answer should say about the limit.

    Args:
        allowed: whether it may pass.
        limit: requests allowed in each window.
        remaining: how many more would be allowed now; what other processes have used since the
            last question to the store is not known to a decision from a lease.
        reset_at_s: Unix seconds (with fraction) at which the next request's place frees: the
            oldest one counted leaves the window. A client that waits until then, as clients do
            with `X-RateLimit-Reset`, is admitted; the quota comes back one by one after it. (The
            moment at which all of it is back would be "now + window" after every request.) Of a
            fixed window, it is the end.
        retry_after_s: seconds until a request would be allowed; 0.0 when this one is.
        window_s: the length of the window, in seconds.
        source: `store`; `lease`: from a block of the quota that this process holds;
            `denial_cache`: known to be denied, without asking; `fallback`: this process's share,
            because the store could not be asked.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_at_s: float
    retry_after_s: float
    window_s: float
    source: DecisionSource


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterConfig:
    """Settings of a `RateLimiter`.

    Args:
        share_count: how many processes decide locally when the store is away; each then allows
            `limit / share_count`, and at least 1.
        denials_max: how many denied clients are remembered.
        lease_limit_min: from this limit on, a process leases blocks of the quota and decides by
            itself while one lasts. Below it, every allowed request is one question to the store.
        lease_s: how long a lease lasts at most, in seconds; never more than a twentieth of the
            window. What a lease has admitted may count for so much longer than the window.
        leases_max: how many clients may have a lease in this process.
    """

    share_count: int = 1
    denials_max: int = 10_000
    lease_limit_min: int = 1_000
    lease_s: float = 1.0
    leases_max: int = 10_000

    def __post_init__(self) -> None:
        _check.at_least(1, share_count=self.share_count, denials_max=self.denials_max)
        _check.at_least(1, lease_limit_min=self.lease_limit_min, leases_max=self.leases_max)
        _check.seconds(lease_s=self.lease_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterSnapshot:
    """A limiter at one moment.

    Args:
        name: the limiter's name.
        store: the breaker in front of the store; not `closed` means local decisions.
        fallback_decisions: decisions made locally since the start, for want of the store.
        denials_cached: clients remembered as denied.
        leases_held: clients whose quota this process holds a block of, or did lately.
    """

    name: str
    store: BreakerSnapshot
    fallback_decisions: int
    denials_cached: int
    leases_held: int
