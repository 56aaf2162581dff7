"""Transactions, each with its story: the events of the whole operation."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join

from eventstore.admin.readonly import ReadOnlyAdmin, exact_filter
from eventstore.admin.render import (
    NOTHING,
    event_url,
    events_url,
    pretty_json,
    stream_link,
    time_column,
)
from eventstore.admin.terms import as_uuid
from eventstore.clock import format_time
from eventstore.codec import canonical_json
from eventstore.queries import list_events
from transactions.admin import parts
from transactions.models import Transaction
from transactions.queries import store_states

EACH_SIDE_MAX = 1000
STORY_EVENTS_MAX = 50


class TransactionAdmin(ReadOnlyAdmin):
    """Transactions, newest first."""

    list_display = (
        "id",
        "type",
        parts.status,
        parts.amount,
        "source_account",
        "destination_account",
        "reference",
        time_column("created_at"),
    )
    list_filter = (
        exact_filter("source", title="account it came from"),
        exact_filter("destination", title="account it went to"),
    )
    ordering = ("-id",)
    search_fields = ("id", "reference", "source_owner", "destination_owner")
    search_help_text = (
        "The id of a transaction, of an account or of a user, a user's e-mail address, or a "
        "reference; exactly."
    )
    sections = (
        (None, ("id", "type", parts.status, parts.amount, "failure")),
        ("Hold and reversals", ("hold", "captured", "reversed_transaction", "went_back")),
        ("From and to", ("source_account", "source_person", "destination_account", "to_person")),
        ("Story", ("story", "stores")),
        (
            "More",
            (
                "description",
                "reference",
                "pretty_metadata",
                time_column("created_at"),
                time_column("completed_at"),
                "version",
            ),
        ),
    )

    def fill(self, rows: Sequence[Any]) -> None:
        """Read the addresses of those on both sides."""
        parts.read_emails(rows, "source_owner", "destination_owner")

    def find(self, request: HttpRequest, queryset: "QuerySet[Any]", term: str) -> "QuerySet[Any]":
        """Return one transaction, those with a reference, or those of an account or a user."""
        identifier = as_uuid(term)
        if identifier is None:
            user = parts.user_with_email(term)
            return _of_user(request, queryset, user) if user else queryset.filter(reference=term)
        one = queryset.filter(id=identifier)
        if one.exists():
            return one
        sides = [queryset.filter(source=identifier), queryset.filter(destination=identifier)]
        if any(side.exists() for side in sides):
            return _both(request, queryset, sides)
        return _of_user(request, queryset, identifier)

    @admin.display(description="from")
    def source_account(self, row: Transaction) -> str:
        """Link to the account that paid."""
        return parts.account_link(row.source)

    @admin.display(description="to")
    def destination_account(self, row: Transaction) -> str:
        """Link to the account that received."""
        return parts.account_link(row.destination)

    @admin.display(description="from whom")
    def source_person(self, row: Any) -> str:
        """Link to the owner of the account that paid."""
        return parts.person_link(row, row.source_owner) if row.source else parts.OUTSIDE

    @admin.display(description="to whom")
    def to_person(self, row: Any) -> str:
        """Link to the owner of the account that received; nobody when it failed."""
        if row.destination and not row.destination_owner:
            return "nobody: it did not get there"
        return parts.person_link(row, row.destination_owner)

    @admin.display(description="failure")
    def failure(self, row: Transaction) -> str:
        """Show why it failed."""
        return f"{row.failure_code}: {row.failure_detail}" if row.failure_code else NOTHING

    @admin.display(description="held until")
    def hold(self, row: Transaction) -> str:
        """Show until when the money is or was reserved, if it was reserved first."""
        reserved = row.expires_at is not None and row.status != "failed"
        return format_time(row.expires_at) if row.expires_at and reserved else NOTHING

    @admin.display(description="captured")
    def captured(self, row: Transaction) -> str:
        """Show how much of the reserved money was taken."""
        return _sum_of(row.captured_amount, row)

    @admin.display(description="reverses")
    def reversed_transaction(self, row: Transaction) -> str:
        """Link to the transaction whose money went back by this one."""
        return parts.transaction_link(row.reverses) if row.reverses else NOTHING

    @admin.display(description="went back")
    def went_back(self, row: Transaction) -> str:
        """Show how much of the money was sent back by reversals."""
        return _sum_of(row.reversed_amount, row)

    @admin.display(description="events")
    def story(self, row: Transaction) -> str:
        """Show the events of the whole operation, in the order of the log."""
        filters = {"correlation_id": str(row.pk)}
        records = list_events(after=0, limit=STORY_EVENTS_MAX, filters=filters)
        lines = format_html_join(
            "",
            '<tr><td class="number"><a href="{}">{}</a></td><td>{}</td><td>{}</td><td>{}</td></tr>',
            (
                (
                    event_url(record.id),
                    record.position,
                    record.type,
                    stream_link(record.stream),
                    format_time(record.occurred_at),
                )
                for record in records
            ),
        )
        return format_html(
            '<table class="facts"><thead><tr><th>Position</th><th>Type</th><th>Stream</th>'
            '<th>Occurred at</th></tr></thead><tbody>{}</tbody></table><a href="{}">{}</a>',
            lines,
            events_url(row.pk),
            "In the list of events, to verify them",
        )

    @admin.display(description="stores")
    def stores(self, row: Transaction) -> str:
        """Show what each store knows of it."""
        states = store_states([row.pk])[row.pk]
        return format_html_join(
            ", ", '{} <span class="state-{}">{}</span>', ((k, v, v) for k, v in states.items())
        )

    @admin.display(description="metadata")
    def pretty_metadata(self, row: Transaction) -> str:
        """Show the client's own notes, indented."""
        return pretty_json(canonical_json(row.metadata))


def _sum_of(amount: int, row: Transaction) -> str:
    return parts.money(amount, row.currency) if amount else NOTHING


def _of_user(request: HttpRequest, queryset: "QuerySet[Any]", user: object) -> "QuerySet[Any]":
    """Return the transactions on whose one side or other a user's account stands."""
    return _both(
        request,
        queryset,
        [queryset.filter(source_owner=user), queryset.filter(destination_owner=user)],
    )


def _both(
    request: HttpRequest, queryset: "QuerySet[Any]", sides: "Sequence[QuerySet[Any]]"
) -> "QuerySet[Any]":
    """Return the newest rows of both sides together, and say so when that is not all of them.

    Each side is an index of its own; for an OR of the two, databases may walk the whole table.
    """
    found = [list(side.values_list("pk", flat=True)[:EACH_SIDE_MAX]) for side in sides]
    if any(len(keys) == EACH_SIDE_MAX for keys in found):
        text = (
            f"Only the newest {EACH_SIDE_MAX:,} on each side are shown. The page of an account "
            "leads to all from it, and to all to it."
        )
        messages.warning(request, text)
    return queryset.filter(pk__in={key for keys in found for key in keys})
