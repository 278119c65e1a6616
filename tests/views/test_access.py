"""Every address, for everybody: who may see it, and who is told why not."""

from __future__ import annotations

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import get_resolver

from detection.models import Proxy, Sighting, Trial
from detection.sources import Source
from tests.cast import ADDRESS, a_camera, a_done_analysis, a_media, a_user
from tests.views.conftest import Queue, Visit

PEOPLE = ("anonymous", "", "viewer", "reviewer", "operator")
LOGIN, NO, GONE, OK, ON, BAD = "login", 403, 404, 200, "on", 422

# method, path, and what anonymous, no group, viewer, reviewer and operator get
TABLE = [
    ("get", "/", (LOGIN, NO, OK, OK, OK)),
    ("get", "/favicon.ico", (ON, ON, ON, ON, ON)),  # the log-in page has one, too
    ("get", "/upload/", (LOGIN, NO, NO, NO, OK)),
    ("post", "/upload/", (LOGIN, NO, NO, NO, BAD)),
    ("get", "/upload/estimate", (LOGIN, NO, NO, NO, OK)),
    ("get", "/media/", (LOGIN, NO, OK, OK, OK)),
    ("get", "/media/{media}/", (LOGIN, NO, OK, OK, OK)),
    ("get", "/media/{media}/file", (LOGIN, NO, OK, OK, OK)),
    ("get", "/media/{media}/preview", (LOGIN, NO, OK, OK, OK)),
    ("get", "/media/{media}/proxy", (LOGIN, NO, OK, OK, OK)),
    ("get", "/media/{media}/proxy/state", (LOGIN, NO, OK, OK, OK)),
    ("post", "/media/{media}/proxy/retry", (LOGIN, NO, NO, NO, ON)),
    ("post", "/media/{media}/keep", (LOGIN, NO, NO, 400, 400)),  # it was not said whether to keep it
    ("post", "/media/999/keep", (LOGIN, NO, GONE, GONE, GONE)),
    ("get", "/media/{media}/remove", (LOGIN, NO, NO, NO, OK)),
    ("post", "/media/{media}/remove", (LOGIN, NO, NO, NO, ON)),
    ("get", "/media/999/", (LOGIN, NO, GONE, GONE, GONE)),
    ("get", "/media/999/file", (LOGIN, NO, GONE, GONE, GONE)),
    ("get", "/cameras/", (LOGIN, NO, OK, OK, OK)),
    ("get", "/cameras/new", (LOGIN, NO, NO, NO, OK)),
    ("post", "/cameras/new", (LOGIN, NO, NO, NO, BAD)),
    ("post", "/cameras/trials", (LOGIN, NO, NO, NO, BAD)),
    ("get", "/cameras/trials/{trial}", (LOGIN, NO, NO, NO, GONE)),  # it is somebody else's
    ("get", "/cameras/trials/{trial}/picture", (LOGIN, NO, NO, NO, GONE)),
    ("get", "/cameras/{camera}/", (LOGIN, NO, OK, OK, OK)),
    ("get", "/cameras/999/", (LOGIN, NO, GONE, GONE, GONE)),
    ("get", "/cameras/{camera}/edit", (LOGIN, NO, NO, NO, OK)),
    ("post", "/cameras/{camera}/edit", (LOGIN, NO, NO, NO, BAD)),
    ("get", "/cameras/999/edit", (LOGIN, NO, GONE, GONE, GONE)),
    ("post", "/cameras/{camera}/capture", (LOGIN, NO, NO, NO, ON)),
    ("post", "/cameras/999/capture", (LOGIN, NO, GONE, GONE, GONE)),
    ("post", "/cameras/{camera}/pause", (LOGIN, NO, NO, NO, ON)),
    ("post", "/cameras/{camera}/resume", (LOGIN, NO, NO, NO, ON)),
    ("get", "/cameras/{camera}/remove", (LOGIN, NO, NO, NO, OK)),
    ("post", "/cameras/{camera}/remove", (LOGIN, NO, NO, NO, ON)),
    ("get", "/flower/", (LOGIN, NO, NO, NO, 503)),  # nothing listens there
    ("get", "/flower/<path:rest>", (LOGIN, NO, NO, NO, 503)),
    ("get", "/health/system", (LOGIN, NO, NO, NO, OK)),
    ("get", "/metrics", (401, 401, 401, 401, OK)),  # a script asks: it is not sent to a login page
    ("get", "/sightings/", (LOGIN, NO, OK, OK, OK)),
    ("get", "/sightings/{sighting}/thumbnail", (LOGIN, NO, OK, OK, OK)),
    ("post", "/sightings/{sighting}/verdict", (LOGIN, NO, NO, ON, ON)),
    ("post", "/sightings/{sighting}/undo", (LOGIN, NO, NO, ON, ON)),
    ("post", "/sightings/999/verdict", (LOGIN, NO, GONE, GONE, GONE)),
    ("get", "/analyses/", (LOGIN, NO, OK, OK, OK)),
    ("post", "/analyses/retry", (LOGIN, NO, NO, NO, ON)),
    ("post", "/analyses/cancel", (LOGIN, NO, NO, NO, ON)),
    ("get", "/analyses/{analysis}/progress", (LOGIN, NO, OK, OK, OK)),
    ("post", "/analyses/{analysis}/retry", (LOGIN, NO, NO, NO, ON)),
    ("post", "/analyses/{analysis}/cancel", (LOGIN, NO, NO, NO, ON)),
    ("post", "/media/{media}/analyse", (LOGIN, NO, NO, NO, ON)),
    ("post", "/media/999/analyse", (LOGIN, NO, GONE, GONE, GONE)),
    ("post", "/example/remove", (LOGIN, NO, NO, NO, ON)),
]
CASES = [
    pytest.param(method, path, group, wanted, id=f"{method} {path} by {group or 'no group'}")
    for method, path, all_wanted in TABLE
    for group, wanted in zip(PEOPLE, all_wanted, strict=True)
]


