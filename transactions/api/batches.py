"""`/api/transactions/batch`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from django.http import HttpResponse
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from drf_spectacular.utils import extend_schema_field as described_as
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from eventstore.errors import PlatformError
from eventstore.messages import Envelope, Outcome, Response
from transactions.api.answers import REPLAYED_HEADER, answer_outcome
from transactions.api.batch_items import ITEM, ItemReader
from transactions.api.bodies import MOVEMENT
from transactions.api.openapi import IDEMPOTENCY_KEY
from transactions.api.presenters import JSON_TYPE, transaction_response
from transactions.api.requests import claim_of, context_of
from transactions.api.serializers import Transaction
from transactions.dispatch import commands as command_bus
from transactions.domain.batches import placed
from transactions.domain.commands import BATCH_ITEMS_MAX, CreateBatch
from users.api.fields import StrictBooleanField, StrictSerializer, validated

CREATED, MULTI_STATUS = 201, 207
REPLAYED = OpenApiParameter(
    REPLAYED_HEADER,
    str,
    OpenApiParameter.HEADER,
    description="`true` on an answer that was stored.",
    response=[CREATED, MULTI_STATUS],
)


class ItemsField(serializers.Field[Any, Any, Any, Any]):
    """The items of a batch: a list of 1 to 1,000 values, each of which is looked at later.

    Args:
        item: what the OpenAPI document says of each.
        lenient: whether anything else may stand there too, and be refused alone.
    """

    default_error_messages = {
        "not_a_list": "This must be a JSON array.",
        "out_of_range": f"A batch holds 1 to {BATCH_ITEMS_MAX} transactions.",
    }

    def __init__(self, *, item: PolymorphicProxySerializer, lenient: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.item = item
        self.lenient = lenient

    def to_internal_value(self, data: Any) -> list[Any]:
        """Return `data` itself."""
        if not isinstance(data, list):
            self.fail("not_a_list")
        if not 1 <= len(data) <= BATCH_ITEMS_MAX:
            self.fail("out_of_range")
        return data


class ItemsFieldSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI document describes the items of a batch."""

    target_class = "transactions.api.batches.ItemsField"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        """Return the schema of the list."""
        item = auto_schema.resolve_serializer(self.target.item, direction).ref
        if self.target.lenient:
            anything = {"description": "Anything else is refused alone, in its place."}
            item = {"anyOf": [item, anything]}
        bounds = {"minItems": 1, "maxItems": BATCH_ITEMS_MAX}
        return {"type": "array", "items": item, **bounds}


class Batch(StrictSerializer):
    """The body of `POST /api/transactions/batch`."""

    atomic = StrictBooleanField()
    transactions = ItemsField(item=MOVEMENT, lenient=False)


@described_as({"type": "boolean", "enum": [True]})
class TrueField(StrictBooleanField):
    """`true`."""


@described_as({"type": "boolean", "enum": [False]})
class FalseField(StrictBooleanField):
    """`false`."""


class AtomicBatch(Batch):
    """All of it or nothing. Its items have no keys of their own: that of the batch is enough."""

    atomic = TrueField()


class SeparateBatch(Batch):
    """Each item succeeds or fails for itself, and may have a key of its own."""

    atomic = FalseField()
    transactions = ItemsField(item=ITEM, lenient=True)


BATCH = PolymorphicProxySerializer(
    component_name="Batch",
    serializers=[AtomicBatch, SeparateBatch],
    resource_type_field_name=None,
)


@described_as({"$ref": "#/components/schemas/Problem"})
class ProblemField(serializers.Field[Any, Any, Any, Any]):
    """A problem document."""


class AtomicResult(serializers.Serializer[Any]):
    """The transactions of a batch that was done as a whole, in its order."""

    data = Transaction(many=True)  # type: ignore[assignment]


