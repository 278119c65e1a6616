"""All settings of Nightjar, read from the environment and from `.env` beside manage.py.

Every value has a working default for one machine, except SECRET_KEY, which `make setup` generates.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from detection import scrub
from detection.address import trusted_proxies
from detection.rates import Rate
from project import __version__, addresses, broker, cache, doors, folders, keys, logs, queues, sentry, storage, version
from project.options import Reader

BASE_DIR = Path(__file__).resolve().parent.parent

environ.Env.read_env(os.environ.get("NIGHTJAR_ENV_FILE") or str(BASE_DIR / ".env"))
read = Reader(os.environ)

# Where the embedded defaults keep what they write: the database, the media, the broker's data, caches.
read.group("The site")
DATA_DIR = Path(
    read.text("DATA_DIR", str(BASE_DIR / "var"), "where the embedded defaults keep everything", shown="var")
).resolve()
DEBUG = read.flag("DEBUG", False, "error pages with details; never where others can reach it")
SECRET_KEY = read.text(
    "SECRET_KEY", "", "signs sessions; keep it, or everybody has to sign in again", shown="generated", secret=True
)
for problem in keys.problems_of_secret(SECRET_KEY, lenient=DEBUG):
    read.problem(problem)

HOST = read.text("HOST", "127.0.0.1", "where the pages are served; `0.0.0.0` serves the network")
PORT = read.whole("PORT", 8000, "the port there", most=65535)
ALLOWED_HOSTS = read.words(
    "ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]", "the names under which the site may be reached, comma-separated"
)
if "*" in ALLOWED_HOSTS and not DEBUG:
    read.problem(
        "ALLOWED_HOSTS must name what people type, and not “*”: others could make the site give out links to theirs."
    )
CSRF_TRUSTED_ORIGINS = read.words(
    "CSRF_TRUSTED_ORIGINS",
    "",
    "such as `https://nightjar.example.org`, behind a proxy",
    example="https://nightjar.example.org",
)
for origin in CSRF_TRUSTED_ORIGINS:
    if not origin.startswith(("http://", "https://")):
        read.problem(f"CSRF_TRUSTED_ORIGINS must begin with https:// or http://, which “{origin}” does not.")

# One switch for everything that holds only where the site is reached through TLS.
HTTPS = read.flag("HTTPS", False, "the site is reached through TLS: redirects, secure cookies, HSTS")
SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
HSTS_PRELOAD = read.flag(
    "HSTS_PRELOAD",
    False,
    "with HTTPS: agrees that browsers have it built in as a site with TLS only, for good "
    "([hstspreload.org](https://hstspreload.org))",
)
SECURE_HSTS_PRELOAD = HTTPS and HSTS_PRELOAD
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True  # our scripts read the token from the form
if HTTPS:  # browsers take these names only from a page of this very host that came through TLS
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
CSRF_FAILURE_VIEW = "detection.views.errors.csrf_failure"
X_FRAME_OPTIONS = "SAMEORIGIN"  # as frame-ancestors of our policy says: the site itself, and nobody else
# W019 asks for DENY; W021 for HSTS_PRELOAD, which is for whoever owns the whole domain to decide.
SILENCED_SYSTEM_CHECKS = ["security.W019", "security.W021"]
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
    "axes",
    "detection",
]

# The login and the limits come before the CSRF check, because that check reads the body: nobody's upload is taken in
# before we know whose it is.
MIDDLEWARE = [
    "detection.views.request_line.RequestLine",  # around all others: what they do and refuse is of this request
    "detection.views.health.Probed",  # nothing of what it is asked may depend on the rest
    "detection.views.metrics_middleware.Measured",
    "detection.views.metrics.Scraped",  # as Prometheus asks a container: by any name, without TLS
    "detection.views.middleware.TrustedProxies",
    "detection.views.middleware.Refusals",
    "django.middleware.security.SecurityMiddleware",
    "detection.views.middleware.SecurityHeaders",
    "detection.views.middleware.Understandable",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "detection.views.limits.Limits",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
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

read.group("Database, broker and storage")
DATABASES: dict[str, Any] = {
    "default": read.parsed(
        "DATABASE_URL",
        f"sqlite:///{DATA_DIR / 'nightjar.sqlite3'}",
        "the database; for PostgreSQL `postgres://USER:PASSWORD@HOST:5432/NAME`",
        addresses.database,
        shown="SQLite in DATA_DIR",
        example="postgres://USER:PASSWORD@HOST:5432/nightjar",
        secret=True,
    )
}
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
    # A connection that is lost without a word, as where a machine goes, is found out within half a minute.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
        **DATABASES["default"].get("OPTIONS", {}),
    }
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
TIME_ZONE = read.parsed("TIME_ZONE", "UTC", "of the pages, such as `Europe/Berlin`", addresses.time_zone)

STATIC_URL = "static/"
STATIC_ROOT = Path(
    read.text(
        "STATIC_DIR",
        str(DATA_DIR / "static"),
        "where the pages' own files are collected, for an image that brings them along",
        shown="DATA_DIR/static",
        example="/srv/nightjar/static",
    )
).resolve()

# file:///folder, or s3://KEY:SECRET@HOST/BUCKET (see project/storage.py).
STORAGE_URL = read.parsed(
    "STORAGE_URL",
    f"file://{DATA_DIR / 'media'}",
    "where media are kept: `file:///FOLDER`, `s3://KEY:SECRET@HOST/BUCKET[/PREFIX][?region=R&tls=false]`",
    addresses.storage,
    shown="DATA_DIR/media",
    example="s3://KEY:SECRET@HOST/BUCKET",
    secret=True,
)
STORAGES = {
    "default": storage.from_url(STORAGE_URL),
    "staticfiles": {"BACKEND": "project.static.HashedStaticFilesStorage"},
}

# Where workers keep copies of what lies in a bucket; the longest unused go first.
CACHE_DIR = DATA_DIR / "cache"
CACHE_MAX_BYTES = read.size(
    "CACHE_MAX_BYTES", "20GiB", "what a worker keeps of a bucket's files; the longest unused go first"
)

# So much of each disk is left to the work under way: nothing new is taken in once less is free.
DISK_RESERVE_BYTES = read.size(
    "DISK_RESERVE_BYTES",
    "1GiB",
    "of each disk, for the work under way: with less free, uploads and captures are refused; 0 switches that off",
    least=0,
)

# Uploads stream to a file in this folder and never whole through memory.
INCOMING_DIR = storage.incoming_folder(STORAGE_URL, DATA_DIR)
FILE_UPLOAD_HANDLERS = ["detection.views.upload_handler.HashingUploadHandler"]
read.group("Uploads")
DATA_UPLOAD_MAX_NUMBER_FILES = read.whole("UPLOAD_MAX_FILES", 500, "files in one form")

# What a media may be at most.
MEDIA_MAX_BYTES = read.size("MEDIA_MAX_BYTES", "8GiB", "of a file")
MEDIA_MAX_PIXELS = read.whole("MEDIA_MAX_PIXELS", 50_000_000, "of a picture or a frame")
MEDIA_MAX_DURATION_S = read.number("MEDIA_MAX_DURATION_S", 4 * 3600.0, "of a clip")
MEDIA_MAX_FRAMES = read.whole("MEDIA_MAX_FRAMES", 2_000_000, "of a clip")

# Analysis.
read.group("Analysis")
CODE_VERSION = read.text(
    "CODE_VERSION", "", "what results say they were made by", shown="the version and commit"
) or version.described(BASE_DIR, __version__)
ANALYSE_FPS = read.number("ANALYSE_FPS", 5.0, "frames looked at a second")
CHUNK_S = read.number("CHUNK_S", 60.0, "aimed-at length of the chunks that a clip is shared out in")
INTERACTIVE_MOST = read.whole(
    "INTERACTIVE_MOST", 10, "so many unfinished analyses of one person go before bulk; those asked for beyond are bulk"
)
BULK_AGES_S = read.number(
    "BULK_AGES_S", 60.0, "bulk that has waited for so long gets every fourth turn of each process, whoever else waits"
)
LEASE_S = read.whole("LEASE_S", 10, "how long a dead worker keeps its work")
RENEW_S = read.number("RENEW_S", 0.5, "how often a live worker says so, and looks whether its work was cancelled")
MAX_ATTEMPTS = read.whole("MAX_ATTEMPTS", 3, "how often work is begun before it fails for good")
MAX_LAPSES = read.whole(
    "MAX_LAPSES", 10, "how often work may lose its whole worker or machine before it fails for good"
)
STALL_S = read.number(
    "STALL_S", 300.0, "work that shows no progress for so long is ended with its process, as an attempt"
)
SWEEP_S = read.number("SWEEP_S", 1.0, "seconds between two sweeps: so late may a capture begin")
TASK_TIME_LIMIT_S = read.whole(
    "TASK_TIME_LIMIT_S", 1800, "a piece of work that takes longer is ended as failed, and says so"
)
PROXY_TIME_LIMIT_S = read.whole("PROXY_TIME_LIMIT_S", 4 * 3600, "the same for a copy that browsers can play")
WEIGHTS_URL = read.text(
    "WEIGHTS_URL",
    "https://github.com/ultralytics/assets/releases/download/v8.4.0",
    "where models are downloaded by name",
)
WEIGHTS_TIMEOUT_S = read.number("WEIGHTS_TIMEOUT_S", 20.0, "for how long at most")

# Retention: what is removed by itself. 0: nothing.
read.group("Retention")
RETAIN_DAYS = read.whole(
    "RETAIN_DAYS",
    0,
    "so many days after a media came in, it is removed; 0 is never, see *Retention*",
    least=0,
    most=36_500,
)
RETAIN_BYTES = read.size(
    "RETAIN_BYTES", "0", "beyond so many bytes of media, the oldest are removed; 0 is no limit", least=0
)
RETAIN_CAPTURES_DAYS = read.whole(
    "RETAIN_CAPTURES_DAYS",
    0,
    "so long the records of captures are kept, at least 32 days; 0 is for ever",
    least=0,
    most=36_500,
)
if 0 < RETAIN_CAPTURES_DAYS < 32:
    read.problem(
        "RETAIN_CAPTURES_DAYS must be 0, for ever, or at least 32: the page of a camera shows what became of 31 days."
    )

# Cameras. The first of the keys encrypts their addresses, all of them decrypt.
read.group("Cameras")
CAMERA_KEYS = read.words(
    "CAMERA_KEYS",
    "",
    "encrypt the cameras' addresses; keep them with your backups, apart from the database. Several, comma-separated: "
    "the first encrypts, all decrypt",
    shown="generated",
    secret=True,
)
for problem in keys.problems(CAMERA_KEYS):
    read.problem(problem)
CAMERA_ALLOW_PRIVATE = read.flag("CAMERA_ALLOW_PRIVATE", True, "whether cameras may be in private networks")
CAMERA_ALLOW_LOOPBACK = read.flag("CAMERA_ALLOW_LOOPBACK", False, "whether cameras may be on this very machine")
CAMERA_FILES_DIR = Path(
    read.text(
        "CAMERA_FILES_DIR",
        str(DATA_DIR / "camera-files"),
        "where the files are that may play as a camera",
        shown="DATA_DIR/camera-files",
    )
)
GRAB_CONNECT_S = read.number("GRAB_CONNECT_S", 4.0, "what a camera may take to answer")
GRAB_FIRST_FRAME_S = read.number("GRAB_FIRST_FRAME_S", 8.0, "what it may take to begin a picture")
GRAB_TOTAL_S = read.number("GRAB_TOTAL_S", 12.0, "what it may take for all of it")
GRAB_MAX_BYTES = read.size("GRAB_MAX_BYTES", "32MiB", "of a picture from a camera")
GRAB_ATTEMPTS = read.whole("GRAB_ATTEMPTS", 3, "attempts for one planned time, while it is fresh", most=100)
# Off-line: this long without a picture, and at least two captures failed. Only then is anybody told.
CAMERA_OFFLINE_AFTER_S = read.number(
    "CAMERA_OFFLINE_AFTER_S", 25.0, "failing for so long, and twice at least, is offline, and is told"
)
# Frozen: the very same picture so often in a row (set for each camera), and for at least this long.
CAMERA_FROZEN_AFTER_S = read.number(
    "CAMERA_FROZEN_AFTER_S",
    60.0,
    "the very same picture, as often as is set for the camera and for so long, is frozen, and is told",
)
# The circuit breaker: after so long without a picture it is tried less and less, at last every so many seconds.
CAMERA_BREAKER_AFTER_S = read.number(
    "CAMERA_BREAKER_AFTER_S", 600.0, "failing for so long, a camera is tried less and less"
)
CAMERA_BREAKER_MAX_S = read.number("CAMERA_BREAKER_MAX_S", 300.0, "at last every so many seconds")

# Health. The watchdog ends a process whose loop stands still, and whoever started it starts another.
read.group("Health")
HEARTBEAT_S = read.number("HEARTBEAT_S", 5.0, "how often workers and beat say that they go round")
WATCHDOG_S = read.number(
    "WATCHDOG_S",
    60.0,
    "a worker or beat whose loop stands still for so long is killed, to be started anew; 0: never",
    zero=True,
)
HEALTH_PROBE_S = read.number(
    "HEALTH_PROBE_S", 2.0, "what each look at the database, the broker or the storage may take"
)
HEALTH_GRACE_S = 30.0  # after the start of a web process, until its pages miss the workers
WORKER_MAX_MEMORY_BYTES = read.size(
    "WORKER_MAX_MEMORY_BYTES",
    "4GiB",
    "a process of the analysis that has used more memory is replaced, between two pieces of work; 0: never",
    least=0,
)

# Who is told of cameras that go away and come back, and of what else people should know.
read.group("Notifications")
EMAIL_CONFIG = read.parsed(
    "EMAIL_URL",
    "smtp://localhost:25",
    "the mail server, such as `smtp+tls://USER:PASSWORD@HOST:587`",
    addresses.email,
    example="smtp+tls://USER:PASSWORD@HOST:587",
    secret=True,
)
vars().update({name: value for name, value in EMAIL_CONFIG.items() if name.startswith("EMAIL_")})
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = read.text("NOTIFY_FROM", "nightjar@localhost", "the sender of e-mails")
NOTIFY_EMAILS = read.words(
    "NOTIFY_EMAILS",
    "",
    "who is told by e-mail when a camera goes away or comes back, comma-separated",
    example="guard@example.org,office@example.org",
)
NOTIFY_WEBHOOK_URL = read.text(
    "NOTIFY_WEBHOOK_URL", "", "an address that gets each event as JSON", example="https://example.org/hook", secret=True
)
NOTIFY_APPRISE_URLS = read.words(
    "NOTIFY_APPRISE_URLS",
    "",
    "[Apprise](https://github.com/caronc/apprise) addresses for everything else, comma-separated",
    example="ntfys://ntfy.sh/TOPIC",
    secret=True,
)
NOTIFY_ATTEMPTS = read.whole(
    "NOTIFY_ATTEMPTS", 12, "how often a notification is tried, with pauses that double: an hour in all", most=20
)
NOTIFY_HOLD_OFF_S = read.number(
    "NOTIFY_HOLD_OFF_S", 600.0, "a camera that comes and goes is told of once in so many seconds"
)
SITE_URL = read.text(
    "SITE_URL",
    f"http://{HOST}:{PORT}",
    "the address of the pages, for links in notifications",
    shown="http://HOST:PORT",
    example="https://nightjar.example.org",
).rstrip("/")

read.group("Metrics")
METRICS_TOKEN = read.text(
    "METRICS_TOKEN",
    "",
    "lets Prometheus read `/metrics` with `Authorization: Bearer TOKEN`; operators read it with their login",
    secret=True,
)
METRICS_DIR = read.text(
    "METRICS_DIR",
    str(folders.run_dir(DATA_DIR) / "metrics"),
    "where the processes of a machine count together; local to it, and never shared between machines",
    shown="run/metrics in DATA_DIR",
)
METRICS_PORT = read.whole(
    "METRICS_PORT",
    0,
    "where `manage.py metrics --serve` tells Prometheus of a machine that has no web process; 0: nowhere",
    least=0,
    most=65535,
)
METRICS_HOST = read.text("METRICS_HOST", "127.0.0.1", "the address that goes with it")

# Celery is given its own values only: Flower and `celery inspect conf` show whatever it is given.
read.group("Processes")
given_broker = read.parsed(
    "BROKER_URL",
    "",
    "the broker: `redis://HOST:6379/0`, `amqp://USER:PASSWORD@HOST:5672//`",
    addresses.broker,
    shown="the embedded broker",
    example="redis://HOST:6379/0",
    secret=True,
)
BROKER_IS_EMBEDDED = not given_broker
BROKER_URL = given_broker or broker.embedded_url(DATA_DIR)
CELERY = queues.celery_settings(
    broker_url=BROKER_URL,
    data_dir=DATA_DIR,
    sweep_s=SWEEP_S,
    time_limit_s=TASK_TIME_LIMIT_S,
    proxy_time_limit_s=PROXY_TIME_LIMIT_S,
    max_memory_bytes=WORKER_MAX_MEMORY_BYTES,
)
# What the Procfile's lines read from the environment, as does project/web_server.py.
WEB_PROCESSES = read.whole("WEB_PROCESSES", 1, "processes of `web`; more than there are cores bring nothing")
WEB_THREADS = read.whole("WEB_THREADS", 32, "requests that each of them answers at once, an upload being one")
GRAB_CONCURRENCY = read.whole("GRAB_CONCURRENCY", 24, "threads of `grab` and of `probe`")
ANALYSE_CONCURRENCY = read.whole("ANALYSE_CONCURRENCY", 1, "processes of `analyse`")

read.group("Doors")
TRUSTED_PROXIES = read.parsed(
    "TRUSTED_PROXIES",
    "",
    "whose `X-Forwarded-For` and `X-Forwarded-Proto` count: addresses and networks of your proxies, comma-separated; "
    "`unix` for one that comes through a Unix socket",
    trusted_proxies,
    shown="none",
    example="127.0.0.1,10.0.0.0/24",
)
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
if os.environ.get("BEHIND_PROXY", "").strip().lower() in ("true", "yes", "on", "1"):
    read.problem("BEHIND_PROXY is no setting any more: name the address of your proxy in TRUSTED_PROXIES instead.")
CACHES = {
    "default": cache.configuration(
        read.parsed(
            "CACHE_URL",
            "",
            "what web processes count and remember together: `redis://HOST:6379/1`, `unix:///SOCKET?db=1`, or `local` "
            "for each process by itself, which is also the default with RabbitMQ",
            cache.checked,
            shown="beside the broker, in another database",
            example="redis://HOST:6379/1",
            secret=True,
        ),
        BROKER_URL,
    ),
    # What each process remembers for itself, for some seconds (detection/views/listing.py).
    "own": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "own"},
}
# Names and addresses in pairs, so that nobody can lock another out from elsewhere; and, for who tries many names,
# addresses by themselves (detection/lockout.py).
LOGIN_FAILURES = read.whole(
    "LOGIN_FAILURES", 5, "so many wrong passwords for one name from one address, and it has to wait"
)
LOGIN_FAILURES_ADDRESS = read.whole(
    "LOGIN_FAILURES_ADDRESS", 50, "so many from one address for any names, and nobody can log in from there"
)
LOGIN_LOCK_S = read.whole("LOGIN_LOCK_S", 900, "for so long, counted from the last wrong password")
RATES = {
    name: read.parsed(option, default, meaning, Rate.read)
    for name, option, default, meaning in (
        ("login", "RATE_LOGIN", "30/m", "log-ins tried from one address; 0 is no limit, here and below"),
        ("upload", "RATE_UPLOAD", "3000/m", "uploads of one person; from one address five times as many, as below"),
        ("verdict", "RATE_VERDICT", "1200/m", "verdicts of one person"),
        ("list", "RATE_LIST", "600/m", "lists, overviews and estimates of one person: what makes the database work"),
        ("trial", "RATE_TRIAL", "60/m", "tries of cameras of one person"),
    )
}
vars().update(doors.LOCKOUT)
AXES_FAILURE_LIMIT = LOGIN_FAILURES
AXES_COOLOFF_TIME = timedelta(seconds=LOGIN_LOCK_S)

read.group("Logs")
LOG_LEVEL = read.parsed(
    "LOG_LEVEL",
    "DEBUG" if DEBUG else "INFO",
    "what goes to the log: from `DEBUG` to `CRITICAL`",
    logs.level,
    shown="INFO",
)
LOG_LEVELS = read.parsed(
    "LOG_LEVELS",
    "",
    "other levels for some loggers, such as `workers=DEBUG,celery=WARNING`",
    logs.levels,
    example="workers=DEBUG,celery=WARNING",
)
LOG_FORMAT = read.parsed(
    "LOG_FORMAT", "auto", "`json`, a line an event; `console`, for people; `auto`: `console` at a terminal", logs.form
)
LOG_FILE = read.parsed(
    "LOG_FILE",
    "",
    "a file that gets the log instead of standard error; all processes of a machine may share it",
    logs.file,
    example="/var/log/nightjar/nightjar.log",
)
LOGGING_CONFIG = "project.logs.configure"
LOGGING = logs.settings(
    level=LOG_LEVEL,
    levels=LOG_LEVELS,
    form=LOG_FORMAT,
    file=LOG_FILE,
    max_bytes=read.whole("LOG_FILE_MAX_BYTES", 50_000_000, "with so many bytes the file is put aside", least=10_000),
    backups=read.whole("LOG_FILE_BACKUPS", 5, "so many that were put aside are kept"),
)
SLOW_REQUEST_S = read.number("SLOW_REQUEST_S", 2.0, "what takes longer is logged with where the time went: a request")
SLOW_QUERY_S = read.number("SLOW_QUERY_S", 0.5, "a statement of the database, without its values")
SLOW_STAGE_S = read.number("SLOW_STAGE_S", 60.0, "a stage of the work on a media: reading, model, tracking, storing")

SESSION_COOKIE_AGE = int(timedelta(days=14).total_seconds())

read.group("Sentry and Flower")
FLOWER_PASSWORD = read.text(
    "FLOWER_PASSWORD", "", "between the pages and Flower; nobody types it", shown="generated", secret=True
)
if "," in FLOWER_PASSWORD:
    read.problem("FLOWER_PASSWORD must have no comma in it: Flower takes that for the end of a password.")
FLOWER_URL = read.parsed(
    "FLOWER_URL",
    broker.socket_path(DATA_DIR).with_name("flower.sock").as_uri().replace("file:", "unix:", 1),
    "where the pages find Flower: `http://HOST:5555` where it runs on another machine",
    addresses.flower,
    shown="its socket in DATA_DIR/run",
    example="http://HOST:5555",
    secret=True,
)
SENTRY_DSN = read.parsed(
    "SENTRY_DSN", "", "sends what nobody expected to Sentry; nothing is sent without it", sentry.dsn, secret=True
)
SENTRY_ENVIRONMENT = read.text("SENTRY_ENVIRONMENT", "production", "what Sentry calls this installation")
SENTRY_SAMPLE_RATE = read.parsed("SENTRY_SAMPLE_RATE", "1", "the share of the errors that are sent", sentry.share)
SENTRY_TRACES_SAMPLE_RATE = read.parsed(
    "SENTRY_TRACES_SAMPLE_RATE", "0", "the share of the requests and tasks that are timed there", sentry.share
)
sentry.start(
    dsn=SENTRY_DSN,
    environment=SENTRY_ENVIRONMENT,
    release=CODE_VERSION,
    sample_rate=SENTRY_SAMPLE_RATE,
    traces_sample_rate=SENTRY_TRACES_SAMPLE_RATE,
)

# No telemetry and no installing behind the user's back from the libraries that would.
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_CONFIG_DIR", str(DATA_DIR / "ultralytics"))

# All at once, so that nobody has to start it again for each. `manage.py doctor` tells them with whatever else is wrong.
OPTIONS, PROBLEMS = read.options, read.problems
scrub.know(
    (os.environ.get(option.name, "") for option in OPTIONS if option.secret),
    parsed=[
        str(DATABASES["default"].get("PASSWORD") or ""),
        str(EMAIL_CONFIG.get("EMAIL_HOST_PASSWORD") or ""),
        *(str(STORAGES["default"].get("OPTIONS", {}).get(name) or "") for name in ("access_key", "secret_key")),
    ],
)
if PROBLEMS and not os.environ.get("NIGHTJAR_LENIENT"):
    raise ImproperlyConfigured("\n".join(PROBLEMS))
