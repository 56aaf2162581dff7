"""Lists in the admin that cost the same on any page of a table of any size.

# Note [Pages begin behind a row]

Django's own list counts the table and then skips rows up to the page. Both take time in
proportion to the table. Here a page is found by its neighbour: the rows behind the last one of
the page before, in the order of an index, and one more to know whether there is a next page.
Nothing is counted, and rows that are added meanwhile do not shift the pages.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest

AFTER, BEFORE = "after", "before"


class PageList(ChangeList):
    """The rows of one page, and the addresses of its neighbours.

    The order is that of the model's admin or of its search: one column, or two of which the
    second decides between equals, all in the same direction. The parameter `p` says where the
    page is: `after:<primary key>` or `before:<primary key>`; nothing is the first page.
    """

    model_admin: Any
    first_url = previous_url = next_url = ""

    def get_ordering(self, request: HttpRequest, queryset: "QuerySet[Any]") -> list[Any]:  # noqa: ARG002
        """Return the order that an index provides; one in the address is not heard."""
        return list(self.model_admin.get_ordering(request))

    def get_results(self, request: HttpRequest) -> None:
        """Read one page; see Note [Pages begin behind a row]."""
        side, _, key = str(request.GET.get(PAGE_VAR, "")).partition(":")
        order = [str(name) for name in self.queryset.query.order_by]
        boundary = self._boundary(key, order) if side in {AFTER, BEFORE} else None
        backwards = boundary is not None and side == BEFORE

        rows = self.queryset.reverse() if backwards else self.queryset
        if boundary is not None:
            rows = rows.filter(_behind(boundary, order, backwards=backwards))
        found = list(rows[: self.list_per_page + 1])
        more = len(found) > self.list_per_page
        del found[self.list_per_page :]
        if backwards:
            found.reverse()

        if boundary is not None:
            self.first_url = self.get_query_string()
        if found and (more if backwards else boundary is not None):
            self.previous_url = self.get_query_string({PAGE_VAR: f"{BEFORE}:{found[0].pk}"})
        if found and (backwards or more):
            self.next_url = self.get_query_string({PAGE_VAR: f"{AFTER}:{found[-1].pk}"})
        self.model_admin.fill(found)
        self._take(found)

    def _boundary(self, key: str, order: Sequence[str]) -> tuple[Any, ...] | None:
        """Return the ordered columns of the row next to the page; None when there is none."""
        names = [name.lstrip("-") for name in order]
        try:
            row = self.root_queryset.filter(pk=key).values_list(*names).first()
        except (ValueError, ValidationError):
            return None
        return None if row is None or None in row else row

    def _take(self, found: list[Any]) -> None:
        """Set what Django's templates ask of a list."""
        self.result_list = found
        # Equal to the length of the page, so that no action is ever offered for all pages.
        self.result_count = self.full_result_count = len(found)
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = self.multi_page = False
        self.paginator = self.model_admin.get_paginator(None, found, self.list_per_page)


def _behind(boundary: tuple[Any, ...], order: Sequence[str], *, backwards: bool) -> Q:
    """Return the condition for rows on the far side of `boundary`, such that an index serves it."""
    lookup = "lt" if order[0].startswith("-") != backwards else "gt"
    first, *rest = zip((name.lstrip("-") for name in order), boundary, strict=True)
    beyond = Q(**{f"{first[0]}__{lookup}": first[1]})
    if not rest:
        return beyond
    (name, value) = rest[0]
    among_equals = Q(**{f"{name}__{lookup}": value})
    return Q(**{f"{first[0]}__{lookup}e": first[1]}) & (beyond | among_equals)
