"""Log every command: who asked for what, and what became of it. Never its contents."""

import logging
from collections.abc import Sequence

from eventstore.bus import Execute
from eventstore.messages import Envelope, Outcome

logger = logging.getLogger("eventstore.audit")


def audit(proceed: Execute) -> Execute:
    """Write one line a command once its fate is known."""

    def execute(batch: Sequence[Envelope]) -> list[Outcome]:
        outcomes = proceed(batch)
        for envelope, outcome in zip(batch, outcomes, strict=True):
            result = "replayed" if outcome.replayed else "executed"
            logger.info(
                "%s %s",
                type(envelope.command).__name__,
                outcome.error.code if outcome.error else result,
                extra={
                    "actor": str(envelope.context.actor) if envelope.context.actor else None,
                    "request_id": envelope.context.request_id,
                },
            )
        return outcomes

    return execute
