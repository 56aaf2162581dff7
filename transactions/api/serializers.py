"""Bodies of requests, checked strictly; and those of answers, described for OpenAPI."""

from collections.abc import Mapping
from typing import Any

from django.core.validators import RegexValidator
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema_field
from rest_framework import serializers

from transactions.domain.commands import DEFAULT_LEDGER
from transactions.domain.money import AMOUNT_MAX, DIGITS
from transactions.models import Transaction as TransactionRow
from users.api.fields import (
    METADATA_BYTES_MAX,
    METADATA_DEPTH_MAX,
    MetadataField,
    StrictCharField,
    StrictChoiceField,
    StrictIntegerField,
    StrictSerializer,
    StrictUUIDField,
    TimestampField,
)

LEDGER_NAME = RegexValidator(r"\A[a-z0-9][a-z0-9_-]{0,59}\Z")
METADATA_HELP = (
    f"Kept as it is: at most {METADATA_BYTES_MAX} bytes as JSON and {METADATA_DEPTH_MAX} levels "
    "deep, without the character NUL and integers beyond 64 bits."
)
STORE_STATES = ("confirmed", "pending", "failed")


@extend_schema_field({"type": "integer", "format": "int64", "minimum": 1, "maximum": AMOUNT_MAX})
class AmountField(StrictIntegerField):
    """An integer of minor units. Its range is the command's to check, by a code of its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=None, max_value=None, **kwargs)


@extend_schema_field({"type": "string", "enum": sorted(DIGITS)})
class CurrencyField(StrictCharField):
    """A code of ISO 4217. Which ones there are is the command's to check."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_blank=True, trim_whitespace=False, **kwargs)


class TextField(StrictCharField):
    """A text of the client's own, kept as it is."""

    def __init__(self, *, max_length: int, **kwargs: Any) -> None:
        super().__init__(
            max_length=max_length, allow_blank=True, trim_whitespace=False, required=False, **kwargs
        )


class AccountOpening(StrictSerializer):
    """The body of `POST /api/accounts`."""

    currency = CurrencyField(help_text="ISO 4217, such as EUR.")
    name = TextField(max_length=140, default="")
    ledger = StrictCharField(
        max_length=60,
        trim_whitespace=False,
        validators=[LEDGER_NAME],
        required=False,
        default=DEFAULT_LEDGER,
    )
    overdraft_limit = StrictIntegerField(
        min_value=0, max_value=AMOUNT_MAX, required=False, default=0
    )
    metadata = MetadataField(required=False, default=dict, help_text=METADATA_HELP)
    owner = StrictUUIDField(required=False, help_text="Only for the scope admin.")


class AccountChange(StrictSerializer):
    """The body of `PATCH /api/accounts/{id}`."""

    name = TextField(max_length=140)
    metadata = MetadataField(required=False, help_text=METADATA_HELP)


class Reason(StrictSerializer):
    """The body of freeze, unfreeze and close."""

    reason = TextField(max_length=500, default="")


class Movement(StrictSerializer):
    """What all bodies of `POST /api/transactions` have in common."""

    type = StrictChoiceField(["transfer", "deposit"])
    amount = AmountField(help_text="Minor units, 1 to 10^15.")
    currency = CurrencyField(help_text="ISO 4217, such as EUR.")
    description = TextField(max_length=500, default="")
    reference = TextField(max_length=140, default="")
    metadata = MetadataField(required=False, default=dict, help_text=METADATA_HELP)
    consistency = StrictChoiceField(["eventual"], required=False, default="eventual")


class Transfer(Movement):
    """Money goes from one account to another."""

    type = StrictChoiceField(["transfer"])
    source = StrictUUIDField()  # type: ignore[assignment]
    destination = StrictUUIDField()


class Deposit(Movement):
    """Money comes from outside."""

    type = StrictChoiceField(["deposit"])
    destination = StrictUUIDField()


class UnknownMovement(Movement):
    """A body whose type is missing or unknown, and which is refused for that alone."""

    source = StrictUUIDField(required=False)  # type: ignore[assignment]
    destination = StrictUUIDField(required=False)


BODIES: dict[str, type[Movement]] = {"transfer": Transfer, "deposit": Deposit}
MOVEMENT = PolymorphicProxySerializer(
    component_name="Movement",
    serializers={**BODIES},
    resource_type_field_name="type",
)


def movement_of(data: Any) -> type[Movement]:
    """Return the serializer for the body of a movement of money: that of its type."""
    given = data.get("type") if isinstance(data, Mapping) else None
    return BODIES.get(given, UnknownMovement) if isinstance(given, str) else UnknownMovement


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
    type = serializers.CharField()
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
