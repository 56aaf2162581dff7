"""All that is measured on one database of the product, in one process; it takes turns."""

from benchmarks.peers.raw_sql import RawSql
from benchmarks.product_ledger import ProductLedger
from benchmarks.product_store import ProductStore


class Subjects:
    """The event store and the ledger, and raw SQL on their tables.

    Args:
        accounts: how many funded accounts there are.
    """

    def __init__(self, *, accounts: int) -> None:
        self.store = ProductStore()
        self.ledger = ProductLedger(accounts=accounts)
        self.raw = RawSql(self.ledger)
