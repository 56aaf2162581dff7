"""The ASGI application, for a server that speaks it; `manage.py quickstart` serves WSGI."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_site.settings")

application = get_asgi_application()
