"""Accounts, and the entries that moved them."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe

from eventstore.admin.readonly import ReadOnlyAdmin, exact_filter
from eventstore.admin.render import event_url, events_url, link, list_url, pretty_json, time_column
from eventstore.admin.terms import as_integer, as_uuid, first_match
from eventstore.codec import canonical_json
from transactions.admin import parts
from transactions.ledger import account_stream
from transactions.models import Account, Entry, Transaction
from transactions.rows import account_state


class AccountAdmin(ReadOnlyAdmin):
    """Accounts, newest first."""

    list_display = (
        "id",
        "owner_email",
        "name",
        "ledger",
        parts.status,
        "posted_money",
        "held_money",
        time_column("created_at"),
    )
    ordering = ("-id",)
    search_fields = ("id", "owner")
    search_help_text = (
        "The id of an account or of its owner, or the owner's e-mail address; exactly."
    )
    sections = (
        (None, ("id", "owner_email", "name", "ledger", "currency", parts.status)),
        ("Balance", ("posted_money", "held_money", "available_money", "overdraft")),
        ("History", ("lists", "version")),
        ("More", ("pretty_metadata", time_column("created_at"), time_column("updated_at"))),
    )

    def fill(self, rows: Sequence[Any]) -> None:
        """Read the owners' addresses."""
        parts.read_emails(rows, "owner")

    def find(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: "QuerySet[Any]",
        term: str,
    ) -> "QuerySet[Any]":
        """Return one account, or those of one owner."""
        identifier = as_uuid(term)
        if identifier is not None:
            return first_match(queryset, {"id": identifier}, {"owner": identifier})
        owner = parts.user_with_email(term)
        return queryset.filter(owner=owner) if owner else queryset.none()

    @admin.display(description="owner")
    def owner_email(self, row: Any) -> str:
        """Link to the owner."""
        return parts.person_link(row, row.owner)

    @admin.display(description="posted")
    def posted_money(self, row: Account) -> str:
        """Show the balance."""
        return parts.money(row.posted, row.currency)

    @admin.display(description="held")
    def held_money(self, row: Account) -> str:
        """Show what is promised to others."""
        return parts.money(row.held, row.currency)

    @admin.display(description="available")
    def available_money(self, row: Account) -> str:
        """Show what the owner may spend; the account of the world outside has no limit."""
        if row.owner is None:
            return "without limit"
        return parts.money(account_state(row).available, row.currency)

    @admin.display(description="overdraft limit")
    def overdraft(self, row: Account) -> str:
        """Show how far below zero the balance may go."""
        return parts.money(row.overdraft_limit, row.currency)

    @admin.display(description="lists")
    def lists(self, row: Account) -> str:
        """Link to all that has to do with the account."""
        links = (
            (list_url(Transaction, source=row.pk), "Transactions from it"),
            (list_url(Transaction, destination=row.pk), "Transactions to it"),
            (list_url(Entry, account=row.pk), "Entries"),
            (events_url(account_stream(row.pk)), "Events"),
        )
        return format_html_join(mark_safe(" · "), '<a href="{}">{}</a>', links)

    @admin.display(description="metadata")
    def pretty_metadata(self, row: Account) -> str:
        """Show the owner's own notes, indented."""
        return pretty_json(canonical_json(row.metadata))


class EntryAdmin(ReadOnlyAdmin):
    """Entries, newest first: debits and credits as the lane `entries` has projected them."""

    list_display = (
        "position",
        "account_id",
        "transaction_id",
        "direction",
        parts.amount,
        "balance",
        time_column("created_at"),
    )
    list_filter = (exact_filter("account", title="account"),)
    ordering = ("-position",)
    search_fields = ("account", "id", "position")
    search_help_text = "The id of an account, of an entry or its event, or a position; exactly."
    sections = (
        (
            None,
            (
                "position",
                "event",
                "account_id",
                "transaction_id",
                "direction",
                parts.amount,
                "balance",
                time_column("created_at"),
            ),
        ),
    )

    def find(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: "QuerySet[Any]",
        term: str,
    ) -> "QuerySet[Any]":
        """Return the entries of an account, or one entry."""
        identifier, position = as_uuid(term), as_integer(term)
        if identifier is not None:
            return first_match(queryset, {"account": identifier}, {"id": identifier})
        return queryset.none() if position is None else queryset.filter(position=position)

    @admin.display(description="account")
    def account_id(self, row: Entry) -> str:
        """Link to the account."""
        return parts.account_link(row.account)

    @admin.display(description="transaction")
    def transaction_id(self, row: Entry) -> str:
        """Link to the transaction."""
        return parts.transaction_link(row.transaction)

    @admin.display(description="balance afterwards")
    def balance(self, row: Entry) -> str:
        """Show the balance that the entry left."""
        return parts.money(row.running_balance, row.currency)

    @admin.display(description="event")
    def event(self, row: Entry) -> str:
        """Link to the event that the entry was projected from."""
        return link(row.pk, event_url(row.pk))
