"""Circuit breakers that agree between processes, through Redis or Valkey, in the background.

Not imported by the package itself, so that everything else works without the client library.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any
from uuid import uuid4

from redis.exceptions import NoScriptError

from resilience import _check
from resilience._breaker import CircuitBreaker
from resilience._breaker_config import BreakerState
from resilience.redis_store import RedisClient

_log = logging.getLogger("resilience")

# Note [The newest event wins]
#
# A breaker's change is an event with an identity: the process and the number of the change. For
# each name Redis keeps one event, and in every turn each process sends the one that it holds
# and gets the one that won. Who gets another than it sent adopts it, and from then on holds that
# one. So nothing is echoed, who starts later learns the present state, what Redis lost is put
# back in the next turn by anyone who holds it, and the order of arrival does not matter.
#
# - Newest by Redis' clock alone. A new event is sent with its age, and its stamp comes back.
# - An operator's decision is not undone by a call that fails or succeeds beside it: where either
#   event is FORCED_OPEN or DISABLED, the newest decision of an operator that was known to the
#   event counts first.
# - An entry goes when nobody has held it for `lease_s`. A process that dies keeps nobody open:
#   the others had the open time as a duration, and probe when it is over.
# - A clock that was put back, by a fail-over say, leaves a stamp in the future; a new event is
#   stamped after it.
#
# ARGV: the lease in milliseconds; then for each key: id ('' for none), state, stamp and, where
# that is '' as for a new event, age; stamp and age of the operator's decision likewise; open time.
# All in microseconds. Returns for each key 'id state stamp decision open age', or ''.
# Times are written with %.0f, because Lua shows large numbers with 14 digits only.
_SCRIPT = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local function is_forced(state) return state == 'forced_open' or state == 'disabled' end
local answers = {}
for i, key in ipairs(KEYS) do
  local id, state, stamp, age, decision, decision_age, open = unpack(ARGV, i * 7 - 5, i * 7 + 1)
  local entry = redis.call('GET', key) or ''
  local old_id, old_state, old_stamp, old_decision, old_open =
    string.match(entry, '^(%S+) (%S+) (%d+) (%d+) (%d+)$')
  local answer = ''
  if old_id then
    old_stamp, old_decision = tonumber(old_stamp), tonumber(old_decision)
  end
  if id ~= '' and id ~= old_id then
    stamp = tonumber(stamp)
    if not stamp then
      stamp = now - tonumber(age)
      if old_id and old_stamp > now then stamp = old_stamp + 1 end
    end
    decision = tonumber(decision) or stamp - (tonumber(decision_age) - tonumber(age))
    local wins = not old_id or stamp > old_stamp
    if old_id and decision ~= old_decision and (is_forced(state) or is_forced(old_state)) then
      wins = decision > old_decision
    end
    if wins then
      old_id, old_state, old_stamp, old_open = id, state, stamp, open
      old_decision = math.max(decision, old_decision or 0)
      entry = string.format('%s %s %.0f %.0f %s', id, state, stamp, old_decision, open)
      redis.call('SET', key, entry)
    end
  end
  if old_id then
    if id == old_id then redis.call('PEXPIRE', key, ARGV[1]) end
    answer = string.format('%s %.0f', entry, math.max(0, now - old_stamp))
  end
  answers[i] = answer
end
return answers
"""
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class _Event:
    """The event that a breaker holds: see Note [The newest event wins].

    `number` is what the breaker calls the change that brought it here. `stamp_us` is None until
    Redis has given one; and so is `decision_us`, the stamp of an operator's newest decision that
    the event came with or after, if that was made here.
    """

    id: str
    state: BreakerState
    number: int
    stamp_us: int | None = None
    decision_us: int | None = 0
    open_us: int = 0


_SHARED_STATES = frozenset(state.value for state in BreakerState) - {BreakerState.HALF_OPEN.value}
_NONE = _Event("", BreakerState.CLOSED, 0)


