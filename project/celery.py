"""The Celery application."""

import os
import warnings

from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import setup_logging, worker_init

# Said at every start as root, as in a container. What it warns of is pickles from the broker; ours carries numbers in
# JSON, and a worker refuses anything else.
warnings.simplefilter("ignore", SecurityWarning)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

app = Celery("nightjar", task_cls="workers.named:NamedTask", events="project.events:Events")


@app.on_configure.connect
def _configure(sender: Celery, **_: object) -> None:
    """Hands over Celery's own values only, never the whole settings object, which Flower would show."""
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    try:
        sender.conf.update(settings.CELERY)
    except ImproperlyConfigured as error:
        raise SystemExit(str(error)) from None


@setup_logging.connect
def _keep_our_logging(**_: object) -> None:
    """Django has set logging up; a receiver of this signal keeps Celery from doing it again."""


@worker_init.connect
def _require_keys(**_: object) -> None:
    """A worker that could read no camera's address must not take their captures."""
    from django.core.exceptions import ImproperlyConfigured

    from detection.keys import check_keys

    try:
        check_keys()
    except ImproperlyConfigured as error:
        raise SystemExit(str(error)) from None


@worker_init.connect
def _look_after_the_processes(**_: object) -> None:
    """What the processes of a worker share with its main process must be there before the first of them."""
    import workers.memory
    import workers.pulse  # noqa: F401 (they listen to the worker's signals)


app.autodiscover_tasks(["workers"])
