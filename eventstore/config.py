"""What the event store must be told about the product that uses it.

Two settings, each an import path:

- `EVENTSTORE_CODEC`: the `Codec` with every event of the product.
- `EVENTSTORE_SUBSCRIPTIONS`: the tuple of every `Subscription` that follows the log.

Two for whoever signs tree heads (`eventstore.tree_heads`):

- `EVENTSTORE_LOG_ORIGIN`: the name under which the log signs, such as `pay.example.com/log`.
- `EVENTSTORE_TREE_HEAD_KEY`: the seed of its Ed25519 key, 32 bytes in base64.

And some that may be missing:

- `EVENTSTORE_FORMER_TREE_HEAD_KEYS`: public keys that it signed with before, 32 bytes in base64.
- `EVENTSTORE_STREAM_MODELS`, for links in the admin: the category of a stream (what stands before
  its first hyphen) to the model whose primary key stands behind it, such as
  `{"account": "transactions.Account"}`.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from django.apps import apps
from django.conf import settings
from django.db.models import Model
from django.utils.module_loading import import_string

from eventstore.codec import Codec

if TYPE_CHECKING:
    from eventstore.subscriptions import Subscription


@lru_cache(maxsize=1)
def codec() -> Codec:
    """Return the product's codec."""
    return cast("Codec", import_string(settings.EVENTSTORE_CODEC))


@lru_cache(maxsize=1)
def subscriptions() -> "tuple[Subscription, ...]":
    """Return every subscription of the product."""
    return cast("tuple[Subscription, ...]", import_string(settings.EVENTSTORE_SUBSCRIPTIONS))


@lru_cache(maxsize=1)
def stream_models() -> Mapping[str, type[Model]]:
    """Return the model of each category of streams that has one."""
    labels: Mapping[str, str] = getattr(settings, "EVENTSTORE_STREAM_MODELS", {})
    return {category: apps.get_model(label) for category, label in labels.items()}
