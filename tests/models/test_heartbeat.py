"""The last sign of life of each process."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db.models import F

from detection.models import Heartbeat
from detection.models.heartbeat import FORGOTTEN_AFTER_S, Sign

pytestmark = pytest.mark.django_db
ANALYSE = Sign("analyse@here", "worker", "here", 17, "1.2", ["analyse", "chunks"], 2, 3_000_000, 2_000_000, True, 60)


def aged(name: str, seconds: float) -> None:
    Heartbeat.objects.filter(name=name).update(at=F("at") - timedelta(seconds=seconds))


def test_a_process_has_one_row_however_often_it_gives_a_sign():
    Heartbeat.beat(ANALYSE)
    aged("analyse@here", 30)
    Heartbeat.beat(replace(ANALYSE, pid=18, has_broker=False, up_s=2))
    row = Heartbeat.objects.get()
    assert (row.pid, row.has_broker, row.up_s, row.queues) == (18, False, 2, ["analyse", "chunks"])
    assert Heartbeat.ages_s()["analyse@here"] < 20


def test_a_sign_is_one_statement(django_assert_num_queries):
    with django_assert_num_queries(1):
        Heartbeat.beat(ANALYSE)


def test_who_was_told_to_stop_is_not_missed():
    Heartbeat.beat(ANALYSE)
    Heartbeat.goodbye("analyse@here", 17)
    assert not Heartbeat.objects.exists()


def test_the_goodbye_of_an_old_process_does_not_take_the_row_of_the_new_one():
    Heartbeat.beat(replace(ANALYSE, pid=18))
    Heartbeat.goodbye("analyse@here", 17)
    assert Heartbeat.objects.get().pid == 18


def test_who_is_silent_for_long_is_forgotten_and_nobody_else():
    Heartbeat.beat(ANALYSE)
    Heartbeat.beat(replace(ANALYSE, name="analyse@gone"))
    aged("analyse@gone", FORGOTTEN_AFTER_S + 10)
    aged("analyse@here", FORGOTTEN_AFTER_S - 100)
    assert Heartbeat.forget_old() == 1
    assert [row.name for row in Heartbeat.objects.all()] == ["analyse@here"]


def test_operators_may_see_the_system_and_others_may_not():
    may = {
        group.name: group.permissions.filter(codename="view_heartbeat").exists()
        for group in Group.objects.filter(name__in=["viewer", "reviewer", "operator"])
    }
    assert may == {"viewer": False, "reviewer": False, "operator": True}
