"""Django's admin as an app, with this site's own site object."""

from django.contrib.admin import apps


class AdminConfig(apps.AdminConfig):
    """The app `django.contrib.admin`."""

    default = False
    default_site = "platform_site.admin_site.EvenkeelAdminSite"
