"""Events that a lane could not handle: what went wrong, and trying again or giving up.

Each action does what `manage.py subscriptions` does, and is written to the admin's own log.
"""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse

from eventstore import config, subscriptions
from eventstore.admin.readonly import ReadOnlyAdmin, ask
from eventstore.admin.render import beginning, events_url, link, stream_link, time_column
from eventstore.admin.terms import as_integer
from eventstore.models import ParkedEvent
from eventstore.parked import ParkedEventNotFound, open_of

ROWS_MAX = 100
REASON_LENGTH_MAX = 500
OPEN = "open"


class ReasonForm(forms.Form):
    """Why an event is given up."""

    reason = forms.CharField(
        max_length=REASON_LENGTH_MAX,
        widget=forms.TextInput(attrs={"size": 80}),
        help_text="Kept with the parked event, and in the admin's log.",
    )


class SubscriptionFilter(admin.SimpleListFilter):
    """Events that one lane has parked."""

    title = parameter_name = "subscription"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Return every lane of the product."""
        return [(name, name) for name in _names()]

    def queryset(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: "QuerySet[ParkedEvent]",
    ) -> "QuerySet[ParkedEvent]":
        """Narrow the list down."""
        return queryset.filter(subscription=self.value()) if self.value() else queryset


class ResolutionFilter(admin.SimpleListFilter):
    """Parked events by what became of them."""

    title = parameter_name = "resolution"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Return the resolutions, and that there is none yet."""
        return [(OPEN, "Open"), ("retried", "Retried"), ("skipped", "Skipped")]

    def queryset(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: "QuerySet[ParkedEvent]",
    ) -> "QuerySet[ParkedEvent]":
        """Narrow the list down, through the index, which begins with the subscription."""
        if not self.value():
            return queryset
        resolution = "" if self.value() == OPEN else self.value()
        return queryset.filter(subscription__in=_names(), resolution=resolution)


class ParkedEventAdmin(ReadOnlyAdmin):
    """Parked events, newest first."""

    list_display = (
        "place",
        "subscription",
        "stream_events",
        "outcome",
        "error_start",
        time_column("parked_at"),
    )
    list_filter = (ResolutionFilter, SubscriptionFilter)
    ordering = ("-id",)
    search_fields = ("stream", "position")
    search_help_text = "A position or a stream such as account-ID, exactly."
    sections = (
        (
            None,
            (
                "subscription",
                "event",
                "stream_events",
                "error",
                time_column("parked_at"),
                "resolution",
                "reason",
                time_column("resolved_at"),
            ),
        ),
    )
    actions = ("retry", "skip")

    def find(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: "QuerySet[Any]",
        term: str,
    ) -> "QuerySet[Any]":
        """Return what is parked of a stream, or at a position, through the indexes by lane."""
        rows = queryset.filter(subscription__in=_names())
        position = as_integer(term)
        if position is not None:
            return rows.filter(position=position)
        return rows.filter(stream=term, resolution__in=["", *ParkedEvent.Resolution.values])

    @admin.action(description="Try again, with what is parked behind it", permissions=["operate"])
    def retry(self, request: HttpRequest, queryset: "QuerySet[ParkedEvent]") -> None:
        """Handle the first selected event of each stream again, and those parked behind it."""
        lanes = {lane.name: lane for lane in config.subscriptions()}
        for row in self._first_of_each_stream(queryset):
            lane = lanes.get(row.subscription)
            if lane is None:
                self._refuse(request, row, f"There is no lane {row.subscription} any more.")
                continue
            try:
                handled = subscriptions.retry_parked(lane, row.pk)
            except ParkedEventNotFound as error:
                self._refuse(request, row, error.detail)
                continue
            self.log_change(request, row, f"Tried again: {handled} events handled.")
            if handled:
                text = f"Handled {handled} events of {row.stream} in the lane {row.subscription}."
                self.message_user(request, text, messages.SUCCESS)
            stuck = open_of(row.subscription).filter(stream=row.stream).first()
            if stuck is not None:
                self._refuse(request, stuck, f"It failed again: {beginning(stuck.error)}")

    @admin.action(description="Skip, with a reason…", permissions=["operate"])
    def skip(
        self, request: HttpRequest, queryset: "QuerySet[ParkedEvent]"
    ) -> TemplateResponse | None:
        """Ask for a reason, and give the selected events up."""
        rows = list(queryset.order_by("subscription", "position")[:ROWS_MAX])
        form = ReasonForm(request.POST if "apply" in request.POST else None)
        if not form.is_valid():
            question = "Why shall these subscriptions never handle these events?"
            return ask(self, request, action="skip", question=question, rows=rows, form=form)
        reason = form.cleaned_data["reason"]
        for row in rows:
            try:
                with transaction.atomic():
                    subscriptions.skip_parked(row.subscription, row.pk, reason=reason)
                    self.log_change(request, row, f"Skipped: {reason}")
            except ParkedEventNotFound as error:
                self._refuse(request, row, error.detail)
                continue
            self.message_user(request, f"Skipped: {row}.", messages.SUCCESS)
        return None

    def _first_of_each_stream(self, queryset: "QuerySet[ParkedEvent]") -> list[ParkedEvent]:
        """Return where to begin: those behind it in the stream are handled along with it."""
        first: dict[tuple[str, str], ParkedEvent] = {}
        for row in queryset.order_by("position")[:ROWS_MAX]:
            first.setdefault((row.subscription, row.stream), row)
        return list(first.values())

    def _refuse(self, request: HttpRequest, row: ParkedEvent, text: str) -> None:
        self.message_user(request, f"Not done: {row}: {text}", messages.ERROR)

    @admin.display(description="position")
    def place(self, row: ParkedEvent) -> int:
        """Show the position, as the link to the row's page."""
        return row.position

    @admin.display(description="position")
    def event(self, row: ParkedEvent) -> str:
        """Link to the event itself."""
        return link(row.position, events_url(row.position))

    @admin.display(description="stream")
    def stream_events(self, row: ParkedEvent) -> str:
        """Show the stream as a link to its events."""
        return stream_link(row.stream)

    @admin.display(description="outcome")
    def outcome(self, row: ParkedEvent) -> str:
        """Show what became of it, with the beginning of the reason."""
        if not row.resolution:
            return OPEN
        return beginning(f"{row.resolution}: {row.reason}" if row.reason else row.resolution)

    @admin.display(description="error")
    def error_start(self, row: ParkedEvent) -> str:
        """Show the beginning of the error."""
        return beginning(row.error)


def _names() -> list[str]:
    """Return the names of the product's lanes."""
    return [subscription.name for subscription in config.subscriptions()]
