"""The site: settings, the gateway in front of every service, and the processes that run it all."""

from platform_site.celery import app as celery_app

__all__ = ["celery_app"]
