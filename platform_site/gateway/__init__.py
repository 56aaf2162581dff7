"""The API gateway: what every request passes before it reaches a service."""
