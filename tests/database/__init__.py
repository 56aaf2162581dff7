"""The primary store as a server: its pool of connections, and Django's use of it."""
