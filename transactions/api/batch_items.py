"""The items of a batch, checked strictly: quickly where nothing is wrong, exactly where it is.

# Note [Two ways to check an item]

The serializers of single movements say what an item may be and what is wrong with it, but a
thousand of them cost as much as executing the batch. Nearly all items are plain and right, so
each is first held against a shape that msgspec checks in C. The shape is narrower than the
serializer: what it takes the serializer takes too, with the same values (a test shows it for
any item), and everything else takes the way through the serializer.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from django.core.validators import RegexValidator
from drf_spectacular.utils import PolymorphicProxySerializer
from rest_framework.exceptions import ValidationError
from uuid_utils.compat import uuid7

from eventstore.codec import canonical_json
from eventstore.errors import InvalidInput
from eventstore.messages import Idempotency, Response
from transactions.api import bodies
from transactions.domain.commands import HOLD_EXPIRES_IN_S_MAX, PARTIES, BatchItem
from transactions.domain.money import DIGITS
from users.api.fields import ERRORS_MAX, MetadataField, StrictCharField, faults

KEY = "idempotency_key"
_ID_LENGTH = 36
_KEY = RegexValidator(r"\A[\x21-\x7e]{1,255}\Z", "This is 1 to 255 visible ASCII characters.")


class KeyField(StrictCharField):
    """The Idempotency-Key of one item of a batch that is not atomic."""

    def __init__(self) -> None:
        super().__init__(
            required=False,
            max_length=255,
            trim_whitespace=False,
            validators=[_KEY],
            help_text="The same key and item again, in any batch: the first answer.",
        )


class TransferItem(bodies.Transfer):
    """Money goes from one account to another, as one of many."""

    idempotency_key = KeyField()


class DepositItem(bodies.Deposit):
    """Money comes from outside, as one of many."""

    idempotency_key = KeyField()


class WithdrawalItem(bodies.Withdrawal):
    """Money leaves for the world outside, as one of many."""

    idempotency_key = KeyField()


class UnknownItem(bodies.UnknownMovement):
    """An item whose type is missing or unknown, and which is refused for that alone."""

    idempotency_key = KeyField()


ITEMS: dict[str, type[bodies.Movement]] = {
    "transfer": TransferItem,
    "deposit": DepositItem,
    "withdrawal": WithdrawalItem,
}
ITEM = PolymorphicProxySerializer(
    component_name="BatchItem", serializers={**ITEMS}, resource_type_field_name="type"
)


class _Movement(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", kw_only=True):
    amount: int
    currency: str
    description: Annotated[str, msgspec.Meta(max_length=500)] = ""
    reference: Annotated[str, msgspec.Meta(max_length=140)] = ""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    consistency: Literal["eventual"] = "eventual"
    hold: bool = False
    idempotency_key: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] = ""


class _Leaving(_Movement, kw_only=True):
    source: UUID
    expires_in: Annotated[int, msgspec.Meta(ge=1, le=HOLD_EXPIRES_IN_S_MAX)] | msgspec.UnsetType = (
        msgspec.UNSET
    )


class _Transfer(_Leaving, tag="transfer", kw_only=True):
    destination: UUID


class _Withdrawal(_Leaving, tag="withdrawal", kw_only=True):
    pass


class _Deposit(_Movement, tag="deposit", kw_only=True):
    destination: UUID


_SHAPES = _Transfer | _Withdrawal | _Deposit
_METADATA = MetadataField()


class ItemReader:
    """Makes commands of the items of one batch.

    Args:
        atomic: whether the batch is done as a whole, and its items have no keys of their own.
        claim: that of the batch, of which the items' keys have the scope.
        present: makes the answer that is stored for an item with a key.
    """

    def __init__(
        self, *, atomic: bool, claim: Idempotency, present: Callable[[Any], Response]
    ) -> None:
        self._atomic = atomic
        self._claim = claim
        self._present = present
        # One is costly to make and remembers nothing, so one of each type serves all items.
        self._serializers: dict[type[bodies.Movement], bodies.Movement] = {}

    def read(self, item: Any) -> BatchItem:
        """Return what `item` asks for, or what is wrong with it."""
        try:
            values = self.quickly(item)
            if values is None:
                values = self.exactly(item)
        except ValidationError as error:
            errors = list(faults(error.detail))[:ERRORS_MAX]
            detail = "The item has values that are not acceptable; see errors."
            return BatchItem(wanted=InvalidInput(detail, errors=errors))
        key = values.pop(KEY, None)
        return BatchItem(
            wanted=bodies.command_of(values, id=uuid7()),
            idempotency=None if key is None else self._claim_of(key, item),
        )

    def quickly(self, item: Any) -> dict[str, Any] | None:
        """Return the values of a plain item; None for one that has to be looked at closely."""
        try:
            shape = msgspec.convert(item, _SHAPES)
            if shape.metadata:
                _METADATA.to_internal_value(shape.metadata)
        except (msgspec.ValidationError, ValidationError):
            return None
        values = {
            name: value
            for name, value in msgspec.structs.asdict(shape).items()
            if value is not msgspec.UNSET
        }
        if not _is_plain(item, values) or (self._atomic and KEY in item):
            return None
        if KEY not in item:
            del values[KEY]
        return {"type": item["type"], **values, "preconditions": []}

    def exactly(self, item: Any) -> dict[str, Any]:
        """Return the values of an item; raise `ValidationError` with all that is wrong."""
        kind = bodies.movement_of(item) if self._atomic else _item_of(item)
        if kind not in self._serializers:
            self._serializers[kind] = kind()
        values: dict[str, Any] = self._serializers[kind].run_validation(item)
        return values

    def _claim_of(self, key: str, item: Mapping[str, Any]) -> Idempotency:
        """Return the claim of an item's key, which never meets that of a batch: see the path."""
        body = {name: value for name, value in item.items() if name != KEY}
        return Idempotency(
            actor=self._claim.actor,
            method=self._claim.method,
            path=f"{self._claim.path}#item",
            key=key,
            fingerprint=sha256(canonical_json(body).encode()).hexdigest(),
            present=self._present,
        )


def _is_plain(item: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Return whether `values` need no closer look, as far as msgspec cannot say."""
    # Without NUL, halves of surrogate pairs, and spaces other than the usual one.
    texts = f"{values['description']}{values['reference']}{values[KEY]}"
    key = values[KEY]
    return (
        values["currency"] in DIGITS
        and texts.isprintable()
        and key.isascii()
        and " " not in key
        # msgspec takes an id without dashes, too.
        and all(len(item[name]) == _ID_LENGTH for name in PARTIES[item["type"]])
        and (values["hold"] or "expires_in" not in values)
    )


def _item_of(item: Any) -> type[bodies.Movement]:
    given = item.get("type") if isinstance(item, Mapping) else None
    return ITEMS.get(given, UnknownItem) if isinstance(given, str) else UnknownItem
