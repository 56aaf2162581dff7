"""The table of the ledger's aggregates."""

from typing import Any

from eventstore.aggregates import Aggregate, Skim
from eventstore.replication import Folds
from transactions.domain import account, transaction

ACCOUNT = Aggregate(
    category="account",
    state=account.Account,
    evolve=account.evolve,
    code_version=account.CODE_VERSION,
    skim=Skim(last_of=account.LAST_OF, evolve=account.settle),
)
TRANSACTION = Aggregate(
    category="transaction",
    state=transaction.Transaction,
    evolve=transaction.evolve,
    code_version=transaction.CODE_VERSION,
)
AGGREGATES: tuple[Aggregate[Any], ...] = (ACCOUNT, TRANSACTION)
# The documents that the other stores keep: the state of each aggregate, as JSON.
FOLDS: Folds = {aggregate.category: aggregate.fold for aggregate in AGGREGATES}
