"""What the OpenAPI document says about users."""

from typing import Any

from drf_spectacular.generators import SchemaGenerator


def document() -> Any:
    """Return the part of the document that describes users."""
    generator: Any = SchemaGenerator(urlconf="users.api.urls")  # type: ignore[no-untyped-call]
    return generator.get_schema(request=None, public=True)


def test_every_body_is_closed_because_unknown_members_are_refused() -> None:
    schemas = document()["components"]["schemas"]
    bodies = {name: schema for name, schema in schemas.items() if name.endswith("Request")}
    assert len(bodies) >= 5
    assert [name for name, schema in bodies.items() if schema["additionalProperties"]] == []
    assert not any("additionalProperties" in schemas[name] for name in ("Profile", "Tokens"))


def test_what_anybody_may_call_asks_for_no_credentials() -> None:
    paths = document()["paths"]
    for path in ("/register", "/token", "/token/refresh"):
        assert "security" not in paths[path]["post"], path
    for path, method in (("/me", "get"), ("/api-keys", "post"), ("/api-keys/{key_id}", "delete")):
        assert paths[path][method]["security"] == [{"bearer": []}], path
