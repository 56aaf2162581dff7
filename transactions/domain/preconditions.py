"""Preconditions: what must be true of accounts for a movement to take place."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from transactions.domain.account import Account
from transactions.domain.refusals import Refusal

Kind = Literal["version", "posted_gte", "posted_lte", "available_gte"]

_HOLDS: Mapping[Kind, Callable[[Account, int], bool]] = {
    "version": lambda account, value: account.version == value,
    "posted_gte": lambda account, value: account.posted >= value,
    "posted_lte": lambda account, value: account.posted <= value,
    "available_gte": lambda account, value: account.available >= value,
}
KINDS: tuple[Kind, ...] = tuple(_HOLDS)


class PreconditionFailed(Refusal):
    """An account is not as the caller asked for."""

    code = "precondition_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Precondition:
    """One comparison of an account with a value.

    Args:
        kind: the version exactly, or a balance in minor units, at least or at most.
    """

    account: UUID
    kind: Kind
    value: int

    def holds_for(self, account: Account) -> bool:
        """Return whether it is true of `account`."""
        return _HOLDS[self.kind](account, self.value)


def check(preconditions: Sequence[Precondition], account_of: Callable[[UUID], Account]) -> None:
    """Raise `PreconditionFailed` for the first one that is not true."""
    for index, wanted in enumerate(preconditions):
        if not wanted.holds_for(account_of(wanted.account)):
            raise PreconditionFailed(
                f"Precondition {index} is not met: {wanted.kind} {wanted.value} does not hold for"
                f" account {wanted.account}."
            )
