"""The WSGI application, served by granian."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_site.settings")

application = get_wsgi_application()

# Only now, when every app is loaded. Threads of a web process share their transactions.
from transactions.dispatch import commands  # noqa: E402

commands.coalesce(batch_size_max=settings.COMMANDS_COALESCED_MAX)
