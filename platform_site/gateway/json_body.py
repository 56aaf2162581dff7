"""Read JSON bodies strictly: what two parsers could understand differently is refused.

Duplicate members, NaN, numbers that overflow and lone surrogates pass Python's own parser.
Behind an API for money they are the start of a dispute about what was asked (RFC 7493, I-JSON,
forbids them all), so they are refused here, once, for every endpoint.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser

from eventstore.errors import PlatformError

DEPTH_MAX = 64
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s;"]*)', re.IGNORECASE)


class MalformedJSON(PlatformError):
    """The body is not JSON, or not JSON that means the same to everyone."""

    code = "malformed_json"


class StrictJSONParser(BaseParser):
    """The JSON parser of every endpoint; see `parse_json` for what it refuses."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> Any:
        """Return the value in `stream`.

        Raises:
            MalformedJSON: the body is refused.
            UnsupportedMediaType: the content type names a charset other than UTF-8.
        """
        charset = _CHARSET.search(media_type or "")
        if charset and charset[1].lower() not in {"utf-8", "utf8"}:
            raise UnsupportedMediaType(media_type or "", detail="JSON is sent as UTF-8.")
        return parse_json(stream.read())


def parse_json(body: bytes) -> Any:
    """Return the value of `body`, a JSON text in UTF-8.

    Raises:
        MalformedJSON: it is not UTF-8 or not JSON; a member appears twice in one object; a
            number is NaN, infinite, overflows or has thousands of digits; a string holds half
            of a surrogate pair; or it is nested deeper than `DEPTH_MAX`.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJSON(f"The body is not UTF-8 at byte {error.start}.") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_members,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except json.JSONDecodeError as error:
        raise MalformedJSON(
            f"The body is not valid JSON: {error.msg}, "
            f"at line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        # Python refuses to convert integers of thousands of digits.
        raise MalformedJSON("The body holds an integer with too many digits.") from None
    # Counting brackets is cheap and settles nearly every body without walking it.
    if text.count("[") + text.count("{") > DEPTH_MAX and _depth(value) > DEPTH_MAX:
        raise _too_deep()
    if _SURROGATE_ESCAPE.search(text) and _has_lone_surrogate(value):
        raise MalformedJSON("A string in the body holds half of a surrogate pair.")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = counts.most_common(1)[0][0]
        raise MalformedJSON(f"The member {twice[:100]!a} appears more than once in one object.")
    return members


def _refuse_constant(name: str) -> Any:
    raise MalformedJSON(f"{name} is not JSON.")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise MalformedJSON("The body holds a number that is too large.")
    return number


def _too_deep() -> MalformedJSON:
    return MalformedJSON(f"The body is nested deeper than {DEPTH_MAX} levels.")


def _depth(value: Any) -> int:
    """Return how many arrays and objects enclose the innermost value, without recursion."""
    deepest = 0
    waiting = [(value, 1)]
    while waiting:
        current, depth = waiting.pop()
        if isinstance(current, dict):
            children: Any = current.values()
        elif isinstance(current, list):
            children = current
        else:
            continue
        deepest = max(deepest, depth)
        waiting.extend((child, depth + 1) for child in children)
    return deepest


def _has_lone_surrogate(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
