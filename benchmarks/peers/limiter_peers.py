"""Other rate limiters for Python, each as its manual says, on the same Valkey.

Each gives what its users can put into headers: `limits` asks for the statistics of the window in
a second call; django-ratelimit and throttled-py return them; the framework's throttle knows only
how long to wait.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.limiters import WINDOW_S, Decide


def limits(url: str) -> Decide:
    """`limits`: the moving window, which is a log, too."""
    from limits import RateLimitItemPerSecond
    from limits.storage import RedisStorage
    from limits.strategies import MovingWindowRateLimiter

    limiter = MovingWindowRateLimiter(RedisStorage(url))

    def decide(key: str, limit: int) -> bool:
        item = RateLimitItemPerSecond(limit, WINDOW_S)
        allowed = limiter.hit(item, key)
        limiter.get_window_stats(item, key)
        return bool(allowed)

    return decide


def throttled_py(url: str) -> Decide:
    """`throttled-py`: its sliding window, which weighs two counters."""
    from datetime import timedelta

    from throttled import RedisStore, Throttled, rate_limiter

    store = RedisStore(server=url)
    made: dict[int, Any] = {}

    def decide(key: str, limit: int) -> bool:
        if limit not in made:
            quota = rate_limiter.per_duration(timedelta(seconds=WINDOW_S), limit)
            made[limit] = Throttled(using="sliding_window", quota=quota, store=store)
        return not made[limit].limit(key).limited

    return decide


def django_ratelimit(url: str) -> Decide:
    """`django-ratelimit`: a fixed window in Django's cache."""
    _configure(url)
    from django.test import RequestFactory
    from django_ratelimit.core import get_usage

    request = RequestFactory().get("/")

    def decide(key: str, limit: int) -> bool:
        usage = get_usage(
            request, group="bench", key=lambda *_: key, rate=f"{limit}/{WINDOW_S}s", increment=True
        )
        return not usage["should_limit"]

    return decide


def drf_throttle(url: str) -> Decide:
    """The throttle of Django REST framework: a log in Django's cache, read and written back."""
    _configure(url)
    from rest_framework.throttling import SimpleRateThrottle

    class Throttle(SimpleRateThrottle):
        rate = "by get_rate"

        def __init__(self, key: str, limit: int) -> None:
            self.key, self.limit = key, limit
            super().__init__()

        def parse_rate(self, rate: Any) -> Any:
            return self.limit, WINDOW_S

        def get_cache_key(self, request: Any, view: Any) -> Any:
            return self.key

    def decide(key: str, limit: int) -> bool:
        throttle = Throttle(key, limit)
        allowed = throttle.allow_request(None, None)  # type: ignore[arg-type]
        throttle.wait()
        return bool(allowed)

    return decide


def _configure(url: str) -> None:
    """Set Django up with nothing but a cache."""
    from django.conf import settings

    if not settings.configured:
        cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}
        settings.configure(CACHES={"default": cache}, REST_FRAMEWORK={})


PEERS: dict[str, Callable[[str], Decide]] = {
    "limits": limits,
    "throttled-py": throttled_py,
    "django-ratelimit": django_ratelimit,
    "DRF throttle": drf_throttle,
}
