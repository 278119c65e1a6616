"""Which media go, by which rule, and which never do."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice

import pytest
from django.utils import timezone

from detection.models import Analysis, Camera, Media, Proxy, Verdict
from detection.models import retention as retention_module
from detection.models.clock import now
from detection.models.pruning import sentence
from detection.models.retention import Plan, fate_of, has_rules, size_words
from tests.cast import a_camera, a_done_analysis, a_running_analysis, a_track, a_user
from tests.models.aged import going, old_media, summary

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_rule(settings):
    settings.RETAIN_DAYS = settings.RETAIN_BYTES = settings.RETAIN_CAPTURES_DAYS = 0


@pytest.fixture
def month(settings):
    """Media stay for 30 days."""
    settings.RETAIN_DAYS = 30


# By age


def test_without_a_rule_nothing_ever_goes():
    old_media(days=10_000)
    a_camera(retain_days=0, retain_bytes=0)
    assert not has_rules()
    assert going() == []


def test_what_came_in_longer_ago_goes_the_oldest_first(month):
    oldest, old = old_media(days=90), old_media(days=31)
    old_media(days=29)
    assert going() == [oldest, old]


def test_old_footage_that_is_uploaded_today_is_new(month):
    old_media(days=0, captured_at=timezone.now() - timedelta(days=400), at=timezone.now() - timedelta(days=400))
    assert going() == []


def test_a_cameras_pictures_satisfy_its_own_rule_and_the_one_for_all(month):
    short, long = a_camera("Short", retain_days=7), a_camera("Long", retain_days=60)
    goes = [old_media(days=31, camera=long), old_media(days=40, camera=short), old_media(days=8, camera=short)]
    stay = [old_media(days=29, camera=long), old_media(days=6, camera=short), old_media(days=8)]
    assert set(going()) == set(goes)
    assert len(going()) == len(goes), "none of them twice"
    assert {each.words for each in _rules()} == {"for all: older than 30 days", "its camera’s: older than 7 days"}
    assert Media.objects.count() == len(goes) + len(stay)


def _rules():
    return {each.rule for each in Plan(now()).going()}


def test_cameras_with_the_same_days_and_with_others_each_have_theirs():
    cameras = [a_camera(retain_days=days) for days in (1, 7, 7)]
    goes = [old_media(days=2, camera=cameras[0]), *(old_media(days=8, camera=camera) for camera in cameras[1:])]
    for camera in cameras[1:]:
        old_media(days=2, camera=camera)
    assert set(going()) == set(goes)


def test_more_days_than_there_are_is_for_ever(settings):
    settings.RETAIN_DAYS = 2_000_000_000
    camera = a_camera(retain_days=2_000_000_000)
    media = old_media(days=4000, camera=camera)
    assert going() == []
    assert fate_of(media).until > timezone.now()


# By bytes


def test_beyond_so_many_bytes_the_oldest_go_and_no_more_than_needed(settings):
    settings.RETAIN_BYTES = 100
    media = [old_media(days=days, size=40) for days in (4, 3, 2, 1)]
    assert going() == media[:2]
    settings.RETAIN_BYTES = 120
    assert going() == media[:1], "exactly as many as there may be are not too many"
    settings.RETAIN_BYTES = 160
    assert going() == []


def test_the_copy_for_browsers_counts_as_well(settings):
    settings.RETAIN_BYTES = 100
    old, new = old_media(days=2, size=40), old_media(days=1, size=40)
    assert going() == []
    Proxy.objects.create(media=new, state="done", finished_at=now(), bytes=21)
    assert going() == [old]
    Proxy.objects.create(media=old, state="done", finished_at=now(), bytes=20)
    assert summary().total.bytes == 60


def test_of_those_that_came_in_at_once_some_stay(settings):
    settings.RETAIN_BYTES = 100
    media = [old_media(size=40) for _ in range(4)]
    Media.objects.update(created_at=timezone.now() - timedelta(days=1))
    assert going() == media[:2]


def test_a_cameras_bytes_are_its_own():
    full, other = a_camera("Full", retain_bytes=100), a_camera("Other")
    old_media(days=9, size=500, camera=other)
    old_media(days=9, size=500)
    first, second = old_media(days=3, size=60, camera=full), old_media(days=2, size=60, camera=full)
    assert going() == [first]
    old_media(days=1, size=90, camera=full)
    assert going() == [first, second]


def test_each_rule_finds_what_the_ones_before_have_left(settings):
    """40 go by age, 40 by the camera's bytes; so 100 are left of 180, and only then the rule for all is asked."""
    settings.RETAIN_DAYS, settings.RETAIN_BYTES = 30, 100
    camera = a_camera(retain_bytes=40)
    aged = old_media(days=31, size=40)
    crowded, stays = old_media(days=20, size=40, camera=camera), old_media(days=1, size=40, camera=camera)
    old_media(days=25, size=60)
    assert going() == [aged, crowded]
    settings.RETAIN_BYTES = 99
    assert [media.bytes for media in going()] == [40, 40, 60]
    assert stays not in going()


