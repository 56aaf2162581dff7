"""The stores that follow the log: one small writer each."""
