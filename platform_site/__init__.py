"""The site: settings, the gateway in front of every service, and the processes that run it all."""
