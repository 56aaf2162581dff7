"""Conditions of a list: asked of rows in SQL, and of states rebuilt from the past in Python."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import JSONField, Q, Value
from django.db.models.fields.json import KeyTransform
from django.db.models.lookups import Exact

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
        field: such as `amount`, or `metadata.<key>` for one member of the metadata.
        operator: one of `OPERATORS`.
    """

    field: str
    operator: str
    value: Any

    def as_q(self) -> Q:
        """Return the condition for a query of head rows."""
        name, _, key = self.field.partition(".")
        if key:
            # A transform rather than `metadata__<key>`: no key can be taken for a lookup.
            return Q(Exact(KeyTransform(key, name), Value(self.value, JSONField())))
        return Q(**{f"{name}__{self.operator}": self.value})

    def holds_for(self, state: Any) -> bool:
        """Return whether the condition holds for a state of an aggregate."""
        name, _, key = self.field.partition(".")
        found = getattr(state, name)
        if key:
            found = found.get(key)
        return found is not None and _COMPARE[self.operator](found, self.value)
