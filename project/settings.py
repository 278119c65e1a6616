"""All settings of Nightjar, read from the environment and from `.env` beside manage.py.

Every value has a working default for one machine, except SECRET_KEY, which `make setup` generates.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from project import __version__, broker, keys, scrub, storage, version

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
environ.Env.read_env(env.str("NIGHTJAR_ENV_FILE", default=str(BASE_DIR / ".env")))


def whole(name: str, default: int, least: int = 1, most: int = 2**62) -> int:
    """A whole number from the environment; a wrong one is refused with its name."""
    given = env.str(name, default="")
    try:
        number = int(given or default)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise ImproperlyConfigured(f"{name} must be a whole number from {least} to {most}, not “{given}”.")
    return number


def seconds(name: str, default: float) -> float:
    """A number of seconds, or of anything else that is above 0, from the environment."""
    given = env.str(name, default="")
    try:
        number = float(given or default)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ImproperlyConfigured(f"{name} must be a number above 0, not “{given}”.")
    return number


# Where the embedded defaults keep what they write: the database, the media, the broker's data, caches.
DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var"))).resolve()

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set: run `make setup`, which writes one into .env, or set it yourself."
    )

HOST = env.str("HOST", default="127.0.0.1")
PORT = whole("PORT", 8000, most=65535)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# One switch for everything that holds only where the site is reached through TLS.
HTTPS = env.bool("HTTPS", default=False)
SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
if env.bool("BEHIND_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "detection",
]

# The login comes before the CSRF check, because that check reads the body: nobody's upload is taken in before we know
# whose it is.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "detection.views.middleware.ContentSecurityPolicy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "detection.views.context.site",
            ],
        },
    },
]

DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'nightjar.sqlite3'}")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # Write-ahead log: readers do not block the writer. Synchronous: what is committed survives a power cut. Immediate:
    # a transaction that will write takes the write lock at its start, where waiting helps, and not in its middle, where
    # SQLite answers "locked" at once.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
    }
else:
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DATABASES["default"]["CONN_MAX_AGE"] = 60
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = ["project.formats"]
USE_I18N = False
USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", default="UTC")

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"

# file:///folder, or s3://KEY:SECRET@HOST/BUCKET (see project/storage.py).
STORAGE_URL = env.str("STORAGE_URL", default=f"file://{DATA_DIR / 'media'}")
STORAGES = {
    "default": storage.from_url(STORAGE_URL),
    "staticfiles": {"BACKEND": "project.static.HashedStaticFilesStorage"},
}

# Where workers keep copies of what lies in a bucket; the longest unused go first.
CACHE_DIR = DATA_DIR / "cache"
CACHE_MAX_BYTES = whole("CACHE_MAX_BYTES", 20 * 1024**3)

# So much of each disk is left to the work under way: nothing new is taken in once less is free.
DISK_RESERVE_BYTES = whole("DISK_RESERVE_BYTES", 1024**3, least=0)

# Uploads stream to a file in this folder and never whole through memory.
INCOMING_DIR = storage.incoming_folder(STORAGE_URL, DATA_DIR)
FILE_UPLOAD_HANDLERS = ["detection.views.upload_handler.HashingUploadHandler"]
DATA_UPLOAD_MAX_NUMBER_FILES = whole("UPLOAD_MAX_FILES", 500)

# What a media may be at most.
MEDIA_MAX_BYTES = whole("MEDIA_MAX_BYTES", 8 * 1024**3)
MEDIA_MAX_PIXELS = whole("MEDIA_MAX_PIXELS", 50_000_000)
MEDIA_MAX_DURATION_S = seconds("MEDIA_MAX_DURATION_S", 4 * 3600.0)
MEDIA_MAX_FRAMES = whole("MEDIA_MAX_FRAMES", 2_000_000)

# Analysis.
CODE_VERSION = env.str("CODE_VERSION", default="") or version.described(BASE_DIR, __version__)
ANALYSE_FPS = seconds("ANALYSE_FPS", 5.0)
CHUNK_S = seconds("CHUNK_S", 60.0)
INTERACTIVE_MOST = whole("INTERACTIVE_MOST", 10)
BULK_AGES_S = seconds("BULK_AGES_S", 60.0)
LEASE_S = whole("LEASE_S", 10)
RENEW_S = seconds("RENEW_S", 0.5)
MAX_ATTEMPTS = whole("MAX_ATTEMPTS", 3)
MAX_LAPSES = whole("MAX_LAPSES", 10)
STALL_S = seconds("STALL_S", 300.0)
SWEEP_S = seconds("SWEEP_S", 1.0)
TASK_TIME_LIMIT_S = whole("TASK_TIME_LIMIT_S", 1800)
PROXY_TIME_LIMIT_S = whole("PROXY_TIME_LIMIT_S", 4 * 3600)
WEIGHTS_URL = env.str("WEIGHTS_URL", default="https://github.com/ultralytics/assets/releases/download/v8.4.0")
WEIGHTS_TIMEOUT_S = seconds("WEIGHTS_TIMEOUT_S", 20.0)

# Retention: what is removed by itself. 0: nothing.
RETAIN_DAYS = whole("RETAIN_DAYS", 0, least=0, most=36_500)
RETAIN_BYTES = whole("RETAIN_BYTES", 0, least=0)
RETAIN_CAPTURES_DAYS = whole("RETAIN_CAPTURES_DAYS", 0, least=0, most=36_500)
if 0 < RETAIN_CAPTURES_DAYS < 32:
    raise ImproperlyConfigured(
        "RETAIN_CAPTURES_DAYS must be 0, for ever, or at least 32: the page of a camera shows what became of 31 days."
    )

# Cameras. The first of the keys encrypts their addresses, all of them decrypt.
CAMERA_KEYS = env.list("CAMERA_KEYS", default=[])
if not CAMERA_KEYS:
    raise ImproperlyConfigured(
        "CAMERA_KEYS is not set: run `make setup`, which writes one into .env, or set it yourself. Where cameras are "
        "in the database already, it must be the key that was set when they were entered."
    )
keys.validate(CAMERA_KEYS)
CAMERA_ALLOW_PRIVATE = env.bool("CAMERA_ALLOW_PRIVATE", default=True)
CAMERA_ALLOW_LOOPBACK = env.bool("CAMERA_ALLOW_LOOPBACK", default=False)
CAMERA_FILES_DIR = Path(env.str("CAMERA_FILES_DIR", default=str(DATA_DIR / "camera-files")))
GRAB_CONNECT_S = seconds("GRAB_CONNECT_S", 4.0)
GRAB_FIRST_FRAME_S = seconds("GRAB_FIRST_FRAME_S", 8.0)
GRAB_TOTAL_S = seconds("GRAB_TOTAL_S", 12.0)
GRAB_MAX_BYTES = whole("GRAB_MAX_BYTES", 32 * 1024**2)
GRAB_ATTEMPTS = whole("GRAB_ATTEMPTS", 3, most=100)
# Off-line: this long without a picture, and at least two captures failed. Only then is anybody told.
CAMERA_OFFLINE_AFTER_S = seconds("CAMERA_OFFLINE_AFTER_S", 25.0)
# Frozen: the very same picture so often in a row (set for each camera), and for at least this long.
CAMERA_FROZEN_AFTER_S = seconds("CAMERA_FROZEN_AFTER_S", 60.0)
# The circuit breaker: after so long without a picture it is tried less and less, at last every so many seconds.
CAMERA_BREAKER_AFTER_S = seconds("CAMERA_BREAKER_AFTER_S", 600.0)
CAMERA_BREAKER_MAX_S = seconds("CAMERA_BREAKER_MAX_S", 300.0)

# Who is told of cameras that go away and come back, and of what else people should know.
EMAIL_CONFIG = env.email_url("EMAIL_URL", default="smtp://localhost:25")
vars().update({name: value for name, value in EMAIL_CONFIG.items() if name.startswith("EMAIL_")})
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = env.str("NOTIFY_FROM", default="nightjar@localhost")
NOTIFY_EMAILS = env.list("NOTIFY_EMAILS", default=[])
NOTIFY_WEBHOOK_URL = env.str("NOTIFY_WEBHOOK_URL", default="")
NOTIFY_APPRISE_URLS = env.list("NOTIFY_APPRISE_URLS", default=[])
NOTIFY_ATTEMPTS = whole("NOTIFY_ATTEMPTS", 12, most=20)
NOTIFY_HOLD_OFF_S = seconds("NOTIFY_HOLD_OFF_S", 600.0)
SITE_URL = env.str("SITE_URL", default=f"http://{HOST}:{PORT}").rstrip("/")
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")

# Celery is given its own values only: Flower and `celery inspect conf` show whatever it is given.
BROKER_URL = env.str("BROKER_URL", default="") or broker.embedded_url(DATA_DIR)
BROKER_IS_EMBEDDED = not env.str("BROKER_URL", default="")
VISIBILITY_TIMEOUT_S = 6 * 3600  # far above any task: leases, not the broker, find lost work
CELERY: dict[str, Any] = {
    "broker_url": BROKER_URL,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "task_ignore_result": True,
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_acks_on_failure_or_timeout": True,
    "worker_prefetch_multiplier": 1,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_soft_shutdown_timeout": 8,
    "worker_lost_wait": 1.0,  # after a process has died, until that is believed
    "worker_hijack_root_logger": False,
    "worker_send_task_events": True,
    # The soft limit says so on the row; the hard one is for what hangs in native code.
    "task_soft_time_limit": TASK_TIME_LIMIT_S,
    "task_time_limit": TASK_TIME_LIMIT_S + 60,
    "task_annotations": {
        "workers.tasks.make_proxy": {"soft_time_limit": PROXY_TIME_LIMIT_S, "time_limit": PROXY_TIME_LIMIT_S + 60}
    },
    "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0.2},
    "task_default_queue": "housekeeping",
    # A queue for each step: a worker takes from them in turn, so that of many media that come in at once the first are
    # finished while the last still wait. In one queue all would be planned first and finished last.
    "task_routes": {
        "workers.tasks.make_proxy": {"queue": "proxies"},
        # Of analyses that nobody waits for, these go through “bulk-analyse” and so on (workers/lanes.py).
        "workers.tasks.analyse": {"queue": "analyse"},
        "workers.tasks.analyse_chunk": {"queue": "chunks"},
        "workers.tasks.finish": {"queue": "finish"},
        "workers.tasks.sweep": {"queue": "housekeeping"},
        "workers.tasks.tidy": {"queue": "housekeeping"},
        "workers.tasks.prune": {"queue": "housekeeping"},
        "workers.tasks.notify": {"queue": "notify"},
        # Cameras in trouble have a queue of their own, see Camera.queue.
        "workers.tasks.grab": {"queue": "grab"},
        "workers.tasks.try_source": {"queue": "grab"},
    },
    "beat_schedule": {
        # What nobody took for long has nothing to add to the next one. Not sooner: beat's clock says when that is, and
        # a worker whose own clock is off by more would drop every one of them.
        "sweep": {"task": "workers.tasks.sweep", "schedule": SWEEP_S, "options": {"expires": 600.0}},
        "tidy": {"task": "workers.tasks.tidy", "schedule": 10.0, "options": {"expires": 600.0}},
        "prune": {"task": "workers.tasks.prune", "schedule": 3600.0, "options": {"expires": 3600.0}},
    },
    "beat_schedule_filename": str(DATA_DIR / "beat-schedule"),
    "timezone": "UTC",
}
if BROKER_URL.startswith(("redis", "unix", "sentinel")):
    CELERY["broker_transport_options"] = {
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
    }

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "without_routine": {"()": "project.logs.WithoutRoutine"},
        "refusals": {"()": "project.logs.RefusalsInOneLine"},
        "scrubbed": {"()": "project.logs.Scrubbed"},
    },
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["without_routine", "refusals", "scrubbed"],
        }
    },
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {
        "django.server": {"handlers": ["stderr"], "propagate": False},
        # What says at every start, or of every task, only that all is as it should be.
        "celery.worker.strategy": {"level": "WARNING"},
        "flower": {"level": "ERROR"},
        "kombu.mixins": {"level": "WARNING"},
        # Their lines have whole addresses in them, with passwords and tokens.
        "urllib3": {"level": "CRITICAL"},
        "apprise": {"level": "CRITICAL"},
    },
}

SESSION_COOKIE_AGE = int(timedelta(days=14).total_seconds())

SENTRY_DSN = env.str("SENTRY_DSN", default="")
if SENTRY_DSN:
    import sentry_sdk

    sentry_sdk.init(
        dsn=SENTRY_DSN,
        environment=env.str("SENTRY_ENVIRONMENT", default="production"),
        traces_sample_rate=env.float("SENTRY_TRACES_SAMPLE_RATE", default=0.0),
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        trace_propagation_targets=[],  # cameras and webhooks are told nothing of it
        before_send=scrub.before_send,
        before_send_transaction=scrub.before_send_transaction,
        before_breadcrumb=scrub.before_breadcrumb,
    )

# No telemetry and no installing behind the user's back from the libraries that would.
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_CONFIG_DIR", str(DATA_DIR / "ultralytics"))
