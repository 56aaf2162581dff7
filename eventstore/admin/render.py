"""How the admin writes what it shows: links, ids, times, and JSON."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.text import Truncator

from eventstore import config
from eventstore.admin.terms import as_uuid
from eventstore.clock import format_time
from eventstore.codec import PERSONAL
from eventstore.models import Event

# An id is told apart by its random end; its beginning is a time, and alike for many.
SHORT_ID_LENGTH = 8
TEXT_SHOWN_LENGTH = 120
NOTHING = "-"


def change_url(model: type[Model], key: object) -> str:
    """Return the address of an object's page in the admin; empty when it has none."""
    meta = model._meta
    try:
        return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[key])
    except NoReverseMatch:
        return ""


def list_url(model: type[Model], **parameters: Any) -> str:
    """Return the address of a model's list with `parameters`, such as `q` for a search."""
    meta = model._meta
    address = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
    return f"{address}?{urlencode(parameters)}" if parameters else address


def link(text: object, url: str, *, title: str = "") -> str:
    """Return a link, or the text alone without an address."""
    if not url:
        return format_html('<span title="{}">{}</span>', title, text)
    return format_html('<a href="{}" title="{}">{}</a>', url, title, text)


def short(identifier: object) -> str:
    """Return an id of which lists show only the end, and pages of one row the whole.

    The style sheet hides the rest. What is no id stays as it is.
    """
    text = str(identifier)
    if as_uuid(text) is None:
        return text
    return format_html(
        '<span class="id-head">{}</span><span class="id-tail">{}</span>',
        text[:-SHORT_ID_LENGTH],
        text[-SHORT_ID_LENGTH:],
    )


def user_link(user_id: object, *, text: str = "") -> str:
    """Return a link to a user's page, by default with the short id as its text."""
    if not user_id:
        return NOTHING
    address = change_url(get_user_model(), user_id)
    return link(text or short(user_id), address, title=str(user_id))


def events_url(term: object) -> str:
    """Return the address of the list of events that `term` names: an id, a stream, a position."""
    return list_url(Event, q=term)


def event_url(event: object) -> str:
    """Return the address of an event's page, by the event's id."""
    return change_url(Event, event)


def stream_link(stream: str) -> str:
    """Return a link to the events of a stream, its id shortened."""
    category, hyphen, key = stream.partition("-")
    text = format_html("{}{}{}", category, hyphen, short(key))
    return link(text, events_url(stream), title=stream)


def stream_object_link(stream: str) -> str:
    """Return a link to what a stream is about, as `EVENTSTORE_STREAM_MODELS` says; else nothing."""
    category, _, key = stream.partition("-")
    model = config.stream_models().get(category)
    return link(f"Open this {category}", change_url(model, key)) if model else NOTHING


def pretty_json(text: str) -> str:
    """Return JSON indented for people to read; what is no JSON stays as it is."""
    with suppress(ValueError):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False, sort_keys=True)
    return format_html('<pre class="code">{}</pre>', text)


def is_sealed(data: str) -> bool:
    """Return whether the data of an event has members that are stored sealed."""
    with suppress(ValueError):
        values = json.loads(data)
        return isinstance(values, dict) and PERSONAL in values
    return False


def beginning(text: str) -> str:
    """Return the beginning of a long text, for a list."""
    return Truncator(text).chars(TEXT_SHOWN_LENGTH)


def time_column(field: str, *, label: str = "") -> Callable[[Any], str]:
    """Return a column that shows the time in `field` in full, in UTC."""

    @admin.display(description=label or field.replace("_", " "))
    def column(row: Any) -> str:
        instant = getattr(row, field)
        return format_time(instant) if instant else NOTHING

    column.__name__ = f"{field}_utc"
    return column
