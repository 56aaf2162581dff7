"""Parts of several pages of the ledger: money, accounts, and their owners."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.utils.html import format_html

from eventstore.admin.render import change_url, link, short, user_link
from transactions.domain.money import display
from transactions.models import Account, Transaction
from users.models import User

OUTSIDE = "the world outside"


def money(amount: int, currency: str) -> str:
    """Return an amount of minor units as people write it, with its currency."""
    return f"{display(amount, currency)} {currency}"


@admin.display(description="amount")
def amount(row: Any) -> str:
    """Show the column `amount` of a row as money."""
    return money(row.amount, row.currency)


@admin.display(description="status")
def status(row: Any) -> str:
    """Show the column `status` of a row, in a colour when it is one that stands out."""
    return format_html('<span class="state-{}">{}</span>', row.status, row.status)


def account_link(account: object) -> str:
    """Return a link to an account's page."""
    if not account:
        return OUTSIDE
    return link(short(account), change_url(Account, account), title=str(account))


def transaction_link(transaction: object) -> str:
    """Return a link to a transaction's page."""
    return link(short(transaction), change_url(Transaction, transaction), title=str(transaction))


def read_emails(rows: Sequence[Any], *columns: str) -> None:
    """Give each row `emails`: the address of each user in `columns`, in one query."""
    ids = {getattr(row, column) for row in rows for column in columns} - {None}
    emails = dict(User.objects.filter(pk__in=ids).values_list("pk", "email")) if ids else {}
    for row in rows:
        row.emails = emails


def person_link(row: Any, user: object) -> str:
    """Return a link to a user under the address that `read_emails` has found."""
    return user_link(user, text=row.emails.get(user, "")) if user else OUTSIDE


def user_with_email(term: str) -> UUID | None:
    """Return the id of the user with this address, or None."""
    email = User.objects.normalize_email(term)
    return User.objects.filter(email=email).values_list("pk", flat=True).first()
