"""Bodies of requests, checked strictly."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.validators import RegexValidator
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from transactions.domain.commands import (
    DEFAULT_LEDGER,
    HOLD_EXPIRES_IN_S,
    HOLD_EXPIRES_IN_S_MAX,
    PRECONDITIONS_MAX,
    CreateTransaction,
)
from transactions.domain.money import AMOUNT_MAX, DIGITS
from transactions.domain.preconditions import KINDS, Precondition
from users.api.fields import (
    METADATA_BYTES_MAX,
    METADATA_DEPTH_MAX,
    MetadataField,
    StrictBooleanField,
    StrictCharField,
    StrictChoiceField,
    StrictIntegerField,
    StrictSerializer,
    StrictUUIDField,
)

LEDGER_NAME = RegexValidator(r"\A[a-z0-9][a-z0-9_-]{0,59}\Z")
METADATA_HELP = (
    f"Kept as it is: at most {METADATA_BYTES_MAX} bytes as JSON and {METADATA_DEPTH_MAX} levels "
    "deep, without the character NUL and integers beyond 64 bits."
)


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


class PreconditionBody(StrictSerializer):
    """What must be true of an account: exactly one comparison."""

    account = StrictUUIDField()
    version = StrictIntegerField(min_value=1, required=False)
    posted_gte = StrictIntegerField(required=False, help_text="Minor units.")
    posted_lte = StrictIntegerField(required=False, help_text="Minor units.")
    available_gte = StrictIntegerField(required=False, help_text="Minor units.")

    def validate(self, attrs: dict[str, Any]) -> Any:
        """Return the precondition; refuse none and several comparisons."""
        given = [kind for kind in KINDS if kind in attrs]
        if not given:
            raise ValidationError(f"One of these is needed: {', '.join(KINDS)}.", code="required")
        kind, *others = given
        if others:
            detail = "One comparison each: make another precondition of this one."
            raise ValidationError({name: [ErrorDetail(detail, "not_allowed")] for name in others})
        return Precondition(account=attrs["account"], kind=kind, value=attrs[kind])


class PreconditionSchema(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Says in the OpenAPI document that a precondition has exactly one comparison."""

    target_class = "transactions.api.bodies.PreconditionBody"
    priority = 1

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        """Return the schema of an object with the account and one other member."""
        schema: dict[str, Any] = auto_schema._map_serializer(
            self.target, direction, bypass_extensions=True
        )
        return {**schema, "additionalProperties": False, "minProperties": 2, "maxProperties": 2}


@extend_schema_field({"type": "boolean", "enum": [False], "default": False})
class NoHoldField(StrictBooleanField):
    """Whether money is reserved, where none can be. That is the command's to refuse."""


class Movement(StrictSerializer):
    """What all bodies of `POST /api/transactions` have in common."""

    type = StrictChoiceField(["transfer", "deposit", "withdrawal"])
    amount = AmountField(help_text="Minor units, 1 to 10^15.")
    currency = CurrencyField(help_text="ISO 4217, such as EUR.")
    description = TextField(max_length=500, default="")
    reference = TextField(max_length=140, default="")
    metadata = MetadataField(required=False, default=dict, help_text=METADATA_HELP)
    consistency = StrictChoiceField(["eventual"], required=False, default="eventual")
    hold = StrictBooleanField(
        required=False,
        default=False,
        help_text="Only reserve the money, until it is captured, voided, or expires.",
    )
    expires_in = StrictIntegerField(
        min_value=1,
        max_value=HOLD_EXPIRES_IN_S_MAX,
        required=False,
        help_text=f"Seconds, only with `hold`; {HOLD_EXPIRES_IN_S} without it.",
    )
    preconditions = serializers.ListField(
        child=PreconditionBody(),
        max_length=PRECONDITIONS_MAX,
        required=False,
        default=list,
        help_text="What must be true of one's accounts, or the money does not move.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a time for money that is not reserved."""
        if "expires_in" in attrs and not attrs["hold"]:
            detail = "Only reserved money expires: send `hold: true` with it."
            raise ValidationError({"expires_in": [ErrorDetail(detail, "not_allowed")]})
        return attrs


class Transfer(Movement):
    """Money goes from one account to another."""

    type = StrictChoiceField(["transfer"])
    source = StrictUUIDField()  # type: ignore[assignment]
    destination = StrictUUIDField()


class Deposit(Movement):
    """Money comes from outside."""

    type = StrictChoiceField(["deposit"])
    destination = StrictUUIDField()
    hold = NoHoldField(required=False, default=False, help_text="There is nothing to reserve.")
    expires_in = None  # type: ignore[assignment]


class Withdrawal(Movement):
    """Money leaves for the world outside."""

    type = StrictChoiceField(["withdrawal"])
    source = StrictUUIDField()  # type: ignore[assignment]


class UnknownMovement(Movement):
    """A body whose type is missing or unknown, and which is refused for that alone."""

    source = StrictUUIDField(required=False)  # type: ignore[assignment]
    destination = StrictUUIDField(required=False)


MOVEMENTS: dict[str, type[Movement]] = {
    "transfer": Transfer,
    "deposit": Deposit,
    "withdrawal": Withdrawal,
}
MOVEMENT = PolymorphicProxySerializer(
    component_name="Movement",
    serializers={**MOVEMENTS},
    resource_type_field_name="type",
)


def movement_of(data: Any) -> type[Movement]:
    """Return the serializer for the body of a movement of money: that of its type."""
    given = data.get("type") if isinstance(data, Mapping) else None
    return MOVEMENTS.get(given, UnknownMovement) if isinstance(given, str) else UnknownMovement


def command_of(values: Mapping[str, Any], *, id: UUID) -> CreateTransaction:  # noqa: A002
    """Return the command that the checked body of a movement asks for.

    Args:
        id: of the new transaction, UUIDv7.
    """
    fields = {name: value for name, value in values.items() if name != "consistency"}
    if "expires_in" in fields:
        fields["expires_in_s"] = fields.pop("expires_in")
    return CreateTransaction(id=id, **{**fields, "preconditions": tuple(fields["preconditions"])})


class Capture(StrictSerializer):
    """The body of `POST /api/transactions/{id}/capture`, which may be empty."""

    amount = AmountField(required=False, help_text="Minor units; all that is held without it.")


class Nothing(StrictSerializer):
    """The body of a call that needs none: `{}`, or empty."""


class Reversal(StrictSerializer):
    """The body of `POST /api/transactions/{id}/reverse`, which may be empty."""

    amount = AmountField(required=False, help_text="Minor units; all that is left without it.")
    reason = TextField(max_length=500, default="")
