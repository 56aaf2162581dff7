"""The whole configuration of a project that has nothing but the event store."""

from pathlib import Path

HERE = Path(__file__).parent

SECRET_KEY = "an example has no secrets"
INSTALLED_APPS = ["eventstore"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(HERE / "library.sqlite3"),
        "OPTIONS": {
            # Writers wait for each other instead of failing when one came between.
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        },
    }
}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

EVENTSTORE_CODEC = "library.CODEC"
EVENTSTORE_SUBSCRIPTIONS = "library.SUBSCRIPTIONS"
