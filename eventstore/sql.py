"""Statements that databases spell differently."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from django.db import connection, models

ModelT = TypeVar("ModelT", bound=models.Model)


def upsert(rows: Sequence[ModelT], *, key: Sequence[str], fields: Sequence[str]) -> None:
    """Insert `rows` of one model, or update `fields` of those whose `key` is already there.

    One statement for all (SQLite: one for as many as its bound of variables allows).
    """
    if not rows:
        return
    # MySQL and MariaDB find the conflicting key themselves and refuse to be told.
    target = key if connection.features.supports_update_conflicts_with_target else None
    type(rows[0])._default_manager.bulk_create(
        rows, update_conflicts=True, unique_fields=target, update_fields=fields
    )


def lock_in_order(model: type[ModelT], ids: Iterable[Any]) -> dict[Any, ModelT]:
    """Lock the rows with these primary keys, in the order of the keys, in one statement.

    The same order everywhere is what keeps two opposite transfers from waiting for each other.
    SQLite has no row locks: there the transaction itself (IMMEDIATE) is the lock.
    """
    rows = model._default_manager.select_for_update().filter(pk__in=set(ids)).order_by("pk")
    return {row.pk: row for row in rows}
