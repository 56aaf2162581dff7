"""The endpoints under `/api/users/`: each checks shapes, makes one call and shows the result."""

from typing import ClassVar
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from users import handlers, key_handlers, queries
from users.addresses import client_address
from users.api import serializers
from users.api.authentication import caller_of
from users.api.fields import parameters, validated
from users.api.limits import count_attempt
from users.api.pagination import LIMIT_DEFAULT, LIMIT_MAX, PARAMETERS, page
from users.api.problems import PROBLEM_STATUSES
from users.handlers import TokenPair
from users.scopes import PROFILE

# Answers with a secret must not be kept by anything on their way (RFC 6749, section 5.1).
NO_STORE = {"Cache-Control": "no-store"}


class RegisterView(APIView):
    """`/api/users/register`"""

    public = True

    @extend_schema(
        operation_id="register",
        request=serializers.Registration,
        responses={201: serializers.RegisteredUser},
        auth=[],
        extensions={PROBLEM_STATUSES: [409]},
    )
    def post(self, request: Request) -> Response:
        """Register a user."""
        count_attempt(request, group="users.register", rate=settings.REGISTRATION_RATE)
        parameters(request, allowed=())
        user = handlers.register_user(**validated(serializers.Registration, request))
        return Response(serializers.RegisteredUser(user).data, status=201)


class TokenView(APIView):
    """`/api/users/token`"""

    public = True

    @extend_schema(
        operation_id="log_in",
        request=serializers.LogIn,
        responses={200: serializers.Tokens},
        auth=[],
        extensions={PROBLEM_STATUSES: [401]},
    )
    def post(self, request: Request) -> Response:
        """Exchange an e-mail address and a password for tokens."""
        count_attempt(request, group="users.token", rate=settings.TOKEN_RATE)
        parameters(request, allowed=())
        tokens = handlers.log_in(
            **validated(serializers.LogIn, request),
            address=client_address(request._request),
            now=timezone.now(),
        )
        return _tokens_response(tokens)


class RefreshView(APIView):
    """`/api/users/token/refresh`"""

    public = True

    @extend_schema(
        operation_id="refresh_tokens",
        request=serializers.Refresh,
        responses={200: serializers.Tokens},
        auth=[],
        extensions={PROBLEM_STATUSES: [401]},
    )
    def post(self, request: Request) -> Response:
        """Exchange a refresh token for new tokens, once; a second time revokes them all."""
        parameters(request, allowed=())
        values = validated(serializers.Refresh, request)
        return _tokens_response(handlers.refresh_tokens(**values, now=timezone.now()))


class MeView(APIView):
    """`/api/users/me`"""

    scopes: ClassVar = {"GET": PROFILE, "PATCH": PROFILE}

    @extend_schema(operation_id="get_me", responses={200: serializers.Profile})
    def get(self, request: Request) -> Response:
        """Show the user whose credentials these are."""
        parameters(request, allowed=())
        user = queries.get_user(user_id=caller_of(request).known_id)
        return Response(serializers.Profile(user).data)

    @extend_schema(
        operation_id="change_me",
        request=serializers.ProfileChange,
        responses={200: serializers.Profile},
    )
    def patch(self, request: Request) -> Response:
        """Change the name and the notification preferences; what is left out stays."""
        parameters(request, allowed=())
        changes = validated(serializers.ProfileChange, request)
        user = handlers.update_profile(user_id=caller_of(request).known_id, changes=changes)
        return Response(serializers.Profile(user).data)


class ApiKeysView(APIView):
    """`/api/users/api-keys`"""

    scopes: ClassVar = {"GET": PROFILE, "POST": PROFILE}

    @extend_schema(
        operation_id="list_api_keys",
        parameters=[
            OpenApiParameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
                description="How many items at most.",
            ),
            OpenApiParameter("cursor", str, description="`next_cursor` of the page before."),
        ],
        responses={200: serializers.ApiKeyPage},
    )
    def get(self, request: Request) -> Response:
        """List one's API keys, newest first, without their secrets."""
        parameters(request, allowed=PARAMETERS)
        user_id = caller_of(request).known_id
        return page(
            request,
            filters={},
            fetch=lambda after, limit: queries.list_api_keys(
                user_id=user_id, after=after, limit=limit
            ),
            key=lambda key: str(key.id),
            present=lambda key: serializers.ApiKeySummary(key).data,
        )

    @extend_schema(
        operation_id="create_api_key",
        request=serializers.ApiKeyCreation,
        responses={201: serializers.NewApiKey},
        extensions={PROBLEM_STATUSES: [404, 409]},
    )
    def post(self, request: Request) -> Response:
        """Create an API key; its secret is shown only in this answer."""
        parameters(request, allowed=())
        values = validated(serializers.ApiKeyCreation, request)
        key, secret = key_handlers.create_api_key(
            caller=caller_of(request),
            user_id=values.pop("user"),
            **values,
            now=timezone.now(),
        )
        body = {**serializers.ApiKeySummary(key).data, "secret": secret}
        return Response(body, status=201, headers=NO_STORE)


class ApiKeyView(APIView):
    """`/api/users/api-keys/{id}`"""

    scopes: ClassVar = {"DELETE": PROFILE}

    @extend_schema(operation_id="revoke_api_key", responses={204: None})
    def delete(self, request: Request, key_id: UUID) -> Response:
        """Revoke an API key at once."""
        parameters(request, allowed=())
        key_handlers.revoke_api_key(caller=caller_of(request), key_id=key_id, now=timezone.now())
        return Response(status=204)


def _tokens_response(tokens: TokenPair) -> Response:
    body = {
        "access_token": tokens.access_token,
        "token_type": "Bearer",
        "expires_in": tokens.expires_in_s,
        "refresh_token": tokens.refresh_token,
    }
    return Response(body, headers=NO_STORE)
