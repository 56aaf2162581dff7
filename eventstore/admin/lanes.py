"""The lanes that follow the log, with their switches.

Each action does what `manage.py subscriptions` does, and is written to the admin's own log.
"""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html

from eventstore import config, subscriptions
from eventstore.admin.parked import OPEN
from eventstore.admin.readonly import ReadOnlyAdmin, ask
from eventstore.admin.render import NOTHING, beginning, link, list_url, time_column
from eventstore.models import Checkpoint, ParkedEvent
from eventstore.queries import lane_status, log_status

ROWS_MAX = 100


class ResetForm(forms.Form):
    """Where a lane is to begin again."""

    position = forms.IntegerField(
        min_value=0,
        initial=0,
        help_text="The lane handles every event behind this position again; 0 is from the first.",
    )

    def clean_position(self) -> int:
        """Refuse a position beyond the log: events would be passed over unseen."""
        position: int = self.cleaned_data["position"]
        head = log_status().head
        if position > head:
            raise forms.ValidationError(f"The newest event has the position {head}.")
        return position


class CheckpointAdmin(ReadOnlyAdmin):
    """Subscriptions: where each one is, how far that is behind the log, and what holds it up."""

    list_display = (
        "name",
        "position",
        "lag_events",
        "lag_s",
        "state_now",
        "owner",
        "parked",
        "last_error_start",
    )
    ordering = ("name",)
    sections = (
        (
            None,
            (
                "name",
                "description",
                "position",
                "lag_events",
                "lag_s",
                "state_now",
                "parked",
                "owner",
                "epoch",
                time_column("lease_expires_at"),
                time_column("updated_at"),
                "last_error",
            ),
        ),
    )
    actions = ("pause", "resume", "reset")

    def fill(self, rows: Sequence[Any]) -> None:
        """Give each row its lane, which the sequencer and other lease holders do not have."""
        lanes = {lane.name: lane for lane in lane_status()} if rows else {}
        for row in rows:
            row.lane = lanes.get(row.name)

    @admin.action(description="Pause", permissions=["operate"])
    def pause(self, request: HttpRequest, queryset: "QuerySet[Checkpoint]") -> None:
        """Stop the selected lanes."""
        for row in self._lanes(request, queryset):
            with transaction.atomic():
                subscriptions.pause(row.name)
                self.log_change(request, row, "Paused.")
            self.message_user(request, f"Paused: {row.name}.", messages.SUCCESS)

    @admin.action(description="Resume", permissions=["operate"])
    def resume(self, request: HttpRequest, queryset: "QuerySet[Checkpoint]") -> None:
        """Let the selected lanes run again."""
        for row in self._lanes(request, queryset):
            with transaction.atomic():
                subscriptions.resume(row.name)
                self.log_change(request, row, "Resumed.")
            self.message_user(request, f"Resumed: {row.name}.", messages.SUCCESS)

    @admin.action(description="Reset to a position…", permissions=["operate"])
    def reset(
        self, request: HttpRequest, queryset: "QuerySet[Checkpoint]"
    ) -> TemplateResponse | None:
        """Ask where to begin again, and put the selected lanes there."""
        rows = self._lanes(request, queryset)
        form = ResetForm(request.POST if "apply" in request.POST else None)
        if not rows:
            return None
        if not form.is_valid():
            question = "From which position shall these subscriptions begin again?"
            return ask(self, request, action="reset", question=question, rows=rows, form=form)
        position = form.cleaned_data["position"]
        for row in rows:
            with transaction.atomic():
                subscriptions.reset(row.name, to=position)
                self.log_change(request, row, f"Reset from {row.position} to {position}.")
            text = f"Reset to position {position}: {row.name}."
            self.message_user(request, text, messages.SUCCESS)
        return None

    def _lanes(
        self, request: HttpRequest, queryset: "QuerySet[Checkpoint]"
    ) -> Sequence[Checkpoint]:
        """Return those of the selected rows that are subscriptions, and say which are not."""
        names = {subscription.name for subscription in config.subscriptions()}
        rows = list(queryset[:ROWS_MAX])
        for row in rows:
            if row.name not in names:
                text = f"No subscription, and so without a switch: {row.name}."
                self.message_user(request, text, messages.ERROR)
        return [row for row in rows if row.name in names]

    @admin.display(description="what it does")
    def description(self, row: Any) -> str:
        """Show the sentence of the product's table."""
        sentences = {each.name: each.description for each in config.subscriptions()}
        return sentences.get(row.name) or NOTHING

    @admin.display(description="lag in events")
    def lag_events(self, row: Any) -> str:
        """Show how many events lie behind the position."""
        return f"{row.lane.lag_events:,}" if row.lane else NOTHING

    @admin.display(description="lag in seconds")
    def lag_s(self, row: Any) -> str:
        """Show the age of the first event behind the position."""
        return f"{row.lane.lag_s:,.1f}" if row.lane else NOTHING

    @admin.display(description="state")
    def state_now(self, row: Any) -> str:
        """Show whether the lane runs, is paused, or fails."""
        state = row.lane.state if row.lane else row.state
        return format_html('<span class="state-{}">{}</span>', state, state)

    @admin.display(description="parked")
    def parked(self, row: Any) -> str:
        """Link to the events that the lane has parked and that nobody has dealt with."""
        if not row.lane:
            return NOTHING
        url = list_url(ParkedEvent, subscription=row.name, resolution=OPEN)
        return link(row.lane.parked, url)

    @admin.display(description="last error")
    def last_error_start(self, row: Any) -> str:
        """Show the beginning of the error on which the lane stopped last."""
        return beginning(row.last_error)
