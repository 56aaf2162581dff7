"""`/api/accounts`."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from uuid_utils.compat import uuid7

from eventstore.messages import Command, Envelope
from transactions import queries
from transactions.api import bodies, filters, serializers
from transactions.api.answers import answer, answer_outcome, lane_lag_s, with_lag
from transactions.api.openapi import (
    AS_OF,
    ETAG,
    IF_MATCH,
    LAG,
    LOCATION,
    OPTIONAL_IDEMPOTENCY_KEY,
    REPLAYED,
    page_of,
    parameters_of,
    path_id,
)
from transactions.api.presenters import account_response, present_account, present_entry
from transactions.api.requests import as_of, claim_of, context_of, expected_version, id_of
from transactions.dispatch import commands as command_bus
from transactions.dispatch import queries as query_bus
from transactions.domain import commands
from transactions.domain.account import Account
from transactions.ledger import AccountNotFound
from users.api.authentication import caller_of
from users.api.fields import parameters, refuse, validated
from users.api.pagination import page
from users.handlers import UserNotFound
from users.queries import get_user

AS_OF_ONLY = frozenset({"as_of"})
ACCOUNT_FILTERS = {
    "status": filters.one_of("open", "frozen", "closed"),
    "currency": filters.TEXT,
    "ledger": filters.TEXT,
}
ENTRY_FILTERS = {
    "created_at": filters.CREATED_AT,
    "transaction": filters.IDENTIFIER,
    "direction": filters.one_of("debit", "credit"),
}

ACCOUNT_ID = path_id("account")
account_id_of = partial(id_of, otherwise=AccountNotFound)


class AccountsView(APIView):
    """Open accounts and list them."""

    scopes: ClassVar = {"GET": "accounts:read", "POST": "accounts:write"}

    @extend_schema(
        operation_id="list_accounts",
        parameters=[*parameters_of(ACCOUNT_FILTERS), AS_OF],
        responses={200: page_of(serializers.Account)},
    )
    def get(self, request: Request) -> Response:
        """List one's accounts, newest first."""
        given, conditions = filters.read(request, ACCOUNT_FILTERS, others=AS_OF_ONLY)
        instant = as_of(given.get("as_of"))

        def fetch(after: str | None, limit: int) -> list[Account]:
            query = queries.ListAccounts(
                limit=limit,
                after=UUID(after) if after else None,
                conditions=conditions,
                as_of=instant,
            )
            found: list[Account] = query_bus.ask(query, context_of(request))
            return found

        return page(
            request,
            filters=given,
            fetch=fetch,
            key=lambda account: str(account.id),
            present=present_account,
        )

    @extend_schema(
        operation_id="open_account",
        parameters=[OPTIONAL_IDEMPOTENCY_KEY, ETAG, LOCATION, REPLAYED],
        request=bodies.AccountOpening,
        responses={201: serializers.Account},
    )
    def post(self, request: Request) -> HttpResponse:
        """Open an account."""
        present = partial(account_response, status=201)
        claim = claim_of(request, present=present, required=False)
        body = validated(bodies.AccountOpening, request)
        caller = caller_of(request)
        owner = body.pop("owner", caller.known_id)
        # For an admin only: who else could ask would learn which users there are.
        if owner != caller.known_id and caller.is_admin:
            _check_user(owner)
        outcome = command_bus.execute(
            Envelope(
                command=commands.OpenAccount(id=uuid7(), owner=owner, **body),
                context=context_of(request),
                idempotency=claim,
            )
        )
        return answer_outcome(outcome, otherwise=None if claim else present(outcome.value))


class AccountView(APIView):
    """One account."""

    scopes: ClassVar = {"GET": "accounts:read", "PATCH": "accounts:write"}

    @extend_schema(
        operation_id="get_account",
        parameters=[ACCOUNT_ID, AS_OF, ETAG],
        responses={200: serializers.Account},
    )
    def get(self, request: Request, account: str) -> HttpResponse:
        """Read an account; its three balances are of one instant."""
        given = parameters(request, allowed=AS_OF_ONLY)
        query = queries.GetAccount(id=account_id_of(account), as_of=as_of(given.get("as_of")))
        return answer(account_response(query_bus.ask(query, context_of(request)), status=200))

    @extend_schema(
        operation_id="change_account",
        parameters=[ACCOUNT_ID, IF_MATCH, ETAG],
        request=bodies.AccountChange,
        responses={200: serializers.Account},
    )
    def patch(self, request: Request, account: str) -> HttpResponse:
        """Change name and metadata of an account."""
        body = validated(bodies.AccountChange, request)
        return _change(request, account, partial(commands.ChangeAccount, **body))


class AccountActionView(APIView):
    """Freeze, unfreeze or close an account: what a subclass says."""

    scopes: ClassVar = {"POST": "accounts:write"}
    command: ClassVar[Callable[..., Command]]

    def post(self, request: Request, account: str) -> HttpResponse:
        """Change the status of an account."""
        body = validated(bodies.Reason, request)
        return _change(request, account, partial(self.command, **body))


def _described(
    operation_id: str, description: str
) -> Callable[[type[AccountActionView]], type[AccountActionView]]:
    return extend_schema_view(
        post=extend_schema(
            operation_id=operation_id,
            description=description,
            parameters=[ACCOUNT_ID, IF_MATCH, ETAG],
            request=bodies.Reason,
            responses={200: serializers.Account},
        )
    )


@_described("freeze_account", "Refuse debits from now on; credits still arrive.")
class FreezeView(AccountActionView):
    """Refuse debits from now on; credits still arrive."""

    command = commands.FreezeAccount


@_described("unfreeze_account", "Allow debits again.")
class UnfreezeView(AccountActionView):
    """Allow debits again."""

    command = commands.UnfreezeAccount


@_described("close_account", "Close an empty account for good.")
class CloseView(AccountActionView):
    """Close an empty account for good."""

    command = commands.CloseAccount


class EntriesView(APIView):
    """The entries of one account."""

    scopes: ClassVar = {"GET": "accounts:read"}

    @extend_schema(
        operation_id="list_entries",
        parameters=[ACCOUNT_ID, *parameters_of(ENTRY_FILTERS), AS_OF, LAG],
        responses={200: page_of(serializers.Entry)},
    )
    def get(self, request: Request, account: str) -> Response:
        """List the entries of an account, newest first."""
        given, conditions = filters.read(request, ENTRY_FILTERS, others=AS_OF_ONLY)
        instant = as_of(given.get("as_of"))
        lag_s = lane_lag_s("entries")

        def fetch(after: str | None, limit: int) -> list[Any]:
            query = queries.ListEntries(
                account=account_id_of(account),
                limit=limit,
                after=int(after) if after else None,
                conditions=conditions,
                as_of=instant,
            )
            found: list[Any] = query_bus.ask(query, context_of(request))
            return found

        answered = page(
            request,
            filters=given,
            fetch=fetch,
            key=lambda entry: str(entry.position),
            present=present_entry,
        )
        return with_lag(answered, lag_s)


def _change(request: Request, account: str, command: Callable[..., Command]) -> HttpResponse:
    """Execute a command on one account, at the version that `If-Match` names."""
    envelope = Envelope(
        command=command(id=account_id_of(account), expected_version=expected_version(request)),
        context=context_of(request),
    )
    return answer(account_response(command_bus.execute(envelope).value, status=200))


def _check_user(owner: UUID) -> None:
    try:
        get_user(user_id=owner)
    except UserNotFound as error:
        refuse([{"pointer": "/owner", "code": error.code, "detail": error.detail}])
