from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.db import IntegrityError
from django.urls import reverse

from detection.models import Analysis, Camera, CameraEvent, Capture, Media, Model, Notification, Proxy
from tests.cast import NOON, a_done_analysis, a_media, a_model, a_running_analysis, a_user

pytestmark = pytest.mark.django_db
NAMES = ["camera", "capture", "media", "analysis", "chunk", "proxy", "sighting", "verdict", "model"]
NAMES += ["cameraevent", "notification"]
FACTS = ["capture", "chunk", "analysis", "proxy", "sighting", "verdict", "model", "cameraevent", "notification"]


@pytest.fixture(autouse=True)
def sent(monkeypatch):
    messages = []
    monkeypatch.setattr("workers.tasks.send_analysis", lambda analysis: messages.append(analysis.pk) or True)
    return messages


@pytest.fixture
def everything():
    analysis = a_done_analysis()
    analysis.sightings.get().judge("confirmed", None)
    camera = Camera.objects.create(name="Gate")
    Capture.objects.create(camera=camera, planned_at=NOON, media=analysis.media)
    Proxy.objects.create(media=analysis.media)
    event = CameraEvent.objects.create(camera=camera, kind="offline", at=NOON, why="It timed out.")
    Notification.objects.create(event=event, channel="email", due_at=NOON)
    return analysis


@pytest.fixture
def admin(client):
    client.force_login(User.objects.create_superuser("admin", password="only for tests"))
    return client


@pytest.fixture
def operator(client):
    user = a_user("operator")
    user.is_staff = True
    user.save()
    client.force_login(user)
    return client


@pytest.mark.parametrize("name", ["media", "proxy"])
def test_a_file_is_shown_by_its_name_and_never_by_its_address_in_a_bucket(admin, everything, monkeypatch, name):
    """Which is signed: whoever has it needs no login."""
    monkeypatch.setattr(type(default_storage._wrapped), "url", lambda *_: "http://s3/x?AWSAccessKeyId=KEY&Signature=s")
    Proxy.objects.update(file="ab/copy.mp4")
    row = (Media if name == "media" else Proxy).objects.get()
    page = admin.get(reverse(f"admin:detection_{name}_change", args=[row.pk])).text
    assert row.file.name in page
    assert "Signature" not in page


@pytest.mark.parametrize("name", NAMES)
def test_every_record_has_its_list_its_search_and_its_page(admin, everything, name):
    url = reverse(f"admin:detection_{name}_changelist")
    page = admin.get(url)
    assert page.status_code == 200
    assert admin.get(url, {"q": "yard"}).status_code == 200
    row = page.context["cl"].queryset.first()
    assert row is not None
    page = admin.get(reverse(f"admin:detection_{name}_change", args=[row.pk]))
    assert page.status_code == 200
    shown = [field for fieldset in page.context["adminform"] for line in fieldset for field in line]
    assert len(shown) >= 3, "the page of a record shows its facts"


