"""Helpers of the tests of users."""

import itertools
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.db import connections
from django.test import Client

from users.models import User

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
PASSWORD = "correct horse battery staple"
T = TypeVar("T")
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Api:
    """The API as a client at one address sees it, with or without credentials."""

    address: str
    credential: str = ""

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send `body` as JSON to a path under `/api/users/` and return the response."""
        if self.credential:
            headers.setdefault("authorization", f"Bearer {self.credential}")
        return Client(raise_request_exception=True).generic(
            method,
            f"/api/users/{path}",
            "" if body is None else _json(body),
            content_type="application/json",
            headers=headers,
            REMOTE_ADDR=self.address,
        )

    def get(self, path: str, **headers: str) -> Any:
        """GET a path under `/api/users/`."""
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        """POST to a path under `/api/users/`."""
        return self.call("POST", path, body, **headers)

    def patch(self, path: str, body: Any) -> Any:
        """PATCH a path under `/api/users/`."""
        return self.call("PATCH", path, body)

    def delete(self, path: str) -> Any:
        """DELETE a path under `/api/users/`."""
        return self.call("DELETE", path)

    def using(self, credential: str) -> "Api":
        """Return the same client with a token or key."""
        return Api(address=self.address, credential=credential)

    def logged_in(self, user: User, password: str = PASSWORD) -> "Api":
        """Return the same client with an access token of `user`."""
        answer = self.post("token", {"email": user.email, "password": password})
        assert answer.status_code == 200, answer.content
        return self.using(answer.json()["access_token"])


def new_user(**fields: Any) -> User:
    """Create a user with an address of their own and `PASSWORD`."""
    fields.setdefault("email", f"user{next(_numbers)}@example.com")
    return User.objects.create_user(password=PASSWORD, **fields)


def faults(response: Any) -> set[tuple[str, str]]:
    """Return what a 422 complains of, as (pointer or parameter, code)."""
    assert response.status_code == 422, response.content
    return {
        (fault.get("pointer", fault.get("parameter")), fault["code"])
        for fault in response.json()["errors"]
    }


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run `calls` in threads that start together; return their results in order."""
    barrier = threading.Barrier(len(calls), timeout=30)

    def run(call: Callable[[], T]) -> T:
        try:
            barrier.wait()
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(run, call) for call in calls]]


def _json(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body)
