"""The HTTP interface of users."""
