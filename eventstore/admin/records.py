"""What the event store keeps beside the log: snapshots, and answers to repeated requests."""

import json
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from eventstore.admin.readonly import ReadOnlyAdmin
from eventstore.admin.render import pretty_json, time_column, user_link
from eventstore.admin.terms import first_match
from eventstore.models import IdempotencyRecord, Snapshot

HIDDEN = "(not shown)"
# Members of an answer that would let whoever reads them act as somebody else.
SECRET_MEMBERS = frozenset(
    {"access_token", "api_key", "password", "refresh_token", "secret", "token"}
)


class SnapshotAdmin(ReadOnlyAdmin):
    """Snapshots of streams, newest first."""

    list_display = ("stream", "version", "code_version", time_column("taken_at"))
    ordering = ("-id",)
    search_fields = ("stream",)
    search_help_text = "A stream, exactly, such as account-ID."
    sections = (
        (None, ("stream", "version", "code_version", time_column("taken_at"), "pretty_state")),
    )

    def find(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: "QuerySet[Any]",
        term: str,
    ) -> "QuerySet[Any]":
        """Return the snapshots of the stream `term`, newest first."""
        return queryset.filter(stream=term).order_by("-version", "-code_version")

    @admin.display(description="state")
    def pretty_state(self, row: Snapshot) -> str:
        """Show the state, indented."""
        return pretty_json(row.state)


class IdempotencyRecordAdmin(ReadOnlyAdmin):
    """What was answered to requests with an Idempotency-Key, newest first."""

    list_display = ("key", "method", "path", "status", "by", time_column("created_at"))
    ordering = ("-created_at", "-digest")
    search_fields = ("key", "digest")
    search_help_text = "An Idempotency-Key or its digest, exactly."
    sections = (
        (None, ("key", "method", "path", "by", time_column("created_at"), "fingerprint")),
        ("What was answered", ("status", "answer_headers", "answer_body")),
    )

    def find(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: "QuerySet[Any]",
        term: str,
    ) -> "QuerySet[Any]":
        """Return the records of a key, or the one of a digest."""
        return first_match(queryset, {"key": term}, {"digest": term})

    @admin.display(description="actor")
    def by(self, row: IdempotencyRecord) -> str:
        """Link to who asked."""
        return user_link(row.actor)

    @admin.display(description="headers")
    def answer_headers(self, row: IdempotencyRecord) -> str:
        """Show the headers of the answer."""
        return pretty_json(row.headers)

    @admin.display(description="body")
    def answer_body(self, row: IdempotencyRecord) -> str:
        """Show the body of the answer as text, without secrets."""
        text = bytes(row.body).decode(errors="replace")
        try:
            return pretty_json(json.dumps(_without_secrets(json.loads(text)), ensure_ascii=False))
        except ValueError:
            return pretty_json(text)


def _without_secrets(value: Any) -> Any:
    """Return a JSON value whose members with a secret's name say only that there is one."""
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    if isinstance(value, dict):
        return {
            name: HIDDEN if name in SECRET_MEMBERS else _without_secrets(each)
            for name, each in value.items()
        }
    return value
