"""The road in the browser: a clip goes in, its progress is watched, its boxes follow it, its sightings are judged.

The queue is not real here, and the worker's part is done by the test, step by step, so that each state can be seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detection.models import Analysis, Chunk, Media, Sighting
from detection.vision.types import DetectStats, Span, Track, TrackPoint
from tests.browser.waiting import eventually, until
from tests.cast import a_done_analysis
from tests.views.files import a_clip, a_jpeg

pytestmark = pytest.mark.slow
FRAMES = 60  # six seconds of 64 x 48


@pytest.fixture(autouse=True)
def _no_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.tasks.send_analysis", lambda analysis: True)
    monkeypatch.setattr("workers.tasks.send_proxy", lambda proxy: True)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    a_clip(tmp_path / "yard.mp4", frames=FRAMES)
    return tmp_path / "yard.mp4"


def moving(label: str, start_s: float, y: float) -> Track:
    """Moves 4 pixels a second to the right, for two seconds, a point every half second; its last is its best."""
    points = [TrackPoint(start_s + n / 2, 2.0 * n, y, 2.0 * n + 20, y + 10, 0.6 + n / 100) for n in range(5)]
    return Track(label, 0.6, tuple(points))


TRACKS = [moving("car", 0.0, 5), moving("person", 1.0, 20), moving("dog", 3.0, 30)]


def work(analysis: Analysis, frames_read: int | None = None) -> None:
    """The worker's part: up to so many frames read, or to the end."""
    analysis.refresh_from_db()
    if analysis.state == "queued":
        claimed = Analysis.claim(analysis.pk, "worker")
        assert claimed is not None
        claimed.planned([Span(0, 0.0, 6.0, FRAMES)])
        assert Chunk.claim(claimed.chunks.get().pk, "worker") is not None
    chunk = analysis.chunks.get()
    if frames_read is not None:
        chunk.renew(frames_read=frames_read)
        return
    chunk.finish(b"", DetectStats(FRAMES, 30, 30, 0.1, 0.2))
    finishing = Analysis.claim_finish(analysis.pk, "worker")
    assert finishing is not None
    finishing.finish(TRACKS, {}, 0.1)


def reviews() -> dict[str, str]:
    return {s.label: s.review for s in Sighting.objects.select_related("verdict")}