class SharedBreakers:
    """Breakers of this process that agree with those of the same names in others.

    A thread tells the others of each trip, closing and operator's decision, and adopts theirs.
    No call ever waits for it. While Redis is away each process goes on by itself, and afterwards
    the newest event wins. After a trip elsewhere a breaker probes two turns later than the one
    that tripped, so that normally one probe is made, and its result is there before the others
    would make theirs.

    A child made by fork has no thread: call `start` there, too.

    Args:
        client: a connected client, such as `redis_store.connect(url)`; its time-outs bound each
            turn. Not shared with code that could hold it up.
        breakers: each with another name; a name stands for the same service in all processes.
        prefix: begins every key in Redis. The keys lie in one slot of a cluster.
        interval_s: the pause between two turns, in seconds. Others see a trip within two.
        pause_max_s: while Redis is away, the pause doubles up to this, in seconds.
        lease_s: how long an entry stays after the last process that holds it, in seconds.

    Raises:
        ValueError: two breakers have the same name.
    """

    def __init__(
        self,
        client: RedisClient,
        breakers: Iterable[CircuitBreaker],
        *,
        prefix: str = "breakers",
        interval_s: float = 0.25,
        pause_max_s: float = 5.0,
        lease_s: float = 60.0,
    ) -> None:
        _check.seconds(interval_s=interval_s, pause_max_s=pause_max_s, lease_s=lease_s)
        self._client = client
        named = list(breakers)
        self._breakers = {breaker.name: breaker for breaker in named}
        if len(self._breakers) < len(named):
            raise ValueError("Two breakers of one name would tell on each other: name them apart.")
        self._keys = [f"{{{prefix}}}:{name}" for name in self._breakers]
        self._interval_s = interval_s
        self._pause_max_s = pause_max_s
        self._lease_ms = round(lease_s * 1000)
        self._origin = uuid4().hex
        self._held = dict.fromkeys(self._breakers, _NONE)
        self._connected = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def connected(self) -> bool:
        """Whether the last turn reached Redis; False before the first."""
        return self._connected

    def start(self) -> None:
        """Begin to take turns in a daemon thread; does nothing when one is at it already."""
        if self._thread is None or not self._thread.is_alive():
            self._stop = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._stop,), name="shared-breakers", daemon=True
            )
            self._thread.start()

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """End the thread, and wait for it up to `timeout_s`; the breakers stay as they are."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def __enter__(self) -> "SharedBreakers":
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def exchange(self) -> None:
        """Take one turn: tell of what changed here, and adopt what is newer elsewhere.

        One round trip for all breakers. The thread calls it; call it yourself only instead.

        Raises:
            redis.RedisError: Redis could not be asked. The next turn makes up for it.
        """
        arguments: list[str | int] = [self._lease_ms]
        sent: dict[str, _Event] = {}
        for name, breaker in self._breakers.items():
            sent[name], row = self._tell(breaker, self._held[name])
            arguments += row
        try:
            answers = self._client.evalsha(_SHA, len(self._keys), *self._keys, *arguments)
        except NoScriptError:  # A new server, or SCRIPT FLUSH.
            answers = self._client.eval(_SCRIPT, len(self._keys), *self._keys, *arguments)
        for (name, breaker), answer in zip(self._breakers.items(), answers, strict=True):
            self._held[name] = self._hear(breaker, sent[name], answer)
        self._connected = True

    def _tell(self, breaker: CircuitBreaker, held: _Event) -> tuple[_Event, list[str | int]]:
        """Return the event that `breaker` holds now, and what is sent of it."""
        change = breaker.last_change()
        if change.number != held.number:
            held = _Event(
                # The process's number keeps those apart that were forked with one `_origin`.
                id=f"{self._origin}-{os.getpid()}-{change.number}",
                state=change.state,
                number=change.number,
                decision_us=(None if change.decision_number > held.number else held.decision_us),
                open_us=round(change.open_s * 1e6),
            )
        return held, [
            held.id,
            held.state.value,
            "" if held.stamp_us is None else held.stamp_us,
            round(change.age_s * 1e6),
            "" if held.decision_us is None else held.decision_us,
            round(change.decision_age_s * 1e6),
            held.open_us,
        ]

    def _hear(self, breaker: CircuitBreaker, sent: _Event, answer: Any) -> _Event:
        """Adopt the event that won, and return the one that `breaker` holds now."""
        text = answer.decode() if isinstance(answer, bytes) else str(answer)
        if not text:
            return sent
        event_id, word, *numbers = text.split(" ")
        if word not in _SHARED_STATES:  # From a later version of this program.
            return sent
        stamp_us, decision_us, open_us, age_us = (int(number) for number in numbers)
        won = _Event(
            id=event_id,
            state=BreakerState(word),
            number=sent.number,
            stamp_us=stamp_us,
            decision_us=decision_us,
            open_us=open_us,
        )
        if event_id == sent.id:
            return won
        # Another configuration, or a clock that was put back, shall not keep it open for long.
        rest_s = min(max(0.0, (open_us - age_us) / 1e6), breaker.config.reset_s)
        later_s = 2 * self._interval_s
        if not breaker.adopt(won.state, since=sent.number, open_s=rest_s + later_s):
            return sent
        return replace(won, number=sent.number + 1)

    def _run(self, stop: threading.Event) -> None:
        pause_s = self._interval_s
        was_told = False
        while not stop.wait(pause_s):
            try:
                self.exchange()
            except Exception as error:  # Whatever it is, calls go on, and so do the turns.
                self._connected = False
                pause_s = min(pause_s * 2, self._pause_max_s)
                if not was_told:
                    _log.warning(
                        "Breakers are not shared with other processes for now: %s: %s",
                        type(error).__name__,
                        error,
                    )
                was_told = True
            else:
                pause_s = self._interval_s
                was_told = False
