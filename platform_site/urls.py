"""Every address of the site."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", include("platform_site.gateway.urls")),
    path("api/users/", include("users.api.urls")),
    path("api/", include("transactions.api.urls")),
    path("", RedirectView.as_view(pattern_name="docs")),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
]

handler400 = "platform_site.gateway.handlers.bad_request"
handler403 = "platform_site.gateway.handlers.permission_denied"
handler404 = "platform_site.gateway.handlers.page_not_found"
handler500 = "platform_site.gateway.handlers.server_error"
