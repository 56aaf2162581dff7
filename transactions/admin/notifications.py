"""E-mails that were or are to be sent, and sending one again."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from eventstore.admin.readonly import ReadOnlyAdmin
from eventstore.admin.render import event_url, link, short, time_column
from eventstore.admin.terms import as_uuid
from transactions import mailer
from transactions.admin import parts
from transactions.models import Notification

ROWS_MAX = 100


class StateFilter(admin.SimpleListFilter):
    """Notifications in one state, by the index on state and due time."""

    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Return every state."""
        return [(state.value, str(state.label)) for state in Notification.State]

    def queryset(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: "QuerySet[Notification]",
    ) -> "QuerySet[Notification]":
        """Narrow the list down."""
        return queryset.filter(state=self.value()) if self.value() else queryset


class NotificationAdmin(ReadOnlyAdmin):
    """Notifications, those of the newest events first; in one state, those due last first."""

    list_display = (
        "event_short",
        "recipient",
        "type",
        "subject",
        "state_now",
        "attempts",
        time_column("due_at"),
    )
    list_filter = (StateFilter,)
    search_fields = ("event",)
    search_help_text = "The id of an event, exactly."
    sections = (
        (
            None,
            (
                "event_link",
                "recipient",
                "type",
                "subject",
                "body",
                "state_now",
                "attempts",
                time_column("due_at"),
                time_column("created_at"),
                "last_error",
            ),
        ),
    )
    actions = ("send_again",)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Order by what there is an index for."""
        in_state = StateFilter.parameter_name in request.GET
        return ("-due_at", "-event") if in_state else ("-event",)

    def fill(self, rows: Sequence[Any]) -> None:
        """Read the recipients' addresses."""
        parts.read_emails(rows, "user")

    def find(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: "QuerySet[Any]",
        term: str,
    ) -> "QuerySet[Any]":
        """Return the notification of one event."""
        event = as_uuid(term)
        return queryset.filter(event=event) if event else queryset.none()

    @admin.action(description="Send again (failed or in doubt)", permissions=["operate"])
    def send_again(self, request: HttpRequest, queryset: "QuerySet[Notification]") -> None:
        """Make the selected notifications due, those that failed or are in doubt."""
        events = list(queryset.values_list("pk", flat=True)[:ROWS_MAX])
        with transaction.atomic():
            due = mailer.send_again(events)
            for row in due:
                self.log_change(request, row, f"To be sent again; it was {row.state}.")
        if due:
            self.message_user(request, f"{len(due)} will be sent again.", messages.SUCCESS)
        if len(due) < len(events):
            text = f"{len(events) - len(due)} were neither failed nor in doubt: nothing was done."
            self.message_user(request, text, messages.WARNING)

    @admin.display(description="recipient")
    def recipient(self, row: Any) -> str:
        """Link to the user."""
        return parts.person_link(row, row.user)

    @admin.display(description="state")
    def state_now(self, row: Notification) -> str:
        """Show the state."""
        return format_html('<span class="state-{}">{}</span>', row.state, row.get_state_display())

    @admin.display(description="event")
    def event_short(self, row: Notification) -> str:
        """Show the event's id, as the link to the row's page."""
        return short(row.pk)

    @admin.display(description="event")
    def event_link(self, row: Notification) -> str:
        """Link to the event that called for it."""
        return link(row.pk, event_url(row.pk))
