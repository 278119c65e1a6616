"""That the disk is nearly full is said on every page, to those who can do something about it, and to Prometheus."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.disks import Free, a_disk

pytestmark = pytest.mark.django_db
NOTICE = "The disk is nearly full: new files are refused"


@pytest.fixture
def disk_with(monkeypatch) -> Free:
    return a_disk(monkeypatch)


@pytest.mark.parametrize(("group", "is_told"), [("operator", True), ("reviewer", False), ("viewer", False)])
def test_those_who_may_upload_are_told_on_every_page(visit, settings, disk_with, group, is_told):
    disk_with(free=settings.DISK_RESERVE_BYTES)
    browser = visit(group)
    for page in ("/", "/media/", "/cameras/"):
        assert (NOTICE in browser.get(page).content.decode()) is is_told
    disk_with(free=settings.DISK_RESERVE_BYTES + 1)
    assert NOTICE not in browser.get("/").content.decode()


def test_nobody_is_told_before_the_login(visit, settings, disk_with):
    disk_with(free=0)
    assert NOTICE not in visit("anonymous").get("/login/", follow=True).content.decode()


def test_prometheus_reads_what_is_free_and_what_is_held_back(operator, settings, disk_with):
    settings.DISK_RESERVE_BYTES = 1000
    disk_with(free=5000, data=7000)
    families = text_string_to_metric_families(operator.get("/metrics").content.decode())
    samples = {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}
    assert samples["nightjar_disk_free_bytes", "media"] == 5000
    assert samples["nightjar_disk_free_bytes", "data"] == 7000
    assert samples["nightjar_disk_reserve_bytes",] == 1000
