"""Every operation keeps to the OpenAPI document, whatever it is sent."""

from typing import Any
from uuid import UUID

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.generation.case import Case
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.contract.conftest import World
from tests.gateway.chain import application

CONFIG = SchemathesisConfig.from_dict(
    {
        "seed": 1,
        "cache": {"enabled": False},
        "analysis": {"constants": {"enabled": False}},
        "generation": {
            "mode": "all",
            "max-examples": 12,
            "deterministic": True,
            "database": "none",
            "no-shrink": True,
            "allow-x00": True,
        },
        # A version that is not there is refused as well as a malformed one.
        "checks": {
            "negative_data_rejection": {
                "expected-statuses": ["400", "401", "403", "404", "405", "409", "412", "415", "422"]
            }
        },
        "phases": {
            "coverage": {"extra-data-sources": {"responses": False}},
            "fuzzing": {"extra-data-sources": {"responses": False}},
            "stateful": {"enabled": False},
        },
        "warnings": False,
    }
)


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Hold every status to the operation's own answers; `default` would allow any."""
    for operations in raw_schema["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("default", None)


schema = schemathesis.openapi.from_wsgi("/api/schema", application, config=CONFIG)


def meant(value: Any, name: str, world: World) -> Any:
    """Return the value to send in place of a generated one, at every depth.

    That is 5 for 5.0, which JSON Schema calls an integer and this API refuses, and an id that
    exists for every second well-formed one.
    """
    if isinstance(value, dict):
        return {key: meant(inner, key, world) for key, inner in value.items()}
    if isinstance(value, list):
        return [meant(inner, "", world) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    try:
        given = UUID(value)
    except (AttributeError, TypeError, ValueError):
        return value
    found = world.known(name)
    return str(found) if found and given.int % 2 else value


# Why well-formed data may be refused: what no schema can say, since it depends on what there is, on
# the time, or on two values together. For this, `positive_data_acceptance` is replaced by a check
# that knows why: any other reason means that the document promises too much.
BEYOND_SCHEMAS = frozenset(
    {
        "account_closed",
        "account_frozen",
        "account_not_found",
        "as_of_in_future",
        "balance_out_of_range",
        "capture_exceeds_hold",
        "currency_mismatch",
        "idempotency_key_reused",
        "insufficient_funds",
        "invalid_cursor",
        "invalid_period",
        "not_allowed",
        "not_in_future",
        "null_characters_not_allowed",
        "precondition_failed",
        "reversal_exceeds_original",
        "same_account",
        "too_many_filters",
        "user_not_found",
        "weak_password",
    }
)


def reasons(problem: dict[str, Any]) -> set[str]:
    """Return the codes of what a problem document complains of, but for the store's own limits.

    Metadata is any JSON object that every store can keep; its description says what that is. Of
    an item of a batch, the first fault says that there are others.
    """
    if problem["code"] != "validation_failed":
        return {problem["code"]}
    faults = problem["errors"][1:] if "index" in problem else problem["errors"]
    return {fault["code"] for fault in faults if not fault.get("pointer", "").endswith("/metadata")}


@schema.parametrize()
@settings(suppress_health_check=list(HealthCheck), deadline=None)
# For a batch some 1,700 cases are made, one of each fault of each member of each kind of item.
@pytest.mark.timeout(240)
def test_every_operation_keeps_to_the_document(case: Case[Any], world: World) -> None:
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    for values in (case.path_parameters, case.query, case.body):
        if isinstance(values, dict):
            for name, value in values.items():
                values[name] = meant(value, name, world)
    answer = case.call_and_validate(
        # Answers are compressed for whoever takes them compressed.
        headers={"Authorization": f"Bearer {world.api.credential}", "Accept-Encoding": "identity"},
        excluded_checks=[positive_data_acceptance],
    )
    if is_valid and answer.status_code in {400, 422}:
        refused_for = reasons(answer.json())
        assert refused_for <= BEYOND_SCHEMAS, f"{case.as_curl_command()}\n{answer.text}"
