"""Requests are counted by their route, whatever their path."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client, RequestFactory
from django.urls import reverse

from detection.views.metrics_middleware import Measured
from tests.cast import a_media
from tests.counting import counted, fresh_counts

__all__ = ["fresh_counts"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_counts")]


def requests() -> dict[tuple[str, ...], float]:
    """By method, status and view."""
    return counted("nightjar_requests_total")


def test_a_page_is_counted_and_timed_under_the_name_of_its_route(viewer):
    for number in range(3):
        viewer.get(a_media(b"%d" % number).get_absolute_url())
    assert requests()["GET", "2xx", "media"] == 3
    assert counted("nightjar_request_seconds_count")["media",] == 3


def test_who_is_sent_to_the_login_counts_too():
    Client().get(reverse("upload"))
    assert requests()["GET", "3xx", "upload"] == 1


def test_hostile_paths_make_one_series(viewer):
    for number in range(100):
        viewer.get(f"/no/such/{number}/page")
    before = len(requests())
    viewer.get("/another/%0A%22")
    assert len(requests()) == before
    assert requests()["GET", "4xx", "no route"] == 101


def test_hostile_methods_make_one_series(viewer):
    for number in range(50):
        viewer.generic(f"HACK{number}", reverse("upload"))
    assert {method for method, _, _ in requests()} == {"other"}


def test_static_files_are_one_series(viewer):
    viewer.get("/static/nightjar/no-such-file.css")
    assert {view for _, _, view in requests()} == {"static"}


def test_pages_of_the_administration_have_their_names(admin_client):
    admin_client.get(reverse("admin:detection_camera_changelist"))
    assert requests()["GET", "2xx", "admin:detection_camera_changelist"] == 1


def test_a_view_that_fails_is_counted_as_that(operator, monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("as a mistake of ours would")

    monkeypatch.setattr("detection.views.metrics.of_everything", fails)
    operator.raise_request_exception = False
    assert operator.get(reverse("metrics")).status_code == 500
    assert requests()["GET", "5xx", "metrics"] == 1


@pytest.mark.parametrize("status", [101, 200, 304, 404, 507])
def test_the_status_is_counted_by_its_hundreds(status):
    from django.http import HttpResponse

    get: Callable[..., HttpResponse] = lambda _: HttpResponse(status=status)  # noqa: E731
    Measured(get)(RequestFactory().get("/"))
    assert requests() == {("GET", f"{status // 100}xx", "no route"): 1}