@pytest.mark.parametrize(("method", "path", "group", "wanted"), CASES)
def test_everybody_gets_what_they_may_have(
    visit: Visit, queue: Queue, method: str, path: str, group: str, wanted: int | str
) -> None:
    media = a_media()
    analysis = a_done_analysis(media)
    sighting = analysis.sightings.get()
    Sighting.objects.update(thumbnail=default_storage.save("thumb.jpg", ContentFile(b"jpeg")))
    Proxy.objects.create(media=media, state="done", file=default_storage.save("proxy.mp4", ContentFile(b"mp4")))
    trial = Trial.ask(Source("http", ADDRESS), a_user("reviewer" if group != "reviewer" else "operator"))
    place = path.format(
        media=media.pk, analysis=analysis.pk, sighting=sighting.pk, camera=a_camera().pk, trial=trial.pk
    )
    answer = getattr(visit(group), method)(place)
    if wanted == LOGIN:
        assert answer.status_code == 302
        assert answer["Location"].startswith("/login/?next=")
    elif wanted == ON:
        assert answer.status_code == 302
        assert not answer["Location"].startswith("/login/")
    else:
        assert answer.status_code == wanted
    if wanted == NO:
        assert "Ask an administrator" in answer.text


def test_the_table_has_every_address() -> None:
    ours = next(p for p in get_resolver().url_patterns if getattr(p, "urlconf_name", None) and "detection" in str(p))
    patterns = {str(pattern.pattern) for pattern in ours.url_patterns}
    assert len(patterns) > 15
    names = dict.fromkeys(("media", "analysis", "sighting", "camera", "trial"), "<int:pk>")
    table = {path.lstrip("/").format(**names) for _, path, _ in TABLE}
    assert patterns <= table


@pytest.mark.parametrize(
    "path",
    [
        "/analyses/1/retry",
        "/analyses/1/cancel",
        "/analyses/retry",
        "/analyses/cancel",
        "/media/1/analyse",
        "/sightings/1/verdict",
        "/example/remove",
        "/cameras/1/capture",
        "/cameras/1/pause",
        "/cameras/1/resume",
        "/cameras/trials",
    ],
)
def test_what_changes_something_is_never_a_get(visit: Visit, path: str) -> None:
    assert visit("operator").get(path).status_code == 405


def test_the_media_themselves_change_only_by_post(visit: Visit) -> None:
    media = a_media()
    visit("operator").get(f"/media/{media.pk}/remove")
    media.refresh_from_db()


def test_without_a_group_the_first_page_says_to_ask_for_one(visit: Visit) -> None:
    answer = visit("").get("/")
    assert answer.status_code == 403
    assert "belongs to no group yet" in answer.text


def test_a_script_is_told_no_as_json(visit: Visit) -> None:
    answer = visit("viewer").post("/upload/", headers={"accept": "application/json"})
    assert answer.status_code == 403
    assert "may not upload" in answer.json()["error"]
