"""Group commit: concurrent single commands share one transaction.

The commit is what a durable write costs, and a database can commit ten commands for the price of
one. So in a process with several threads whoever comes first executes its command at once, and
those who come meanwhile wait together: when the first is done, the first of them leads and takes
along all that wait, up to a bound. Nobody waits for others to come, so a lone command costs no
more than without (DeWitt et al., "Implementation techniques for main memory database systems",
1984, on group commit; the roles of leader and followers are those of a binary log's).
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from eventstore.errors import PlatformError
from eventstore.messages import Envelope, Outcome

BATCH_SIZE_MAX = 64
WAITING_MAX = 1000
WAIT_TIMEOUT_S = 30.0


class TooManyWaiting(PlatformError):
    """Commands come faster than the database commits them."""

    code = "overloaded"
    retryable = True


@dataclass(slots=True, eq=False)
class _Turn:
    """One command on its way.

    Args:
        settled: set when the command is done, or when its thread is to lead.
    """

    envelope: Envelope
    settled: threading.Event = field(default_factory=threading.Event)
    outcome: Outcome | None = None
    error: BaseException | None = None
    leads: bool = False


class Coalescer:
    """Executes single commands, those that wait at the same time together.

    Args:
        execute_many: executes a batch in one transaction; one outcome each, in order.
        batch_size_max: how many commands share a transaction at most.
        waiting_max: how many may wait for their turn.
        wait_timeout_s: how long one may wait for its turn; once it is being executed, it waits
            until its fate is known.
    """

    def __init__(
        self,
        execute_many: Callable[[Sequence[Envelope]], list[Outcome]],
        *,
        batch_size_max: int = BATCH_SIZE_MAX,
        waiting_max: int = WAITING_MAX,
        wait_timeout_s: float = WAIT_TIMEOUT_S,
    ) -> None:
        self._execute_many = execute_many
        self._batch_size_max = batch_size_max
        self._waiting_max = waiting_max
        self._wait_timeout_s = wait_timeout_s
        self._lock = threading.Lock()
        self._waiting: deque[_Turn] = deque()
        self._has_leader = False

    def execute(self, envelope: Envelope) -> Outcome:
        """Return what became of one command.

        Raises:
            TooManyWaiting: it was not begun; nothing of it has happened.
            Exception: what `execute_many` raised for the batch that it was part of.
        """
        turn = _Turn(envelope)
        with self._lock:
            if self._has_leader:
                if len(self._waiting) >= self._waiting_max:
                    raise TooManyWaiting("Too many commands wait; send it again in a moment.")
                self._waiting.append(turn)
            else:
                self._has_leader = turn.leads = True
        if not turn.leads:
            self._wait(turn)
        if turn.leads:
            self._lead(turn)
        if turn.error is not None:
            raise turn.error
        if turn.outcome is None:
            raise RuntimeError("a command was let go without an outcome")
        return turn.outcome

    def _wait(self, turn: _Turn) -> None:
        if turn.settled.wait(self._wait_timeout_s):
            return
        with self._lock:
            if turn in self._waiting:
                self._waiting.remove(turn)
                raise TooManyWaiting("The command waited too long; send it again in a moment.")
        # It was taken along just now: its transaction ends in a time that the database bounds.
        turn.settled.wait()

    def _lead(self, first: _Turn) -> None:
        """Execute `first` and what waits behind it, and let the next one lead."""
        with self._lock:
            count = min(len(self._waiting), self._batch_size_max - 1)
            turns = [first, *(self._waiting.popleft() for _ in range(count))]
        try:
            outcomes = self._execute_many([turn.envelope for turn in turns])
            for turn, outcome in zip(turns, outcomes, strict=True):
                turn.outcome = outcome
        except BaseException as error:
            for turn in turns:
                turn.error = error
        finally:
            with self._lock:
                follower = self._waiting.popleft() if self._waiting else None
                self._has_leader = follower is not None
            if follower is not None:
                follower.leads = True
                follower.settled.set()
            for turn in turns[1:]:
                turn.settled.set()
