"""Django's description of this app."""

from django.apps import AppConfig


class EventStoreConfig(AppConfig):
    """The app `eventstore`."""

    name = "eventstore"
    verbose_name = "Event store"
    default_auto_field = "django.db.models.BigAutoField"
