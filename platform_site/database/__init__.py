"""The primary store as a server: its connections, and how many of them there may be."""
