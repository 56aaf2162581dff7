"""Conditions of a list: asked of rows in SQL, and of states rebuilt from the past in Python."""

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.db.models import BooleanField, F, Func, Q

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "exact": operator.eq,
    "gte": operator.ge,
    "gt": operator.gt,
    "lte": operator.le,
    "lt": operator.lt,
}
OPERATORS = frozenset(_COMPARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One member of an object compared with a value.

    Args:
        field: such as `amount`.
        operator: one of `OPERATORS`.
    """

    field: str
    operator: str
    value: Any

    def as_q(self) -> Q:
        """Return the condition for a query of head rows."""
        wanted = Q(**{f"{self.field}__{self.operator}": self.value})
        if isinstance(self.value, str):
            # The first condition finds its way by an index, the second one is exact.
            wanted &= Q(_IsText(F(self.field), value=self.value))
        return wanted

    def holds_for(self, state: Any) -> bool:
        """Return whether the condition holds for a state of an aggregate."""
        return _COMPARE[self.operator](getattr(state, self.field), self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedStatus:
    """The status of a transaction, judged at an instant: a hold whose time is over has expired.

    Args:
        value: the status that is wanted.
        at: the instant; whoever reads the states judges them at the same one.
    """

    field: ClassVar[str] = "status"
    value: str
    at: datetime

    def as_q(self) -> Q:
        """Return the condition for a query of head rows."""
        wanted = _status(self.value)
        if self.value == "held":
            return wanted & Q(expires_at__gt=self.at)
        if self.value == "expired":
            return wanted | (_status("held") & Q(expires_at__lte=self.at))
        return wanted

    def holds_for(self, state: Any) -> bool:
        """Return whether the condition holds for a state of a transaction, judged or not."""
        return bool(state.judged(self.at).status == self.value)


def _status(value: str) -> Q:
    return Condition(field="status", operator="exact", value=value).as_q()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataCondition:
    """One member of the metadata that equals a text: the string, or the number or boolean of it.

    Args:
        key: any string, without a meaning of its own.
        value: such as `A-17`, `5` or `true`.
    """

    key: str
    value: str

    def as_q(self) -> Q:
        """Return the condition for a query of head rows."""
        return Q(_HasMember(F("metadata"), key=self.key, value=self.value))


Conditions = Sequence[Condition | JudgedStatus | MetadataCondition]


class _IsText(Func):
    """Whether a column holds exactly a text; MySQL's own comparison ignores case and accents."""

    output_field = BooleanField()
    arity = 1

    def __init__(self, column: F, *, value: str) -> None:
        super().__init__(column)
        self.value = value

    def as_sqlite(self, compiler: Any, *_: Any, **__: Any) -> tuple[str, tuple[str | int, ...]]:
        """Compare as SQLite does by itself."""
        column, params = compiler.compile(self.source_expressions[0])
        return f"{column} = %s", (*params, self.value)

    def as_mysql(self, compiler: Any, *_: Any, **__: Any) -> tuple[str, tuple[str | int, ...]]:
        """Compare bytes."""
        column, params = compiler.compile(self.source_expressions[0])
        return f"CAST({column} AS BINARY) = %s", (*params, self.value)


class _HasMember(Func):
    """Whether a JSON object has a member.

    Not Django's lookup by key: it takes the key for a path, which databases read differently
    where the key has quotes, is a number or is not ASCII.
    """

    output_field = BooleanField()
    arity = 1

    def __init__(self, document: F, *, key: str, value: str) -> None:
        super().__init__(document)
        self.key, self.value = key, value

    def as_sqlite(self, compiler: Any, *_: Any, **__: Any) -> tuple[str, tuple[str | int, ...]]:
        """Look through the members: no path is involved."""
        document, params = compiler.compile(self.source_expressions[0])
        sql = (
            f"EXISTS (SELECT 1 FROM JSON_EACH({document}) WHERE key = %s AND ("  # noqa: S608
            "(type IN ('text', 'integer', 'real') AND CAST(atom AS TEXT) = %s)"
            " OR (type IN ('true', 'false') AND type = %s)))"
        )
        return sql, (*params, self.key, self.value, self.value)

    def as_mysql(self, compiler: Any, *_: Any, **__: Any) -> tuple[str, tuple[str | int, ...]]:
        """Ask for an object with this one member to be contained."""
        document, params = compiler.compile(self.source_expressions[0])
        # MariaDB compares a text as it was written: with its letters, or with escapes for them.
        wanted = list(
            dict.fromkeys(
                json.dumps({self.key: value}, ensure_ascii=is_escaped)
                for value in _readings(self.value)
                for is_escaped in (False, True)
            )
        )
        sql = " OR ".join([f"JSON_CONTAINS({document}, %s)"] * len(wanted))
        return f"({sql})", tuple(each for text in wanted for each in (*params, text))


def _readings(text: str) -> list[Any]:
    """Return `text` as a string, and as the number or boolean that it spells."""
    try:
        scalar = json.loads(text)
    except ValueError:
        return [text]
    is_scalar = isinstance(scalar, int | float) and json.dumps(scalar) == text
    return [text, scalar] if is_scalar else [text]
