"""Keeping many media at once, in the administration."""

from __future__ import annotations

import pytest
from django.urls import reverse

from detection.models import Media
from tests.admin.test_admin import act
from tests.cast import a_camera, a_done_analysis, a_user
from tests.models.aged import old_media

pytestmark = pytest.mark.django_db


def staff(client, group: str):
    user = a_user(group)
    user.is_staff = True
    user.save()
    client.force_login(user)
    return client


def test_many_are_kept_at_once_and_taken_back(client):
    operator = staff(client, "operator")
    media = [old_media() for _ in range(3)]
    media[0].set_kept(True)
    page = act(operator, "media", "keep", *media[:2])
    assert "1 kept from now on. 1 left as they were: kept before." in page.text
    assert set(Media.objects.filter(is_kept=True)) == set(media[:2])
    page = act(operator, "media", "unkeep", *media)
    assert "2 not kept any more. 1 left as they were: not marked as kept." in page.text
    assert not Media.objects.filter(is_kept=True).exists()


def test_those_of_a_filtered_list_are_all_counted(client):
    operator = staff(client, "operator")
    media = old_media()
    url = reverse("admin:detection_media_changelist") + "?is_kept__exact=0"
    page = operator.post(url, {"action": "keep", "_selected_action": [media.pk]}, follow=True)
    assert "1 kept from now on." in page.text
    assert "left as they were" not in page.text


def test_whoever_may_only_look_keeps_nothing(client):
    media = old_media()
    act(staff(client, "viewer"), "media", "keep", media)
    assert not Media.objects.get().is_kept


def test_the_lists_show_it(client):
    operator = staff(client, "operator")
    kept, other = old_media(), old_media()
    kept.set_kept(True)
    url = reverse("admin:detection_media_changelist")
    assert list(operator.get(url, {"is_kept__exact": "1"}).context["cl"].queryset) == [kept]
    assert list(operator.get(url, {"is_kept__exact": "0"}).context["cl"].queryset) == [other]
    a_done_analysis(other).sightings.get().judge("confirmed", None, keeps_media=True)
    verdicts = operator.get(reverse("admin:detection_verdict_changelist"), {"keeps_media__exact": "1"})
    assert verdicts.context["cl"].queryset.count() == 1


def test_a_media_that_is_edited_stays_kept_and_a_removed_one_removed(client, monkeypatch):
    operator = staff(client, "operator")
    media, camera = old_media(), a_camera()
    saves = Media.save

    def kept_meanwhile(row: Media, **options: object) -> None:
        Media.objects.filter(pk=row.pk).update(is_kept=True)
        saves(row, **options)

    monkeypatch.setattr(Media, "save", kept_meanwhile)
    url = reverse("admin:detection_media_change", args=[media.pk])
    data = {"name": "gate.mp4", "captured_at_0": "", "captured_at_1": "", "camera": camera.pk}
    assert operator.post(url, data).status_code == 302
    media.refresh_from_db()
    assert (media.name, media.camera, media.is_kept) == ("gate.mp4", camera, True)
    assert operator.post(url, data | {"is_kept": ""}).status_code == 302
    media.refresh_from_db()
    assert media.is_kept
