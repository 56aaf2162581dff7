"""The command that moves money many times."""

from collections.abc import Sequence
from functools import partial

from eventstore.errors import PlatformError
from eventstore.messages import Context, Envelope, Outcome
from eventstore.middleware.idempotency import idempotency
from transactions.domain import commands
from transactions.domain.transaction import Transaction
from transactions.handlers.movements import create_transaction
from transactions.ledger import Ledger


class BatchRefused(PlatformError):
    """One item of an atomic batch was refused, so nothing of the batch was done.

    Args:
        index: of the item, from 0.
        code: why it was refused.
    """

    code = "batch_refused"

    def __init__(self, detail: str, *, index: int, cause: str) -> None:
        super().__init__(detail)
        self.index = index
        self.cause = cause


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
    envelopes = {
        index: Envelope(command=item.wanted, context=context, idempotency=item.idempotency)
        for index, item in enumerate(command.items)
        if isinstance(item.wanted, commands.CreateTransaction)
    }
    done = idempotency(partial(_decide, ledger=ledger))(list(envelopes.values()))
    outcomes = dict(zip(envelopes, done, strict=True))
    for index, item in enumerate(command.items):
        if isinstance(item.wanted, PlatformError):
            outcomes[index] = Outcome(error=item.wanted)
    return [outcomes[index] for index in range(len(command.items))]


def _must(index: int, item: commands.BatchItem, ledger: Ledger, context: Context) -> Transaction:
    try:
        if isinstance(item.wanted, PlatformError):
            raise item.wanted
        done = create_transaction(item.wanted, ledger, context)
    except PlatformError as error:
        raise BatchRefused(error.detail, index=index, cause=error.code) from error
    if done.status == "failed":
        raise BatchRefused(done.failure_detail, index=index, cause=done.failure_code)
    return done


def _decide(batch: Sequence[Envelope], *, ledger: Ledger) -> list[Outcome]:
    outcomes = []
    for envelope in batch:
        wanted = envelope.command
        if not isinstance(wanted, commands.CreateTransaction):
            raise TypeError(f"{type(wanted).__name__} is not part of a batch")
        try:
            with ledger.savepoint():
                value = create_transaction(wanted, ledger, envelope.context)
            outcomes.append(Outcome(value=value))
        except PlatformError as error:
            outcomes.append(Outcome(error=error))
    return outcomes
