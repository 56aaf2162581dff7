"""The addresses under `/api/users/`."""

from django.urls import path

from users.api import views

urlpatterns = [
    path("register", views.RegisterView.as_view()),
    path("token", views.TokenView.as_view()),
    path("token/refresh", views.RefreshView.as_view()),
    path("me", views.MeView.as_view()),
    path("api-keys", views.ApiKeysView.as_view()),
    path("api-keys/<uuid:key_id>", views.ApiKeyView.as_view()),
]
