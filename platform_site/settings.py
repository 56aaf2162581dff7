"""The settings of the site, from the environment through `platform_site.env`.

One variable per outside system: set, it is the real thing; unset, an embedded stand-in under
`DATA_DIR`. `docs/configuration.md` describes every variable.
"""

from csp.constants import NONE, SELF

from platform_site import env

DATA_DIR = env.data_dir()
VERSION = "0.1.0"

# The site

SECRET_KEY = env.secret_key(DATA_DIR)
DEBUG = env.flag("DEBUG")
ALLOWED_HOSTS = env.names("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
ROOT_URLCONF = "platform_site.urls"
WSGI_APPLICATION = "platform_site.wsgi.application"
APPEND_SLASH = False
INSTALLED_APPS = [
    "platform_site",
    "transactions",
    "users",
    "eventstore",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
# In the order a request passes them; what each one is for stands in its own file.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True

# Stores

DATABASES = {"default": env.database("DATABASE_URL", embedded=DATA_DIR / "primary.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DOCUMENT_STORE_FILE = DATA_DIR / "document.sqlite3"
GLOBAL_STORE_FILE = DATA_DIR / "global.sqlite3"

# Redis or Valkey: cache, rate limiter, Celery's broker

REDIS_URL = env.text("REDIS_URL")
REDIS_TIMEOUT_S = 0.25
CACHES = {
    "default": (
        {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "evenkeel",
            "OPTIONS": {
                "SOCKET_CONNECT_TIMEOUT": REDIS_TIMEOUT_S,
                "SOCKET_TIMEOUT": REDIS_TIMEOUT_S,
                # A cache that is away is a miss, never an error page.
                "IGNORE_EXCEPTIONS": True,
            },
        }
        if REDIS_URL
        else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    )
}

# Who is calling

AUTH_USER_MODEL = "users.User"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
ACCESS_TOKEN_LIFETIME_S = env.integer("ACCESS_TOKEN_LIFETIME_S", 900, minimum=1)
REFRESH_TOKEN_LIFETIME_S = env.integer("REFRESH_TOKEN_LIFETIME_S", 14 * 86_400, minimum=1)
# How many proxies of ours stand in front: that many entries of X-Forwarded-For are believed.
TRUSTED_PROXY_COUNT = env.integer("TRUSTED_PROXY_COUNT", 0)

# Limits: (count, window in seconds)

RATE_LIMIT = env.rate("RATE_LIMIT", "100/15m")
REGISTRATION_RATE = env.rate("REGISTRATION_RATE", "20/h")
TOKEN_RATE = env.rate("TOKEN_RATE", "20/m")
REQUEST_BODY_BYTES_MAX = 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = REQUEST_BODY_BYTES_MAX

# The API

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["users.api.authentication.CallerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["users.api.permissions.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["platform_site.gateway.json_body.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "platform_site.gateway.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Evenkeel",
    "DESCRIPTION": "Move money between accounts; every movement is a row of immutable events.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
}

# Security headers

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "no-referrer"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.flag("COOKIES_SECURE")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# E-mail

EMAIL_BACKEND = env.text("EMAIL_BACKEND", "users.mail.FileBackend")
EMAIL_FILE_PATH = DATA_DIR / "mail"
EMAIL_HOST = env.text("EMAIL_HOST", "localhost")
EMAIL_PORT = env.integer("EMAIL_PORT", 25)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env.text("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = env.flag("EMAIL_USE_TLS")
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "Evenkeel <notifications@evenkeel.example>")

# The event store: what it needs to know of the product, as import paths

EVENTSTORE_CODEC = "transactions.domain.events.CODEC"
EVENTSTORE_SUBSCRIPTIONS = "transactions.subscriptions.SUBSCRIPTIONS"
