"""Queries on their way to the functions that answer them."""

from dataclasses import dataclass

import pytest

from eventstore.bus import NoHandler, QueryBus
from eventstore.messages import Context, Query
from tests.eventstore.product import NOON

CONTEXT = Context(now=NOON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum(Query):
    """Ask for the sum."""


def test_a_query_is_answered_by_its_function() -> None:
    queries = QueryBus(handlers={Sum: lambda query, context: (query, context)})
    assert queries.ask(Sum(), CONTEXT) == (Sum(), CONTEXT)


def test_a_query_that_nobody_answers_is_refused() -> None:
    with pytest.raises(NoHandler, match="no handler for Sum"):
        QueryBus(handlers={}).ask(Sum(), CONTEXT)
