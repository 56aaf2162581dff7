"""The web process: the gateway, and behind it Django, as an ASGI application."""

import os

import django
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_site.settings")
django.setup(set_prefix=False)

# Only now, when every app is loaded.
from platform_site import tracing  # noqa: E402
from platform_site.gateway import states  # noqa: E402
from platform_site.gateway.pipeline import (  # noqa: E402
    build_gateway,
    build_refusal,
    build_threads,
)
from platform_site.gateway.remote import Remote  # noqa: E402
from platform_site.gateway.server import asgi, raise_open_files  # noqa: E402
from platform_site.gateway.upkeep import upkeep  # noqa: E402
from transactions.dispatch import commands  # noqa: E402

raise_open_files()
# Threads of a web process share their transactions.
commands.coalesce(batch_size_max=settings.COMMANDS_COALESCED_MAX)
_remote = Remote()
_threads = build_threads()
states.watch(_threads)
states.start_publishing()
_spans = tracing.start()
application = asgi(
    build_gateway(remote=_remote, spans=_spans, **_threads),
    turn_away=build_refusal(spans=_spans),
    upkeep=upkeep(_remote, _threads["admission"], _spans),
)
