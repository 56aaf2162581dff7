"""The command that moves money many times."""

from collections.abc import Sequence
from functools import partial

from eventstore.errors import PlatformError
from eventstore.messages import Context, Envelope, Outcome
from eventstore.middleware.idempotency import idempotency
from transactions.domain import commands
from transactions.domain.batches import BatchRefused
from transactions.domain.transaction import Transaction
from transactions.handlers.movements import create_transaction
from transactions.ledger import Ledger


def create_batch(command: commands.CreateBatch, ledger: Ledger, context: Context) -> list[Outcome]:
    """Move money many times, in order; return what became of each item.

    Raises:
        BatchRefused: the batch is atomic, and this is its first item that may not be done.
    """
    if command.atomic:
        return [
            Outcome(value=_must(index, item, ledger, context))
            for index, item in enumerate(command.items)
        ]
    outcomes = {
        index: Outcome(error=item.wanted)
        for index, item in enumerate(command.items)
        if isinstance(item.wanted, PlatformError)
    }
    envelopes = {
        index: Envelope(command=item.wanted, context=context, idempotency=item.idempotency)
        for index, item in enumerate(command.items)
        if isinstance(item.wanted, commands.CreateTransaction)
    }
    done = idempotency(partial(_decide, ledger=ledger))(list(envelopes.values()))
    outcomes.update(zip(envelopes, done, strict=True))
    return [outcomes[index] for index in range(len(command.items))]


def _must(index: int, item: commands.BatchItem, ledger: Ledger, context: Context) -> Transaction:
    try:
        if isinstance(item.wanted, PlatformError):
            raise item.wanted
        done = _do(item.wanted, ledger, context)
    except PlatformError as error:
        errors = error.extra.get("errors", ())
        raise BatchRefused(index, code=error.code, detail=error.detail, errors=errors) from error
    if done.status == "failed":
        raise BatchRefused(index, code=done.failure_code, detail=done.failure_detail, errors=())
    return done


def _decide(batch: Sequence[Envelope], *, ledger: Ledger) -> list[Outcome]:
    outcomes = []
    for envelope in batch:
        wanted = envelope.command
        if not isinstance(wanted, commands.CreateTransaction):
            raise TypeError(f"{type(wanted).__name__} is not part of a batch")
        try:
            with ledger.savepoint():
                value = _do(wanted, ledger, envelope.context)
            outcomes.append(Outcome(value=value))
        except PlatformError as error:
            outcomes.append(Outcome(error=error))
    return outcomes


def _do(wanted: commands.CreateTransaction, ledger: Ledger, context: Context) -> Transaction:
    """Do what an item asks for; the bus has looked only at the batch, so it is checked here."""
    wanted.validate()
    return create_transaction(wanted, ledger, context)
