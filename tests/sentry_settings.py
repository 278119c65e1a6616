"""The settings of the project, with an address and a task that fail (tests/sentry_site.py)."""

from project.settings import *  # noqa: F403
from project.settings import CELERY

ROOT_URLCONF = "tests.sentry_site"
CELERY = {**CELERY, "imports": ["tests.sentry_site"]}
