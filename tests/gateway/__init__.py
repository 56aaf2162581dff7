"""Tests of the gateway: what every request meets before it reaches a service."""
