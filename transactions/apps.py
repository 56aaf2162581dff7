"""Django's description of this app."""

from django.apps import AppConfig


class TransactionsConfig(AppConfig):
    """The app `transactions`."""

    name = "transactions"
    verbose_name = "Ledger"
    default_auto_field = "django.db.models.BigAutoField"
