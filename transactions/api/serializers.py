"""Bodies of answers, described for OpenAPI; `transactions.api.bodies` has those of requests."""

from typing import Any

from rest_framework import serializers

from transactions.models import Transaction as TransactionRow
from users.api.fields import MetadataField, TimestampField

TRANSACTION_TYPES = ("transfer", "deposit", "withdrawal", "payment", "reversal")
STORE_STATES = ("confirmed", "pending", "failed")


class Money(serializers.Serializer[Any]):
    """A sum of money in an answer."""

    amount = serializers.IntegerField()
    currency = serializers.CharField()
    display = serializers.CharField()


class Balance(serializers.Serializer[Any]):
    """The three balances of an account; `available` is `posted - held + overdraft_limit`."""

    posted = Money()
    held = Money()
    available = Money()


class Account(serializers.Serializer[Any]):
    """An account."""

    id = serializers.UUIDField()
    owner = serializers.UUIDField()
    ledger = serializers.CharField()
    currency = serializers.CharField()
    name = serializers.CharField(allow_blank=True)
    status = serializers.ChoiceField(["open", "frozen", "closed"])
    overdraft_limit = serializers.IntegerField()
    balance = Balance()
    metadata = MetadataField()
    version = serializers.IntegerField()
    created_at = TimestampField()


class Entry(serializers.Serializer[Any]):
    """A movement on one account."""

    id = serializers.UUIDField()
    account = serializers.UUIDField()
    transaction = serializers.UUIDField()
    direction = serializers.ChoiceField(["debit", "credit"])
    amount = serializers.IntegerField()
    currency = serializers.CharField()
    display = serializers.CharField()
    running_balance = serializers.IntegerField()
    position = serializers.IntegerField()
    created_at = TimestampField()


class Stores(serializers.Serializer[Any]):
    """What each store knows of a transaction."""

    mysql = serializers.ChoiceField(STORE_STATES)
    mongodb = serializers.ChoiceField(STORE_STATES)
    spanner = serializers.ChoiceField(STORE_STATES)


class Failure(serializers.Serializer[Any]):
    """Why the money did not move."""

    code = serializers.CharField()
    detail = serializers.CharField()


class Transaction(serializers.Serializer[Any]):
    """A transaction."""

    id = serializers.UUIDField()
    type = serializers.ChoiceField(TRANSACTION_TYPES)
    status = serializers.ChoiceField(TransactionRow.Status.values)
    source = serializers.UUIDField(allow_null=True)  # type: ignore[assignment]
    destination = serializers.UUIDField(allow_null=True)
    recipient = serializers.CharField(allow_null=True)
    amount = serializers.IntegerField()
    currency = serializers.CharField()
    display = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    reference = serializers.CharField(allow_blank=True)
    metadata = MetadataField()
    consistency = serializers.CharField()
    stores = Stores()
    failure = Failure(allow_null=True)
    captured_amount = serializers.IntegerField()
    expires_at = TimestampField(allow_null=True)
    reverses = serializers.UUIDField(allow_null=True)
    reversed_amount = serializers.IntegerField()
    version = serializers.IntegerField()
    created_at = TimestampField()
    completed_at = TimestampField(allow_null=True)


class EventMetadata(serializers.Serializer[Any]):
    """Where an event came from."""

    actor = serializers.CharField(allow_null=True)
    correlation_id = serializers.CharField(allow_null=True)
    causation_id = serializers.CharField(allow_null=True)
    request_id = serializers.CharField(allow_null=True)


class Event(serializers.Serializer[Any]):
    """An event of the log."""

    id = serializers.UUIDField()
    position = serializers.IntegerField()
    stream = serializers.CharField()
    version = serializers.IntegerField()
    type = serializers.CharField()
    schema_version = serializers.IntegerField()
    data = MetadataField()  # type: ignore[assignment]
    metadata = EventMetadata()
    occurred_at = TimestampField()
    hash = serializers.CharField()


class StoryEvent(Event):
    """An event of a transaction's story; its hash is only for those who may read the log."""

    hash = serializers.CharField(allow_null=True)
