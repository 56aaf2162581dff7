"""The admin's site: its name, the order of its index, and how the log stands."""

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse

from eventstore.queries import lane_status, log_status

# What an auditor opens first stands first; what is not named here follows, by its name.
APPS = ("transactions", "eventstore", "users")
MODELS = (
    "Account",
    "Transaction",
    "Entry",
    "Notification",
    "Event",
    "Checkpoint",
    "ParkedEvent",
    "Snapshot",
    "IdempotencyRecord",
    "User",
    "ApiKey",
)


class EvenkeelAdminSite(admin.AdminSite):
    """Django's admin under the product's name."""

    site_header = site_title = "Evenkeel"
    index_title = "Ledger, log and lanes"
    # Tables of ids need the room.
    enable_nav_sidebar = False

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return what the user may see, in the order of `APPS` and `MODELS`."""
        found = super().get_app_list(request, app_label)
        for app in found:
            app["models"].sort(key=lambda model: _place(MODELS, model["object_name"]))
        return sorted(found, key=lambda app: _place(APPS, app["app_label"]))

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Show the index, and above it how the log and its lanes stand to who may see lanes."""
        context = dict(extra_context or {})
        checkpoints = self.get_model_admin(apps.get_model("eventstore", "Checkpoint"))
        if checkpoints.has_view_permission(request):
            context |= {"log": log_status(), "lanes": lane_status()}
        return super().index(request, context)


def _place(order: tuple[str, ...], name: str) -> int:
    """Return the place of `name`; names that are not in `order` keep Django's order behind it."""
    return order.index(name) if name in order else len(order)
