"""Django's description of this app."""

from django.apps import AppConfig


class UsersConfig(AppConfig):
    """The app `users`."""

    name = "users"
    default_auto_field = "django.db.models.BigAutoField"
