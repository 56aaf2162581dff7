"""The admin's own log: who did what there."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest

from eventstore.admin.readonly import ReadOnlyAdmin
from eventstore.admin.render import link, time_column
from users.models import User


class LogEntryAdmin(ReadOnlyAdmin):
    """What staff did in the admin, newest first."""

    list_display = (
        time_column("action_time", label="when (UTC)"),
        "user",
        "content_type",
        "object_link",
        "what",
    )
    list_select_related = ("user", "content_type")
    ordering = ("-id",)
    search_fields = ("user",)
    search_help_text = "The e-mail address of a user, exactly."
    sections = (
        (
            None,
            (
                time_column("action_time", label="when (UTC)"),
                "user",
                "content_type",
                "object_link",
                "what",
            ),
        ),
    )

    def find(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: "QuerySet[Any]",
        term: str,
    ) -> "QuerySet[Any]":
        """Return what one user did."""
        return queryset.filter(
            user__in=User.objects.filter(email=User.objects.normalize_email(term))
        )

    @admin.display(description="object")
    def object_link(self, row: LogEntry) -> str:
        """Link to what it was done to."""
        return link(row.object_repr, row.get_admin_url() or "")

    @admin.display(description="what")
    def what(self, row: LogEntry) -> str:
        """Show what was done."""
        return f"{row.get_action_flag_display()}: {row.get_change_message()}"


admin.site.register(LogEntry, LogEntryAdmin)
