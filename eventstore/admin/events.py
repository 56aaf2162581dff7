"""The log as it was written, and proof that it still is."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe

from eventstore import config
from eventstore.admin.readonly import ReadOnlyAdmin
from eventstore.admin.render import (
    NOTHING,
    change_url,
    events_url,
    is_sealed,
    link,
    pretty_json,
    short,
    stream_link,
    stream_object_link,
    time_column,
    user_link,
)
from eventstore.admin.terms import as_integer, as_uuid, first_match
from eventstore.codec import UnknownEvent, canonical_json
from eventstore.integrity import event_faults
from eventstore.models import Event
from eventstore.rows import to_record
from eventstore.store import event_store

WHOLE_CHAIN = "The whole chain is verified by the command: manage.py verify_events"
EVENTS_VERIFIED_MAX = 1000


class TypeFilter(admin.SimpleListFilter):
    """Events of one type: those of the codec, since a DISTINCT would read the whole index."""

    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Return every type that the product stores."""
        return [(name, name) for name in dict.fromkeys(name for name, _ in config.codec().events)]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Event]") -> "QuerySet[Event]":  # noqa: ARG002
        """Narrow the list down by the index on type and position."""
        return queryset.filter(type=self.value()) if self.value() else queryset


class PlaceFilter(admin.SimpleListFilter):
    """Events that are in the log, or that still wait for the sequencer."""

    title = "position"
    parameter_name = "place"
    WAITING = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Offer what is apart from the log."""
        return [(self.WAITING, "Waiting for one")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Event]") -> "QuerySet[Event]":
        """Leave out what has no position from pages by position; a search finds both."""
        if self.value() == self.WAITING:
            return queryset.filter(position__isnull=True)
        return queryset if request.GET.get("q") else queryset.filter(position__isnull=False)


class EventAdmin(ReadOnlyAdmin):
    """Events, newest first; each with its neighbours, its hash, and whether that is right."""

    list_display = (
        "position",
        time_column("occurred_at", label="occurred at (UTC)"),
        "type",
        "stream_events",
        "version",
        "by",
        "operation",
    )
    list_filter = (TypeFilter, PlaceFilter)
    search_fields = ("stream", "correlation_id", "id", "position")
    search_help_text = (
        "Exactly: a position, the id of an event or of an operation, a stream such as account-ID, "
        "or an actor."
    )
    sections = (
        (
            None,
            (
                "position",
                "id",
                time_column("occurred_at", label="occurred at (UTC)"),
                "type",
                "schema_version",
                "stream_events",
                "version",
                "about",
            ),
        ),
        ("Data", ("pretty_data", "opened")),
        ("Metadata", ("by", "operation", "cause", "request_id")),
        ("Hash chain", ("verified", "own_hash", "previous_hash")),
        ("Neighbours", ("in_stream", "in_log")),
    )
    actions = ("verify",)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Order by position; what has none yet, by its insertion."""
        waiting = request.GET.get(PlaceFilter.parameter_name) == PlaceFilter.WAITING
        return ("-row",) if waiting else ("-position",)

    def find(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: "QuerySet[Any]",
        term: str,
    ) -> "QuerySet[Any]":
        """Return the events that `term` names, each way to name them by its index."""
        position, identifier = as_integer(term), as_uuid(term)
        if position is not None:
            return queryset.filter(position=position)
        if identifier is not None:
            return first_match(
                queryset,
                {"id": identifier},
                {"correlation_id": str(identifier)},
                {"actor": str(identifier)},
            )
        # A stream is read along its own index, which is in the order of its versions.
        of_stream = queryset.filter(stream=term).order_by("-version")
        if of_stream.exists():
            return of_stream
        return first_match(queryset, {"correlation_id": term}, {"type": term}, {"actor": term})

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Return an event by its row or, since other pages know only that, by its id."""
        field = "id" if as_uuid(object_id) else from_field
        row = super().get_object(request, object_id, field)
        if row is not None:
            row.may_be_opened = request.user.has_perm("eventstore.view_subjectkey")
        return row

    @admin.action(description="Verify the selected events")
    def verify(self, request: HttpRequest, queryset: "QuerySet[Event]") -> None:
        """Recompute the hash of each selected event; name the first that is not right."""
        found = queryset.values_list("position", flat=True)[:EVENTS_VERIFIED_MAX]
        positions = [position for position in found if position is not None]
        fault = next(event_faults(positions=positions), None)
        if fault is not None:
            text = f"The first that is broken: {fault.subject}: {fault.detail}."
            self.message_user(request, f"{text} {WHOLE_CHAIN}", messages.ERROR)
            return
        text = f"{len(positions)} events are as they were written, each onto the one before it."
        self.message_user(request, f"{text} {WHOLE_CHAIN}", messages.SUCCESS)

    @admin.display(description="stream")
    def stream_events(self, row: Event) -> str:
        """Show the stream as a link to its events."""
        return stream_link(row.stream)

    @admin.display(description="about")
    def about(self, row: Event) -> str:
        """Link to what the stream is about."""
        return stream_object_link(row.stream)

    @admin.display(description="actor")
    def by(self, row: Event) -> str:
        """Show who caused the event."""
        return user_link(row.actor)

    @admin.display(description="correlation")
    def operation(self, row: Event) -> str:
        """Show the operation as a link to all its events."""
        identifier = row.correlation_id
        if not identifier:
            return NOTHING
        return link(short(identifier), events_url(identifier), title=identifier)

    @admin.display(description="causation")
    def cause(self, row: Event) -> str:
        """Link to the event that caused this one."""
        identifier = row.causation_id
        return link(identifier, events_url(identifier)) if identifier else NOTHING

    @admin.display(description="data")
    def pretty_data(self, row: Event) -> str:
        """Show the data, indented."""
        return pretty_json(row.data)

    @admin.display(description="what is sealed in it")
    def opened(self, row: Any) -> str:
        """Open what tells of a person, for who may see their keys: see `eventstore.keyring`."""
        if not is_sealed(row.data):
            return NOTHING
        if not row.may_be_opened:
            return "To read it takes the permission to view subject keys."
        try:
            event = event_store().event_of(to_record(row))
        except UnknownEvent as error:
            return error.detail
        names = config.codec().personal.get(type(event), {})
        members = {name: getattr(event, name) for name in names}
        if members == dict(names):
            return "It was forgotten with the person of whom it told."
        return pretty_json(canonical_json(members))

    @admin.display(description="this event")
    def verified(self, row: Event) -> str:
        """Recompute the hash now, and say whether it is the one that is stored."""
        if row.position is None:
            return "waits for its position and its hash."
        fault = next(event_faults(positions=[row.position]), None)
        if fault is None:
            return f"Verified just now, from its own bytes and the hash before it. {WHOLE_CHAIN}"
        return format_html(
            '<strong class="state-failed">{}: {}</strong>', fault.subject, fault.detail
        )

    @admin.display(description="hash")
    def own_hash(self, row: Event) -> str:
        """Show the hash."""
        return format_html('<span class="digest">{}</span>', row.hash_hex or NOTHING)

    @admin.display(description="previous hash")
    def previous_hash(self, row: Event) -> str:
        """Show the hash of the event before it in the log."""
        before = Event.objects.filter(position=(row.position or 0) - 1).first()
        return format_html('<span class="digest">{}</span>', before.hash_hex if before else NOTHING)

    @admin.display(description="in its stream")
    def in_stream(self, row: Event) -> str:
        """Link to the events before and behind it in its stream."""
        around = Event.objects.filter(
            stream=row.stream, version__in=[row.version - 1, row.version + 1]
        )
        return _neighbours(list(around.order_by("version")), middle=row.version, name="version")

    @admin.display(description="in the log")
    def in_log(self, row: Event) -> str:
        """Link to the events before and behind it in the log."""
        if row.position is None:
            return NOTHING
        around = Event.objects.filter(position__in=[row.position - 1, row.position + 1])
        return _neighbours(list(around.order_by("position")), middle=row.position, name="position")


def _neighbours(rows: list[Event], *, middle: int, name: str) -> str:
    """Link to the rows around the one whose `name` (its version or position) is `middle`."""
    links = [
        (
            change_url(Event, row.pk),
            "previous" if getattr(row, name) < middle else "next",
            f"{name} {getattr(row, name)}, {row.type}",
        )
        for row in rows
    ]
    return format_html_join(mark_safe("<br>"), '<a href="{}">{}: {}</a>', links) or NOTHING
