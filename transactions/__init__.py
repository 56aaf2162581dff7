"""The ledger: accounts, transactions, and the rules by which money moves between them."""
