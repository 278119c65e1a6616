"""The list of analyses and the upload's estimate in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detection.models import Analysis, Media
from detection.models.speed import Speed
from tests.browser.test_review_in_the_browser import LOW_CONTRAST
from tests.browser.waiting import eventually, until
from tests.cast import IMAGE, a_done_analysis, a_media, a_running_analysis
from tests.views.files import a_jpeg

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.tasks.send_analysis", lambda analysis: True)


def a_failed(name: str, kind: str = "storage") -> Analysis:
    analysis = a_running_analysis(a_media(name.encode(), IMAGE, name=name))
    analysis.fail_with_chunk(analysis.chunks.all()[0], kind, f"It is {kind}.", "")
    return analysis


def states() -> dict[str, str]:
    return dict(Analysis.objects.values_list("media__name", "state"))


def test_what_is_chosen_stays_chosen_while_the_list_is_renewed(open_page: Any) -> None:
    page = open_page("operator")
    waiting = [Analysis.request(a_media(b"%d" % number, name=f"{number}.mp4")) for number in range(3)]
    page.goto("/analyses/")
    page.check(f"#choose-{waiting[0].pk}")
    page.check(f"#choose-{waiting[2].pk}")
    assert page.inner_text("#chosen-count") == "2 of 3 chosen"
    page.evaluate("document.getElementById('results').dataset.old = 'yes'")
    late = Analysis.request(a_media(b"late", name="late.mp4"))
    page.wait_for_selector(f"#choose-{late.pk}", state="attached")  # by itself
    until(page, "!document.getElementById('results').dataset.old")
    eventually(page, lambda: page.inner_text("#chosen-count"), "2 of 4 chosen")
    page.click("#cancel-chosen")
    assert "2 analyses are cancelled." in page.inner_text(".messages")
    assert states() == {"0.mp4": "cancelled", "1.mp4": "queued", "2.mp4": "cancelled", "late.mp4": "queued"}


def test_all_on_the_page_are_chosen_by_one_key(open_page: Any) -> None:
    page = open_page("operator")
    for number in range(3):
        a_failed(f"{number}.jpg")
    a_done_analysis()
    page.goto("/analyses/")
    page.focus("#choose-all")
    page.keyboard.press("Space")
    assert page.inner_text("#chosen-count") == "3 of 3 chosen"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # retry these
    eventually(page, lambda: sorted(states().values()), ["done", "running", "running", "running"])


def test_a_group_of_failures_is_retried(open_page: Any) -> None:
    page = open_page("operator", java_script_enabled=False)
    for number in range(7):
        a_failed(f"{number}.jpg", "unreadable")
    a_failed("other.jpg")
    page.goto("/")
    page.click("#all-failed")
    page.click("text=Retry these 7")
    assert "7 analyses are tried again." in page.inner_text(".messages")
    assert "1 analysis failed" in page.inner_text("#failures")


def test_before_an_upload_the_page_says_how_long_it_takes_and_whether_it_fits(
    open_page: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Speed, "measured", classmethod(lambda cls: Speed(image_s=20.0, byte_s=1.0)))
    files = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for number, file in enumerate(files):
        file.write_bytes(a_jpeg(number))
    page = open_page("operator")
    page.goto("/upload/")
    page.set_input_files("#files", files)
    eventually(page, lambda: "Their analysis takes about 40 s here." in page.inner_text("#chosen-said"), True)
    assert page.inner_text("#chosen-said").startswith("2 files, ")
    assert not page.is_visible("#chosen-warning")
    assert not Media.objects.exists()

    page.click(".outcome >> nth=1 >> text=Cancel")
    eventually(page, lambda: "takes about 20 s here" in page.inner_text("#chosen-said"), True)
    monkeypatch.setattr("detection.disk.room_bytes", lambda: 10)
    page.set_input_files("#files", files[1:])
    page.wait_for_selector("#chosen-warning >> text=what does not fit will be refused")
    assert page.inner_text("#start") == "Upload these 2 files"  # the server decides

    page.click("#clear")
    assert not page.is_visible("#chosen")
    assert page.locator(".outcome").count() == 0
    monkeypatch.setattr("detection.disk.room_bytes", lambda: None)
    # One: uploads at once would share the one connection that a test's database in memory has.
    page.set_input_files("#files", files[:1])
    page.keyboard.press("Enter")
    eventually(page, lambda: page.inner_text("#upload-status"), "1 accepted.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 390])
def test_the_list_has_contrast_and_fits_the_screen(open_page: Any, scheme: str, width: int) -> None:
    page = open_page("operator", color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    a_failed("a very long name of a picture that has nothing to break at_" + "x" * 60 + ".jpg", "k" * 40)
    a_running_analysis(a_media(b"running"))
    a_done_analysis(a_media(b"done"))
    page.goto("/analyses/")
    page.check('input[name="analysis"] >> nth=0')
    assert page.evaluate(LOW_CONTRAST) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
