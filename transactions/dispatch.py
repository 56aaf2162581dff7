"""The buses of the ledger: the only way to its handlers and queries."""

from eventstore.bus import CommandBus, QueryBus
from eventstore.middleware.audit import audit
from eventstore.middleware.durable import durable
from eventstore.middleware.idempotency import idempotency
from eventstore.middleware.validation import validation
from transactions.handlers import HANDLERS
from transactions.locks import begin
from transactions.queries import QUERIES
from transactions.statements import GetStatement, get_statement
from transactions.wakeups import wake_lanes

commands = CommandBus(
    handlers=HANDLERS,
    begin=begin,
    # Outermost first. Idempotency stands inside the transaction: see docs/adr/0003.
    middleware=(audit, wake_lanes, validation, durable, idempotency),
)
queries = QueryBus(handlers={**QUERIES, GetStatement: get_statement})