class ItemResult(serializers.Serializer[Any]):
    """What became of one item: `status`, and what a request of its own would have answered."""

    index = serializers.IntegerField(min_value=0)
    status = serializers.IntegerField(help_text="An HTTP status.")
    transaction = Transaction(required=False)
    error = ProblemField(required=False, help_text="If `status` is not 201.")


class SeparateResult(serializers.Serializer[Any]):
    """What became of each item of a batch, in its order."""

    data = ItemResult(many=True)  # type: ignore[assignment]


class BatchView(APIView):
    """Move money many times."""

    scopes: ClassVar = {"POST": "transactions:write"}

    @extend_schema(
        operation_id="create_batch",
        parameters=[IDEMPOTENCY_KEY, REPLAYED],
        request=BATCH,
        responses={CREATED: AtomicResult, MULTI_STATUS: SeparateResult},
    )
    def post(self, request: Request) -> HttpResponse:
        """Move money up to 1,000 times in one call, in order.

        An item sees the effect of those before it. An atomic batch is done as a whole or not at
        all: 422 tells which item was the first that could not be done, and nothing is recorded.
        In one that is not, each item is a transaction or a problem of its own, and may carry an
        `idempotency_key`: it belongs to the user and to this address, and is no key of a batch.
        """
        context = context_of(request)
        present = partial(
            transaction_response, instance=request.path, request_id=context.request_id or ""
        )
        claim = claim_of(request, present=present)
        if claim is None:
            raise ValueError("a batch has a key")
        body = validated(Batch, request)
        reader = ItemReader(atomic=body["atomic"], claim=claim, present=present)
        tell = (
            atomic_response if body["atomic"] else partial(separate_response, refuse=self._refuse)
        )
        command = CreateBatch(
            items=tuple(reader.read(item) for item in body["transactions"]), atomic=body["atomic"]
        )
        outcome = command_bus.execute(
            Envelope(
                command=command,
                context=context,
                idempotency=replace(claim, present=partial(tell, present=present)),
            )
        )
        return answer_outcome(outcome)

    def _refuse(self, error: PlatformError) -> HttpResponse:
        """Return what a request would be answered that `error` has refused."""
        answered = self.get_exception_handler()(error, self.get_exception_handler_context())
        if not isinstance(answered, HttpResponse):
            raise error
        return answered


def atomic_response(outcomes: Sequence[Outcome], *, present: Callable[[Any], Response]) -> Response:
    """Return the answer to an atomic batch that was done."""
    shown = b",".join(present(outcome.value).body for outcome in outcomes)
    return Response(
        status=CREATED, body=b'{"data":[%b]}' % shown, headers={"Content-Type": JSON_TYPE}
    )


def separate_response(
    outcomes: Sequence[Outcome],
    *,
    present: Callable[[Any], Response],
    refuse: Callable[[PlatformError], HttpResponse],
) -> Response:
    """Return the answer to a batch whose items stand for themselves.

    Args:
        present: makes the answer to an item that was decided.
        refuse: makes the answer to one that could not be.
    """
    results = []
    for index, outcome in enumerate(outcomes):
        if outcome.error is not None:
            status, body = _refusal(index, refuse(outcome.error))
        else:
            response = outcome.response or present(outcome.value)
            status, body = response.status, response.body
        name = b"transaction" if status == CREATED else b"error"
        results.append(b'{"index":%d,"status":%d,"%b":%b}' % (index, status, name, body))
    return Response(
        status=MULTI_STATUS,
        body=b'{"data":[%b]}' % b",".join(results),
        headers={"Content-Type": JSON_TYPE},
    )


def _refusal(index: int, answered: HttpResponse) -> tuple[int, bytes]:
    """Return status and body of a refusal, its pointers led into the whole batch."""
    document = json.loads(answered.content)
    if "errors" in document:
        document["errors"] = placed(document["errors"], index)
        return answered.status_code, json.dumps(document, ensure_ascii=False).encode()
    return answered.status_code, answered.content
