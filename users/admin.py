"""Users and API keys in the admin. No secret is ever shown: only hashes are stored."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from users.backends import LoginForm
from users.key_handlers import revoke_api_keys
from users.models import ApiKey, User

admin.site.login_form = LoginForm


# Django's forms and admins take no type arguments when they run.
class UserCreationForm(AdminUserCreationForm):  # type: ignore[type-arg]
    """Django's form for a new user, for a user with an e-mail address."""

    class Meta:
        model = User
        fields = ("email", "name")


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg]
    """Users, with Django's form for their passwords. They are made inactive, never deleted."""

    add_form = UserCreationForm
    list_display = ("email", "name", "is_active", "is_staff", "is_superuser", "created_at")
    list_filter = ("is_active", "is_staff", "is_superuser")
    search_fields = ("email", "name")
    ordering = ("email",)
    readonly_fields = ("id", "created_at", "last_login")
    show_full_result_count = False
    fieldsets = (
        (None, {"fields": ("id", "email", "name", "password")}),
        (
            "Rights",
            {
                "fields": (
                    "is_active",
                    "is_staff",
                    "is_superuser",
                    "granted_scopes",
                    "groups",
                    "user_permissions",
                )
            },
        ),
        ("Notifications", {"fields": ("notification_preferences",)}),
        ("Times", {"fields": ("created_at", "last_login")}),
    )
    add_fieldsets = (
        (None, {"fields": ("email", "name", "usable_password", "password1", "password2")}),
    )

    def has_delete_permission(
        self,
        request: HttpRequest,  # noqa: ARG002
        obj: Any = None,  # noqa: ARG002
    ) -> bool:
        """Refuse: the log of events names users for ever."""
        return False


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """API keys, to look at and to revoke."""

    list_display = (
        "prefix",
        "name",
        "user",
        "tier",
        "scopes",
        "created_at",
        "expires_at",
        "revoked_at",
    )
    list_filter = ("tier",)
    list_select_related = ("user",)
    search_fields = ("prefix", "name", "user__email")
    ordering = ("-id",)
    fields = readonly_fields = (
        "id",
        "user",
        "name",
        "prefix",
        "scopes",
        "tier",
        "created_at",
        "expires_at",
        "revoked_at",
    )
    show_full_result_count = False
    actions = ("revoke",)

    @admin.action(description="Revoke the selected API keys at once", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Revoke the selected keys; those that were revoked before stay as they are."""
        revoked = revoke_api_keys(key_ids=queryset.values_list("id", flat=True), now=timezone.now())
        self.message_user(request, f"{revoked} API keys revoked.", messages.SUCCESS)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Refuse: the secret could not be shown safely; there is an endpoint and a command."""
        return False

    def has_delete_permission(
        self,
        request: HttpRequest,  # noqa: ARG002
        obj: Any = None,  # noqa: ARG002
    ) -> bool:
        """Refuse: a revoked key stays as a record."""
        return False
