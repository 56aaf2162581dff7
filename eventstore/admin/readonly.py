"""What the admins of the log and of the read models share: they show, and never change a row.

History is not edited: nobody may add, change or delete here, superusers neither. Who has
Django's "view" permission looks; who has "change" may also run the actions that steer the
platform (pause a lane, send an e-mail again), each of which is written to the admin's own log.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.auth import get_permission_codename
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.text import capfirst

from eventstore.admin.pages import PageList

# Of a row's page: the title of each section, and its columns in the form of `list_display`.
Sections = Sequence[tuple[str | None, Sequence[str | Callable[[Any], str]]]]


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg] # takes no arguments at run time
    """Shows rows of a table of any size; the base of every admin of what must not change.

    Subclasses set `ordering` to what an index provides, `sections`, and with `search_fields`
    override `find`.
    """

    sections: Sections = ()
    list_per_page = 100
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    sortable_by = ()
    change_list_template = "admin/eventstore/rows.html"

    class Media:
        css = {"all": ["eventstore/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Refuse: rows come from the log alone."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Refuse: a fact does not change."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Refuse: a fact stays."""
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may run actions: whoever has Django's "change" permission."""
        codename = get_permission_codename("change", self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may look: with "view" or, as in all of Django, with "change"."""
        return super().has_view_permission(request, obj) or self.has_operate_permission(request)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002
        """Return `sections` in Django's form."""
        return [(name, {"fields": columns}) for name, columns in self.sections]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return every field."""
        return flatten_fieldsets(self.get_fieldsets(request, obj))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[PageList]:  # noqa: ARG002
        """Return the list that counts nothing."""
        return PageList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:  # noqa: ARG002
        """Allow the filters of this admin alone: any other column may have no index."""
        return lookup in {getattr(each, "parameter_name", None) for each in self.list_filter}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show the list under the name of what it lists."""
        title = capfirst(str(self.opts.verbose_name_plural))
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def get_search_results(
        self,
        request: HttpRequest,
        queryset: "QuerySet[Any]",
        search_term: str,
    ) -> "tuple[QuerySet[Any], bool]":
        """Return what `find` finds, and that it holds no row twice."""
        term = search_term.strip()
        return (self.find(request, queryset, term) if term else queryset), False

    def find(self, request: HttpRequest, queryset: "QuerySet[Any]", term: str) -> "QuerySet[Any]":
        """Return the rows that are exactly what `term` names, by an index."""
        raise NotImplementedError(f"{type(self).__name__} has search_fields and no find()")

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Return one row, filled like those of a list."""
        found = super().get_object(request, object_id, from_field)
        self.fill([found] if found is not None else [])
        return found

    def fill(self, rows: Sequence[Any]) -> None:
        """Give `rows` what their columns need from elsewhere, in a fixed number of queries."""


class ExactFilter(admin.SimpleListFilter):
    """Rows with one exact value, given in the address by a link; not shown without one."""

    column = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Offer the value that is there, so that it can be seen and taken away."""
        value = self.value()
        return [(str(value), str(value))] if value else []

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":  # noqa: ARG002
        """Narrow the list down; raise what Django answers with the whole list."""
        if not self.value():
            return queryset
        try:
            return queryset.filter(**{self.column: self.value()})
        except (ValueError, ValidationError) as error:
            raise IncorrectLookupParameters(error) from error


def exact_filter(parameter: str, *, title: str, column: str | None = None) -> type[ExactFilter]:
    """Return a filter of the admin on an indexed `column` (by default named as the parameter)."""
    members = {"title": title, "parameter_name": parameter, "column": column or parameter}
    return type(f"{parameter.title()}Filter", (ExactFilter,), members)


def ask(
    model_admin: ReadOnlyAdmin,
    request: HttpRequest,
    *,
    action: str,
    question: str,
    rows: Iterable[Model],
    form: forms.Form,
) -> TemplateResponse:
    """Return the page that asks for more before `action` is run on `rows`.

    The page sends `form` back to the same action, together with a member `apply`.
    """
    context = {
        **model_admin.admin_site.each_context(request),
        "title": question,
        "opts": model_admin.opts,
        "media": model_admin.media,
        "action": action,
        "checkbox": ACTION_CHECKBOX_NAME,
        "rows": rows,
        "form": form,
    }
    return TemplateResponse(request, "admin/eventstore/ask.html", context)
