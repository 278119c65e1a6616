"""How long killed work lies, as the rows show it from outside."""

from __future__ import annotations

import os

import pytest

from detection.models import Analysis
from tests.cast import SPANS, a_media
from tests.chaos.watch import Watch, holding
from workers.crash import process_name

pytestmark = pytest.mark.django_db


@pytest.fixture
def killed() -> tuple[Analysis, Watch]:
    """An analysis whose worker was killed while it planned, and who watches it."""
    analysis = Analysis.claim(Analysis.request(a_media()).pk, process_name(os.getpid()))
    assert analysis is not None
    watch = Watch()
    watch.killed(holding([os.getpid()]), "kill -9 of analyse")
    watch._look()
    assert watch.waits == []
    Analysis.objects.filter(pk=analysis.pk).update(lease_until="2000-01-01T00:00Z")
    return analysis, watch


def test_work_that_another_has_taken_waits_no_more(killed):
    analysis, watch = killed
    assert Analysis.claim(analysis.pk, "another")
    watch._look()
    assert [wait.how for wait in watch.waits] == ["kill -9 of analyse"]


def test_work_that_was_planned_between_two_looks_was_taken(killed):
    analysis, watch = killed
    other = Analysis.claim(analysis.pk, "another")
    assert other is not None
    other.planned(SPANS)
    watch._look()
    watch._look()
    assert len(watch.waits) == 1