def test_what_goes_by_age_counts_for_its_cameras_bytes():
    camera = a_camera(retain_days=7, retain_bytes=100)
    aged = old_media(days=8, size=60, camera=camera)
    old_media(days=2, size=60, camera=camera)
    old_media(days=1, size=40, camera=camera)
    assert going() == [aged]


def test_it_is_read_page_by_page_and_none_is_left_out(settings, monkeypatch):
    monkeypatch.setattr(retention_module, "PAGE", 2)
    media = [old_media() for _ in range(5)]
    Media.objects.update(created_at=timezone.now() - timedelta(days=40))
    settings.RETAIN_DAYS = 30
    assert going() == media
    settings.RETAIN_DAYS, settings.RETAIN_BYTES = 0, 1
    assert going() == media[:4]


def test_only_what_is_asked_for_is_read(month, django_assert_max_num_queries, monkeypatch):
    monkeypatch.setattr(retention_module, "PAGE", 2)
    for _ in range(10):
        old_media(days=31)
    moment = now()
    with django_assert_max_num_queries(8):  # the limits, one page, and six things about it
        list(islice(Plan(moment).going(), 2))


# What never goes


def test_what_is_kept_stays_and_counts(month, settings):
    kept = old_media(days=99, size=60)
    assert kept.set_kept(True)
    assert going() == []
    settings.RETAIN_DAYS, settings.RETAIN_BYTES = 0, 100
    old, new = old_media(days=2, size=30), old_media(days=1, size=30)
    assert going() == [old]
    kept.set_kept(False)
    assert going() == [kept]
    assert new not in going()


@pytest.mark.parametrize("state", ["queued", "running"])
def test_what_is_being_worked_on_stays(month, state):
    media = old_media(days=31)
    analysis = a_running_analysis(media)
    Analysis.objects.filter(pk=analysis.pk).update(state=state)
    assert going() == []
    Analysis.objects.filter(pk=analysis.pk).update(state="failed", finished_at=now())
    assert going() == [media]
    proxy = Proxy.objects.create(media=media, state=state)
    assert going() == []
    Proxy.objects.filter(pk=proxy.pk).update(state="done", finished_at=now())
    assert going() == [media]


@pytest.fixture
def sighting(month):
    media = old_media(days=31)
    return a_done_analysis(media).sightings.get()


def test_what_a_verdict_keeps_stays_until_another_says_otherwise(sighting):
    sighting.judge("confirmed", None)
    assert going() == [sighting.media]
    sighting.judge("rejected", None, keeps_media=True)
    assert going() == []
    sighting.judge("confirmed", None)
    assert going() == [sighting.media]


def test_undo_takes_the_keeping_back_and_brings_it_back(sighting):
    sighting.judge("confirmed", None, keeps_media=True)
    sighting.judge("rejected", None)
    assert going() == [sighting.media]
    sighting.undo(None)
    assert going() == []
    sighting.undo(None)
    assert going() == [sighting.media]


def test_one_of_several_sightings_is_enough(month):
    media = old_media(days=31)
    first, second = a_done_analysis(media, [a_track(), a_track("person")]).sightings.order_by("number")
    first.judge("confirmed", None, keeps_media=True)
    second.judge("rejected", None)
    assert going() == []
    other = old_media(days=31)
    a_done_analysis(other)
    assert going() == [other], "it keeps its own media only"


def test_the_next_run_keeps_it_too_and_there_it_can_be_taken_back(sighting):
    media = sighting.media
    sighting.judge("confirmed", None, keeps_media=True)
    again = a_done_analysis(media).sightings.get()
    assert again.verdict.keeps_media
    assert going() == []
    again.undo(None)
    assert going() == [media], "the verdict on the earlier run's sighting was said again, and undone there"
    third = a_done_analysis(media).sightings.get()
    assert going() == [media]
    third.judge("confirmed", None, keeps_media=True)
    fourth = a_done_analysis(media).sightings.get()
    fourth.judge("rejected", None)
    assert going() == [media]
    assert Verdict.keeping().count() == 0


def test_a_run_that_does_not_find_the_object_takes_nothing_back(sighting):
    sighting.judge("confirmed", None, keeps_media=True)
    a_done_analysis(sighting.media, [])
    assert going() == []
    found_again = a_done_analysis(sighting.media).sightings.get()
    assert going() == []
    found_again.judge("rejected", None)
    assert going() == [sighting.media]


