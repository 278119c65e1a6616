"""The site with an address at which a mistake of ours shows, and a task with another, both full of secrets."""

from __future__ import annotations

import logging

from celery import Task, shared_task
from django.contrib.auth.decorators import login_not_required
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from project.urls import *  # noqa: F403
from project.urls import urlpatterns as ours
from tests import planted

log = logging.getLogger(__name__)


@csrf_exempt
@login_not_required
def mistake(request: HttpRequest) -> HttpResponse:
    """Reads what came, asks the database, says something, and falls over an error with an address in its words."""
    length = len(request.body)
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", [planted.CAMERA_PASSWORD])
    log.warning("read %s bytes for %s", length, planted.camera_url("10.0.0.5", 80))
    try:
        raise OSError(f"no route to {planted.camera_url('10.0.0.5', 80)}")
    except OSError as error:
        raise RuntimeError(f"mistake with {planted.redis_url('10.0.0.6', 6379)}") from error


@shared_task(bind=True, max_retries=2)
def failing(self: Task, number: int) -> None:
    """Is tried three times, in vain."""
    error = RuntimeError(f"failed at {planted.camera_url('10.0.0.5', 80)}")
    raise self.retry(exc=error, countdown=0.1)


urlpatterns = [path("mistake", mistake), *ours]
