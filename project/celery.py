"""The Celery application."""

import os
import warnings

from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import setup_logging

# Said at every start as root, as in a container. What it warns of is pickles from the broker; ours carries numbers in
# JSON, and a worker refuses anything else.
warnings.simplefilter("ignore", SecurityWarning)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

app = Celery("nightjar")


@app.on_configure.connect
def _configure(sender: Celery, **_: object) -> None:
    """Hands over Celery's own values only, never the whole settings object, which Flower would show."""
    from django.conf import settings

    sender.conf.update(settings.CELERY)


@setup_logging.connect
def _keep_our_logging(**_: object) -> None:
    """Django has set logging up; a receiver of this signal keeps Celery from doing it again."""


app.autodiscover_tasks(["workers"])
