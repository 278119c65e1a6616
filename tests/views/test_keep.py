"""Keeping a media from retention: on its page, by a verdict, and what the pages say of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from detection.models import Media, Sighting, Verdict
from detection.views import review
from tests.cast import a_camera, a_done_analysis, a_track, a_user
from tests.models.aged import old_media
from tests.views.test_review import judge, undo

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_rule(settings):
    settings.RETAIN_DAYS = settings.RETAIN_BYTES = 0


@pytest.fixture
def media() -> Media:
    return a_done_analysis(old_media(days=1)).media


def page(client: Client, media: Media) -> str:
    return client.get(f"/media/{media.pk}/").text


def fate(text: str) -> str:
    """What the page says of when it goes; nothing where the line is hidden."""
    line = text[text.index('<p id="fate"') :].split("</p>")[0]
    attributes, said = line.split(">", 1)
    assert ("hidden" in attributes) == (not said)
    return said


# On its page


def test_a_button_keeps_it_and_takes_that_back(reviewer: Client, media: Media) -> None:
    assert 'name="keep" value="1"' in page(reviewer, media)
    answer = reviewer.post(f"/media/{media.pk}/keep", {"keep": "1"})
    assert answer["Location"] == media.get_absolute_url()
    assert Media.objects.get().is_kept
    text = page(reviewer, media)
    assert fate(text) == "Kept: it is never removed by itself."
    assert text.count("Kept: it is never removed by itself.") == 2, "in the message as well"
    assert 'name="keep" value="0"' in text
    assert "Do not keep" in text
    reviewer.post(f"/media/{media.pk}/keep", {"keep": "0"})
    assert not Media.objects.get().is_kept
    assert "It is not marked as kept any more." in page(reviewer, media)


def test_who_takes_it_back_is_told_what_follows(reviewer: Client, media: Media, settings) -> None:
    settings.RETAIN_DAYS = 30
    media.set_kept(True)
    reviewer.post(f"/media/{media.pk}/keep", {"keep": "0"})
    assert "It is not marked as kept any more. Removed after 20" in page(reviewer, media)


def test_a_viewer_sees_what_becomes_of_it_and_has_no_button(viewer: Client, media: Media, settings) -> None:
    settings.RETAIN_DAYS = 30
    text = page(viewer, media)
    assert f'action="/media/{media.pk}/keep"' not in text
    assert fate(text).startswith("Removed after 20")
    assert viewer.post(f"/media/{media.pk}/keep", {"keep": "1"}).status_code == 403
    assert not Media.objects.get().is_kept


@pytest.mark.parametrize("keep", [{}, {"keep": ""}, {"keep": "yes"}])
def test_what_does_not_say_which_is_refused(reviewer: Client, media: Media, keep: dict[str, str]) -> None:
    media.set_kept(True)
    assert reviewer.post(f"/media/{media.pk}/keep", keep).status_code == 400
    assert reviewer.get(f"/media/{media.pk}/keep").status_code == 405
    assert Media.objects.get().is_kept


def test_what_is_removed_in_that_moment_is_said_to_be_gone(reviewer: Client, media: Media, monkeypatch) -> None:
    monkeypatch.setattr(Media, "set_kept", lambda media, is_kept: False)
    assert reviewer.post(f"/media/{media.pk}/keep", {"keep": "1"}).status_code == 404


# When it goes


def test_without_a_rule_nothing_is_said(viewer: Client, media: Media) -> None:
    assert fate(page(viewer, media)) == ""


def test_the_page_says_when_it_goes_and_by_which_rule(viewer: Client, media: Media, settings) -> None:
    settings.RETAIN_DAYS = 30
    until = timezone.localtime(media.created_at + timedelta(days=30))
    assert fate(page(viewer, media)) == f"Removed after {until:%Y-%m-%d %H:%M} UTC by the rule of 30 days."
    camera = a_camera(retain_days=1)
    of_camera = old_media(days=2, camera=camera)
    assert fate(page(viewer, of_camera)) == "To be removed by the camera’s rule of 1 day from now on."
    settings.RETAIN_BYTES = 5_000_000_000
    assert fate(page(viewer, of_camera)).endswith(
        "from now on, or sooner where there are more than 5 GB in all and it is among the oldest."
    )


def test_the_page_says_that_the_bytes_decide(viewer: Client, settings) -> None:
    settings.RETAIN_BYTES = 5_000_000_000
    media = old_media(camera=a_camera(retain_bytes=1_500_000_000))
    assert fate(page(viewer, media)) == (
        "Removed where there are more than 1.5 GB of this camera’s pictures or 5 GB in all and it is among the oldest."
    )


# By a verdict


@pytest.fixture
def sighting(media: Media) -> Sighting:
    return media.sightings.get()


def test_a_verdict_can_be_asked_to_keep_the_media(reviewer: Client, sighting: Sighting) -> None:
    answer = judge(reviewer, sighting, kind="confirmed", keep="1")
    assert Verdict.objects.get().keeps_media
    text = reviewer.get(answer["Location"]).text
    assert "Confirmed. Its media is kept while this verdict stands." in text
    assert fate(text) == "Kept: the reviewer asked for it with the verdict on “car”."
    assert text.count("Keeps the media</span>") == 1


@pytest.mark.parametrize("keep", [{}, {"keep": ""}, {"keep": "0"}, {"keep": "false"}])
def test_a_verdict_that_is_not_asked_to_keeps_nothing(
    reviewer: Client, sighting: Sighting, keep: dict[str, str]
) -> None:
    answer = judge(reviewer, sighting, kind="confirmed", **keep)
    assert not Verdict.objects.get().keeps_media
    assert "Keeps the media</span>" not in reviewer.get(answer["Location"]).text


def test_a_relabelling_keeps_it_as_well(reviewer: Client, sighting: Sighting) -> None:
    judge(reviewer, sighting, kind="relabelled", label="van", keep="1")
    assert Verdict.objects.get().keeps_media
    judge(reviewer, sighting, kind="rejected")
    assert not Verdict.keeping().exists()


def test_the_script_is_told_what_becomes_of_the_media_now(reviewer: Client, sighting: Sighting, settings) -> None:
    settings.RETAIN_DAYS = 30
    answer = judge(reviewer, sighting, script=True, kind="confirmed", keep="1")
    assert fate(answer.text) == "Kept: the reviewer asked for it with the verdict on “car”."
    assert fate(undo(reviewer, sighting, script=True).text).startswith("Removed after")


def test_without_javascript_each_form_has_its_checkbox(reviewer: Client, media: Media) -> None:
    text = page(reviewer, media)
    assert text.count('type="checkbox" name="keep" value="1"') == 2, "with the buttons, and with the new label"
    assert 'id="keep-judged"' in text
    assert reviewer.get("/sightings/").text.count('type="checkbox" name="keep" value="1"') == 1
    assert 'id="keep-judged"' in reviewer.get("/sightings/").text


def test_a_viewer_is_not_asked_whether_to_keep(viewer: Client, media: Media) -> None:
    for text in (page(viewer, media), viewer.get("/sightings/").text):
        assert 'id="keep-judged"' not in text
        assert 'name="keep"' not in text


def test_a_verdict_of_somebody_who_is_gone_still_keeps(viewer: Client, sighting: Sighting) -> None:
    user = a_user("operator")
    sighting.judge("confirmed", user, keeps_media=True)
    user.delete()
    assert fate(page(viewer, sighting.media)) == "Kept: somebody asked for it with the verdict on “car”."


@pytest.mark.parametrize("act", [judge, undo])
def test_what_retention_removes_in_that_moment_is_said_to_be_gone(
    reviewer: Client, sighting: Sighting, monkeypatch, act
) -> None:
    finds = review.visible_or_404

    def finds_and_then_it_is_removed(*arguments: object) -> object:
        found = finds(*arguments)
        Media.objects.get(pk=found.media_id).remove()
        return found

    monkeypatch.setattr(review, "visible_or_404", finds_and_then_it_is_removed)
    values = {"kind": "confirmed"} if act is judge else {}
    assert act(reviewer, sighting, script=True, **values).status_code == 404
    assert not Verdict.objects.exists()


# In the list


def test_the_list_shows_what_is_kept_either_way(viewer: Client) -> None:
    marked, judged, plain = (a_done_analysis(old_media(days=1), [a_track()]).media for _ in range(3))
    marked.set_kept(True)
    judged.sightings.get().judge("confirmed", None, keeps_media=True)

    def shown(kept: str) -> set[int]:
        return {entry.media.pk for entry in viewer.get(f"/media/?kept={kept}").context["entries"]}

    assert shown("yes") == {marked.pk, judged.pk}
    assert shown("no") == {plain.pk}
    assert shown("") == {marked.pk, judged.pk, plain.pk}
    assert "Media are kept or not kept. Choose one of the list." in viewer.get("/media/?kept=perhaps").text
