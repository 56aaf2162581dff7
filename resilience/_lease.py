"""The leases of one process: which blocks of whose quota it holds, and how large the next is."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

from resilience._decision import Decision, LimiterConfig
from resilience._limiter_store import Ask, Grant, Rest

# Key, limit and window in seconds.
Policy = tuple[str, int, float]

# A lease takes at most these parts of the limit and of the window.
_LIMIT_PART = 20
_WINDOW_PART = 20
# The next block is for a rate a quarter above the last, but grows by no more than this factor.
_HEADROOM = 1.25
_GROWTH_MAX = 8
_SHORTEST_S = 1e-6


@dataclass(slots=True)
class _Holding:
    """What this process holds of one client's quota.

    Args:
        asked_at_s: when the store was last asked, in monotonic seconds.
        units: what it granted then, 0 before the first answer.
        left: what is not used of it.
        ends_s: when the lease ends, in monotonic seconds.
        ticket: names the lease to the store; None when there is nothing to give back.
        remaining: what the store had left beside it.
        frees_s: when the oldest request leaves the window, in monotonic seconds.
        frees_at_s: the same in Unix seconds.
        is_asking: whether a thread of this process is asking for a block at this moment.
    """

    asked_at_s: float = 0.0
    units: int = 0
    left: int = 0
    ends_s: float = 0.0
    ticket: str | bytes | None = None
    remaining: int = 0
    frees_s: float = 0.0
    frees_at_s: float = 0.0
    is_asking: bool = False

    def rest(self) -> Rest | None:
        """Return what is to be given back; nothing of it may be used any more."""
        return None if self.ticket is None else Rest(self.ticket, self.left)


class Leases:
    """The blocks of quota that one process holds, for threads and coroutines alike."""

    def __init__(self, config: LimiterConfig) -> None:
        self._config = config
        # Held around a few numbers, never while the store is asked.
        self._lock = threading.Lock()
        # Ordered by the last question, so that the first one is the one to give back.
        self._holdings: OrderedDict[Policy, _Holding] = OrderedDict()

    def __len__(self) -> int:
        return len(self._holdings)

    def use(self, policy: Policy, now_s: float) -> Decision | None:
        """Use one unit of a lease, if there is one."""
        holding = self._holdings.get(policy)
        if holding is None:
            return None
        with self._lock:
            left = holding.left - 1
            if left < 0 or now_s >= holding.ends_s:
                return None
            holding.left = left
            remaining = holding.remaining + left
            reset_at_s = holding.frees_at_s
            late_s = now_s - holding.frees_s
        if late_s > 0:
            # A place has freed meanwhile: the next one is there now.
            reset_at_s += late_s
        fields = (True, policy[1], remaining, reset_at_s, 0.0, policy[2], "lease")
        return tuple.__new__(Decision, fields)

    def ask(self, policy: Policy, now_s: float) -> Ask:
        """Return what to ask the store for, and give up the old lease with it.

        One thread at a time asks for a block, and says with `keep` or `fail` when it has its
        answer. The others meanwhile ask for one unit each.
        """
        key, limit, window_s = policy
        with self._lock:
            holding = self._holdings.setdefault(policy, _Holding())
            if holding.is_asking:
                return Ask(key, limit, window_s)
            holding.is_asking = True
            rest = holding.rest()
            lease_s = min(self._config.lease_s, window_s / _WINDOW_PART)
            units = _next_units(holding, now_s - holding.asked_at_s, lease_s, limit)
            holding.asked_at_s, holding.units, holding.left = now_s, 0, 0
            holding.ticket = None
            self._holdings.move_to_end(policy)
        return Ask(key, limit, window_s, units, lease_s, rest)

    def keep(self, policy: Policy, ask: Ask, grant: Grant) -> None:
        """Keep what the store granted; its first unit is the request's that asked."""
        if not ask.lease_s:
            return
        with self._lock:
            holding = self._holdings.get(policy)
            if holding is None:  # Forgotten meanwhile; the lease will expire.
                return
            holding.is_asking = False
            holding.units = grant.units
            holding.left = max(0, grant.units - 1)
            holding.ends_s = holding.asked_at_s + grant.lease_s
            holding.ticket = grant.ticket
            holding.remaining = grant.remaining
            holding.frees_s = holding.asked_at_s + grant.frees_in_s
            holding.frees_at_s = grant.frees_at_s

    def fail(self, policy: Policy, ask: Ask) -> None:
        """Note that the store did not answer; what was given back with the question expires."""
        if ask.lease_s:
            with self._lock:
                holding = self._holdings.get(policy)
                if holding is not None:
                    holding.is_asking = False

    def lapsed(self, now_s: float, *, is_ending: bool = False) -> Ask | None:
        """Forget a client who has asked for nothing for a while since its lease ended.

        Args:
            now_s: monotonic seconds.
            is_ending: forget a client with a live lease, too.

        Returns:
            What gives back the rest of a lease, if one was found that has a rest.
        """
        with self._lock:
            while self._holdings:
                policy, holding = next(iter(self._holdings.items()))
                # Not at once: a busy client gives back with its next question, and so keeps
                # the size of its blocks.
                lapses_s = max(holding.ends_s, holding.asked_at_s) + self._config.lease_s
                is_over = is_ending or len(self._holdings) > self._config.leases_max
                if holding.is_asking or not (is_over or lapses_s <= now_s):
                    return None
                del self._holdings[policy]
                rest = holding.rest()
                if rest is not None and rest.units:
                    holding.left, holding.ticket = 0, None
                    return Ask(*policy, units=0, lease_s=0.0, rest=rest)
        return None

    def after_fork(self) -> None:
        """Forget everything: the blocks are those of the process that was copied."""
        self._lock = threading.Lock()
        self._holdings = OrderedDict()


def _next_units(holding: _Holding, elapsed_s: float, lease_s: float, limit: int) -> int:
    """Return how many units will be used in the time of a lease, if the rate stays as it was.

    The first question of a client, and one after a pause, is for one unit, as without leases.
    """
    used = holding.units - holding.left
    expected = int(used / max(elapsed_s, _SHORTEST_S) * lease_s * _HEADROOM)
    return max(1, min(expected, holding.units * _GROWTH_MAX, limit // _LIMIT_PART))
