"""The slot of a bulkhead: what is taken before a call, and given back after it."""

from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resilience._bulkhead import Bulkhead


class Slot:
    """One slot: a context manager for `with` and `async with`, good for one block.

    `release` gives it back, once; further calls do nothing. So a streamed answer may hold the
    slot past its view and release it from wherever it ends.
    """

    __slots__ = ("_bulkhead", "_held", "_timeout_s")

    # Set by `Bulkhead.slot`.
    _bulkhead: "Bulkhead"
    _timeout_s: float | None
    # There while the slot is held. To delete it succeeds once, whichever threads try at once.
    _held: bool

    def release(self) -> None:
        """Give the slot to the first that waits, or make it free."""
        try:
            del self._held
        except AttributeError:
            return
        self._bulkhead._leave()

    def __enter__(self) -> "Slot":
        if not self._bulkhead._take():
            self._bulkhead._wait(self._timeout_s)
        self._held = True
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        try:  # As `release` does, without a call more.
            del self._held
        except AttributeError:
            return
        self._bulkhead._leave()

    async def __aenter__(self) -> "Slot":
        if not self._bulkhead._take():
            await self._bulkhead._wait_async(self._timeout_s)
        self._held = True
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.release()
