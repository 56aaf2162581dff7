"""What people type into a search box, and the rows that it names exactly."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet


def first_match(queryset: "QuerySet[Any]", *conditions: dict[str, Any]) -> "QuerySet[Any]":
    """Return the rows of the first of `conditions` that any row meets; else none.

    One indexed condition after the other, since databases walk tables for an OR.
    """
    for condition in conditions:
        found = queryset.filter(**condition)
        if found.exists():
            return found
    return queryset.none()


def as_uuid(term: str) -> UUID | None:
    """Return `term` as an id, or None."""
    try:
        return UUID(term)
    except ValueError:
        return None


def as_integer(term: str) -> int | None:
    """Return `term` as a number of up to 18 digits, or None."""
    return int(term) if term.isascii() and term.isdigit() and len(term) <= 18 else None
