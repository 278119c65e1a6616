"""Verdicts that are asked to keep the media, by keyboard, by mouse and without JavaScript."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from django.core.files.base import ContentFile

from detection.models import Media, Verdict
from tests.browser.test_review_in_the_browser import LOW_CONTRAST
from tests.browser.waiting import eventually
from tests.cast import IMAGE, a_done_analysis, a_track
from tests.views.files import a_jpeg

pytestmark = pytest.mark.slow
LABELS = ("car", "person", "dog")


@pytest.fixture
def media(transactional_db: None) -> Media:
    """An image with three sightings."""
    content = a_jpeg()
    digest = hashlib.sha256(content).hexdigest()
    info = replace(IMAGE, width=64, height=48, captured_at=None)
    media = Media.with_files(ContentFile(content), digest, info, name="yard.jpg", preview=content).keep().media
    a_done_analysis(media, [a_track(label, 0.0, x=5 + 5 * n, steps=1) for n, label in enumerate(LABELS)])
    return media


def verdicts() -> list[tuple[str, bool]]:
    return list(Verdict.objects.order_by("pk").values_list("label", "keeps_media"))


def test_the_choice_stays_as_it_was_set_while_one_reviews(open_page: Any, media: Media, settings: Any) -> None:
    settings.RETAIN_DAYS = 30
    page = open_page("reviewer")
    page.goto(media.get_absolute_url())
    assert page.inner_text("#fate").startswith("Removed after")
    page.keyboard.press("p")
    eventually(page, lambda: page.inner_text("#review-status"), "From now on, what you judge keeps the media.")
    page.keyboard.press("j")
    page.keyboard.press("c")
    page.wait_for_selector('li[data-review="confirmed"] .keeps-media')
    assert "and its media is kept" in page.inner_text("#review-status")
    eventually(page, lambda: page.inner_text("#fate"), "Kept: the reviewer asked for it with the verdict on “car”.")
    page.reload()
    assert page.is_checked("#keep-judged")
    page.click('li[data-label="person"] >> text=Reject')
    page.wait_for_selector('li[data-review="rejected"] .keeps-media')
    page.keyboard.press("p")
    page.click('li[data-label="dog"] >> text=Confirm')
    page.wait_for_selector('li[data-label="dog"][data-review="confirmed"]')
    assert verdicts() == [("car", True), ("person", True), ("dog", False)]
    for label in ("car", "person"):
        page.click(f'li[data-label="{label}"] >> text=Undo')
        page.wait_for_selector(f'li[data-label="{label}"][data-review=""]')
    eventually(page, lambda: page.inner_text("#fate")[:13], "Removed after")


def test_in_the_list_of_sightings_too(open_page: Any, media: Media) -> None:
    page = open_page("reviewer")
    page.goto("/sightings/")
    page.check("#keep-judged")
    page.click(".card >> nth=0 >> text=Confirm")
    page.wait_for_selector(".card .keeps-media")
    assert [keeps for _, keeps in verdicts()] == [True]
    assert page.locator("input[name=keep]:visible").count() == 0, "one choice is enough"


def test_without_javascript_each_verdict_has_its_own(open_page: Any, media: Media) -> None:
    page = open_page("reviewer", java_script_enabled=False)
    page.goto(media.get_absolute_url())
    assert not page.is_visible("#keep-judged")
    page.click('li[data-label="car"] >> text=Confirm')
    page.check('li[data-label="dog"] .verdicts input[name=keep]')
    page.click('li[data-label="dog"] >> text=Confirm')
    page.wait_for_selector('li[data-label="dog"] .keeps-media')
    assert verdicts() == [("car", False), ("dog", True)]
    page.click("text=Keep >> nth=0")
    page.wait_for_selector("text=Do not keep")
    assert Media.objects.get().is_kept


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1300])
def test_it_can_be_read_and_fits(open_page: Any, media: Media, settings: Any, scheme: str, width: int) -> None:
    settings.RETAIN_DAYS, settings.RETAIN_BYTES = 30, 10**12
    page = open_page("reviewer", color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    for keeps in (False, True):
        media.sightings.first().judge("confirmed", None, keeps_media=keeps)
        for path in (media.get_absolute_url(), "/sightings/", "/media/?kept=yes"):
            page.goto(path)
            assert page.evaluate(LOW_CONTRAST) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