@pytest.mark.parametrize("name", FACTS)
def test_facts_cannot_be_typed_in_or_changed(admin, everything, name):
    assert admin.get(reverse(f"admin:detection_{name}_add")).status_code == 403
    page = admin.get(reverse(f"admin:detection_{name}_changelist"))
    row = page.context["cl"].queryset.first()
    assert admin.post(reverse(f"admin:detection_{name}_change", args=[row.pk]), {}).status_code == 403
    assert admin.post(reverse(f"admin:detection_{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403


def act(client, name, action, *rows, **more):
    data = {"action": action, "_selected_action": [row.pk for row in rows], **more}
    return client.post(reverse(f"admin:detection_{name}_changelist"), data, follow=True)


def test_cancel_and_retry_say_how_many(operator, sent, django_capture_on_commit_callbacks):
    running, done = a_running_analysis(), a_done_analysis(a_media(b"another"))
    page = act(operator, "analysis", "cancel", running, done)
    assert "1 cancelled. 1 left as they were: over already." in page.content.decode()
    running.refresh_from_db()
    assert running.state == "cancelled"
    with django_capture_on_commit_callbacks(execute=True):
        page = act(operator, "analysis", "retry", running, done)
    assert "1 opened again." in page.content.decode()
    running.refresh_from_db()
    assert running.state == "running"
    assert sent == [running.pk]


def test_many_are_cancelled_and_retried_in_a_few_statements(operator, sent, django_assert_max_num_queries):
    many = [a_running_analysis(a_media(b"%d" % number)) for number in range(30)]
    data = {"action": "cancel", "_selected_action": [analysis.pk for analysis in many]}
    with django_assert_max_num_queries(15):  # most are the admin's own
        operator.post(reverse("admin:detection_analysis_changelist"), data)
    assert set(Analysis.objects.values_list("state", flat=True)) == {"cancelled"}
    page = act(operator, "analysis", "retry", *many)
    assert "30 opened again." in page.content.decode()
    assert set(Analysis.objects.values_list("state", flat=True)) == {"running"}
    assert sent == [analysis.pk for analysis in many[:20]]  # the sweep sends the rest


def test_what_one_filters_for_is_what_one_retries(operator, sent):
    failed, other = a_running_analysis(a_media(b"1")), a_running_analysis(a_media(b"2"))
    Analysis.objects.filter(pk=failed.pk).update(state="failed", error_kind="storage")
    Analysis.objects.filter(pk=other.pk).update(state="failed", error_kind="detector")
    url = reverse("admin:detection_analysis_changelist") + "?error_kind=storage"
    data = {"action": "retry", "select_across": "1", "index": "0", "_selected_action": [failed.pk]}
    assert "1 opened again." in operator.post(url, data, follow=True).content.decode()
    assert sent == [failed.pk]


def test_analyse_again_uses_the_active_model(operator, sent, django_capture_on_commit_callbacks):
    media = a_media()
    a_model().activate()
    with django_capture_on_commit_callbacks(execute=True):
        act(operator, "media", "analyse_again", media)
    analysis = Analysis.objects.get()
    assert (analysis.model.name, analysis.requested_by.username) == ("cars", "the operator")
    assert sent == [analysis.pk]
    with django_capture_on_commit_callbacks(execute=True):
        act(operator, "analysis", "again", analysis)
    assert Analysis.objects.count() == 2


@pytest.mark.parametrize(("name", "action"), [("media", "analyse_again"), ("analysis", "again")])
def test_a_media_that_is_removed_in_that_moment_is_told_and_the_others_are_analysed(
    operator, sent, monkeypatch, django_capture_on_commit_callbacks, name, action
):
    analyses = [a_done_analysis(a_media(content)) for content in (b"goes", b"stays")]
    rows = [analysis.media for analysis in analyses] if name == "media" else analyses
    request = Analysis.request

    def too_late(media, **more):
        if media == analyses[0].media:
            raise IntegrityError("violates foreign key constraint")
        return request(media, **more)

    monkeypatch.setattr(Analysis, "request", too_late)
    with django_capture_on_commit_callbacks(execute=True):
        page = act(operator, name, action, *rows)
    said = f"1 queued for analysis with “{Model.active()}”. 1 left as they were: removed in the meantime."
    assert said in page.content.decode()
    assert sent == [analyses[1].media.analyses.get(state="queued").pk]


def test_a_model_is_made_active(operator):
    model = a_model()
    page = act(operator, "model", "activate", model)
    assert "is active" in page.content.decode()
    assert Model.active() == model
    page = act(operator, "model", "activate", *Model.objects.all())
    assert "Choose one model" in page.content.decode()


def test_media_are_removed_with_their_files_when_one_is_sure(operator, django_capture_on_commit_callbacks):
    media = a_done_analysis().media
    page = act(operator, "media", "remove", media)
    assert "cannot be taken back" in page.content.decode()
    assert default_storage.exists(media.file.name)
    with django_capture_on_commit_callbacks(execute=True):
        act(operator, "media", "remove", media, sure="yes")
    assert not Media.objects.exists()
    assert not default_storage.exists(media.file.name)


def test_the_stock_deletion_which_would_leave_files_is_not_offered(admin):
    media = a_media()
    assert admin.post(reverse("admin:detection_media_delete", args=[media.pk]), {"post": "yes"}).status_code == 403
    page = admin.get(reverse("admin:detection_media_changelist")).content.decode()
    assert "delete_selected" not in page


def test_a_viewer_of_the_admin_has_no_actions(client):
    user = a_user("viewer")
    user.is_staff = True
    user.save()
    client.force_login(user)
    running = a_running_analysis()
    act(client, "analysis", "cancel", running)
    act(client, "media", "remove", running.media)
    running.refresh_from_db()
    assert running.state == "running"


def test_the_time_a_media_was_taken_can_be_set(operator):
    media = a_done_analysis().media
    data = {"name": "gate.mp4", "captured_at_0": "2026-03-01", "captured_at_1": "12:00:00", "camera": ""}
    assert operator.post(reverse("admin:detection_media_change", args=[media.pk]), data).status_code == 302
    media.refresh_from_db()
    assert (media.name, media.captured_at, media.captured_at_source, media.at) == ("gate.mp4", NOON, "person", NOON)
