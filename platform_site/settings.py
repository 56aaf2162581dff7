"""The settings of the site, from the environment through `platform_site.env`.

One variable per outside system: set, it is the real thing; unset, an embedded stand-in under
`DATA_DIR`. `docs/configuration.md` describes every variable.
"""

import sys

from platform_site import env
from platform_site.gateway import cross_origin
from platform_site.gateway.addresses import API, NAMES

DATA_DIR = env.data_dir()
VERSION = "0.1.0"

# The site

SECRET_KEY = env.secret_key(DATA_DIR)
DEBUG = env.flag("DEBUG")
ALLOWED_HOSTS = env.names("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
ROOT_URLCONF = "platform_site.urls"
APPEND_SLASH = False
INSTALLED_APPS = [
    "platform_site",
    "transactions",
    "users",
    "eventstore",
    # Django's admin, with this site's own index.
    "platform_site.admin_app.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
# What every request passes before it comes to Django stands in `platform_site.gateway.pipeline`.
# Under /api/ only the first two do anything; the others are for the admin and the manual.
MIDDLEWARE = [
    "platform_site.gateway.middleware.context.context",
    "platform_site.gateway.middleware.problems.problems",
    "platform_site.gateway.middleware.outside_api.WhiteNoiseMiddleware",
    "platform_site.gateway.middleware.outside_api.CommonMiddleware",
    "platform_site.gateway.middleware.outside_api.SessionMiddleware",
    "platform_site.gateway.middleware.outside_api.CsrfViewMiddleware",
    "platform_site.gateway.middleware.outside_api.AuthenticationMiddleware",
    "platform_site.gateway.middleware.outside_api.MessageMiddleware",
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
WHITENOISE_ALLOW_ALL_ORIGINS = False

# Stores

# How many commands of one web process share a transaction while they wait for each other.
COMMANDS_COALESCED_MAX = env.integer("COMMANDS_COALESCED_MAX", 64, minimum=1)
DATABASES = {"default": env.database("DATABASE_URL", embedded=DATA_DIR / "primary.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DOCUMENT_STORE_FILE = DATA_DIR / "document.sqlite3"
GLOBAL_STORE_FILE = DATA_DIR / "global.sqlite3"

# Named in the contract, without effect in this version; `platform_site.checks` warns of them.
RESERVED_VARIABLES = env.present("MONGODB_URL", "SPANNER_DATABASE", "KAFKA_BOOTSTRAP_SERVERS")

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
AUTHENTICATION_BACKENDS = ["users.backends.PasswordBackend"]
PASSWORD_HASHERS = ["users.hashers.Argon2idHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in (
        ("UserAttributeSimilarityValidator", {"user_attributes": ["email", "name"]}),
        ("MinimumLengthValidator", {"min_length": 8}),
        ("CommonPasswordValidator", {}),
        ("NumericPasswordValidator", {}),
    )
]
ACCESS_TOKEN_LIFETIME_S = env.integer("ACCESS_TOKEN_LIFETIME_S", 900, minimum=1)
REFRESH_TOKEN_LIFETIME_S = env.integer("REFRESH_TOKEN_LIFETIME_S", 14 * 86_400, minimum=1)
# How many proxies of ours stand in front: that many entries of X-Forwarded-For are believed.
TRUSTED_PROXY_COUNT = env.integer("TRUSTED_PROXY_COUNT", 0)

# Services: which ones this process answers for, and where the others are

EVENKEEL_SERVICES = env.chosen("EVENKEEL_SERVICES", NAMES)
SERVICE_URLS = env.service_urls(NAMES)

# Limits: (count, window in seconds)

RATE_LIMIT = env.rate("RATE_LIMIT", "100/15m")
# What a client of each tier may ask; None is without a limit, and without its headers.
RATE_LIMIT_TIERS = {"default": RATE_LIMIT, "trusted": (10_000, 900), "unlimited": None}
# How many web processes share a limit while Redis is away: each then allows its part.
WEB_PROCESS_COUNT = env.integer("WEB_PROCESS_COUNT", 1, minimum=1)
REGISTRATION_RATE = env.rate("REGISTRATION_RATE", "20/h")
TOKEN_RATE = env.rate("TOKEN_RATE", "20/m")
# Counting log-ins needs the cache; answering them does not.
RATELIMIT_FAIL_OPEN = True
REQUEST_BODY_BYTES_MAX = 1024 * 1024
REQUEST_BODY_TIMEOUT_S = env.integer("REQUEST_BODY_TIMEOUT_S", 30, minimum=1)
DATA_UPLOAD_MAX_MEMORY_SIZE = REQUEST_BODY_BYTES_MAX

# Pages of other origins that browsers may let call the API; without any, none (CORS)

CORS_ALLOWED_ORIGINS = env.origins("CORS_ALLOWED_ORIGINS")
CORS_URLS_REGEX = f"^{API}"
CORS_ALLOW_HEADERS = cross_origin.SENT
CORS_EXPOSE_HEADERS = cross_origin.READ

# The API

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["users.api.authentication.CallerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["users.api.permissions.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["platform_site.gateway.json_body.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "platform_site.gateway.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    # A parameter `format` belongs to the views that have one.
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Evenkeel",
    "DESCRIPTION": "Move money between accounts; every movement is a row of immutable events.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "COMPONENT_SPLIT_REQUEST": True,
    # Calls are grouped by the segment behind this.
    "SCHEMA_PATH_PREFIX": "/api",
    "POSTPROCESSING_HOOKS": ["platform_site.gateway.openapi.complete"],
}

# Operations

# When it is set, /health, /metrics and discovery want it as Bearer.
OPERATIONS_TOKEN = env.text("OPERATIONS_TOKEN")
# A folder through which the counters of several processes add up; prometheus_client reads the
# same variable.
PROMETHEUS_MULTIPROC_DIR = env.shared_folder("PROMETHEUS_MULTIPROC_DIR")
# Where traces are sent; the library reads both variables, and others, by itself.
OTEL_EXPORTER_OTLP_ENDPOINT = env.text(
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", env.text("OTEL_EXPORTER_OTLP_ENDPOINT")
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {"()": "platform_site.logs.JSONFormatter"},
        "plain": {"()": "platform_site.logs.PlainFormatter"},
    },
    "filters": {
        "has_traceback": {"()": "platform_site.logs.TracebackFilter"},
        "rarely": {"()": "platform_site.logs.RarelyFilter"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            # For a person at a terminal, or for whatever collects the lines.
            "formatter": "plain" if DEBUG or sys.stderr.isatty() else "json",
        }
    },
    "root": {"handlers": ["stderr"], "level": env.text("LOG_LEVEL", "INFO").upper()},
    "loggers": {
        # Without Django's own handlers, or lines would appear twice, and in two forms.
        "django": {"handlers": [], "level": "INFO"},
        # Each request has its line already; this one adds what nobody expected.
        "django.request": {"level": "ERROR", "filters": ["has_traceback"]},
        # Whoever scans for hosts would write a traceback with every request; the answer says it.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        # A line for each wake-up, of which there are many and most find nothing to do.
        "celery": {"level": "WARNING"},
        # The demo's client, and what the gateway asks of other processes: callers log that.
        "httpx": {"level": "WARNING"},
        # Each batch of spans that a collector does not take would write several lines.
        "opentelemetry.exporter.otlp.proto.http.trace_exporter": {"filters": ["rarely"]},
        "opentelemetry.sdk._shared_internal": {"filters": ["rarely"]},
    },
}

# Cookies and TLS; the headers that protect browsers are set by the gateway

# TLS ends at a proxy of ours, if there is one, which says so in this header; from others it is a
# claim.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXY_COUNT else None
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.flag("COOKIES_SECURE")

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
EVENTSTORE_LOG_ORIGIN = env.log_origin()
EVENTSTORE_TREE_HEAD_KEY = env.tree_head_key(DATA_DIR)
EVENTSTORE_FORMER_TREE_HEAD_KEYS = env.former_tree_head_keys()
EVENTSTORE_STREAM_MODELS = {
    "account": "transactions.Account",
    "transaction": "transactions.Transaction",
}

# Work behind the requests: see Note [Messages are wake-ups] in platform_site/celery.py

CELERY_BROKER_URL = REDIS_URL or "memory://"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker waits for its broker as long as it takes
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Longer than any task may run, and than any message is valid.
    "visibility_timeout": 300,
    "socket_connect_timeout": 1.0,
    # Who publishes tries once: kombu would try again for six seconds.
    "max_retries": 0,
    # A worker asks for messages in calls of one second: this must be longer than that.
    "socket_timeout": 3.0,
    "socket_keepalive": True,
    "health_check_interval": 10,
}
CELERY_TIMEZONE = "UTC"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_RETRY_ON_WORKER_LOST = True
CELERY_TASK_ANNOTATIONS = {"*": {"max_retries": 3, "default_retry_delay": 1}}
# No soft limit: its exception would come in the middle of an event and have that event parked.
# The process of a task that hangs is killed instead, and the task delivered again.
CELERY_TASK_TIME_LIMIT = 90
CELERY_WORKER_CONCURRENCY = env.integer("WORKER_CONCURRENCY", 6, minimum=1)
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 5.0
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "celerybeat-schedule")
