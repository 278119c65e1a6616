"""The cards of the lists: what is remembered of very many rows, and how their addresses are made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import caches
from django.test import Client
from django.urls import reverse

from detection.models import Sighting
from detection.views import cards, sightings
from detection.views.addresses import address
from tests.cast import a_done_analysis


@pytest.fixture
def sighting(db: None) -> Sighting:
    return a_done_analysis().sightings.get()


@pytest.fixture
def remembering(settings, monkeypatch) -> Iterator[None]:
    """As where the pages run, but for longer: a machine may be busy."""
    settings.CACHES = {**settings.CACHES, "own": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    monkeypatch.setattr(sightings, "COUNT_KEPT_S", 600)
    caches["own"].clear()
    yield
    caches["own"].clear()


@pytest.mark.parametrize("name", ["media", "sighting_thumbnail", "verdict", "undo"])
def test_an_address_is_the_one_that_django_would_give(name: str) -> None:
    for pk in (1, 17, 7_777_777_777):
        assert address(name, pk) == reverse(name, args=[pk])


@pytest.mark.django_db
def test_the_number_of_all_may_be_some_seconds_old_and_that_of_a_filter_never_is(
    viewer: Client, sighting: Sighting, remembering: None
) -> None:
    assert "1 sighting." in viewer.get("/sightings/").text
    Sighting.objects.all().delete()
    assert "1 sighting." in viewer.get("/sightings/").text
    assert "0 sightings with this filter" in viewer.get("/sightings/?review=todo").text
    caches["own"].clear()
    assert "0 sightings." in viewer.get("/sightings/").text


@pytest.mark.django_db
def test_what_one_person_was_told_is_not_told_another(
    viewer: Client, client: Client, sighting: Sighting, django_user_model, remembering: None
) -> None:
    viewer.get("/sightings/")
    Sighting.objects.all().delete()
    other = django_user_model.objects.create_superuser("other")
    client.force_login(other)
    assert "0 sightings." in client.get("/sightings/").text


@pytest.mark.django_db
def test_a_card_that_was_drawn_before_has_the_token_and_the_way_back_of_who_asks_now(
    reviewer: Client, viewer: Client, sighting: Sighting
) -> None:
    first = reviewer.get("/sightings/").text
    before = cards._drawn.cache_info().hits
    second = reviewer.get("/sightings/?label=car&page=1").text
    assert cards._drawn.cache_info().hits == before + 1
    for text, back in ((first, "/sightings/"), (second, "/sightings/?label=car&amp;page=1")):
        assert f'name="next" value="{back}"' in text
        assert text.count('name="csrfmiddlewaretoken"') >= 2, "that of the card, and that of the log-out"
        assert cards.CSRF_MARK not in text
        assert cards.BACK_MARK not in text
    assert "csrfmiddlewaretoken" not in viewer.get("/sightings/").text.partition('<ul class="cards')[2]


@pytest.mark.django_db
def test_what_has_changed_is_drawn_anew(reviewer: Client, sighting: Sighting) -> None:
    assert "Not reviewed" in reviewer.get("/sightings/").text
    sighting.judge("relabelled", None, "<b>fox</b>")
    text = reviewer.get("/sightings/").text
    assert "Relabelled" in text
    assert "&lt;b&gt;fox&lt;/b&gt;" in text
    assert "<b>fox" not in text


@pytest.mark.django_db
def test_a_filter_that_is_used_or_wrong_is_never_the_remembered_one(
    viewer: Client, sighting: Sighting, remembering: None
) -> None:
    assert 'value="car"' not in viewer.get("/sightings/").text.partition("<datalist")[0]
    assert 'value="car"' in viewer.get("/sightings/?label=car").text.partition("<datalist")[0]
    assert "A part of the filter was left out" in viewer.get("/sightings/?since=never").text
    assert "A part of the filter was left out" not in viewer.get("/sightings/").text
