"""Movements of money on one account: what may be decided about them, and why it may not."""

from uuid import UUID

from transactions.domain.account import Account, check_not_closed
from transactions.domain.events import (
    AccountCredited,
    AccountDebited,
    FundsHeld,
    HoldCaptured,
    HoldReleased,
)
from transactions.domain.money import BALANCE_MAX, display
from transactions.domain.refusals import Refusal


class InsufficientFunds(Refusal):
    """A debit is larger than what is available."""

    code = "insufficient_funds"


class CurrencyMismatch(Refusal):
    """The account is held in another currency."""

    code = "currency_mismatch"


class AccountIsFrozen(Refusal):
    """The account refuses debits."""

    code = "account_frozen"


class BalanceOutOfRange(Refusal):
    """A balance would grow beyond what a 64-bit integer holds safely."""

    code = "balance_out_of_range"


def debit(account: Account, *, transaction: UUID, amount: int, currency: str) -> AccountDebited:
    """Decide that `amount` leaves `account`; raise a `Refusal` when it may not."""
    _check_may_send(account, amount=amount, currency=currency)
    return AccountDebited(
        account=account.id,
        transaction=transaction,
        amount=amount,
        currency=currency,
        posted=_in_range(account.posted - amount),
    )


def credit(account: Account, *, transaction: UUID, amount: int, currency: str) -> AccountCredited:
    """Decide that `amount` arrives on `account`; raise a `Refusal` when it may not."""
    _check_usable(account, currency)
    return AccountCredited(
        account=account.id,
        transaction=transaction,
        amount=amount,
        currency=currency,
        posted=_in_range(account.posted + amount),
    )


def hold(account: Account, *, transaction: UUID, amount: int, currency: str) -> FundsHeld:
    """Decide that `amount` of `account` is reserved; raise a `Refusal` when it may not be."""
    _check_may_send(account, amount=amount, currency=currency)
    return FundsHeld(
        account=account.id,
        transaction=transaction,
        amount=amount,
        currency=currency,
        held=_in_range(account.held + amount),
    )


def capture(account: Account, *, transaction: UUID, amount: int, currency: str) -> HoldCaptured:
    """Decide that reserved `amount` leaves `account`; raise a `Refusal` when it may not."""
    _check_usable(account, currency)
    _check_not_frozen(account)
    return HoldCaptured(
        account=account.id,
        transaction=transaction,
        amount=amount,
        currency=currency,
        posted=_in_range(account.posted - amount),
        held=account.held - amount,
    )


def release(account: Account, *, transaction: UUID, amount: int, currency: str) -> HoldReleased:
    """Decide that reserved `amount` of `account` is free again."""
    return HoldReleased(
        account=account.id,
        transaction=transaction,
        amount=amount,
        currency=currency,
        held=account.held - amount,
    )


def _check_may_send(account: Account, *, amount: int, currency: str) -> None:
    _check_usable(account, currency)
    _check_not_frozen(account)
    if not account.is_external and amount > account.available:
        raise InsufficientFunds(
            f"{display(amount, currency)} {currency} is more than the"
            f" {display(account.available, currency)} {currency} available on the account."
        )


def _check_not_frozen(account: Account) -> None:
    if account.status == "frozen":
        raise AccountIsFrozen("The account is frozen: it can receive money, but not send it.")


def _check_usable(account: Account, currency: str) -> None:
    check_not_closed(account)
    if account.currency != currency:
        raise CurrencyMismatch(f"The account is held in {account.currency}, not in {currency}.")


def _in_range(balance: int) -> int:
    if abs(balance) > BALANCE_MAX:
        raise BalanceOutOfRange("The balance would grow beyond what an account can hold.")
    return balance
