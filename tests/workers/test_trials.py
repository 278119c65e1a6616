"""What a worker does with a trial: one picture for the person who waits, and nothing kept."""

from __future__ import annotations

from datetime import timedelta

import pytest
from celery.exceptions import Retry
from django.db import OperationalError
from django.utils import timezone

from detection.models import Media, Trial
from detection.sources import Source
from tests.cast import a_user
from tests.workers.conftest import UNAUTHORISED
from workers import capture as step
from workers import tasks
from workers.sweep import give_up

pytestmark = pytest.mark.django_db


def test_a_trial_keeps_a_small_picture_only(wire):
    trial = Trial.ask(Source("http", "http://admin:pl4nted@10.0.0.5/"), a_user("operator"))
    step.try_source(trial.pk)
    trial.refresh_from_db()
    assert (trial.state, bytes(trial.picture), trial.width) == ("done", b"small", 640)
    assert not Media.objects.exists()


def test_a_trial_that_fails_says_why(wire):
    wire.answers = [UNAUTHORISED]
    trial = Trial.ask(Source("http", "http://10.0.0.5/"), a_user("operator"))
    step.try_source(trial.pk)
    trial.refresh_from_db()
    assert (trial.state, trial.error_kind, trial.error) == (
        "failed", "unauthorised", "User name or password is wrong.",
    )  # fmt: skip


def test_a_trial_whose_key_this_worker_lacks_says_so(wire, settings):
    trial = Trial.ask(Source("http", "http://10.0.0.5/"), a_user("operator"))
    settings.CAMERA_KEYS = ["YW5vdGhlci1vbmUtZm9yLXRlc3RzLTAxMjM0NTY3ODk="]
    step.try_source(trial.pk)
    trial.refresh_from_db()
    assert (trial.state, trial.error_kind) == ("failed", "keys")
    assert "CAMERA_KEYS" in trial.error
    assert wire.asked == []


def test_a_trial_is_tried_again_where_the_database_was_away(wire, monkeypatch):
    trial = Trial.ask(Source("http", "http://10.0.0.5/"), a_user("operator"))
    wire.answers = [OperationalError("gone")]
    with pytest.raises(Retry):
        tasks.try_source.apply((trial.pk,), throw=True)


def test_a_trial_whose_worker_was_lost_says_so(wire):
    trial = Trial.ask(Source("http", "http://10.0.0.5/"), a_user("operator"))
    Trial.claim(trial.pk, "lost")
    Trial.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert give_up() == 1
    trial.refresh_from_db()
    assert (trial.state, trial.error_kind) == ("failed", "worker_lost")


def test_trials_are_forgotten_after_minutes(wire):
    trial = Trial.ask(Source("http", "http://10.0.0.5/"), a_user("operator"))
    Trial.forget_old()
    assert Trial.objects.exists()
    Trial.objects.update(requested_at=timezone.now() - timedelta(minutes=16))
    Trial.forget_old()
    assert not Trial.objects.filter(pk=trial.pk).exists()
