"""What a batch of commands passes on its way, one middleware a file.

The product lists them, outermost first, where it builds its command bus.
"""

from collections.abc import Mapping, Sequence

from eventstore.bus import Execute
from eventstore.messages import Envelope, Outcome


def proceed_without(
    known: Mapping[int, Outcome], batch: Sequence[Envelope], proceed: Execute
) -> list[Outcome]:
    """Let all but the envelopes with a `known` outcome (by index) proceed; return all, in order."""
    rest = [envelope for index, envelope in enumerate(batch) if index not in known]
    fresh = iter(proceed(rest) if rest else [])
    return [known[index] if index in known else next(fresh) for index in range(len(batch))]
