"""Bodies of requests, checked strictly; and those of answers, described for OpenAPI."""

from typing import Any

from rest_framework import serializers

from transactions.domain.commands import DEFAULT_LEDGER
from users.api.fields import (
    MetadataField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
    StrictUUIDField,
    TimestampField,
)

LEDGER_NAME = r"^[a-z0-9][a-z0-9_-]{0,59}$"
STORE_STATES = ("confirmed", "pending", "failed")


class OpenAccountBody(StrictSerializer):
    """The body of `POST /api/accounts`."""

    currency = StrictCharField(max_length=3, help_text="ISO 4217, such as EUR.")
    name = StrictCharField(max_length=140, required=False, allow_blank=True, default="")
    ledger = serializers.RegexField(LEDGER_NAME, required=False, default=DEFAULT_LEDGER)
    overdraft_limit = StrictIntegerField(min_value=0, required=False, default=0)
    metadata = MetadataField(required=False, default=dict)
    owner = StrictUUIDField(required=False, help_text="Only for the scope admin.")


class ChangeAccountBody(StrictSerializer):
    """The body of `PATCH /api/accounts/{id}`."""

    name = StrictCharField(max_length=140, required=False, allow_blank=True)
    metadata = MetadataField(required=False)


class ReasonBody(StrictSerializer):
    """The body of freeze, unfreeze and close."""

    reason = StrictCharField(max_length=500, required=False, allow_blank=True, default="")


class CreateTransactionBody(StrictSerializer):
    """The body of `POST /api/transactions`."""

    type = serializers.ChoiceField(["transfer", "deposit"])
    amount = StrictIntegerField(help_text="Minor units, 1 to 10^15.")
    currency = StrictCharField(max_length=3, help_text="ISO 4217, such as EUR.")
    source = StrictUUIDField(required=False, help_text="Of a transfer.")  # type: ignore[assignment]
    destination = StrictUUIDField(required=False, help_text="Of a transfer and of a deposit.")
    description = StrictCharField(max_length=500, required=False, allow_blank=True, default="")
    reference = StrictCharField(max_length=140, required=False, allow_blank=True, default="")
    metadata = MetadataField(required=False, default=dict)
    consistency = serializers.ChoiceField(["eventual"], required=False, default="eventual")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Ask for the accounts that the type needs, and for no other."""
        needed = {"transfer": {"source", "destination"}, "deposit": {"destination"}}[attrs["type"]]
        faults: dict[str, Any] = {}
        for name in ("source", "destination"):
            if name in needed and name not in attrs:
                faults[name] = serializers.ErrorDetail(
                    f"A {attrs['type']} needs a {name}.", code="required"
                )
            if name not in needed and name in attrs:
                faults[name] = serializers.ErrorDetail(
                    f"A {attrs['type']} has no {name}.", code="not_allowed"
                )
        if faults:
            raise serializers.ValidationError(faults)
        return attrs


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


class AccountAnswer(serializers.Serializer[Any]):
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


class EntryAnswer(serializers.Serializer[Any]):
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


class TransactionAnswer(serializers.Serializer[Any]):
    """A transaction."""

    id = serializers.UUIDField()
    type = serializers.CharField()
    status = serializers.CharField()
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


class MetadataAnswer(serializers.Serializer[Any]):
    """Where an event came from."""

    actor = serializers.CharField(allow_null=True)
    correlation_id = serializers.CharField(allow_null=True)
    causation_id = serializers.CharField(allow_null=True)
    request_id = serializers.CharField(allow_null=True)


class EventAnswer(serializers.Serializer[Any]):
    """An event of the log."""

    id = serializers.UUIDField()
    position = serializers.IntegerField()
    stream = serializers.CharField()
    version = serializers.IntegerField()
    type = serializers.CharField()
    schema_version = serializers.IntegerField()
    data = MetadataField()  # type: ignore[assignment]
    metadata = MetadataAnswer()
    occurred_at = TimestampField()
    hash = serializers.CharField()
