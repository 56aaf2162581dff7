"""The HTTP interface of the ledger: one view, one command or query."""