# What is said of it


def test_a_limit_that_cannot_be_kept_says_so(settings):
    settings.RETAIN_BYTES = 1_000_000_000
    old_media(days=3, size=1_500_000_000).set_kept(True)
    a_running_analysis(old_media(days=2, size=700_000_000))
    goes = old_media(days=1, size=100_000_000)
    plan = Plan(now())
    assert [each.pk for each in plan.going()] == [goes.pk]
    assert [sentence(shortfall) for shortfall in plan.shortfalls] == [
        "All media together take 1.2 GB more than the 1 GB that RETAIN_BYTES allows, and nothing more may go: 1.5 GB "
        "are kept, 700 MB wait for their analysis or their copy. Keep less, or raise the limit."
    ]


def test_a_cameras_limit_that_cannot_be_kept_names_the_camera():
    camera = a_camera("Gate", retain_bytes=100)
    old_media(size=120, camera=camera).set_kept(True)
    old_media(size=10_000).set_kept(True)
    plan = Plan(now())
    assert list(plan.going()) == []
    said = sentence(plan.shortfalls[0])
    assert said.startswith("The pictures of camera Gate take 20 bytes more than the 100 bytes that the camera’s limit")
    assert "120 bytes are kept, 0 bytes wait" in said


def test_the_summary_counts_what_nobody_has_looked_at(month):
    camera = a_camera("Gate")
    a_done_analysis(old_media(days=40, size=10, camera=camera))
    a_done_analysis(old_media(days=39, size=10, camera=camera)).sightings.get().judge("confirmed", None)
    nothing_found = old_media(days=38, size=10, camera=camera)
    a_done_analysis(nothing_found)
    a_done_analysis(nothing_found, [])  # what an earlier run had found waits for no review any more
    failed = a_running_analysis(old_media(days=37, size=10, camera=camera))
    Analysis.objects.filter(pk=failed.pk).update(state="failed", finished_at=now())
    found_before_it_failed = old_media(days=36, size=10, camera=camera)
    a_done_analysis(found_before_it_failed)
    again = a_running_analysis(found_before_it_failed)
    Analysis.objects.filter(pk=again.pk).update(state="failed", finished_at=now())
    oldest_of_none = old_media(days=50, size=7)
    found = summary()
    total = found.total
    assert (total.media, total.bytes, total.to_review, total.failed, total.not_looked_at) == (6, 57, 2, 1, 1)
    assert set(found.parts) == {(camera.pk, "for all: older than 30 days"), (None, "for all: older than 30 days")}
    part = found.parts[(camera.pk, "for all: older than 30 days")]
    assert (part.media, part.not_looked_at) == (5, 0)
    assert part.newest == found_before_it_failed.created_at
    assert total.oldest == oldest_of_none.created_at


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1, "1 byte"),
        (1000, "1 kB"),
        (999_600, "1 MB"),
        (1_234_000_000, "1.23 GB"),
        (999_900_000_000, "1.0 TB"),
        (12_345_600_000_000_000, "12,345.6 TB"),
    ],
)
def test_sizes_are_said_in_powers_of_ten(size, words):
    assert size_words(size) == words


# What becomes of one


def test_the_fate_of_a_media_is_that_of_its_stricter_rule(settings):
    camera = a_camera(retain_days=7, retain_bytes=100)
    media, plain = old_media(days=1, camera=camera), old_media(days=1)
    fate = fate_of(media)
    assert (fate.days, fate.is_cameras, fate.bytes_of_camera, fate.bytes_of_all) == (7, True, 100, 0)
    assert fate.until == media.created_at + timedelta(days=7)
    assert fate_of(plain).until is None
    settings.RETAIN_DAYS, settings.RETAIN_BYTES = 5, 1000
    fate = fate_of(media)
    assert (fate.days, fate.is_cameras, fate.bytes_of_all) == (5, False, 1000)
    assert (fate.is_marked, fate.keeping) == (False, None)


def test_the_fate_names_who_keeps_it(sighting):
    sighting.judge("confirmed", a_user("reviewer"), keeps_media=True)
    fate = fate_of(sighting.media)
    assert not fate.is_marked
    assert fate.keeping.user.username == "the reviewer"
    sighting.undo(None)
    assert fate_of(sighting.media).keeping is None
    sighting.media.set_kept(True)
    assert fate_of(Media.objects.get()).is_marked


def test_a_rule_of_a_camera_is_a_rule():
    assert not has_rules()
    camera = a_camera(retain_days=1)
    assert has_rules()
    Camera.objects.filter(pk=camera.pk).update(retain_days=None, retain_bytes=5)
    assert has_rules()
