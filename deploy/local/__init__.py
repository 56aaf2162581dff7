"""Real services on this machine without Docker, for development and tests: `make services`."""
