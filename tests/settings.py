"""The settings for tests: those of the project, with nothing of this machine's own installation in them.

Tests must run in a fresh clone, and must not touch the data of a Nightjar that is set up in the same folder; so `.env`
is not read, and the data folder is a new one. Processes that a test starts inherit it through the environment.
"""

import atexit
import os
import shutil
import tempfile

runner = os.environ.get("PYTEST_XDIST_WORKER", "")  # where tests run side by side, each has a folder of its own
if os.environ.get("NIGHTJAR_TEST_RUNNER") != runner:
    os.environ["NIGHTJAR_TEST_DATA_DIR"] = folder = tempfile.mkdtemp(prefix="nightjar-tests-")
    os.environ["NIGHTJAR_TEST_RUNNER"] = runner
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

OURS = (
    "BROKER_URL", "STORAGE_URL", "DATABASE_URL", "HTTPS", "BEHIND_PROXY", "SENTRY_DSN", "HOST", "PORT", "METRICS_TOKEN",
    "METRICS_DIR", "METRICS_PORT", "METRICS_HOST", "FLOWER_URL",
    "TRUSTED_PROXIES", "CACHE_URL", "LOGIN_FAILURES", "LOGIN_FAILURES_ADDRESS", "LOGIN_LOCK_S",
    "RATE_LOGIN", "RATE_UPLOAD", "RATE_VERDICT", "RATE_LIST", "RATE_TRIAL",
    "NOTIFY_EMAILS", "NOTIFY_WEBHOOK_URL", "NOTIFY_APPRISE_URLS", "EMAIL_URL", "SITE_URL",
    "CAMERA_ALLOW_LOOPBACK", "CAMERA_ALLOW_PRIVATE", "CAMERA_FILES_DIR",
    "RETAIN_DAYS", "RETAIN_BYTES", "RETAIN_CAPTURES_DAYS",
)  # fmt: skip
for name in OURS:
    os.environ.pop(name, None)
os.environ.update(
    NIGHTJAR_ENV_FILE=os.devnull,
    SECRET_KEY="only-for-tests-" + "0123456789abcdefghijklmnopqrstuvwxyz",
    FLOWER_PASSWORD="only-for-tests",
    CAMERA_KEYS="b25seS1mb3ItdGVzdHMtMDEyMzQ1Njc4OWFiY2RlZmc=",
    DATA_DIR=os.environ["NIGHTJAR_TEST_DATA_DIR"],
)
if "TEST_DATABASE_URL" in os.environ:  # to run all tests against another database
    os.environ["DATABASE_URL"] = os.environ["TEST_DATABASE_URL"]

from project import cache  # noqa: E402
from project.settings import *  # noqa: E402, F403
from project.settings import STATIC_ROOT, STORAGES  # noqa: E402

# Collected and hashed names exist only after `collectstatic`.
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns at every request where it is missing
HEALTH_GRACE_S = float("inf")  # no pages that say that no worker runs, unless a test wants them
WATCHDOG_S = 0.0
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CACHES = {
    "default": cache.configuration("local", ""),  # the embedded broker does not run
    "own": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},  # one test's rows are not another's
}