def test_a_clip_goes_in_is_watched_and_is_reviewed_by_keyboard(open_page: Any, clip: Path, tmp_path: Path) -> None:
    page = open_page("operator")
    (tmp_path / "notes.mp4").write_text("only text")
    page.click("nav >> text=Upload")
    page.wait_for_url("**/upload/")  # with its scripts: who is quicker than those has to press the button
    page.set_input_files("#files", [clip, tmp_path / "notes.mp4"])
    page.click("text=Upload these 2 files")
    page.wait_for_selector(".outcome.is-accepted")
    refused = page.wait_for_selector(".outcome.is-refused")
    assert "neither an image nor a clip" in refused.inner_text()
    eventually(page, lambda: page.inner_text("#upload-status"), "1 accepted, 1 refused.")

    page.click(".outcome.is-accepted a")
    page.wait_for_selector("#progress >> text=Waiting for a worker")
    analysis = Analysis.objects.get()
    work(analysis, frames_read=FRAMES // 2)
    page.wait_for_selector("#progress >> text=30 of 60 frames")
    eventually(page, lambda: page.get_attribute("#progress progress", "value"), "0.5")
    work(analysis)
    page.wait_for_selector("#items li")  # by itself
    eventually(page, lambda: page.inner_text("#review-status"), "3 sightings, 3 to review.")

    page.keyboard.press("j")
    page.keyboard.press("c")
    page.wait_for_selector('li[data-label="person"][aria-current]')
    page.keyboard.press("x")
    page.wait_for_selector('li[data-label="dog"][aria-current]')
    page.keyboard.press("r")
    page.keyboard.type("jackal")
    page.keyboard.press("Enter")
    page.wait_for_selector('li[data-label="jackal"][data-review="relabelled"]')
    eventually(page, reviews, {"car": "confirmed", "person": "rejected", "dog": "relabelled"})
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    page.wait_for_selector('li[data-label="dog"][data-review=""]')
    page.keyboard.press("u")
    page.wait_for_selector('li[data-label="person"][data-review=""]')
    eventually(page, reviews, {"car": "confirmed", "person": "", "dog": ""})


IN_THE_PICTURE = """() => {
        const box = document.querySelector('#overlay g[data-id="%d"] rect')?.getBoundingClientRect();
        const video = document.getElementById('picture').getBoundingClientRect();
        const scale = video.height / 48;
        return box && [(box.left - video.left - (video.width - 64 * scale) / 2) / scale, (box.top - video.top) / scale];
}"""


BOX = """() => {
    const box = document.querySelector('#overlay g[data-id="%d"] rect')?.getBoundingClientRect();
    const video = document.getElementById("picture").getBoundingClientRect();
    return box && [box.left - video.left, box.top - video.top, box.width, box.height].map((v) => v * 64 / video.width);
}"""


def test_boxes_follow_the_clip(open_page: Any, clip: Path) -> None:
    page = open_page("reviewer")
    media = stored(clip)
    car = Sighting.objects.get(label="car")
    page.goto(media.get_absolute_url())
    until(page, "document.getElementById('picture').readyState >= 2")
    for time_s in (0.55, 1.25, 1.95):
        page.evaluate(f"document.getElementById('picture').currentTime = {time_s}")
        shown_s = int(time_s * 10) / 10  # the frame that is on the screen
        eventually(page, lambda: page.evaluate(BOX % car.pk), pytest.approx([4 * shown_s, 5, 20, 10], abs=0.35))
    page.evaluate("document.getElementById('picture').currentTime = 2.75")
    eventually(page, lambda: page.evaluate(BOX % car.pk), None)

    # A stage of another shape: the picture is letterboxed, and the boxes stay on it.
    page.evaluate("document.getElementById('picture').style.height = '100px'")
    page.evaluate("document.getElementById('picture').currentTime = 1.25")
    eventually(page, lambda: page.evaluate(IN_THE_PICTURE % car.pk), pytest.approx([4.8, 5], abs=0.4))


def test_enter_plays_a_sighting_to_its_end_and_stops(open_page: Any, clip: Path) -> None:
    page = open_page("viewer")
    page.goto(stored(clip).get_absolute_url())
    until(page, "document.getElementById('picture').readyState >= 2")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    until(page, "document.getElementById('picture').paused && document.getElementById('picture').currentTime > 1.5")
    assert page.evaluate("document.getElementById('picture').currentTime") == pytest.approx(2.2, abs=0.3)
    page.click("[data-bar] >> nth=2")
    page.wait_for_selector('li[data-label="dog"][aria-current]')
    until(page, "Math.abs(document.getElementById('picture').currentTime - 5) < 0.1")


def test_keys_that_come_faster_than_the_server_answers_all_count(open_page: Any, clip: Path) -> None:
    page = open_page("reviewer")
    page.goto(stored(clip).get_absolute_url())
    for key in "jcxc":
        page.keyboard.press(key)
    until(page, "!document.querySelector('li[data-review=\"\"]')")
    eventually(page, reviews, {"car": "confirmed", "person": "rejected", "dog": "confirmed"})


def test_keys_rest_while_one_types_and_can_be_turned_off(open_page: Any, clip: Path) -> None:
    page = open_page("reviewer")
    page.goto(stored(clip).get_absolute_url())
    page.keyboard.press("j")
    page.keyboard.press("r")
    page.keyboard.type("cxuj?")
    assert page.input_value("li[aria-current] input[name=label]") == "cxuj?"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.uncheck("dialog[open] #keys-on")
    page.keyboard.press("Escape")
    page.reload()
    page.keyboard.press("j")
    page.keyboard.press("c")
    page.wait_for_timeout(300)  # time in which the keys could do what they must not
    assert page.query_selector("li[aria-current]") is None
    assert reviews() == {"car": "", "person": "", "dog": ""}


def test_without_javascript_the_road_is_the_same(open_page: Any, clip: Path, tmp_path: Path) -> None:
    page = open_page("operator", java_script_enabled=False)
    (tmp_path / "yard.jpg").write_bytes(a_jpeg())
    (tmp_path / "notes.mp4").write_text("only text")
    page.goto("/upload/")
    page.set_input_files("#files", [clip, tmp_path / "yard.jpg", tmp_path / "notes.mp4"])
    page.click("#upload button")
    assert page.locator(".outcome.is-accepted").count() == 2
    assert "neither an image nor a clip" in page.inner_text(".outcome.is-refused")
    page.click(".outcome.is-accepted a >> nth=0")
    assert "Waiting for a worker" in page.inner_text("#progress")
    work(Analysis.objects.get(media__kind="clip"))
    page.wait_for_selector("#items li")  # the page asks again by itself
    page.click('li[data-label="car"] >> text=Confirm')
    page.click('li[data-label="person"] summary')
    page.fill('li[data-label="person"] input[name=label]', "child")
    page.keyboard.press("Enter")
    page.wait_for_selector('li[data-label="child"][data-review="relabelled"]')
    eventually(page, reviews, {"car": "confirmed", "person": "relabelled", "dog": ""})
    page.click('li[data-label="car"] >> text=Undo')
    page.wait_for_selector('li[data-label="car"][data-review=""]')
    eventually(page, lambda: reviews()["car"], "")
    page.click("[data-bar] >> nth=2")
    assert page.locator('li[data-label="dog"]').get_attribute("aria-current") == "true"


def test_a_dropped_file_is_taken_wherever_it_falls(open_page: Any) -> None:
    page = open_page("operator")
    page.goto("/upload/")
    page.evaluate(
        """(bytes) => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(bytes)], "dropped.jpg"));
            document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true}));
        }""",
        list(a_jpeg()),
    )
    page.keyboard.press("Enter")  # what was dropped is only to be confirmed
    page.wait_for_selector(".outcome.is-accepted")
    assert Media.objects.get().name == "dropped.jpg"


def test_cards_are_judged_in_the_list(open_page: Any) -> None:
    page = open_page("reviewer")
    sighting = a_done_analysis().sightings.get()
    page.goto("/sightings/")
    page.click(".card >> text=Reject")
    page.wait_for_selector(".card.is-rejected")
    assert Sighting.objects.get(pk=sighting.pk).review == "rejected"
    page.click(".card >> text=Undo")
    page.wait_for_selector(".card >> text=Not reviewed")
    assert page.url.endswith("/sightings/")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(open_page: Any, clip: Path, scheme: str) -> None:
    page = open_page("operator", color_scheme=scheme)
    media = stored(clip)
    Sighting.objects.get(label="car").judge("confirmed", None)
    Sighting.objects.get(label="dog").judge("rejected", None)
    for path in ("/", "/media/", "/sightings/?since=x", "/upload/", media.get_absolute_url()):
        page.goto(path)
        assert page.evaluate(LOW_CONTRAST) == []


# What has text of its own, with its colour against the nearest background behind it (WCAG 2.2, 1.4.3).
LOW_CONTRAST = """() => {
    const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] > 0.7) return colour;
        }
        return [255, 255, 255];
    };
    const low = [];
    for (const element of document.querySelectorAll("main *, header *, footer *, .notice *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || element.closest("svg, dialog, template, .sr-only") || !element.getClientRects().length) continue;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
        const name = `${element.className || element.tagName}: ${element.textContent.trim()}`;
        if ((a + 0.05) / (b + 0.05) < 4.5) low.push(name);
    }
    return low;
}"""


@pytest.mark.needs_data
def test_a_player_that_is_given_pieces_plays_to_the_end(
    open_page: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detection.views.serving.PLAYER_PIECE", 300_000)
    page = open_page("viewer")
    page.goto(stored(data / "clips" / "people.mp4").get_absolute_url())
    until(page, "document.getElementById('picture').readyState >= 2")
    page.evaluate("document.getElementById('picture').currentTime = 7")
    page.evaluate("document.getElementById('picture').play()")
    until(page, "document.getElementById('picture').ended")


def stored(clip: Path) -> Media:
    """The clip as a media with a finished analysis of the three tracks."""
    from django.core.files.base import ContentFile

    from detection.models.intake import probe_with_preview

    info, preview = probe_with_preview(clip)
    content = ContentFile(clip.read_bytes())
    media = Media.with_files(content, "cd" * 32, info, name="yard.mp4", preview=preview).keep().media
    work(Analysis.request(media))
    return media
