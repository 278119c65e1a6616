"""What pages say where nothing is being analysed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db.models import F

from detection.health.notice import NO_BROKER, NO_WORKER, health_notice
from detection.models import Heartbeat
from tests.models.test_heartbeat import ANALYSE

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def long_up(settings):
    settings.HEALTH_GRACE_S = 0.0


def test_nothing_is_said_while_a_worker_analyses():
    Heartbeat.beat(ANALYSE)
    assert health_notice() == ""


def test_without_any_sign_of_life_it_says_that_no_worker_runs():
    assert health_notice() == NO_WORKER


def test_a_worker_that_is_silent_does_not_analyse():
    Heartbeat.beat(ANALYSE)
    Heartbeat.objects.update(at=F("at") - timedelta(seconds=60))
    assert health_notice() == NO_WORKER


def test_a_worker_of_other_work_does_not_analyse():
    Heartbeat.beat(replace(ANALYSE, queues=["grab"]))
    assert health_notice() == NO_WORKER


def test_where_no_analysing_worker_reaches_the_broker_it_says_so():
    Heartbeat.beat(replace(ANALYSE, has_broker=False))
    assert health_notice() == NO_BROKER
    Heartbeat.beat(replace(ANALYSE, name="analyse@there"))
    assert health_notice() == ""


def test_right_after_the_start_nobody_is_missed_and_nothing_is_asked(settings, django_assert_num_queries):
    settings.HEALTH_GRACE_S = 1e9
    with django_assert_num_queries(0):
        assert health_notice() == ""


def test_it_costs_one_query(django_assert_num_queries):
    Heartbeat.beat(ANALYSE)
    with django_assert_num_queries(1):
        health_notice()


def test_every_page_says_it_to_whoever_is_logged_in_and_to_nobody_else(client):
    from tests.cast import a_user

    assert "health-notice" not in client.get("/login/").text
    client.force_login(a_user("viewer"))
    page = client.get("/media/").text
    assert NO_WORKER in page
    assert "/health/system" not in page, "a viewer may not see the system"
    client.force_login(a_user("operator"))
    assert "/health/system" in client.get("/media/").text
